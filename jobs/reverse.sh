#!/bin/sh
# Direct preference optimisation with chosen and rejected swapped.
. "$ALD_ROOT/jobs/common.sh"
run reverse
