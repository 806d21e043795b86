#!/bin/sh
# The whole route on a small model: installs what is missing, builds, makes data and a fresh model,
# runs sft, dpo, reverse dpo, score and distill, evaluates every stage, writes a report.
set -eu
ROOT=$(cd "$(dirname "$0")/.." && pwd)

usage()
{
    cat <<'EOF'
Usage: tools/quickstart.sh [options]
Without options: the order desk, whose answers can be checked figure by figure; a few minutes.
  --pairs FILE      your own preference pairs (JSONL or JSON), with --tokenizer
  --tokenizer DIR   folder with tokenizer.json and tokenizer_config.json
  --steps N         dpo and distill steps (60); sft takes many more
  --ranks N         ranks of the on-policy part (3)
  --output DIR      folder for everything made (runs/quickstart)
  --baseline        continue DPO for as many steps, to compare (the default; --no-baseline: don't)
  --seed N          seed of data, model and training (1)
EOF
}

fail()
{
    echo "quickstart: $1" >&2
    exit "${2:-2}"
}

pairs= tokenizer= steps=60 ranks=3 output=$ROOT/runs/quickstart baseline=yes seed=1
while [ $# -gt 0 ]; do
    case $1 in
    --baseline) baseline=yes ;;
    --no-baseline) baseline=no ;;
    -h | --help) usage; exit 0 ;;
    --pairs | --tokenizer | --steps | --ranks | --output | --seed)
        [ $# -gt 1 ] || fail "$1: expected a value behind it"
        case $1 in
        --pairs) pairs=$(realpath -m "$2") ;;
        --tokenizer) tokenizer=$(realpath -m "$2") ;;
        --steps) steps=$2 ;;
        --ranks) ranks=$2 ;;
        --output) output=$(realpath -m "$2") ;;
        --seed) seed=$2 ;;
        esac
        shift ;;
    *) fail "unknown option $1 (see --help)" ;;
    esac
    shift
done
for number in "$steps" "$ranks" "$seed"; do
    case $number in '' | *[!0-9]*) fail "$number: expected a whole number" ;; esac
done
[ "$steps" -ge 1 ] && [ "$ranks" -ge 1 ] || fail "--steps and --ranks: expected at least 1"
[ -z "$pairs" ] && [ -z "$tokenizer" ] || { [ -n "$pairs" ] && [ -n "$tokenizer" ]; } ||
    fail "--pairs and --tokenizer go together"
[ -z "$pairs" ] || [ -f "$pairs" ] || fail "$pairs: no such file" 3
[ -z "$tokenizer" ] || [ -f "$tokenizer/tokenizer.json" ] ||
    fail "$tokenizer/tokenizer.json: no such file" 3

begun=$(date +%s)
say()
{
    printf '\n[%3d s] %s\n' $(($(date +%s) - begun)) "$1" >&2
}

# Shows a command, as one can repeat it, and runs it.
run()
{
    echo "\$ $*" >&2
    "$@"
}

# Runs command lines, two at a time; ends with the exit code of one that fails.
together()
{
    rm -f failed
    printf '%s\0' "$@" | xargs -0 -n 1 -P 2 sh -c \
        'echo "\$ $0" >&2; eval "$0" || { echo $? >failed; exit 255; }' ||
        exit "$(cat failed 2>/dev/null || echo 5)"
}

say "install what is missing, build"
"$ROOT/tools/setup.sh"
build=$ROOT/build/release
mkdir -p "$build"
{ cmake -S "$ROOT" -B "$build" -DCMAKE_BUILD_TYPE=Release -DALD_TESTS=OFF &&
    make -C "$build" -j"$(nproc)" aligndistil; } >"$build/build.log" 2>&1 || {
    tail -n 30 "$build/build.log" >&2
    fail "the build failed; see $build/build.log" 5
}
python=/usr/bin/python3 ald=$build/aligndistil
mkdir -p "$output"
rm -rf "$output/data" "$output/fresh" "$output/eval" "$output/shards" "$output/shards-on-policy"
for stage in able sft dpo reverse off-policy on-policy baseline; do
    rm -rf "${output:?}/$stage"
done
cd "$output"
PATH=$build:$PATH

say "data, tokenizer and a fresh model"
if [ -z "$pairs" ]; then
    run $python "$ROOT/tools/make_orderdesk.py" --output data --pairs 12000 --eval 300 --seed "$seed"
    run $python "$ROOT/tools/train_tokenizer.py" --text data/train.jsonl --output data/tokenizer
    tokenizer=data/tokenizer sft_data=data/sft.jsonl sft_steps=$((steps * 4)) eval_rows=300 batch=32
    size="--hidden 128 --layers 4 --heads 8 --kv-heads 4 --init-std 0.09" sft_lr=1e-3
else
    run $python "$ROOT/tools/split_pairs.py" --pairs "$pairs" --output data --eval 100 \
        --limit $((steps * 32)) --seed "$seed"
    sft_data=data/train.jsonl sft_steps=$((steps * 3)) eval_rows=60 batch=16
    size="--hidden 96 --layers 4 --init-std 0.1" sft_lr=2e-3
