#!/bin/sh
# Direct preference optimisation.
. "$ALD_ROOT/jobs/common.sh"
run dpo
