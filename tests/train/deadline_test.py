#!/usr/bin/python3
"""Runs that end in time: by --deadline and by the end of their job, again and again until they are done,
with the bytes of a run that nothing stopped; SIGINT, once and twice; the time that is left of a job."""
import os
import re
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

CONFIG = """optimizer: { batch_size = 6; max_steps = 3; micro_batch_tokens = 1000; };
checkpoint: { every_steps = 3; };
shards: { sequences_per_shard = 8; };
distill: { policy = "policy"; };
generate: { model = "policy"; };
eval: { model = "policy"; dpo = "dpo"; contrast = "rev"; max_rows = 3; };
sampling: { max_new_tokens = 9; };
"""
SWEEP = """at_once = 2;
runs = ( { name = "a"; }, { name = "b"; optimizer: { lr = 1e-3; }; },
         { name = "c"; optimizer: { max_steps = 3; }; } );
"""
OFF = ("distill.mode=off-policy",)
MANY = ("data.max_rows=5", "generate.samples=10")
STAGES = (  # command, settings, words, the first one's unit of work
    ("sft", (), (), "step"), ("dpo", (), (), "reference pair"), ("dpo", ("dpo.reference=",), (), "reference pair"),
    ("score", ("shards.sequences_per_shard=3",), (), "shard"), ("distill", OFF, (), "shard"),
    ("distill", OFF, ("--sweep", "sweep.cfg"), "step"),
    ("distill", ("distill.mode=on-policy", "distill.max_staleness=1"), (), "step"), ("generate", MANY, (), "response"),
    ("eval", ("optimizer.micro_batch_tokens=300", "eval.generate=3"), (), "measured sequence"),
    ("eval", (), ("--strengths", "5,10"), "response"))
STOPPED = re.compile(r"(\w+): stopped by (.*) after (.*) (\d+) of (\d+); run the same command again to go on: "
                     r"(\d+) \3s left, (?:about \d+ s|none of them was timed)")


def prepare(folder):
    harness.prepare_route(folder, CONFIG)
    harness.write(f"{folder}/sweep.cfg", SWEEP)


def path_of(folder, *names):
    return os.path.join(folder, "out", *names)


def command(folder, name, settings=(), words=()):
    settings = (f'data.eval="{folder}/desk/eval.jsonl"', *settings)
    return [name, "-c", f"{folder}/run.cfg", *(part for s in settings for part in ("--set", s)),
            *(f"{folder}/{word}" if word.endswith(".cfg") else word for word in words)]


def results(folder, sampled):
    """{path: bytes} of what runs leave for good, without what tells of their times; of shards of sampled
    responses, which are cut as ranks have them, what they say."""
    found = {"shards": harness.shard_content(path_of(folder, "shards"))} if sampled else {}
    folder = path_of(folder)
    for place, _, names in os.walk(folder):
        for name in names:
            if "checkpoints" not in place and not place.endswith("/measured") and not name.startswith(("metrics.", "sweep.", "events.")) and not name.endswith(("run.json", ".sha256")) and \
                    not (sampled and name.startswith("shard-")):
                path = os.path.join(place, name)
                found[os.path.relpath(path, folder)] = open(path, "rb").read()
    return found


def told(done):
    """(stage, reason, unit, at, total, left) of the line that a stopped run ends with."""
    assert len(done.errors) == 1, done
    match = STOPPED.fullmatch(done.errors[0])
    assert match, done
    return (*match.groups()[:3], *map(int, match.groups()[3:]))


def fresh(folder, words=()):
    """An empty output; what another stage makes for this one is there."""
    shutil.rmtree(path_of(folder), ignore_errors=True)
    if "--sweep" in words:
        harness.run(*command(folder, "score"))


def the_same_bytes_after_any_number_of_stops(folder):
    """Each run on another number of ranks than the one before."""
    for i, (name, settings, words, unit) in enumerate(STAGES):
        fresh(folder, words)
        whole_run = harness.run(*command(folder, name, settings, words))
        sampled = "distill.mode=on-policy" in settings
        whole = results(folder, sampled)
        fresh(folder, words)
        runs, units, where = 0, [], (name, settings, words)
        while True:
            done = harness.run(*command(folder, name, settings, (*words, "--deadline", "0.01")),
                               ranks=1 + (i + runs) % 2, code=None)
            runs += 1
            if done.code == 0:
                break
            assert done.code == 75, done
            _, reason, found, at, total, left = told(done)
            assert reason == "runtime.time_limit" and 0 <= at < total and left > 0, done
            assert done.err.count("no time is left for a step before runtime.time_limit") == 1, done
            units.append((found, left))
            assert words or units[-1:] != units[-2:-1], (where, units)  # each run gets on
            assert runs < 15, (where, units)
        assert units[0][0] == unit and len(units) >= 2, (where, units)
        assert done.out == whole_run.out, (where, done)
        made = results(folder, sampled)
        assert made == whole, (where, [k for k in {*made, *whole} if made.get(k) != whole.get(k)])
        harness.check_files(path_of(folder))


