#!/usr/bin/python3
"""Runs of every stage and mode that are killed at random moments and go on with other numbers of ranks
and other roles: what they make is what an undisturbed run makes."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import kill_trials  # noqa: E402

KILLS, SEED = 15, 1
NAMES = list(kill_trials.STAGES)


def killed_runs_make_what_undisturbed_ones_make(folder):
    """Trials until there were 15 kills; some come too late, when the run has ended."""
    setup, kills, number, equal = kill_trials.Setup(folder, "perturbed"), 0, 0, set()
    while kills < KILLS:
        wave = range(number, number + len(NAMES))
        for trial in kill_trials.run_trials(setup, NAMES, wave, SEED):
            assert not trial.fault, kill_trials.line_of(trial)
            kills += trial.kills
            equal.add(trial.stage)
        number = wave.stop
        assert number <= 6 * len(NAMES), f"{kills} kills in {number} trials"
    assert equal == {*NAMES}


def a_trial_sees_what_is_not_the_same(folder):
    """A bit of the weights, a row that was sampled otherwise, a shard that is gone."""
    setup = kill_trials.Setup(f"{folder}/seen", "auto")
    for name, change, words in (
            ("sft", lambda expected: expected.update({"sft/model.safetensors": b"x"}), "sft/model.safetensors differs"),
            ("generate", lambda expected: expected.pop("generations.jsonl"), "generations.jsonl is too much"),
            ("score", lambda expected: expected.update({"shards: more": []}), "shards: more is missing")):
        setup.undisturbed(name)
        assert not kill_trials.run_trial(setup, name, 0, SEED).fault
        change(setup.expected[name])
        trial = kill_trials.run_trial(setup, name, 0, SEED)
        assert words in trial.fault and os.path.isdir(trial.folder), kill_trials.line_of(trial)
        shutil.rmtree(trial.folder)


UNLIKE = """#!/bin/sh
# The program, and a line that is another one every time behind what it has sampled.
for word in "$@"; do
    case $word in output=*) folder=${word#output=} ;; esac
done
%s "$@" || exit
test ! -f $folder/generations.jsonl || date +%%N >>$folder/generations.jsonl
"""


def the_tool_tells_and_keeps_what_is_not_equal(folder):
    program = harness.write(f"{folder}/unlike", UNLIKE % harness.BINARY)
    os.chmod(program, 0o755)
    for words, code, equal in (([], 0, 3), (["--program", program], 1, 0)):
        done = subprocess.run([f"{harness.TOOLS}/kill_trials.sh", "3", "--only", "generate", *words], capture_output=True, text=True)
        lines = done.stdout.splitlines()
        assert done.returncode == code and lines[-1].split()[0] == "all" and lines[-3].split()[0] == "stage", done
        assert lines[-1].split()[1::2] == ["3", str(equal)] and lines[-2].split()[1::2] == ["3", str(equal)], done
        assert len(lines) == 3 + 3 - equal, done
        for line in lines[:-3]:
            place, _, told = line.partition(": ")
            assert told.startswith("generate: ") and "generations.jsonl differs" in told, line
            assert os.path.exists(f"{place}/generations.jsonl"), line
        if code:
            shutil.rmtree(os.path.dirname(place))


if __name__ == "__main__":
    harness.main([killed_runs_make_what_undisturbed_ones_make, a_trial_sees_what_is_not_the_same,
                  the_tool_tells_and_keeps_what_is_not_equal])
