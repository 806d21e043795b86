#!/bin/sh
# Distillation, with trainers, scorers and generators as ranks of one job.
. "$ALD_ROOT/jobs/common.sh"
needs dpo
needs reverse
# shellcheck disable=SC2086
stage distill $DISTILL_ROLES
