#!/bin/sh
# Installs what is missing, builds, and runs every test. Options are names of tests to run alone.
# The last line is "N passed, N failed" (", N skipped").
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1

# Settings of the processes under test: more ranks than cores is normal here, and a rank that waits
# must leave its core to the others.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMP_WAIT_POLICY=passive
export ALD_BUILD="$ROOT/build/release"
# Open MPI keeps its own memory until the end; the arena's balance is tested in its stead.
export ASAN_OPTIONS=detect_leaks=0

build()
{
    mkdir -p "$1" && cmake -S . -B "$@" >"$1/build.log" 2>&1 &&
        make -C "$1" -j"$(nproc)" >>"$1/build.log" 2>&1 || {
        tail -n 30 "$1/build.log" >&2
        echo "tests: building $1 failed" >&2
        exit 1
    }
}

passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs one program, adds up its closing lines ("N passed, N failed" or cmocka's).
run_test()
{
    title=$1
    shift
    begun=$(date +%s)
    "$@" >"$log" 2>&1
    rc=$?
    ok=$(sed -n -e 's/^\([0-9]*\) passed, [0-9]* failed.*/\1/p' \
        -e 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
    bad=$(sed -n -e 's/^[0-9]* passed, \([0-9]*\) failed.*/\1/p' \
        -e 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
    left=$(sed -n -e 's/^[0-9]* passed, [0-9]* failed, \([0-9]*\) skipped/\1/p' \
        -e 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1)
    # A program that ends badly without counting a failure is one, and so is one that counts nothing.
    [ "$rc" = 0 ] || [ "${bad:-0}" != 0 ] || bad=1
    [ -n "$ok$left" ] || [ "${bad:-0}" != 0 ] || bad=1
    passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0})) skipped=$((skipped + ${left:-0}))
    echo "$title: ${ok:-0} passed, ${bad:-0} failed${left:+, $left skipped} ($(($(date +%s) - begun)) s)"
    [ "${bad:-0}" = 0 ] || cat "$log"
    grep -E '(^|: )skipped: ' "$log"
    return 0
}

wanted()
{
    [ -z "$ONLY" ] && return 0
    for name in $ONLY; do
        [ "$name" = "$1" ] && return 0
    done
    return 1
}

ONLY=$*
tools/setup.sh --test || exit 1
build build/release -DALD_TESTS=ON -DCMAKE_BUILD_TYPE=Release
build build/sanitize -DALD_TESTS=ON -DCMAKE_BUILD_TYPE=Debug -DALD_SANITIZE=ON

for program in build/release/tests/test_*; do
    wanted "$(basename "$program")" && run_test "$(basename "$program")" "$program"
done
for program in build/sanitize/tests/test_*; do
    wanted "$(basename "$program")" &&
        run_test "$(basename "$program"), sanitized" "$program"
done
for program in tests/*/*_test.py tests/numeric/selftest.py; do
    wanted "$(basename "$program" .py)" &&
        run_test "$(basename "$program" .py)" /usr/bin/python3 "$program"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
