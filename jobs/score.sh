#!/bin/sh
# Teacher shards: each task of the array makes its own part, a rerun only what is missing.
. "${ALD_ROOT:?submit this by jobs/submit.sh CONFIG.cfg --only score}/jobs/common.sh"
run score
