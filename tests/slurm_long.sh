#!/bin/sh
# What takes minutes on a real Slurm: time limits in every stage, dead nodes and daemons, preemption.
#
# usage: tests/slurm_long.sh [SCENARIO...]      limits late node daemon preemption clients; all without one
# A line for each scenario; exit code 0: all passed, 1: not.
exec /usr/bin/python3 -u "$(dirname "$0")/slurm/slurm_long.py" "$@"
