#!/bin/sh
# Distillation; on-policy with trainers, scorers and generators as ranks of one job.
. "$ALD_ROOT/jobs/common.sh"
run distill
