#!/usr/bin/python3
"""Scenarios of minutes on a real Slurm, for tests/slurm_long.sh: what ends jobs on clusters, and what becomes of
them. Each ends with the bytes of a run that nothing disturbed."""
import contextlib
import glob
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import chain  # noqa: E402

ROWS, HELD_OUT, LONG = 20000, 5000, 16000  # rows, held-out rows, steps: each of more than a minute
STEPS = 3000  # of other scenarios
FOLDERS = {"sft": "sft", "dpo": "dpo", "score": "shards", "distill": "aligned", "eval": "eval"}
COMMANDS = {"eval": [(f"eval.model=out/{m}", f"eval.output=eval/{m}") for m in ("sft", "dpo", "aligned")]}


class Scene:
    """The sandbox, and folders with data, models and what comes before a stage."""

    def __init__(self, folder):
        self.folder, self.sandbox = folder, chain.Sandbox(3)
        harness.make_desk(folder, ROWS, HELD_OUT)
        harness.make_model(folder, "fresh")
        first = self.chain("first", rows=300, steps=20, held_out=20)
        for command, *settings in (("sft",), ("dpo",), ("dpo", "dpo.reverse=true", "dpo.output=reverse"), ("score",), ("distill",)):
            harness.run(command, "-c", first.config, *(w for s in settings for w in ("--set", s)))
        self.models = first.out

    def chain(self, name, site=None, **size):
        size = {"rows": 300, "held_out": 20, "every": 500, "steps": STEPS, **size}
        return chain.Chain(self.sandbox, chain.place_of(self.folder, name), size=size, site=site)

    def before(self, made, stage):
        """The results of other stages in a chain's output."""
        shutil.rmtree(made.out, ignore_errors=True)
        shutil.copytree(self.models, made.out, ignore=lambda _, names: [n for n in names if n == FOLDERS[stage]])

    def check(self, made, stage):
        """That the stage's results are those of a run without Slurm."""
        found = chain.results(made.out)
        self.before(made, stage)
        for settings in COMMANDS.get(stage, [()]):
            harness.run(stage, "-c", made.config, *(w for s in settings for w in ("--set", s)), timeout=600)
        expected = chain.results(made.out)
        own = [name for name in expected if name.split("/")[0] == FOLDERS[stage]]
        assert own and all(found.get(name) == expected[name] for name in own), f"{stage}: {own}"

    def begin(self, name, site=None, **size):
        """A chain that is at work in sft, on two nodes, past its first checkpoint."""
        made = self.chain(name, site, **size)
        made.submit("--only", "sft")
        made.at_work("sft")
        chain.until(lambda: os.path.isdir(f"{made.out}/sft/checkpoints/step-000500"), lambda: made.log("sft"))
        return made


def limits(scene):
    """--time=1 in each stage, side by side."""
    sizes = {**{stage: {"steps": LONG} for stage in ("sft", "dpo", "distill")}, "score": {"rows": ROWS}, "eval": {"rows": HELD_OUT, "held_out": HELD_OUT}}
    site = {"SBATCH_OPTIONS": "--time=1", "SFT_SIZE": "--nodes=1 --ntasks=1", "SCORE_TASKS": "1", "DISTILL_SIZE": "--nodes=1 --ntasks=1",
            "FOLLOW_UPS": "0", "SIGNAL_SECONDS": "1"}
    made = {}
    for stage, size in sizes.items():
        made[stage] = scene.chain(f"limit-{stage}", site, **size)
        scene.before(made[stage], stage)
        made[stage].submit("--only", stage)
    for stage, one in made.items():
        one.finish(stage, 500)
    scene.sandbox.empty()
    said, reasons = [], ("stopped by the end of its job", "stopped by a signal")  # the signal may come 30 s early
    for stage, one in made.items():
        log = one.log(stage)
        own, signalled = map(log.count, reasons)
        assert own + signalled == one.restarts(stage) >= 1, log
        said.append(f"{stage} {own}+{signalled}")
        scene.check(one, stage)
    return f"stopped by themselves + by the signal: {', '.join(said)}"


def late(scene):
    """Ranks that hang until the limit, when Slurm wakes and ends them: what they then keep is gone on from."""
    made = scene.begin("late", {"SBATCH_OPTIONS": "--time=1", "SIGNAL_SECONDS": "1"})
    for pid, _ in chain.processes(scene.sandbox, "sft"):
        os.kill(pid, signal.SIGSTOP)
    made.finish("sft", 300)
    scene.sandbox.empty()
    log = made.log("sft")
    assert "DUE TO TIME LIMIT" in log and "sft: going on from" in log and "writes here since" not in log, log
    scene.check(made, "sft")
    how = "a follow-up" if "follow-up 1" in log else "its own requeue"
    return f"went on by {how}"


