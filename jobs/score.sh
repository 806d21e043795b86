#!/bin/sh
# Teacher shards: each task of the array makes its own part, a rerun only what is missing.
. "$ALD_ROOT/jobs/common.sh"
run score
