# Read by submit.sh and by every job, after ALD_ROOT and ALD_CONFIG: the stages, where they leave
# what they make, and how a job runs one of them.
# shellcheck shell=sh disable=SC1007,SC1090,SC2012,SC2013,SC2015,SC2034,SC2046,SC2086
set -eu
: "${ALD_ROOT:?submit with jobs/submit.sh}" "${ALD_CONFIG:?submit with jobs/submit.sh}"

# A job may be told to stop at any time, before it has read anything too.
child= stopped= woken=
heed()
{
    stopped=$1 woken=yes
    [ -z "$child" ] || kill -"${SIGNAL:-USR2}" "$child" 2>/dev/null || true
}
trap 'heed USR1' USR1
trap 'heed USR2' USR2
trap 'heed TERM' TERM

. "${ALD_SITE:-$ALD_ROOT/jobs/site.sh}"
[ -z "${ALD_SIZES-}" ] || . "$ALD_SIZES"
# Built here, else installed beside these scripts, else that of PATH.
for place in "$ALD_ROOT/build/release/aligndistil" "$ALD_ROOT/../../bin/aligndistil" aligndistil; do
    [ -z "${ALIGNDISTIL-}" ] || break
    ! command -v "$place" >/dev/null 2>&1 || ALIGNDISTIL=$place
done
# What a site may leave out.
: "${ALIGNDISTIL:=aligndistil}" "${CONTAINER=}" "${LAUNCH:=auto}" "${SBATCH_OPTIONS=}" "${DISTILL_ROLES=}" "${PLAN_NODE=}"
: "${SFT_SIZE=}" "${DPO_SIZE=}" "${SCORE_SIZE=}" "${SCORE_TASKS:=1}" "${DISTILL_SIZE=}" "${EVAL_SIZE=}"
: "${SIGNAL:=USR2}" "${SIGNAL_SECONDS:=180}" "${REQUEUE:=yes}" "${FOLLOW_UPS:=2}" "${MAX_RESTARTS:=20}"
: "${SEEN_SECONDS:=35}"

# --- stages -----------------------------------------------------------------------------------

# ask OPTION VALUE [path=value]...: what `inspect` says of the configuration with these settings.
ask()
{
    option=$1 value=$2
    shift 2
    count=$#
    for setting in "$@"; do
        set -- "$@" --set "$setting"
    done
    shift "$count"
    $CONTAINER "$ALIGNDISTIL" inspect "$ALD_CONFIG" --quiet "$option" "$value" "$@"
}

# Sets ALD_OUTPUT, mode, and the folder of each stage, as the program reads the configuration.
read_configuration()
{
    keys=output,distill.mode,shards.sources,sft.model,dpo.policy,distill.policy
    keys=$keys,sft.output,dpo.output,shards.directory,distill.output
    values=$(ask --key $keys $DISTILL_ROLES) || exit 2
    {
        IFS= read -r ALD_OUTPUT
        IFS= read -r mode
        IFS= read -r sources
        IFS= read -r sft_model
        IFS= read -r dpo_policy
        IFS= read -r distill_policy
        IFS= read -r folder_sft
        IFS= read -r folder_dpo
        IFS= read -r folder_score
        IFS= read -r folder_distill
    } <<END
$values
END
    folder_reverse=$ALD_OUTPUT/reverse folder_eval=$ALD_OUTPUT/eval
    state=$ALD_OUTPUT/jobs logs=$ALD_OUTPUT/logs
    # What a stage begins with isn't set: it is none of this configuration's.
    stages=
    [ -z "$sft_model" ] || stages="sft"
    [ -z "$dpo_policy" ] || stages="$stages dpo reverse"
    [ -z "$distill_policy" ] || [ "$mode" != off-policy ] || [ "$sources" != "( )" ] || stages="$stages score"
    [ -z "$distill_policy" ] || stages="$stages distill eval"
    [ -n "$stages" ] || {
        echo "$ALD_CONFIG: none of sft.model, dpo.policy and distill.policy is set: no stages" >&2
        exit 2
    }
}

folder_of()
{
    eval "echo \"\$folder_$1\""
}

# The command that a stage is, and settings of its own.
command_of()
{
    case $1 in
    reverse) echo "dpo dpo.reverse=true dpo.output=reverse" ;;
    distill) echo "distill $DISTILL_ROLES" ;;
    *) echo "$1" ;;
    esac
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

# The newest checkpoint of a stage.
checkpoint_of()
{
    ls "$(folder_of "$1")/checkpoints" 2>/dev/null | sed -n 's/^\(step-[0-9]*\)$/\1/p' | tail -n 1
}

