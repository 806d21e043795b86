#!/bin/sh
# Submits the whole route: sft, then dpo and its reverse side by side, then score as an array, then
# distill, then eval, each waiting for those before it.
#
# usage: jobs/submit.sh [CONFIG.cfg]     (jobs/align.cfg)
set -eu
ALD_ROOT=$(cd "$(dirname "$0")/.." && pwd)
ALD_CONFIG=$(realpath "${1:-$ALD_ROOT/jobs/align.cfg}")
export ALD_ROOT ALD_CONFIG
. "${ALD_SITE:-$ALD_ROOT/jobs/site.sh}"
[ -f "$ALD_CONFIG" ] || { echo "submit: $ALD_CONFIG: no such file" >&2; exit 2; }
[ -x "$ALIGNDISTIL" ] || { echo "submit: $ALIGNDISTIL: no program; build it, or see site.sh" >&2; exit 2; }

# Where the stages write: `output` of the configuration, relative to its folder.
output=$(sed -n 's/^ *output *= *"\([^"]*\)".*/\1/p' "$ALD_CONFIG" | head -n 1)
case $output in
/*) ALD_OUTPUT=$output ;;
*) ALD_OUTPUT=$(realpath -m "$(dirname "$ALD_CONFIG")/$output") ;;
esac
export ALD_OUTPUT
mkdir -p "$ALD_OUTPUT/logs"

# submit NAME "SIZE" [sbatch options]: the new job's number.
submit()
{
    name=$1 size=$2
    shift 2
    # shellcheck disable=SC2086
    sbatch --parsable --job-name="ald-$name" --output="$ALD_OUTPUT/logs/$name-%A_%a.log" \
        --kill-on-invalid-dep=yes $SBATCH_OPTIONS $size "$@" "$ALD_ROOT/jobs/$name.sh"
}

sft=$(submit sft "$SFT_SIZE")
dpo=$(submit dpo "$DPO_SIZE" --dependency="afterok:$sft")
reverse=$(submit reverse "$DPO_SIZE" --dependency="afterok:$sft")
score=$(submit score "$SCORE_SIZE" --dependency="afterok:$dpo:$reverse" --array="0-$((SCORE_TASKS - 1))")
distill=$(submit distill "$DISTILL_SIZE" --dependency="afterok:$score")
eval=$(submit eval "$EVAL_SIZE" --dependency="afterok:$distill")
echo "submitted: sft $sft, dpo $dpo, reverse $reverse, score $score, distill $distill, eval $eval"
echo "logs and results: $ALD_OUTPUT"
