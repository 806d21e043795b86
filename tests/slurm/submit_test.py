#!/usr/bin/python3
"""What jobs/submit.sh says and refuses before it calls Slurm, which isn't there for it: the calls that it would make,
stages that a configuration hasn't, results that were made from something else, words that are wrong."""
import os
import shutil
import subprocess
import sys
import types

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import chain  # noqa: E402

PLACE = types.SimpleNamespace(env=harness.environment())


def prepare(folder):
    harness.make_desk(folder, 300, 100)
    harness.make_model(folder, "fresh")


def new_chain(folder, **options):
    made = chain.Chain(PLACE, folder, **options)
    shutil.rmtree(made.out, ignore_errors=True)
    return made


def a_dry_run_submits_nothing(folder):
    made = new_chain(folder)
    said, _ = made.call("--dry-run")
    assert not os.path.exists(made.out), said
    calls = [line for line in said.splitlines() if line.startswith("sbatch ")]
    assert len(calls) == 2 * len(chain.STAGES), said
    for stage in chain.STAGES:
        assert sum(call.endswith(f"jobs/{stage}.sh") for call in calls) == 2, said
        assert f"    run {stage}" in said.splitlines(), said
    assert "--array=0-2" in calls[6] and "--dependency=afternotok:<score>" in calls[7], calls
    assert "would be submitted: sft <sft>, dpo <dpo>, " in said, said
    made = new_chain(folder, site={"FOLLOW_UPS": "1", "PLAN_NODE": "--nodes 1 --cores 1 --memory 2GB"})
    for form, words in (("0-9:3%2", ("--array", "0-9:3%2")), ("0-0", ("--array=auto",)), ("4", ("--plan", "--array", "4"))):
        assert made.call("--dry-run", *words)[0].count(f" --array={form} ") == 2, (form, words)


def edited(made, *changes):
    """The chain's configuration, with texts replaced by others."""
    text = open(made.config).read()
    for was, now in changes:
        assert was in text, was
        text = text.replace(was, now)
    return harness.write(f"{made.folder}/edited.cfg", text)


def stages_that_are_not_configured_are_left_out(folder):
    made = new_chain(folder, site={"FOLLOW_UPS": "0"})
    sft, dpo = 'sft: { model = "fresh"; };\n', 'dpo: { policy = "out/sft"; reference = "out/sft"; };\n'
    distill = 'policy = "out/dpo"; mode'
    for changes, expected in (
            (((sft, ""),), "dpo reverse score distill eval"),
            (((sft, ""), (dpo, "")), "score distill eval"),
            (((sft, ""), (dpo, ""), ("shards: {", 'shards: { sources = ({ directory = "made"; weight = 1.0; });')), "distill eval"),
            ((("off-policy", "on-policy"), ("shards: {", 'shards: { directory = "rounds";')), "sft dpo reverse distill eval"),
            (((distill, "mode"),), "sft dpo reverse")):
        said, _ = made.call("--dry-run", config=edited(made, *changes))
        first = next(line for line in said.splitlines() if line.startswith("would be submitted: "))
        assert first == "would be submitted: " + ", ".join(f"{stage} <{stage}>" for stage in expected.split()), (changes, first)
    _, err = made.call(code=2, config=edited(made, (sft, ""), (dpo, ""), (distill, "mode")))
    assert err.endswith("edited.cfg: none of sft.model, dpo.policy and distill.policy is set: no stages\n"), err
    said, _ = made.call("--dry-run", "--only", "sft", config=edited(made, ('"out"', '"o%j"')))
    assert f"--output={made.folder}/o%%j/logs/sft-%j.log " in said, said
    os.symlink(chain.SUBMIT, f"{folder}/submit-here")
    linked = subprocess.run([f"{folder}/submit-here", made.config, "--dry-run", "--only", "sft"], capture_output=True, text=True,
                            env={**PLACE.env, "ALD_SITE": made.site})
    assert linked.returncode == 0 and f"{harness.ROOT}/jobs/sft.sh" in linked.stdout, linked