# progress_of STAGE [FOLDER]: what a stage has kept so far, in words that change when it gets on: its
# checkpoint, and the results that it has beside it and in another folder.
progress_of()
{
    find "$(folder_of "$1")" ${2:+"$2"} -name checkpoints -prune -o -type f ! -name '.*' ! -name 'metrics.*' ! -name 'events.*' \
        ! -name '*.lock' ! -name '*.tmp-*' -exec ls -ln {} + 2>/dev/null |
        awk -v step="$(checkpoint_of "$1")" '{ bytes += $5 }
            END { results = NR " files, " bytes + 0 " bytes"
                  if (step != "" || NR > 0) print NR == 0 ? step : step == "" ? results : step ", " results }'
}

# The locks of what a stage writes to.
locks_of()
{
    ls "$(folder_of "$1")"/aligndistil.lock "$(folder_of "$1")"/*/aligndistil.lock 2>/dev/null || true
    [ "$1" != distill ] || ls "$folder_score/aligndistil.lock" 2>/dev/null || true
}

# The job that a lock is of.
owner_of()
{
    sed -n 's/.*"job": *"\([0-9]*\)".*/\1/p' "$1" 2>/dev/null || true
}

say()
{
    echo "$(date '+%Y-%m-%d %H:%M:%S') ald: $*"
}

# --- one job ----------------------------------------------------------------------------------

# cancel ID...: takes jobs out of the queue, where jobs can.
cancel()
{
    command -v scancel >/dev/null 2>&1 && scancel "$@" 2>/dev/null
}

# Ends the job for good, with a line, and what can't be made without it.
fail()
{
    code=$1
    shift
    say "$stage: $*" >&2
    say "$stage: $*" >"$state/$key.failed" || true
    cancelled=
    for later in $(after "$stage"); do
        [ ! -f "$state/$later.id" ] || ! cancel $(cat "$state/$later.id") || cancelled="$cancelled $later"
    done
    if [ -f "$state/$stage.id" ] && [ -z "${SLURM_ARRAY_JOB_ID-}" ]; then
        for id in $(cat "$state/$stage.id"); do
            [ "$id" = "${SLURM_JOB_ID-}" ] || cancel "$id" || true
        done
    fi
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
    # Else mpirun binds one or two ranks to a core each, with all their threads.
    export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"
}

# Sets SLURM_JOB_END_TIME where Slurm hasn't (before 23.02), now: the limit may have been shortened.
find_end()
{
    [ -z "${SLURM_JOB_END_TIME-}" ] || return 0
    left=$($CONTAINER "$ALIGNDISTIL" --time-left 2>/dev/null || true)
    case $left in
    '' | *[!0-9]*) say "no end of this job is known" ;;
    *) SLURM_JOB_END_TIME=$(($(date +%s) + left)) && export SLURM_JOB_END_TIME ;;
    esac
}

# launch COMMAND [path=value]...: becomes a command of the program on the ranks of this job.
launch()
{
    command=$1
    shift
    say "job ${SLURM_JOB_ID:-none} on ${SLURM_JOB_NODELIST:-this node}: $LAUNCH ($why): $command $*"
    count=$#
    for setting in "$@"; do
        set -- "$@" --set "$setting"
    done
    shift "$count"
    set -- $CONTAINER "$ALIGNDISTIL" "$command" -c "$ALD_CONFIG" "$@"
    [ "${SLURM_HET_SIZE:-1}" = 1 ] || exec $LAUNCH --het-group=0 "$@" --role trainer : \
        --het-group=1 "$@" --role scorer : --het-group=2 "$@" --role generator
    exec $LAUNCH "$@"
}

# wait_for COMMAND [path=value]...: the same beside this shell, and waits for it; its exit code is in
# $code: 75 where it was told to stop before it could understand.
wait_for()
{
    code=75
    [ -z "$stopped" ] || return 0
    (trap - USR1 USR2 TERM && launch "$@") &
    child=$!
    [ -z "$stopped" ] || kill -"$SIGNAL" $child 2>/dev/null || true # between the two
    code=127 woken=yes
    while [ -n "$woken" ]; do # a signal ends `wait`, not the command
        woken= status=0
        wait $child || status=$?
        [ $status = 127 ] || code=$status
    done
    child=
    [ -z "$stopped" ] || [ $code -le 128 ] || code=75
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
    if [ "$stage" = eval ]; then evaluate; else wait_for $(command_of "$stage"); fi
}

# Ends the job when Slurm does. A shell that ends before, by itself or by the TERM that comes first, has
# been seen to make a failure of a requeue that was under way.
end_with_slurm()
{
    trap '' USR1 USR2 TERM
    sleep 120
    exit "$1"
}

