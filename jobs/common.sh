# Read by every job, after ALD_ROOT and ALD_CONFIG came from submit.sh.
set -eu
: "${ALD_ROOT:?submit with jobs/submit.sh}" "${ALD_CONFIG:?submit with jobs/submit.sh}"
. "${ALD_SITE:-$ALD_ROOT/jobs/site.sh}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# stage COMMAND [path=value]...: runs one command of the program on the ranks of this job.
stage()
{
    command=$1
    shift
    settings=
    for setting in "$@"; do
        settings="$settings --set $setting"
    done
    echo "job ${SLURM_JOB_ID:-none} on ${SLURM_JOB_NODELIST:-this node}: $command $*"
    # shellcheck disable=SC2086
    $LAUNCH "$ALIGNDISTIL" "$command" -c "$ALD_CONFIG" $settings
}

# needs DIR: a stage is finished when its done.json is there; a launcher's exit code alone has been
# seen to be 0 for jobs that were killed.
needs()
{
    [ -f "$ALD_OUTPUT/$1/done.json" ] || {
        echo "$ALD_OUTPUT/$1/done.json: not there, so the stage before this one isn't finished" >&2
        exit 3
    }
}