def the_end_of_the_job_stops_a_run(folder):
    """In time, on all ranks, with a checkpoint; a run of its own limit doesn't look at it."""
    long = ("optimizer.max_steps=0", "optimizer.epochs=100000", "checkpoint.every_steps=10")
    for ranks in (1, 2):
        fresh(folder)
        end = int(time.time()) + 8
        done = harness.run(*command(folder, "sft", long), ranks=ranks, code=75, env={"SLURM_JOB_END_TIME": str(end)})
        assert time.time() < end and "s are left before the end of its job" in done.err, done
        stage, reason, unit, at, total, left = told_long(done)
        assert (stage, reason, unit) == ("sft", "the end of its job", "step") and at + left == total, done
        assert at > 10 and f"step-{at:06d}" in os.listdir(path_of(folder, "sft", "checkpoints")), done
    few = ("optimizer.max_steps=2",)
    for value in ("", "soon", "0", "-5", str(int(time.time()) - 100), "4294967294", "9" * 30, f"{end}0s"):
        fresh(folder)
        harness.run(*command(folder, "sft", few), env={"SLURM_JOB_END_TIME": value})
    fresh(folder)
    harness.run(*command(folder, "sft", few, ("--deadline", "1000")),
                env={"SLURM_JOB_END_TIME": str(int(time.time()) + 1)})


def told_long(done):
    """As told, of a run whose rest takes minutes or hours."""
    done.errors = [re.sub(r"about [\d.]+ (min|h)$", "about 9 s", line) for line in done.errors]
    return told(done)


def a_deadline_is_a_number_of_seconds(folder):
    for value, code in (("abc", 2), ("-1", 2), ("", 2), ("1e12", 2), ("0", 0), ("86400", 0)):
        fresh(folder)
        done = harness.run(*command(folder, "sft", ("optimizer.max_steps=1",), ("--deadline", value)), code=code)
        assert code == 0 or len(done.errors) == 1, done
        assert value in ("", "0", "86400") or "runtime.time_limit" in done.errors[0], done
    assert "time_limit" not in open(path_of(folder, "sft", "done.json")).read()


def in_a_step(folder, ranks, *settings):
    """A run that has taken a step, and the pids of its ranks."""
    fresh(folder)
    process = harness.start(command(folder, "sft", ("optimizer.max_steps=0", "optimizer.epochs=100000",
                                                    *settings)), ranks)
    deadline, path = time.monotonic() + 20, path_of(folder, "sft", "metrics.jsonl")
    while not os.path.exists(path) or os.path.getsize(path) == 0:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process, [pid for pid in harness.members(process) if ranks == 1 or pid != process.pid]


def one_interrupt_stops_and_two_end(folder):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children don't ignore it, whoever started us
    for ranks in (1, 2):
        process, pids = in_a_step(folder, ranks)
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        done = harness.finish(process)
        assert done.code == 75 and done.err.count("a second SIGINT ends it at once") == 1, done
        assert told_long(done)[1] == "a signal" and os.listdir(path_of(folder, "sft", "checkpoints")), done
    process, pids = in_a_step(folder, 1, "debug.fail=train_step:0:12:hang")
    path, size = path_of(folder, "sft", "metrics.jsonl"), 0
    while os.path.getsize(path) != size:  # until it hangs
        size = os.path.getsize(path)
        time.sleep(0.5)
    os.kill(pids[0], signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    os.kill(pids[0], signal.SIGINT)
    begun = time.monotonic()
    assert harness.finish(process).code == -signal.SIGINT and time.monotonic() - begun < 5


def a_shell_that_has_it_ignored_is_heeded(folder):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process, pids = in_a_step(folder, 1)
    signal.signal(signal.SIGINT, before)
    for _ in range(3):
        os.kill(pids[0], signal.SIGINT)
        time.sleep(0.1)
    assert process.poll() is None
    harness.kill(process)


def the_time_left_is_printed(folder):
    """By the job's environment, else by squeue, for which a script stands here (slurm_test has a real one)."""
    def ask(code, says=None, **env):
        path = f"{folder}/bin/squeue"
        harness.write(path, "#!/bin/sh\n[ \"$*\" = '-h -j 77 -o %L' ] || exit 1\n" +
                      ("exit 1\n" if says is None else f"echo '{says}'\n"))
        os.chmod(path, 0o755)
        done = harness.run("--time-left", env={"PATH": f"{folder}/bin:/usr/bin:/bin", **env}, code=code)
        assert len(done.errors) == (code != 0) and (code == 0 or done.out == ""), done
        return done.out.strip()

    now = int(time.time())
    assert ask(0) == "unlimited"
    assert 995 <= int(ask(0, SLURM_JOB_END_TIME=str(now + 1000))) <= 1000
    for says, left in (("1-02:03:04", 93784), ("2:03:04", 7384), ("05:30", 330), ("0:07", 7),
                       ("UNLIMITED", "unlimited")):
        assert ask(0, says, SLURM_JOB_ID="77") == str(left), says
    assert ask(0, "05:30", SLURM_JOB_ID="77", SLURM_JOB_END_TIME=str(now - 9)) == "330"  # it was extended
    for says in ("NOT_SET", "INVALID", "1:2:", "5", "-3:10", "1:2:3:4", "", None):
        assert ask(2, says, SLURM_JOB_ID="77") == ""
    for job in ("", "$(touch x)", "7 7"):
        assert ask(2, "05:30", SLURM_JOB_ID=job) == ""


if __name__ == "__main__":
    harness.main([
        the_same_bytes_after_any_number_of_stops,
        the_end_of_the_job_stops_a_run,
        a_deadline_is_a_number_of_seconds,
        one_interrupt_stops_and_two_end,
        a_shell_that_has_it_ignored_is_heeded,
        the_time_left_is_printed,
    ], prepare)
