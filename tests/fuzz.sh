#!/bin/sh
# Builds the fuzz programs (clang, its fuzzer, the sanitizers) in build/fuzz and runs each in turn.
#
# usage: tests/fuzz.sh MINUTES [TARGET...]    TARGET: NAME of tests/fuzz/fuzz_NAME.c; all without one
# Inputs that are worth keeping stay in build/fuzz/corpus/NAME; what crashed is in
# build/fuzz/crash/NAME, and the exit code is 1. Without clang nothing is done.
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
[ $# -ge 1 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
command -v clang >/dev/null || { echo "fuzz.sh: clang isn't installed: skipped"; exit 0; }
MINUTES=$1
shift
[ $# -ge 1 ] || set -- $(cd tests/fuzz && ls fuzz_*.c | sed 's/fuzz_\(.*\)\.c/\1/')

build()
{
    CC=clang cmake -S . -B build/fuzz -DALD_FUZZ=ON -DCMAKE_BUILD_TYPE=Debug &&
        cmake --build build/fuzz -j"$(nproc)"
}

# The first inputs of a target, from what the project's own programs write.
seeds()
{
    [ "$1" != shard ] || for encoding in full hidden topk sampled; do
        build/release/tests/make_shard "$2/$encoding.h5" "$encoding" 2
    done
}

mkdir -p build/fuzz
build >build/fuzz/build.log 2>&1 || {
    tail -n 30 build/fuzz/build.log >&2
    exit 1
}
TMPDIR=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
failed=0
for target; do
    corpus=build/fuzz/corpus/$target crash=build/fuzz/crash/$target
    mkdir -p "$corpus" "$crash"
    seeds "$target" "$corpus"
    # Freed memory is filled, so that a library without sanitizers that uses it again is seen.
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_free_fill_size=1000000 \
        OMP_NUM_THREADS=1 "build/fuzz/tests/fuzz/fuzz_$target" -detect_leaks=0 -timeout=20 \
        -rss_limit_mb=2048 -max_len=66000 -max_total_time="$(awk "BEGIN { print int(60 * $MINUTES) }")" \
        -print_final_stats=1 -artifact_prefix="$crash/" "$corpus" >"build/fuzz/$target.log" 2>&1
    code=$?
    echo "$target: exit code $code, $(sed -n 's/^stat::number_of_executed_units: *//p' \
        "build/fuzz/$target.log") executions"
    [ $code -eq 0 ] || { failed=1; tail -n 20 "build/fuzz/$target.log"; }
done
exit $failed
