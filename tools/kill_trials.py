#!/usr/bin/python3
"""kill_trials.py N: that a run which is killed and started again makes what an undisturbed one makes.

Each of N trials starts a stage on 1 to 6 ranks, with a random number of each role, ends it at a random
moment, and starts it again on another number of ranks, up to three times, until it is let finish. It is
killed on all ranks at once, or on one of them, or gets a signal that stops it. Then every file that it
left is compared with those of a run on one rank that nobody disturbed: weights, shards, samples, reports,
metrics but for times. Stages take turns. The last lines are a table; the exit code is 1 unless all trials
are equal, and what a trial left that isn't is kept.

The products are those of debug.product = "perturbed", which show on any CPU what is computed together:
--product auto takes the program's own. Everything that is drawn follows from --seed; moments are
fractions of how long a run took, so they are the same only as far as the machine is."""
import argparse
import concurrent.futures
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

sys.path.insert(0, os.path.abspath(__file__ + "/../../tests/common"))
import harness  # noqa: E402

CONFIG = """shards: { sequences_per_shard = 3; };
distill: { policy = "policy"; mode = "on-policy"; };
generate: { model = "policy"; samples = 20; };
eval: { model = "policy"; dpo = "dpo"; contrast = "rev"; reference = "dpo"; generate = 16; };
sampling: { max_new_tokens = 16; };
optimizer: { lr = 1e-3; batch_size = 6; micro_batch_tokens = 230; epochs = 6; };
checkpoint: { every_steps = 3; };
"""
SWEEP = """at_once = 2;
grid: { optimizer: { lr = [1e-3, 2e-3]; }; distill: { divergence = ["reverse", "forward"]; }; };
"""
RANKS = 6
# What says how a run went, not what it made: a part of it, times, places, what is there twice.
BESIDE = re.compile(r"metrics\.h5|events\.out.*|sweep\.(json|md)|manifest.*|(.*\.|)run\.json|.*\.sha256|.*\.part.*")


@dataclass(frozen=True)
class Stage:
    """A stage in a mode: a command with its settings, and the roles that it places on ranks."""
    command: str
    settings: tuple = ()
    roles: tuple = ()
    words: tuple = ()


OFF = ("trainers", "scorers")
ON = ("trainers", "scorers", "generators")
STAGES = {
    "sft": Stage("sft"),
    "dpo": Stage("dpo"),
    "dpo, own reference": Stage("dpo", ("dpo.reference=",)),
    "score": Stage("score", ("shards.encoding=topk", "shards.top_k=8", "data.responses=both",
                             "shards.sequences_per_shard=1")),
    "off-policy": Stage("distill", ("distill.mode=off-policy",), OFF),
    "on-policy": Stage("distill", ("optimizer.epochs=4",), ON),
    "on-policy, stale": Stage("distill", ("distill.max_staleness=1", "optimizer.epochs=4"), ON),
    "mixed": Stage("distill", ("distill.mode=mixed", "distill.on_policy_fraction=0.5",
                               "data.responses=both", "optimizer.epochs=4"), ON),
    "generate": Stage("generate"),
    "eval": Stage("eval", ("data.eval=desk/train.jsonl",)),
    "sweep": Stage("distill", ("distill.mode=off-policy", "data.train=", "optimizer.epochs=3",
                               "shards.directory={folder}/scored/shards"), OFF, ("--sweep", "{folder}/sweep.cfg")),
}


@dataclass
class Trial:
    """What was done to one run, in words, and how it ended."""
    stage: str
    folder: str
    told: list = field(default_factory=list)
    kills: int = 0
    fault: str = ""


# --- what a run leaves -------------------------------------------------------------------------


def content_of(path):
    name = os.path.basename(path)
    if name == "metrics.jsonl":
        return harness.metrics(path)
    if name == "done.json":
        made = harness.read_json(path)
        return {key: made.get(key) for key in ("stage", "steps", "sha256", "recipe")}
    with open(path, "rb") as file:
        return file.read()


def results(folder):
    """name -> content of what a finished stage has made; shards by their sequences, since how many are in
    a file depends on how many score."""
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("checkpoints", "measured")]
        here = os.path.relpath(place, folder)
        if any(name.startswith("shard-") for name in names):
            for key, copies in harness.shard_content(place).items():
                found[f"{here}: step {key[0]}, row {key[1]}, source {key[2]}"] = copies
        for name in names:
            if not name.startswith("shard-") and not BESIDE.fullmatch(name):
                found[os.path.normpath(f"{here}/{name}")] = content_of(f"{place}/{name}")
    return found