fi
# shellcheck disable=SC2086
run $python "$ROOT/tools/make_model.py" --tokenizer "$tokenizer" --output fresh --seed "$seed" $size

# One thread a process: two run at a time, and the model is small.
cat >quickstart.cfg <<EOF
# Written by tools/quickstart.sh; what differs between stages is set on the command line.
seed = $seed;
output = ".";
data: {
  train = "data/train.jsonl";  eval = "data/eval.jsonl";  max_rows = $((steps * batch));
  max_prompt_tokens = 256;  max_response_tokens = 128;
};
optimizer: { lr = 1e-5;  batch_size = $batch;  epochs = 100;  max_steps = $steps; };
dpo: { policy = "sft";  reference = "sft"; };
teacher: { dpo = "dpo";  reverse = "reverse";  strength = 20.0; };
distill: { policy = "dpo"; };
eval: { dpo = "dpo";  contrast = "reverse";  reference = "sft";  max_rows = $eval_rows; };
sampling: { max_new_tokens = 128; };
checkpoint: { every_steps = $(((steps + 2) / 3));  keep_last = 0; };
runtime: { threads = 1; };
EOF
c="-c quickstart.cfg --quiet" none="--set checkpoint.every_steps=0"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMP_WAIT_POLICY=passive

# Supervised fine-tuning on two ranks: the data, the model, the output, steps, the rate.
sft()
{
    # shellcheck disable=SC2086
    run mpirun -n 2 aligndistil sft $c $none --set data.train="$1" --set data.max_rows=0 \
        --set sft.model="$2" --set sft.output="$3" --set optimizer.max_steps="$4" \
        --set optimizer.lr="$5" --set optimizer.batch_size=16 --set optimizer.weight_decay=0.1 \
        --set optimizer.micro_batch_tokens=768 --set optimizer.warmup_ratio=0.03 \
        --set optimizer.min_lr_ratio=0.02
}
model=fresh
if [ -z "$pairs" ]; then
    say "a model that can do the task: sft on right answers, in place of pretraining"
    sft data/train.jsonl fresh able $((steps * 8)) 2e-3
    model=able
fi
say "sft: supervised fine-tuning on the demonstrations"
sft $sft_data $model sft $sft_steps $sft_lr

say "dpo: direct preference optimisation, and with the pairs swapped, which is the reverse model"
together "aligndistil dpo $c $none" \
    "aligndistil dpo $c $none --set dpo.reverse=true --set dpo.output=reverse"

say "distill: on-policy, its roles on ranks of their own; off-policy, from shards of the chosen
        responses; and DPO continued for as many steps, to compare with"
roles=
[ "$ranks" -lt 3 ] || roles="--set roles.scorers=$((ranks / 3)) \
--set roles.generators=$((ranks / 3)) --set roles.trainers=$((ranks - 2 * (ranks / 3)))"
distill="distill $c --set optimizer.lr=2e-4"
continued="aligndistil dpo $c --set dpo.policy=dpo --set dpo.output=baseline --set optimizer.lr=4e-5"
[ $baseline = yes ] || continued=true
together "mpirun -n $ranks aligndistil $distill --set distill.mode=on-policy \
--set distill.output=on-policy --set shards.directory=shards-on-policy $roles" \
    "aligndistil score $c && aligndistil $distill --set distill.mode=off-policy \
--set distill.output=off-policy && $continued"

say "eval: every stage on held-out prompts, sampled and greedy, and the teacher itself"
# The command line of an evaluation: of what, the folder's name, settings.
evaluation()
{
    printf '%s' "aligndistil eval $c --set data.max_rows=0 --set $1 \
--set eval.output=eval/$2 ${3:-} >/dev/null"
}
greedy="--set sampling.temperature=0"
alone="--set eval.dpo= --set eval.contrast= --set eval.reference="
set -- "$(evaluation eval.teacher=true teacher)" \
    "$(evaluation eval.teacher=true teacher-greedy "$greedy")"
for stage in sft dpo off-policy on-policy baseline; do
    [ -f $stage/done.json ] || continue
    set -- "$@" "$(evaluation eval.model=$stage $stage)" \
        "$(evaluation eval.model=$stage $stage-greedy "$greedy $alone")"
    for checkpoint in "$stage"/checkpoints/step-*; do
        [ ! -d "$checkpoint" ] ||
            set -- "$@" "$(evaluation "eval.model=$checkpoint" "$stage-$(basename "$checkpoint")")"
    done
done
together "$@"

say "report"
run $python "$ROOT/tools/report.py" --run . --output report.html
ald=$(realpath --relative-to="$OLDPWD" "$ald") && cd "$OLDPWD" && here=$(realpath --relative-to=. "$output")
cat <<EOF

All of this took $(($(date +%s) - begun)) s. The report is $here/report.html. To look further:
  $ald inspect $here/on-policy
  $ald inspect $here/shards/shard-000000.h5
  $ald eval -c $here/quickstart.cfg --show 0
  $python $(realpath --relative-to=. "$ROOT")/tools/inspect_shard.py $here/shards/shard-000000.h5 --row 0
EOF
