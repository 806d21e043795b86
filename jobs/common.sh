# Read by submit.sh and by every job, after ALD_ROOT and ALD_CONFIG: the stages, where they leave
# what they make, and how a job runs one of them.
# shellcheck shell=sh disable=SC1007,SC1090,SC2012,SC2015,SC2034,SC2046,SC2086
set -eu
: "${ALD_ROOT:?submit with jobs/submit.sh}" "${ALD_CONFIG:?submit with jobs/submit.sh}"
. "${ALD_SITE:-$ALD_ROOT/jobs/site.sh}"
[ -z "${ALD_SIZES-}" ] || . "$ALD_SIZES"

# --- stages -----------------------------------------------------------------------------------

# Sets ALD_OUTPUT, mode, and the folder of each stage, as the program reads the configuration.
read_configuration()
{
    set -- --quiet
    for setting in $DISTILL_ROLES; do
        set -- "$@" --set "$setting"
    done
    values=$("$ALIGNDISTIL" inspect "$ALD_CONFIG" "$@" --key \
        output,distill.mode,sft.model,sft.output,dpo.output,shards.directory,distill.output) || exit 2
    {
        IFS= read -r ALD_OUTPUT
        IFS= read -r mode
        IFS= read -r sft_model
        IFS= read -r folder_sft
        IFS= read -r folder_dpo
        IFS= read -r folder_score
        IFS= read -r folder_distill
    } <<END
$values
END
    folder_reverse=$ALD_OUTPUT/reverse folder_eval=$ALD_OUTPUT/eval
    state=$ALD_OUTPUT/jobs logs=$ALD_OUTPUT/logs
    stages="dpo reverse"
    [ -z "$sft_model" ] || stages="sft $stages"
    [ "$mode" != off-policy ] || stages="$stages score"
    stages="$stages distill eval"
}

folder_of()
{
    eval "echo \"\$folder_$1\""
}

# The file that says that a stage is finished: exit codes alone have been 0 for jobs that were killed.
mark_of()
{
    case $1 in
    score) echo "$folder_score/manifest.json" ;;
    eval) echo "$folder_eval/aligned/done.json" ;;
    *) echo "$(folder_of "$1")/done.json" ;;
    esac
}

is_finished()
{
    [ -f "$(mark_of "$1")" ]
}

# The stages that a stage needs the results of, as far as the chain has them.
needs_of()
{
    case $1 in
    dpo | reverse) wanted=sft ;;
    score) wanted="dpo reverse" ;;
    distill) wanted="dpo reverse score" ;;
    eval) wanted=distill ;;
    *) wanted= ;;
    esac
    for need in $wanted; do
        case " $stages " in *" $need "*) printf '%s ' "$need" ;; esac
    done
}

# The stages that can't be made without this one.
after()
{
    case $1 in
    sft) echo dpo reverse score distill eval ;;
    dpo | reverse) echo score distill eval ;;
    score) echo distill eval ;;
    distill) echo eval ;;
    esac
}

# What a stage has got so far, in a word that changes when it gets on.
progress_of()
{
    case $1 in
    score | eval) find "$(folder_of "$1")" -type f -exec ls -ln {} + 2>/dev/null |
        awk '{ n += $5; ++k } END { print k + 0 " files, " n + 0 " bytes" }' ;;
    *) ls "$(folder_of "$1")/checkpoints" 2>/dev/null | sed -n 's/^\(step-[0-9]*\)$/\1/p' | tail -n 1 ;;
    esac
}

say()
{
    echo "$(date '+%Y-%m-%d %H:%M:%S') ald: $*"
}

# --- one job ----------------------------------------------------------------------------------

# Ends the job for good, with a line, and what can't be made without it.
fail()
{
    code=$1
    shift
    say "$stage: $*" | tee "$state/$key.failed" >&2
    cancelled=
    for later in $(after "$stage"); do
        [ -f "$state/$later.id" ] && command -v scancel >/dev/null 2>&1 || continue
        scancel $(cat "$state/$later.id") 2>/dev/null && cancelled="$cancelled $later"
    done
    [ -f "$state/$stage.id" ] && [ -z "${SLURM_ARRAY_JOB_ID-}" ] && command -v scancel >/dev/null 2>&1 &&
        for id in $(cat "$state/$stage.id"); do
            [ "$id" = "${SLURM_JOB_ID-}" ] || scancel "$id" 2>/dev/null || true
        done
    [ -z "$cancelled" ] || say "cancelled, as they need $stage:$cancelled" >&2
    exit "$code"
}

# Takes the launcher that the ranks of this job are started by.
choose_launcher()
{
    why="of site.sh"
    [ "$LAUNCH" = auto ] || return 0
    types=$(srun --mpi=list 2>&1 || true)
    LAUNCH="mpirun" why="srun --mpi=list has no protocol of this MPI"
    if ldd "$ALIGNDISTIL" 2>/dev/null | grep -Eq 'libmpich|libmpi\.so\.12'; then
        case $types in *pmi2*) LAUNCH="srun --mpi=pmi2" why="MPICH's protocol, which srun has" ;; esac
    else
        case $types in *pmix*) LAUNCH="srun --mpi=pmix" why="Open MPI's protocol, which srun has" ;; esac
    fi
}

# Sets SLURM_JOB_END_TIME where Slurm hasn't (before 23.02), now: the limit may have been shortened.
find_end()
{
    [ -z "${SLURM_JOB_END_TIME-}" ] || return 0
    left=$("$ALIGNDISTIL" --time-left 2>/dev/null || true)
    case $left in
    '' | *[!0-9]*) say "no end of this job is known" ;;
    *) SLURM_JOB_END_TIME=$(($(date +%s) + left)) && export SLURM_JOB_END_TIME ;;
    esac
}