def difference(expected, found):
    """The first names whose contents aren't the same, or ""."""
    names = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    words = [f"{name} {'differs' if name in expected and name in found else 'is missing' if name in expected else 'is too much'}"
             for name in names[:3]]
    return ", ".join(words) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


# --- one run and its end -----------------------------------------------------------------------


class Setup:
    """The inputs, what undisturbed runs made of them, and how long runs last."""

    def __init__(self, folder, product):
        self.folder, self.product = folder, product
        self.expected, self.seconds = {}, {}
        harness.prepare_route(folder, CONFIG)
        harness.write(f"{folder}/sweep.cfg", SWEEP)
        harness.run(*self.command(Stage("score"), f"{folder}/scored"))

    def command(self, stage, output, roles=()):
        settings = (f"output={output}", f"debug.product={self.product}", *stage.settings, *roles)
        words = [*stage.words, *(word for setting in settings for word in ("--set", setting))]
        return [stage.command, "-c", f"{self.folder}/run.cfg", *(word.format(folder=self.folder) for word in words)]

    def undisturbed(self, name):
        """Runs the stage on one rank; how long that takes is what runs on more are taken to last."""
        output = f"{self.folder}/whole/{name}"
        begun = time.monotonic()
        harness.run(*self.command(STAGES[name], output), timeout=120)
        self.seconds[name, 1] = time.monotonic() - begun
        self.expected[name] = results(output)

    def expected_seconds(self, name, ranks):
        """How long the last whole run on so many ranks took, or one on one rank with a start of more."""
        return self.seconds.get((name, ranks), self.seconds[name, 1] + 0.15 * (ranks - 1))


def one_of(process, draw, ready):
    """The pid of a rank of which `ready` is true, or None."""
    pids = sorted(pid for pid in harness.members(process) if harness.is_program(pid) and ready(pid))
    return pids[int(draw * len(pids))] if pids else None


def end_all(process, draw):
    return harness.kill(process)


def signal_one(number, ready):
    """Sends a signal to one rank; false where there is none yet, or no longer."""
    def end(process, draw):
        pid = one_of(process, draw, ready)
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)
                return True
        return False
    return end


# How a run is ended: words, how often, what is done, whether the program then ends with 75. A signal is
# for a rank that heeds it: before, its process is not yet the program.
ENDS = (("KILL to all", 0.6, end_all, False),
        ("KILL to one rank", 0.16, signal_one(signal.SIGKILL, lambda pid: True), False),
        ("SIGUSR1 to one rank", 0.12, signal_one(signal.SIGUSR1, harness.heed), True),
        ("SIGTERM to one rank", 0.12, signal_one(signal.SIGTERM, harness.heed), True))


def placed(stage, random_):
    """(number of ranks, settings of roles, words): any that are legal, each role with none of its own as
    often as with some."""
    ranks, left, roles = random_.randint(1, RANKS), 0, []
    left = ranks
    for role in random_.sample(stage.roles, len(stage.roles)):
        count = random_.choice((0, random_.randint(0, left)))
        left -= count
        roles.append((role, count))
    roles.sort(key=lambda pair: ON.index(pair[0]))
    split = "/".join(str(count) for _, count in roles)
    return ranks, [f"roles.{role}={count}" for role, count in roles], \
        f"{ranks} ranks{' as ' + split if split else ''}"


def finish(process, alone=20):
    """Waits for a run. Open MPI's mpirun may wait for itself for ever when a rank was killed while it
    started (seen with 4.1.4, in PMIx_server_finalize): where all ranks have been gone for 20 s it is killed."""
    since, begun = None, time.monotonic()
    while process.poll() is None and time.monotonic() - begun < 120:
        now = time.monotonic()
        alive = process.args[0] != "mpirun" or set(harness.members(process)) - {process.pid}
        since = None if alive else since or now
        if since and now - since > alone:
            harness.kill(process)
        time.sleep(0.02)
    return harness.finish(process, 1)


