#!/bin/sh
# Installs what is missing, builds, and runs every test by ctest.
#
# usage: tests/run.sh [--all-trials] [NAME... | -L LABEL...]
#   NAME of a program, LABEL of a folder, or `sanitized`
#   --all-trials: of each kind of trial every one, where the usual run has some; twice the time
# The last line is "N passed, N failed, N skipped", which counts the cases inside the programs.
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1

build()
{
    mkdir -p "$1" && cmake -S . -B "$@" -DALD_TESTS=ON >"$1/build.log" 2>&1 &&
        make -C "$1" -j"$(nproc)" >>"$1/build.log" 2>&1 || {
        tail -n 30 "$1/build.log" >&2
        echo "tests: building $1 failed" >&2
        exit 1
    }
}

# "a b" is "a|b".
any_of()
{
    (IFS='|' && echo "$*")
}

if [ "${1-}" = --all-trials ]; then
    export ALD_ALL_TRIALS=yes
    shift
fi
case ${1-} in
'') ;;
-L) shift && set -- -L "^($(any_of "$@"))\$" ;;
*) set -- -R "^($(any_of "$@"))(-.*)?\$" ;;
esac

tools/setup.sh --test || exit 1
build build/release -DCMAKE_BUILD_TYPE=Release
build build/sanitize -DCMAKE_BUILD_TYPE=Debug -DALD_SANITIZE=ON
for folder in build/release build/sanitize; do
    ctest --test-dir $folder -V -j "$((2 * $(nproc) + 1))" "$@" # see tests/CMakeLists.txt
done 2>&1 | /usr/bin/python3 tests/common/summary.py
