#!/bin/sh
# Submits the route of a configuration to Slurm, each stage behind those that it needs: sft, dpo and
# its reverse side by side, score as an array, distill, eval. Finished stages are left out.
#
# usage: jobs/submit.sh [CONFIG.cfg] [--from STAGE | --only STAGE,...] [--force] [--sizes FILE | --plan]
#                       [--array FORM | --array=auto] [--dry-run]
#        jobs/submit.sh [CONFIG.cfg] --status | --cancel
#   CONFIG.cfg        jobs/align.cfg
#   --from, --only    this stage and those after it; these stages
#   --force           makes anew what is finished, but of another configuration or other inputs; the
#                     old results stay beside the new ones, as FOLDER.replaced-TIME
#   --sizes FILE      sizes of jobs, read after site.sh; --plan: those that `aligndistil plan` proposes
#   --array FORM      of score, as in 0-99%10; auto: as many tasks as `aligndistil plan` proposes
#   --dry-run         prints every call of sbatch and its script, submits nothing
#   --status          what is done, what runs, what has failed
#   --cancel          takes the chain's jobs out of the queue
# ALD_SITE names the site file (else site.sh beside this script).
# Exit codes: 0 done; 2 usage or configuration; 3 an input isn't there; 4 a chain for this output is in the
# queue; 5 Slurm failed
# shellcheck disable=SC1007,SC2013,SC2015,SC2016,SC2046,SC2086,SC2153
set -eu
exec 3>&1 # what --dry-run prints, from within substitutions

die()
{
    code=$1
    shift
    echo "submit: $*" >&2
    exit "$code"
}

usage()
{
    sed -n 's/^# \{0,1\}//; 2,19p' "$0"
}

# Chooses what is done; two of them are none.
act()
{
    [ "$action" = submit ] || die 2 "--$action and --$1 exclude each other"
    action=$1
}

action=submit mine= interrupted= from= only= ALD_CONFIG= ALD_SIZES=${ALD_SIZES-} plan= array= force=
while [ $# -gt 0 ]; do
    case $1 in
    --from | --only | --sizes | --array) [ -n "${2-}" ] || die 2 "$1: expected a value" ;;
    esac
    case $1 in
    --from) from=$2 && shift ;;
    --only) only=$(echo "$2" | tr ',' ' ') && shift ;;
    --sizes) ALD_SIZES=$(realpath -m "$2") && shift ;;
    --plan) plan=yes ;;
    --force) force=yes ;;
    --array) array=$2 && shift ;;
    --dry-run | --status | --cancel) act "${1#--}" ;;
    '' | --array=) die 2 "'$1': expected a value" ;;
    --help | -h) usage && exit 0 ;;
    --array=*) array=${1#*=} ;;
    -*) die 2 "$1: unknown option; see $0 --help" ;;
    *) [ -z "$ALD_CONFIG" ] || die 2 "$1: one configuration is all" && ALD_CONFIG=$1 ;;
    esac
    shift
done

[ -z "$from" ] || [ -z "$only" ] || die 2 "--from and --only exclude each other"
ALD_ROOT=$(cd "$(dirname "$(realpath "$0")")/.." && pwd)
ALD_CONFIG=$(realpath -m "${ALD_CONFIG:-$ALD_ROOT/jobs/align.cfg}")
[ -f "$ALD_CONFIG" ] || die 2 "$ALD_CONFIG: no such file"
[ -z "$ALD_SIZES" ] || [ -f "$ALD_SIZES" ] || die 2 "$ALD_SIZES: no such file"
ALD_SITE=$(realpath -m "${ALD_SITE:-$ALD_ROOT/jobs/site.sh}")
[ -f "$ALD_SITE" ] || die 2 "$ALD_SITE: no such file"
export ALD_ROOT ALD_CONFIG ALD_SIZES ALD_SITE
# What a job that this is called in has is not for the jobs that it submits.
unset $(env | sed -n 's/^\(SLURM_[A-Z_]*\)=.*/\1/p' | grep -v -x -e SLURM_CONF -e SLURM_CLUSTERS) ALD_FOLLOW_UP
. "$ALD_ROOT/jobs/common.sh"
trap - USR1 USR2 TERM
[ -n "$CONTAINER" ] || command -v "$ALIGNDISTIL" >/dev/null 2>&1 || die 2 "$ALIGNDISTIL: no program; build it, or see site.sh"
read_configuration

# Of the chain's stages those that were asked for.
select_stages()
{
    chosen= seen=
    case $from in *[[:space:],]*) die 2 "--from $from: expected one stage of: $stages" ;; esac
    for stage in $from $only; do
        case " $stages " in *" $stage "*) ;; *) die 2 "$stage: no stage of this chain, which has: $stages" ;; esac
    done
    for stage in $stages; do
        [ "$stage" != "$from" ] || seen=yes
        case " $only " in
        *" $stage "*) chosen="$chosen $stage" ;;
        *) [ -n "$only" ] || { [ -n "$from" ] && [ -z "$seen" ]; } || chosen="$chosen $stage" ;;
        esac
    done
}

