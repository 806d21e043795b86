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

# Seconds for an input. The sanitizers take ten times the time: 10 are about one. A template may take
# 20 million steps before it is refused.
patience()
{
    [ "$1" = template ] && echo 100 || echo 10
}

# Longest input in bytes: a shard of a few rows, texts of a few kilobytes.
longest()
{
    [ "$1" = shard ] && echo 66000 || echo 8192
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
    /usr/bin/python3 tests/fuzz/seeds.py "$target" "$corpus" "build/fuzz/$target.dict" || exit 1
    # Freed memory is filled, so that a library without sanitizers that uses it again is seen.
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_free_fill_size=1000000:quarantine_size_mb=16 \
        OMP_NUM_THREADS=1 "build/fuzz/tests/fuzz/fuzz_$target" -detect_leaks=0 -timeout="$(patience "$target")" \
        -rss_limit_mb=1024 -malloc_limit_mb=500 -max_len="$(longest "$target")" \
        -max_total_time="$(awk "BEGIN { print int(60 * $MINUTES) }")" -dict="build/fuzz/$target.dict" \
        -print_final_stats=1 -artifact_prefix="$crash/" "$corpus" >"build/fuzz/$target.log" 2>&1
    code=$?
    echo "$target: exit code $code, $(sed -n 's/^stat::number_of_executed_units: *//p' \
        "build/fuzz/$target.log") executions"
    [ $code -eq 0 ] || { failed=1; tail -n 20 "build/fuzz/$target.log"; }
done
exit $failed
