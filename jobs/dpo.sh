#!/bin/sh
# Direct preference optimisation.
. "${ALD_ROOT:?submit this by jobs/submit.sh CONFIG.cfg --only dpo}/jobs/common.sh"
run dpo