def disturb(setup, trial, process, ranks, random_):
    """Ends a run at a random moment; returns whether it was ended, and how it went."""
    words, _, end, stops = random_.choices(ENDS, [row[1] for row in ENDS])[0]
    fraction, draw = random_.random(), random_.random()
    moment = fraction * setup.expected_seconds(trial.stage, ranks)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    hit = process.poll() is None and end(process, draw)
    done = finish(process)
    trial.told[-1] += f", {words if hit else 'too late for ' + words} after {moment:.2f} s: code {done.code}"
    if done.code != 0 and (not hit or (stops and done.code != 75)):
        trial.fault = fault_of(done)
    return hit and done.code != 0, done


def fault_of(done):
    return f"code {done.code}: {(done.errors or [done.err[-300:]])[0]}"


def run_once(setup, trial, random_, last):
    """Runs the stage on some ranks; ends it unless it is the last time. Its files of MPI are its own, and
    gone with it: a killed job leaves them."""
    ranks, roles, words = placed(STAGES[trial.stage], random_)
    trial.told.append(words)
    with tempfile.TemporaryDirectory(prefix="ald-kill-", dir="/dev/shm") as session:
        env = {"OMPI_MCA_orte_tmpdir_base": session, "OMPI_MCA_btl_vader_backing_directory": session}
        begun = time.monotonic()
        process = harness.start(setup.command(STAGES[trial.stage], trial.folder, roles), ranks, env)
        if last:
            done = harness.finish(process, 120)
            trial.told[-1] += f": code {done.code}"
            return done
        hit, done = disturb(setup, trial, process, ranks, random_)
        trial.kills += hit
        if done.code == 0 and len(trial.told) == 1:
            setup.seconds[trial.stage, ranks] = time.monotonic() - begun
    return done


def run_trial(setup, name, number, seed):
    """A run that is ended once or more, and then finishes; what it made is removed if it is as expected."""
    random_ = random.Random(f"{seed} {number} {name}")
    trial = Trial(name, f"{setup.folder}/trial-{number:04d}")
    ends = random_.choices((1, 2, 3), (0.6, 0.25, 0.15))[0]
    for turn in range(ends + 1):
        done = run_once(setup, trial, random_, turn == ends)
        if done.code == 0 or trial.fault:
            break
    if not trial.fault:
        trial.fault = fault_of(done) if done.code != 0 else \
            difference(setup.expected[name], results(trial.folder))
    if not trial.fault:
        shutil.rmtree(trial.folder)
    return trial


# --- many --------------------------------------------------------------------------------------


def run_trials(setup, names, numbers, seed, jobs=2):
    """Yields the trials of these numbers as they end; a stage's turn is that of the number."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(setup.undisturbed, [name for name in names if name not in setup.expected]))
        running = [pool.submit(run_trial, setup, names[i % len(names)], i, seed) for i in numbers]
        for future in concurrent.futures.as_completed(running):
            yield future.result()


def line_of(trial):
    return f"{trial.folder}: {trial.stage}: {'; '.join(trial.told)}: {trial.fault or 'equal'}"


def table(names, trials):
    """The lines of a table: a stage each, and the sum."""
    rows = [(name, [trial for trial in trials if trial.stage == name]) for name in names]
    return [f"{'stage':<22}{'trials':>8}{'kills':>8}{'equal':>8}"] + \
        [f"{name:<22}{len(some):>8}{sum(t.kills for t in some):>8}{sum(not t.fault for t in some):>8}"
         for name, some in [*rows, ("all", trials)]]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0],
                                     epilog="stages: " + "; ".join(STAGES))
    parser.add_argument("trials", type=int)
    parser.add_argument("--program", default=harness.BINARY)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=STAGES, metavar="STAGE",
                        help="this one (may be repeated)")
    parser.add_argument("--product", default="perturbed", choices=("auto", "perturbed"))
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time (2)")
    parser.add_argument("--verbose", action="store_true", help="say what was done in every trial")
    return parser.parse_args()


def main():
    options = arguments()
    harness.BINARY = os.path.abspath(options.program)
    if not os.path.exists(harness.BINARY):
        sys.exit(f"{harness.BINARY} is missing: build first, or name it with --program")
    names = options.only or list(STAGES)
    folder = tempfile.mkdtemp(prefix="ald-kill-trials-")
    setup, trials = Setup(folder, options.product), []
    for trial in run_trials(setup, names, range(options.trials), options.seed, options.jobs):
        trials.append(trial)
        if trial.fault or options.verbose:
            print(line_of(trial), flush=True)
    print("\n".join(table(names, trials)))
    equal = all(not trial.fault for trial in trials)
    if equal:
        shutil.rmtree(folder)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