# go_on WHY [lost]: this stage, or this task of it, once more: as this job, or as the one that waits behind it.
go_on()
{
    beside= # on-policy, its batches
    [ "$stage" != distill ] || beside=$folder_score
    now=$(progress_of "$stage" "$beside")
    [ "$REQUEUE" = yes ] || fail 75 "stopped, and site.sh has REQUEUE=$REQUEUE: submit again to go on"
    [ ! -f "$state/$key.at" ] || [ "$now" != "$(cat "$state/$key.at")" ] ||
        fail 5 "no progress since it stopped last (${now:-nothing is kept yet}): it needs more time than it is given, or fails again and again"
    echo "$now" >"$state/$key.at"
    restarts=$(($(cat "$state/$key.restarts" 2>/dev/null || echo 0) + 1))
    [ $restarts -le "$MAX_RESTARTS" ] || fail 5 "stopped more than MAX_RESTARTS=$MAX_RESTARTS times (${now:-nothing is kept yet})"
    echo $restarts >"$state/$key.restarts"
    say "$stage: $1; kept: ${now:-nothing yet}; restart $restarts of at most $MAX_RESTARTS"
    self=${SLURM_JOB_ID:-none} after= why="can't be requeued from within the job"
    [ "${ALD_FOLLOW_UP:-0}" -ge "$FOLLOW_UPS" ] || after=yes
    # By an array's number all its tasks would start anew.
    [ -z "${SLURM_ARRAY_JOB_ID-}" ] || self=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
    # What a node keeps of a job may be what its launcher fails at: another job goes on, where one waits.
    if [ "${2-}" = lost ] && [ -n "$after" ] && [ -z "${SLURM_ARRAY_JOB_ID-}" ]; then
        why="this job's own start may be what fails"
    else
        # The TERM of a requeue that was granted comes to its own scontrol, too, maybe before the answer does.
        ! command -v scontrol >/dev/null 2>&1 || ! (trap '' TERM && exec scontrol requeue "$self") || end_with_slurm 75
    fi
    [ -n "$after" ] || fail 75 "$why, and no follow-up is left: submit again to go on"
    say "$stage: $why: the follow-up job behind this one goes on"
    exit 75
}

# A follow-up has nothing to do when the stage is finished, or has failed for good. It starts when
# those before it have ended: what they have locked is nobody's.
follow_up()
{
    say "$stage: follow-up $ALD_FOLLOW_UP of $FOLLOW_UPS"
    if is_finished "$stage"; then
        say "$stage: finished; nothing is left"
        exit 0
    fi
    [ ! -f "$state/$key.failed" ] || exit 5
    locks_of "$stage" | while IFS= read -r lock; do
        owner=$(owner_of "$lock")
        case " $(cat "$state/$stage.id" 2>/dev/null || true) " in
        *" ${owner:-none} "*) [ "$owner" = "${SLURM_JOB_ID-}" ] || rm -f "$lock" ;;
        esac
    done
}

# Stops unless what the stage is made from is there. A folder of a file server may be seen as it was.
check_needs()
{
    for need in $(needs_of "$stage"); do
        is_finished "$need" || sleep "$SEEN_SECONDS"
        is_finished "$need" || fail 3 "needs $need, which isn't finished: $(mark_of "$need") isn't there"
    done
}

# What the end of the stage's command means for the job.
conclude()
{
    if [ "$stopped" = TERM ] && [ "$(date +%s)" -lt $((${SLURM_JOB_END_TIME:-9999999999} - 10)) ]; then
        say "$stage: ended by TERM: cancelled, preempted, or a node was lost"
        end_with_slurm 143
    fi
    case $code in
    0) [ "$stage" = score ] || is_finished "$stage" || go_on "ended with 0, but isn't finished" ;;
    75) go_on "stopped" ;;
    [2-5] | 126 | 127) fail "$code" "failed with $code; its own line is above" ;;
    *) go_on "its launcher ended with $code, as when a node or a rank is lost" lost ;;
    esac
    rm -f "$state/$key.at" "$state/$key.restarts"
    if is_finished "$stage"; then say "$stage: finished"; else say "$stage: this task's part is done"; fi
}

# run STAGE: all that a job does.
run()
{
    stage=$1
    key=$stage${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
    read_configuration
    mkdir -p "$state"
    [ "${ALD_FOLLOW_UP:-0}" = 0 ] || follow_up
    rm -f "$state/$key.failed"
    check_needs
    export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}" SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
    [ "${SLURM_HET_SIZE:-1}" = 1 ] || unset OMP_NUM_THREADS SRUN_CPUS_PER_TASK
    choose_launcher
    find_end
    eval "${ALD_BEFORE-}" || fail 5 "ALD_BEFORE of site.sh failed: $ALD_BEFORE"
    work
    [ -z "$stopped" ] || say "$stage: $stopped: keeps what it has"
    conclude
}
