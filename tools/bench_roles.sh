#!/bin/sh
# How well the roles of an on-policy run overlap: one run in lockstep (distill.max_staleness = 0) and
# one a step ahead (1), in turns, each of three ranks with a role of its own. Prints seconds, the
# slowest role's own work, and their ratio, which is 1 where that role never waits.
#
# usage: tools/bench_roles.sh [ROUNDS [STEPS]]    2 rounds, 30 steps; needs the built program
set -eu
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PROGRAM=${PROGRAM:-$ROOT/build/release/aligndistil}
rounds=${1:-2} steps=${2:-30}
[ -x "$PROGRAM" ] || {
    echo "bench_roles: $PROGRAM is missing: build first" >&2
    exit 2
}
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_WAIT_POLICY=passive
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

/usr/bin/python3 "$ROOT/tools/make_orderdesk.py" --output "$FOLDER/desk" --pairs 256 >/dev/null
/usr/bin/python3 "$ROOT/tools/train_tokenizer.py" --text "$FOLDER/desk/train.jsonl" \
    --output "$FOLDER/tokenizer" >/dev/null
for seed in 1 2 3; do
    /usr/bin/python3 "$ROOT/tools/make_model.py" --tokenizer "$FOLDER/tokenizer" --output \
        "$FOLDER/model$seed" --hidden 192 --layers 4 --heads 4 --kv-heads 2 --intermediate 512 \
        --seed "$seed" >/dev/null
done
cat >"$FOLDER/run.cfg" <<EOF
data: { train = "desk/train.jsonl"; };
teacher: { dpo = "model2"; reverse = "model3"; };
distill: { policy = "model1"; mode = "on-policy"; };
optimizer: { batch_size = 32; epochs = 1000; max_steps = $steps; };
sampling: { max_new_tokens = 48; };
roles: { trainers = 1; scorers = 1; generators = 1; };
checkpoint: { every_steps = 0; };
EOF

# Seconds of a run, and the most that a role has worked.
measure()
{
    rm -rf "$FOLDER/runs"
    mpirun -q -n 3 "$PROGRAM" distill -c "$FOLDER/run.cfg" --set "distill.max_staleness=$1" \
        >"$FOLDER/log" 2>&1 || {
        cat "$FOLDER/log" >&2
        exit 1
    }
    sed -n 's/^distill: of \([0-9.]*\) s the busiest generator worked \([0-9.]*\), scorer \([0-9.]*\), trainer \([0-9.]*\):.*/\1 \2 \3 \4/p' \
        "$FOLDER/log" | awk -v staleness="$1" '{
            most = $2 > $3 ? $2 : $3; most = most > $4 ? most : $4
            printf "%9d %9.1f %9.1f %9.1f %9.1f %9.2f\n", staleness, $1, $2, $3, $4, $1 / most
        }'
}

echo "$(getconf _NPROCESSORS_ONLN) cores, 3 ranks of $OMP_NUM_THREADS threads, $steps steps of 32 responses"
echo "staleness   seconds  generate     score     train  per slowest"
for round in $(seq "$rounds"); do
    measure 0
    measure 1
done