def node(scene):
    """A node of a running job is set down, and comes back."""
    made = scene.begin("node")
    scene.sandbox.output("scontrol", "update", "nodename=node2", "state=down", "reason=test")
    chain.until(lambda: scene.sandbox.show(made.jobs["sft"]) != "RUNNING", "the job still runs")
    time.sleep(5)
    scene.sandbox.output("scontrol", "update", "nodename=node2", "state=resume")
    made.finish("sft", 200)
    scene.sandbox.empty()
    assert "sft: going on from" in made.log("sft"), made.log("sft")
    how = "a follow-up" if "follow-up 1" in made.log("sft") else "Slurm's requeue"
    scene.check(made, "sft")
    return f"went on by {how}"


def space(pid):
    """What all processes of a node share, and no other: its host name's namespace."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/uts")
    return None


def daemon(scene):
    """A node dies with all that is on it: KILL to its slurmd, slurmstepd and ranks; a new slurmd."""
    made = scene.begin("daemon")
    place = scene.sandbox.folder
    own = space(int(open(f"{place}/run/slurmd-node2.pid").read()))
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit() and space(name) == own]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    chain.until(lambda: scene.sandbox.output("sinfo", "-h", "-p", "main", "-n", "node2", "-o", "%T").startswith("down"),
                lambda: scene.sandbox.output("sinfo"), 120)
    seen = time.monotonic() - begun
    scene.sandbox.restart_node(2)
    made.finish("sft", 300)
    scene.sandbox.empty(60)
    assert "sft: going on from" in made.log("sft"), made.log("sft")
    scene.check(made, "sft")
    ends = [line.split(" ald: sft: ")[1] for line in made.log("sft").splitlines() if " ald: sft: " in line]
    return f"down after {seen:.0f} s; {'; '.join(ends)}"


def preemption(scene):
    """Another partition's job takes all nodes for some seconds."""
    made = scene.begin("preemption")
    scene.sandbox.output("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap", "sleep 5")
    chain.until(lambda: scene.sandbox.show(made.jobs["sft"]) != "RUNNING", "the job still runs")
    made.finish("sft", 200)
    scene.sandbox.empty()
    log = made.log("sft")
    assert "sft: going on from" in log and "restart 1" not in log, log
    how = "a follow-up" if "follow-up 1" in log else "Slurm's requeue"
    scene.check(made, "sft")
    return f"went on by {how}"


def clients(scene):
    """A failed stage where jobs can't cancel others: those behind it see that what they need isn't there."""
    lines = chain.without_clients(scene.folder, "scontrol", "scancel", "squeue", "sbatch")
    made = scene.chain("clients", {"lines": lines})
    harness.write(f"{made.folder}/broken/config.json", "{}")
    harness.write(made.config, open(made.config).read().replace('model = "fresh"', 'model = "broken"'))
    made.submit()
    scene.sandbox.empty(60)
    assert "failed with 3; its own line is above" in made.log("sft"), made.log("sft")
    for need, stage in (("sft", "dpo"), ("sft", "reverse"), ("dpo", "score"), ("dpo", "distill"), ("distill", "eval")):
        log = made.log(stage)
        assert f"{stage}: needs {need}, which isn't finished: {made.out}/{chain.MARKS[need]} isn't there" in log, log
        assert "launcher" not in log and scene.sandbox.show(made.jobs[stage]) == "FAILED", log
    return "each stage ended by itself, with a line"


SCENARIOS = {one.__name__: one for one in (clients, node, daemon, preemption, late, limits)}


def main(names):
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        sys.exit(f"{unknown[0]}: no scenario; there are: {' '.join(SCENARIOS)}")
    failed = False
    with tempfile.TemporaryDirectory(prefix="ald-long-") as folder:
        scene = Scene(folder)
        for name in names or SCENARIOS:
            begun = time.monotonic()
            try:
                text = f"passed, {SCENARIOS[name](scene)}"
            except Exception:
                text, failed = f"FAILED\n{traceback.format_exc()}", True
            print(f"{name}: {time.monotonic() - begun:.0f} s: {text}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
