#!/usr/bin/python3
"""Runs of every stage and mode that are killed at random moments and go on with other numbers of ranks
and other roles: what they make is what an undisturbed run makes."""
import os
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import kill_trials  # noqa: E402

KILLS, SEED = 30, 1
NAMES = list(kill_trials.STAGES)


def killed_runs_make_what_undisturbed_ones_make(folder):
    """Trials until there were 30 kills; some come too late, when the run has ended."""
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
        kill_trials.shutil.rmtree(trial.folder)


if __name__ == "__main__":
    harness.main([killed_runs_make_what_undisturbed_ones_make, a_trial_sees_what_is_not_the_same])