# The chain's jobs that Slurm still has, of one stage or of all; tasks and components are their job's.
queued()
{
    ids=$(cat "$state"/${1:-*}.id 2>/dev/null | tr -s ' \n' ',,')
    [ -z "$ids" ] || squeue -h -j "${ids%,}" -o %i 2>/dev/null | sed 's/[_+].*//' | sort -u
}

# --- submitting -------------------------------------------------------------------------------

# How many tasks an array has of a form as "0-9:3%2,12".
tasks_of()
{
    echo "${1%%%*}" | tr ',' '\n' | awk -F '[-:]' '{ count += NF == 1 ? 1 : int(($2 - $1) / (NF > 2 ? $3 : 1)) + 1 } END { print count + 0 }'
}

size_of()
{
    case $1 in
    sft) echo "$SFT_SIZE" ;;
    dpo | reverse) echo "$DPO_SIZE" ;;
    score) echo "$SCORE_SIZE --array=${SCORE_ARRAY:-0-$((SCORE_TASKS - 1))}" ;;
    distill) echo "$DISTILL_SIZE" ;;
    eval) echo "$EVAL_SIZE" ;;
    esac
}

# call STAGE DEPENDENCY: calls sbatch, or prints what would be called; the job's number.
call()
{
    log=$log_folder/$1-%j.log
    [ "$1" != score ] || log=${log%j.log}A_%a.log
    requeue=--requeue
    [ "$REQUEUE" = yes ] || requeue=--no-requeue
    common="--job-name=ald-$1 --open-mode=append $requeue --signal=B:$SIGNAL@$SIGNAL_SECONDS"
    [ -z "$2" ] || common="$common --kill-on-invalid-dep=yes --dependency=$2"
    if [ "$1" = distill ] && [ -n "${TRAINER_SIZE-}" ]; then
        set -- "$1" $common $SBATCH_OPTIONS $TRAINER_SIZE : $SBATCH_OPTIONS $SCORER_SIZE : \
            $SBATCH_OPTIONS $GENERATOR_SIZE
    else
        set -- "$1" $common $SBATCH_OPTIONS $(size_of "$1")
    fi
    script=$ALD_ROOT/jobs/$1.sh
    shift
    if [ "$action" = dry-run ]; then
        {
            echo "sbatch --parsable --export=ALL --output=$log $* $script"
            sed 's/^/    /' "$script"
        } >&3
        return
    fi
    sbatch --parsable --export=ALL --output="$log" "$@" "$script" || die 5 "sbatch failed: $script"
}

# The jobs of the stages before this one that were submitted now, as "12:13:14".
behind()
{
    ids=
    for need in $(needs_of "$1"); do
        eval "ids=\"\$ids \${ids_$need-}\""
    done
    echo $ids | tr ' ' ':'
}

# sbatch STAGE's job with this dependency; its number becomes one of $all and $mine at once.
add()
{
    next=$(trap '' INT TERM HUP && call "$1" "$2") || exit 5
    next=${next:-"<$1$([ "$ALD_FOLLOW_UP" = 0 ] || echo "+$ALD_FOLLOW_UP")>"}
    all="$all${all:+ }$next" mine="$mine $next"
    [ "$action" = dry-run ] || echo "$all" >"$state/$1.id"
    [ -z "$interrupted" ] || exit 130
}

# submit STAGE: its job, and the follow-ups that wait behind it; ids_STAGE becomes their numbers.
submit()
{
    before=$(behind "$1") condition=afterok all=
    [ "$FOLLOW_UPS" = 0 ] || [ "$REQUEUE" != yes ] || condition=afterany
    export ALD_FOLLOW_UP=0
    add "$1" "${before:+$condition:$before}"
    failed="afternotok:$next"
    while [ "$REQUEUE" = yes ] && [ "$ALD_FOLLOW_UP" -lt "$FOLLOW_UPS" ]; do
        ALD_FOLLOW_UP=$((ALD_FOLLOW_UP + 1))
        add "$1" "$failed"
        failed="$failed,afternotok:$next"
    done
    eval "ids_$1=\$all"
}

# Locks of jobs that have ended without giving them back: Slurm knows that these are gone.
clear_locks()
{
    locks=$(locks_of "$1")
    [ -n "$locks" ] && alive=$(squeue -h -r -u "$(id -u)" -o %A 2>/dev/null) || return 0
    echo "$locks" | while IFS= read -r lock; do
        owner=$(owner_of "$lock")
        [ -n "$owner" ] && ! echo "$alive" | grep -q -x "$owner" || continue
        echo "submit: $lock: its job $owner has ended; removed" >&2
        rm -f "$lock"
    done
}

