#!/bin/sh
# Evaluation of every model of the chain on held-out prompts.
. "${ALD_ROOT:?submit this by jobs/submit.sh CONFIG.cfg --only eval}/jobs/common.sh"
run eval
