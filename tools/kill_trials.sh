#!/bin/sh
# Kills runs of every stage at random and goes on with them: tools/kill_trials.sh N [options], of
# tools/kill_trials.py, whose --help lists them.
exec /usr/bin/python3 "$(dirname "$0")/kill_trials.py" "$@"