# What there is of a stage's result: "no", "yes", or "otherwise: " and what it was made from.
made()
{
    if [ "$1" = eval ]; then
        set -- eval eval.output=eval/aligned "eval.model=$folder_distill"
    else
        set -- $(command_of "$1")
    fi
    command=$1
    shift
    ask --made "$command" "$@"
}

# Sets made_STAGE of what was chosen. What each stage needs is there, or is submitted before it; what
# is finished was made as it would be now, or is to be made anew.
look_at_chosen()
{
    fresh= others= missing=
    for stage in $chosen; do
        is=$(made "$stage") || exit $?
        for need in $(needs_of "$stage"); do
            case " $chosen " in *" $need "*) ;; *)
                [ "$is" = yes ] || is_finished "$need" ||
                    die 2 "$stage needs $need, which is neither finished ($(mark_of "$need")) nor submitted now"
                before=$(made "$need") || exit $?
                [ "$before" = "${before#otherwise: }" ] ||
                    echo "submit: $stage takes $need as it is, of another configuration or other inputs: ${before#otherwise: }" >&2
                ;;
            esac
            case "$is $fresh " in yes*" $need "*) is="otherwise: $need is made anew" ;; esac
        done
        case $is in "no: "*) missing="$missing${missing:+, }$stage (${is#no: })" is=no ;; esac
        eval "made_$stage=\$is"
        [ "$is" = yes ] || fresh="$fresh $stage"
        [ "$is" = "${is#otherwise: }" ] || others="$others${others:+, }$stage (${is#otherwise: })"
    done
    # What ALD_BEFORE copies to the nodes needn't be here.
    [ -z "$missing" ] || [ "$action" = dry-run ] || [ -n "${ALD_BEFORE-}" ] || die 3 "needs what isn't there: $missing"
    [ -z "$missing" ] || echo "submit: needs what isn't there, as seen from here: $missing" >&2
    [ -z "$others" ] || [ -n "$force" ] ||
        die 2 "finished, but of another configuration or other inputs: $others; --force makes these anew, another output leaves them"
}

# Moves what a stage has made out of the way, if nobody works on it.
set_aside()
{
    beside= # on-policy, its batches
    [ "$1" != distill ] || [ "$mode" = off-policy ] || beside=$folder_score
    for folder in "$(folder_of "$1")" ${beside:+"$beside"}; do
        [ -d "$folder" ] || continue
        if [ "$action" = dry-run ]; then
            echo "would be moved: $folder to $folder.replaced-$now" >&2
            continue
        fi
        for lock in "$folder/aligndistil.lock" "$folder"/*/aligndistil.lock; do
            [ ! -f "$lock" ] || die 4 "$lock: another run writes there"
        done
        mv "$folder" "$folder.replaced-$now" || die 5 "$folder: can't be moved"
        [ ! -f "$folder.run.json" ] || mv "$folder.run.json" "$folder.replaced-$now.run.json"
        echo "moved: $folder to $folder.replaced-$now" >&2
    done
}

# One submission at a time; what a killed one of this machine has left is no hindrance.
take_turn()
{
    turn=$state/submitting
    if [ -d "$turn" ] && read -r host process 2>/dev/null <"$turn/by" && [ "$host" = "$(hostname)" ] && ! kill -0 "$process" 2>/dev/null; then
        rm -rf "$turn"
    fi
    mkdir "$turn" 2>/dev/null || die 4 "$turn: another submit.sh is at it (or was killed: then remove this folder)"
    echo "$(hostname) $$" >"$turn/by"
}

# However it ends: jobs of a chain that isn't whole would wait for ever, or do half of the work.
end()
{
    code=$?
    trap '' INT TERM HUP
    [ -z "$mine" ] || { scancel $mine && echo "submit: cancelled again:$mine" >&2; }
    rm -rf "$state/submitting"
    exit "$code"
}

submit_chain()
{
    list= submitted= now=$(date +%Y%m%d-%H%M%S)
    log_folder=$(echo "$logs" | sed 's/%/%%/g') # sbatch has a meaning for %
    for stage in $chosen; do
        eval "is=\$made_$stage"
        if [ "$is" = yes ]; then
            list="$list
$stage: finished $(date -r "$(mark_of "$stage")" '+%Y-%m-%d %H:%M') ($(mark_of "$stage")), left out"
            continue
        fi
        [ "$action" = dry-run ] || clear_locks "$stage"
        [ "$is" = no ] || set_aside "$stage"
        [ "$action" = dry-run ] || rm -f "$state/$stage."[afr]* "$state/$stage"-*
        submit "$stage"
        eval "ids=\$ids_$stage"
        submitted="$submitted${submitted:+, }$stage ${ids%% *}"
        list="$list
$stage: job ${ids%% *}$([ "$ids" = "${ids%% *}" ] || echo ", follow-ups ${ids#* }")$(
            before=$(behind "$stage" | tr ':' ' ') && [ -z "$before" ] || echo ", behind: $before")"
    done
    mine=
    verb=submitted
    [ "$action" != dry-run ] || verb="would be submitted"
    echo "$verb: ${submitted:-nothing, as all is finished}"
    echo "$list" | sed 1d
    echo "logs: $logs; results: $ALD_OUTPUT; how it goes: $0 $ALD_CONFIG --status"
}

# --- looking ----------------------------------------------------------------------------------

# The last step in a stage's metrics.
step_of()
{
    tail -n 1 "$(folder_of "$1")/metrics.jsonl" 2>/dev/null | sed -n 's/.*"step": *\([0-9]*\).*/\1/p'
}