def results_of_another_configuration_are_refused(folder):
    """By their settings, their data, and what is made anew before them."""
    made = new_chain(folder)
    for command, *settings in chain.ROUTE[:3]:
        harness.run(command, "-c", made.config, *(word for s in settings for word in ("--set", s)))
    rows = open(f"{folder}/desk/train.jsonl").readlines()
    begins = "submit: finished, but of another configuration or other inputs: "
    ends = "; --force makes these anew, another output leaves them\n"
    faster = edited(made, ("lr = 1e-3", "lr = 2e-3"))
    _, err = made.call(code=2, config=faster)
    why = "(optimizer.lr was 0.001, is 0.002)"
    assert err == f"{begins}sft {why}, dpo {why}, reverse {why}{ends}", err
    _, err = made.call("--dry-run", "--only", "score", config=faster)
    assert err.startswith(f"submit: score takes dpo as it is, of another configuration or other inputs: {why[1:-1]}\n"), err
    assert made.call("--status", config=faster)[0].count(f", but of another configuration or other inputs: {why[1:-1]}\n") == 3
    harness.write(f"{made.folder}/fewer.jsonl", "".join(rows[:-1]))
    _, err = made.call("--dry-run", config=edited(made, ("desk/train.jsonl", "fewer.jsonl")), code=2)
    assert err.count(f"(data.train ({made.folder}/fewer.jsonl) is another)") == 3, err
    harness.write(f"{made.folder}/fewer.jsonl", "".join(rows))  # the same rows elsewhere are no others
    assert made.call("--dry-run", config=edited(made, ("desk/train.jsonl", "fewer.jsonl")))[0].count(", left out\n") == 3
    os.rename(f"{made.out}/sft", f"{made.out}/away")
    assert made.call("--dry-run", code=2)[1] == f"{begins}dpo (sft is made anew), reverse (sft is made anew){ends}"
    os.rename(f"{made.out}/away", f"{made.out}/sft")


def words_that_are_wrong(folder):
    made = new_chain(folder)
    for words, code, text in (
            (("--from", "training"), 2, "training: no stage of this chain, which has: sft dpo reverse score distill eval"),
            (("--only", "sft,scores"), 2, "scores: no stage of this chain"),
            (("--only",), 2, "--only: expected a value"),
            (("--array",), 2, "--array: expected a value"),
            (("--fast",), 2, "--fast: unknown option"),
            (("--from", "sft dpo"), 2, "--from sft dpo: expected one stage of: "),
            (("--from", "sft", "--only", "dpo"), 2, "--from and --only exclude each other"),
            (("--dry-run", "--cancel"), 2, "--dry-run and --cancel exclude each other"),
            (("--array=",), 2, "'--array=': expected a value"),
            (("--sizes", "none.sh"), 2, "none.sh: no such file"),
            (("--only", "distill"), 2, "distill needs dpo, which is neither finished"),
            (("--from", "score"), 2, "score needs dpo, which is neither finished"),
            ((f"{folder}/two.cfg",), 2, "one configuration is all")):
        out, err = made.call(*words, code=code)
        assert err.startswith("submit: ") and text in err and err.count("\n") == 1, (words, out, err)
    for config, text in ((f"{folder}/none.cfg", "none.cfg: no such file"), ("bad.cfg", "no such file")):
        assert text in made.call(config=config, code=2)[1]
    bad = harness.write(f"{folder}/bad.cfg", 'output = "out"; sed = 1;')
    assert "bad.cfg:1: " in made.call(config=bad, code=2)[1]
    assert "/none/aligndistil: no program" in new_chain(folder, site={"ALIGNDISTIL": "/none/aligndistil"}).call(code=2)[1]
    made = new_chain(folder)
    gone = edited(made, ('model = "fresh"', 'model = "none"'), ("desk/train", "desk/none"))
    wanted = f"sft (sft.model ({made.folder}/none) isn't there; data.train ({made.folder}/desk/none.jsonl) isn't there), dpo (data.train "
    assert made.call(config=gone, code=3)[1].startswith(f"submit: needs what isn't there: {wanted}")
    assert made.call("--dry-run", config=gone)[1].startswith(f"submit: needs what isn't there, as seen from here: {wanted}")
    alone = subprocess.run(["sh", f"{harness.ROOT}/jobs/dpo.sh"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert alone.returncode == 2 and alone.stderr.endswith("submit this by jobs/submit.sh CONFIG.cfg --only dpo\n"), alone


if __name__ == "__main__":
    harness.main([a_dry_run_submits_nothing, stages_that_are_not_configured_are_left_out,
                  results_of_another_configuration_are_refused, words_that_are_wrong], prepare)
