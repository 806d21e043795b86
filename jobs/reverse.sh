#!/bin/sh
# Direct preference optimisation with chosen and rejected swapped.
. "$ALD_ROOT/jobs/common.sh"
needs sft
stage dpo dpo.reverse=true dpo.output=reverse