# What there is to say of a stage, in one line.
describe()
{
    mark=$(mark_of "$1") lock=$(locks_of "$1" | tail -n 1)
    jobs=$(queued "$1" | tr '\n' ' ')
    step=$(step_of "$1") progress=$(progress_of "$1")
    failed=$(cat "$state/$1.failed" "$state/$1"-*.failed 2>/dev/null | head -n 1 | cut -d ' ' -f 4-)
    if is_finished "$1"; then
        is=$(made "$1" 2>/dev/null) || is=yes
        [ "$is" = yes ] && is= || is=", but of another configuration or other inputs: ${is#otherwise: }"
        echo "done $(date -r "$mark" '+%Y-%m-%d %H:%M'): $mark$is"
    elif [ -f "$lock" ] && [ -n "$(find "$lock" -mmin -5)" ]; then
        echo "running$(sed -n 's/.*"host": *"\([^"]*\)".*/ on \1/p; s/.*"job": *"\([^"]*\)".*/, job \1/p; s/.*"since": *"\([^"]*\)".*/, since \1/p' "$lock" | tr -d '\n')${step:+, step $step}${jobs:+ (queue: $jobs)}"
    elif [ -n "$failed" ]; then
        echo "failed: ${failed#"$1: "}"
    elif [ -n "$jobs" ]; then
        echo "queued: $(squeue -h -j "$(echo $jobs | tr ' ' ',')" -o '%i %T (%r)' 2>/dev/null | tr '\n' ' ')${progress:+; so far: $progress}"
    elif [ -n "$progress" ]; then
        echo "stopped: $progress; submit again to go on"
    else
        echo "not begun"
    fi
}

case $action in
status)
    for stage in $stages; do
        printf '%-8s %s\n' "$stage" "$(describe "$stage")"
    done
    ;;
cancel)
    ids=$(queued | tr '\n' ' ')
    [ -n "$ids" ] || { echo "cancelled: nothing, as the chain has no job in the queue" && exit 0; }
    scancel $ids
    echo "cancelled: $ids"
    ;;
*)
    select_stages
    look_at_chosen
    [ -z "$plan" ] || [ "$action" = dry-run ] || mkdir -p "$state"
    if [ -n "$plan" ] || [ "$array" = auto ]; then
        set --
        [ "$array" = auto ] || [ -z "${array:-${SCORE_ARRAY-}}" ] || set -- --tasks "$(tasks_of "${array:-$SCORE_ARRAY}")"
        for setting in $DISTILL_ROLES; do
            set -- "$@" --set "$setting"
        done
        proposed=$($CONTAINER "$ALIGNDISTIL" plan -c "$ALD_CONFIG" --quiet --sbatch $PLAN_NODE "$@") || exit $?
        [ "$array" != auto ] || {
            eval "$(echo "$proposed" | grep '^SCORE_TASKS=' || echo :)"
            array=0-$((SCORE_TASKS - 1))
        }
    fi
    SCORE_ARRAY=${array:-${SCORE_ARRAY-}}
    if [ -n "$plan" ]; then
        eval "$proposed"
        [ "$action" = dry-run ] || { echo "$proposed" >"$state/sizes.sh" && ALD_SIZES=$state/sizes.sh && export ALD_SIZES; }
    fi
    if [ "$action" = submit ]; then
        mkdir -p "$state" "$logs"
        take_turn
        trap end EXIT
        trap 'interrupted=yes' INT TERM HUP
        trap 'exit 141' PIPE
        busy=$(queued | tr '\n' ' ')
        [ -z "$busy" ] || die 4 "$ALD_OUTPUT: a chain is in the queue: jobs $busy(--status shows it, --cancel ends it)"
    fi
    submit_chain
    ;;
esac
