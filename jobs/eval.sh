#!/bin/sh
# Evaluation of every stage on held-out prompts.
. "$ALD_ROOT/jobs/common.sh"
needs aligned
for model in sft dpo aligned; do
    stage eval "eval.model=$ALD_OUTPUT/$model" "eval.output=eval/$model"
done
