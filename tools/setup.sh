#!/bin/sh
# Installs the Debian packages that building (and testing) aligndistil needs and that are missing.
# Silent, and without a call to apt-get, when nothing is missing.
set -eu

BUILD="gcc libc6-dev cmake make pkg-config openmpi-bin libopenmpi-dev libhdf5-dev
    libopenblas-openmp-dev libdnnl-dev libconfig-dev libjansson-dev libpcre2-dev libutf8proc-dev
    libssl-dev zlib1g-dev
    python3 python3-h5py python3-numpy python3-matplotlib python3-jinja2"
TEST="libcmocka-dev slurmctld slurmd slurm-client munge iproute2 groff-base python3-yaml"
BROWSER="chromium-headless-shell" # tests that need it are skipped without
TORCH="python3-torch"

usage()
{
    cat <<'EOF'
Usage: tools/setup.sh [--test] [--torch] [--list]
Installs the missing Debian packages for the build.
  --test   those of the tests too
  --torch  PyTorch too (a test compares with it where it is present)
  --list   only print what is missing, one package a line
EOF
}

fail()
{
    echo "setup: $1" >&2
    exit "$2"
}

missing()
{
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || echo "$package"
    done
}

# apt-get's own output is shown only when it fails.
step()
{
    echo "setup: $1" >&2
    shift
    "$@" >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        fail "failed: $*" 4
    }
}

wanted=$BUILD optional=
list=no
for option in "$@"; do
    case $option in
    --test) wanted="$wanted $TEST" optional=$BROWSER ;;
    --torch) wanted="$wanted $TORCH" ;;
    --list) list=yes ;;
    -h | --help) usage; exit 0 ;;
    *) fail "unknown option $option (see --help)" 2 ;;
    esac
done

command -v dpkg-query >/dev/null 2>&1 || fail "needs Debian's dpkg and apt-get, and dpkg-query is not here" 4

# shellcheck disable=SC2086
todo=$(echo $(missing $wanted)) extra=$(missing $optional)
[ -n "$todo$extra" ] || exit 0
if [ $list = yes ]; then
    echo "$todo $extra" | tr -s ' ' '\n' | sed '/^$/d'
    exit 0
fi

if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1; then
    sudo=sudo
elif [ -z "$todo" ]; then
    exit 0
else
    fail "missing: $todo; installing them needs root or sudo, and there is neither" 4
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
install="$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"
# shellcheck disable=SC2086
[ -z "$todo" ] || {
    step "reading the package lists" $sudo apt-get update -qq
    step "installing $(echo $todo | wc -w) packages: $todo" $install $todo
}
# shellcheck disable=SC2086
[ -z "$extra" ] || {
    echo "setup: installing $extra" >&2
    { [ -n "$todo" ] || $sudo apt-get update -qq; } >"$log" 2>&1 && $install $extra >"$log" 2>&1 ||
        echo "setup: $extra can't be installed; tests that need it are skipped" >&2
}
