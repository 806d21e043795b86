#!/bin/sh
# Supervised fine-tuning.
. "$ALD_ROOT/jobs/common.sh"
run sft
