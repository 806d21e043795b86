#!/bin/sh
# Direct preference optimisation with chosen and rejected swapped.
. "${ALD_ROOT:?submit this by jobs/submit.sh CONFIG.cfg --only reverse}/jobs/common.sh"
run reverse
