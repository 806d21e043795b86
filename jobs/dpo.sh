#!/bin/sh
# Direct preference optimisation.
. "$ALD_ROOT/jobs/common.sh"
needs sft
stage dpo