# launch COMMAND [path=value]...: starts a command of the program on the ranks of this job.
launch()
{
    command=$1
    shift
    say "job ${SLURM_JOB_ID:-none} on ${SLURM_JOB_NODELIST:-this node}: $LAUNCH ($why): $command $*"
    settings=
    for setting in "$@"; do
        settings="$settings --set $setting"
    done
    if [ "${SLURM_HET_SIZE:-1}" -gt 1 ]; then
        role="$CONTAINER $ALIGNDISTIL $command -c $ALD_CONFIG $settings --role"
        exec $LAUNCH --het-group=0 $role trainer : --het-group=1 $role scorer : \
            --het-group=2 $role generator
    fi
    exec $LAUNCH $CONTAINER "$ALIGNDISTIL" "$command" -c "$ALD_CONFIG" $settings
}

# wait_for COMMAND [path=value]...: the same, and waits for it; its exit code is in $code.
wait_for()
{
    (launch "$@") &
    child=$!
    code=0
    wait $child || code=$?
    while [ $code -gt 128 ] && kill -0 $child 2>/dev/null; do # a trap came between
        code=0
        wait $child || code=$?
    done
    child=
}

# Evaluates what there is of the chain's models, one after the other.
evaluate()
{
    for name in sft dpo distill; do
        model=$(folder_of $name) code=0
        [ $name = distill ] && name=aligned
        [ -f "$model/done.json" ] || continue
        wait_for eval "eval.model=$model" "eval.output=eval/$name"
        [ $code = 0 ] || return 0
    done
}

work()
{
    case $stage in
    reverse) wait_for dpo dpo.reverse=true dpo.output=reverse ;;
    distill) wait_for distill $DISTILL_ROLES ;;
    eval) evaluate ;;
    *) wait_for "$stage" ;;
    esac
}

# This stage, or this task of it, once more: as this job, or as the one that waits behind it.
go_on()
{
    now=$(progress_of "$stage")
    [ "$REQUEUE" = yes ] || fail 75 "stopped, and site.sh has REQUEUE=$REQUEUE: submit again to go on"
    [ ! -f "$state/$key.at" ] || [ "$now" != "$(cat "$state/$key.at")" ] ||
        fail 5 "no progress since it stopped last (${now:-no checkpoint}): it needs more time than it is given"
    echo "$now" >"$state/$key.at"
    restarts=$(($(cat "$state/$key.restarts" 2>/dev/null || echo 0) + 1))
    [ $restarts -le "$MAX_RESTARTS" ] || fail 5 "stopped more than MAX_RESTARTS=$MAX_RESTARTS times (now: $now)"
    echo $restarts >"$state/$key.restarts"
    if [ -n "${SLURM_ARRAY_JOB_ID-}" ]; then # by the array's number all its tasks would start anew
        self=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
    else
        self=${SLURM_JOB_ID:-none}
    fi
    say "$stage: stopped at ${now:-its begin}; restart $restarts of at most $MAX_RESTARTS"
    if command -v scontrol >/dev/null 2>&1 && scontrol requeue "$self"; then
        exit 75
    fi
    [ "${ALD_FOLLOW_UP:-0}" -lt "$FOLLOW_UPS" ] ||
        fail 75 "can't be requeued from within the job, and no follow-up is left: submit again to go on"
    say "$stage: no scontrol here; the follow-up job that waits behind this one goes on"
    exit 75
}

# A follow-up has nothing to do when the stage is finished, or has failed for good.
follow_up()
{
    say "$stage: follow-up $ALD_FOLLOW_UP of $FOLLOW_UPS"
    if is_finished "$stage"; then
        say "$stage: finished; nothing is left"
        exit 0
    fi
    [ ! -f "$state/$key.failed" ] || exit 5
}

# run STAGE: all that a job does.
run()
{
    stage=$1
    key=$stage${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
    child= signalled= 
    read_configuration
    mkdir -p "$state"
    [ "${ALD_FOLLOW_UP:-0}" = 0 ] || follow_up
    rm -f "$state/$key.failed"
    for need in $(needs_of "$stage"); do
        is_finished "$need" || fail 3 "needs $need, which isn't finished: $(mark_of "$need") isn't there"
    done
    export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}" SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
    [ "${SLURM_HET_SIZE:-1}" = 1 ] || unset OMP_NUM_THREADS SRUN_CPUS_PER_TASK
    choose_launcher
    find_end
    trap 'say "$stage: $SIGNAL: keeps what it has"; [ -z "$child" ] || kill -"$SIGNAL" "$child" 2>/dev/null || true' "$SIGNAL"
    trap 'signalled=TERM; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM
    eval "${ALD_BEFORE-}"
    work
    if [ -n "$signalled" ]; then
        [ "$(date +%s)" -ge $((${SLURM_JOB_END_TIME:-9999999999} - 30)) ] && go_on
        say "$stage: ended by TERM: cancelled or preempted"
        exit 143
    fi
    case $code in
    0) [ "$stage" = score ] || is_finished "$stage" || { say "$stage: ended with 0, but isn't finished" && go_on; } ;;
    75) go_on ;;
    *) fail "$code" "failed with $code; its own line is above" ;;
    esac
    rm -f "$state/$key.at" "$state/$key.restarts"
    say "$stage: $(is_finished "$stage" && echo finished || echo "this task's part is done")"
}
