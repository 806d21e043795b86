#!/bin/sh
# Evaluation of every model of the chain on held-out prompts.
. "$ALD_ROOT/jobs/common.sh"
run eval
