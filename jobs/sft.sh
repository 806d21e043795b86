#!/bin/sh
# Supervised fine-tuning.
. "${ALD_ROOT:?submit this by jobs/submit.sh CONFIG.cfg --only sft}/jobs/common.sh"
run sft
