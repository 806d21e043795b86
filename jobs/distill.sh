#!/bin/sh
# Distillation; on-policy with trainers, scorers and generators as ranks of one job.
. "${ALD_ROOT:?submit this by jobs/submit.sh CONFIG.cfg --only distill}/jobs/common.sh"
run distill
