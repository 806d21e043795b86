#!/usr/bin/python3
"""Two hands on one thing: two runs on one output, an output that is an input, a lock whose owner is
dead, silent, or its own job started again, a stopped run whose inputs or checkpoints were changed;
real processes, stopped and killed."""
import contextlib
import json
import os
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

CONFIG = """optimizer: { batch_size = 4; max_steps = 6; };
distill: { policy = "policy"; mode = "on-policy"; };
generate: { model = "policy"; };
eval: { model = "policy"; };
sampling: { max_new_tokens = 12; };
"""
STAGES = {  # command: (what it writes, the lock of that)
    "sft": ("sft", "sft/aligndistil.lock"), "dpo": ("dpo", "dpo/aligndistil.lock"),
    "distill": ("aligned", "aligned/aligndistil.lock"), "eval": ("eval", "eval/aligndistil.lock"),
    "generate": ("generations.jsonl", "generations.jsonl.lock")}


def command(folder, name, *settings):
    settings = (f'data.eval="{folder}/desk/eval.jsonl"', *settings)
    return [name, "-c", f"{folder}/run.cfg", *(part for s in settings for part in ("--set", s))]


def prepare(folder):
    harness.prepare_route(folder, CONFIG)


def path_of(folder, *names):
    return os.path.join(folder, "out", *names)


def stopped(folder, name, ranks=1, lock=None):
    """A run that has a lock, that of its output or `lock`, and then sleeps; the pid of its owner."""
    process = harness.start(command(folder, name), ranks)
    path = path_of(folder, lock or STAGES[name][1])
    deadline = time.monotonic() + 60
    while True:
        try:
            pid = harness.read_json(path)["pid"]
            break
        except (FileNotFoundError, json.JSONDecodeError):
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    if os.path.exists(path):
        return process, pid
    with contextlib.suppress(ProcessLookupError):  # on a busy machine it may have ended before
        os.kill(pid, signal.SIGCONT)
    harness.finish(process)
    shutil.rmtree(path_of(folder), ignore_errors=True)
    return stopped(folder, name, ranks, lock)


def files(folder):
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)


def the_second_is_refused_and_the_first_unharmed(folder):
    for i, (name, (output, lock)) in enumerate(STAGES.items()):
        shutil.rmtree(path_of(folder), ignore_errors=True)
        first, pid = stopped(folder, name, 1 + i % 2)
        second = harness.run(*command(folder, name), ranks=2 - i % 2, code=4)
        assert len(second.errors) == 1 and lock in second.errors[0], second
        for word in (f"process {pid},", f"host {os.uname().nodename},", name, "job none", "since 20"):
            assert word in second.errors[0], (word, second)
        os.kill(pid, signal.SIGCONT)
        done = harness.finish(first)
        assert done.code == 0, done
        assert os.path.exists(path_of(folder, output)) and not os.path.exists(path_of(folder, lock))
        harness.check_files(path_of(folder))


def a_dead_owner_is_followed_at_once(folder):
    for ranks in (1, 2):
        first, _ = stopped(folder, "sft", ranks)
        harness.kill(first)
        assert os.path.exists(path_of(folder, "sft", "aligndistil.lock"))
        done = harness.run(*command(folder, "sft"))
        assert any("taken over, as its owner is gone" in line for line in done.err.splitlines()), done
        assert not os.path.exists(path_of(folder, "sft", "aligndistil.lock"))


def write_lock(folder, age, **owner):
    path = harness.write(path_of(folder, "sft", "aligndistil.lock"), json.dumps(
        {"command": "sft", "host": "node7", "pid": 12, "begin": 5, "machine": "another",
         "since": "2026-01-01T00:00:00Z", **owner}))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def a_silent_owner_elsewhere_is_followed_after_five_minutes(folder):
    path = write_lock(folder, 280, job="77")
    done = harness.run(*command(folder, "sft"), code=4)
    assert "host node7, process 12, job 77, last seen 28" in done.errors[0], done
    assert harness.read_json(path)["pid"] == 12
    write_lock(folder, 310)
    done = harness.run(*command(folder, "sft"))
    assert "its owner is silent" in done.err, done
    harness.write(path, "not a lock of ours")
    done = harness.run(*command(folder, "sft"), code=4)
    assert "another run writes here" in done.errors[0], done
    os.remove(path)


def a_job_started_again_follows_itself(folder):
    for owner, env, code in (
            ({"job": "77"}, {"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"}, 0),
            ({"job": "77", "restart": "1"}, {"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "2"}, 0),
            ({"job": "77", "restart": "1"}, {"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"}, 4),
            ({"job": "78"}, {"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"}, 4)):
        path = write_lock(folder, 5, **owner)
        harness.run(*command(folder, "sft"), env=env, code=code)
        assert os.path.exists(path) == (code == 4)
    os.remove(path)


def who_lost_the_lock_publishes_nothing(folder):
    shutil.rmtree(path_of(folder), ignore_errors=True)
    first, pid = stopped(folder, "dpo", 2)
    write = path_of(folder, "dpo", "aligndistil.lock")
    os.remove(write)
    harness.write(write, "another's")
    os.kill(pid, signal.SIGCONT)
    done = harness.finish(first)
    assert done.code == 4 and "isn't this process's any more" in done.errors[0], done
    assert not os.path.exists(path_of(folder, "dpo", "done.json"))
    assert not os.path.exists(path_of(folder, "dpo", "model.safetensors"))
    assert open(write).read() == "another's"
    os.remove(write)


def scoring_is_shared_but_not_with_a_run_that_makes_shards(folder):
    first, pid = stopped(folder, "distill", lock="shards/aligndistil.lock")
    done = harness.run(*command(folder, "score"), code=4)
    assert "shards/aligndistil.lock" in done.errors[0] or "distill writes here" in done.errors[0], done
    os.kill(pid, signal.SIGCONT)
    assert harness.finish(first).code == 0
    shutil.rmtree(path_of(folder))
    parts = [harness.start([*command(folder, "score", "shards.sequences_per_shard=4"), "--part", f"{i}/2"])
             for i in range(2)]
    assert [harness.finish(part).code for part in parts] == [0, 0]


def an_input_is_no_output(folder):
    before = {path: open(path, "rb").read() for name in ("policy", "dpo", "rev", "desk")
              for path in files(f"{folder}/{name}")}
    before[f"{folder}/run.cfg"] = open(f"{folder}/run.cfg", "rb").read()
    for turn in (0, 1) if harness.ALL_TRIALS else (0,):
        for i, (name, key, words) in enumerate((("sft", "sft.output", ("policy", "sft.model")),
                                 ("dpo", "dpo.output", ("policy", "dpo.policy")),
                                 ("dpo", "dpo.output", ("dpo", "dpo.reference")),
                                 ("distill", "distill.output", ("policy", "distill.policy")),
                                 ("distill", "distill.output", ("rev", "teacher.reverse")),
                                 ("generate", "generate.output", ("desk/train.jsonl", "data.train")),
                                 ("generate", "generate.output", ("policy/model.safetensors", "generate.model")),
                                 ("generate", "generate.output", ("run.cfg", "-c")),
                                 ("sft", "runtime.ledger", ("desk/train.jsonl", "data.train")),
                                 ("sft", "runtime.ledger", ("policy/config.json", "sft.model")),
                                 ("dpo", "runtime.ledger", ("run.cfg", "-c")))):
            done = harness.run(*command(folder, name, f'{key}="{folder}/./{words[0]}"'), ranks=1 + (i + turn) % 2, code=2)
            assert len(done.errors) == 1 and key in done.errors[0] and words[1] in done.errors[0], done
    assert before == {path: open(path, "rb").read() for path in before}
    answers = harness.write(path_of(folder, "eval", "answers.jsonl"), before[f"{folder}/desk/train.jsonl"])
    done = harness.run(*command(folder, "eval", f'data.eval="{answers}"'), code=2)
    assert len(done.errors) == 1 and "eval.output" in done.errors[0] and "data.eval" in done.errors[0], done
    shutil.rmtree(path_of(folder, "eval"))


def stopped_at(folder, name, *settings, step=3, ranks=1):
    """A run of 6 steps with checkpoints of steps 2 and `step`, stopped by a signal; its settings."""
    shutil.rmtree(path_of(folder), ignore_errors=True)
    settings = ("checkpoint.every_steps=2", "checkpoint.keep_last=0", "optimizer.micro_batch_tokens=4096",
                *settings)
    fault = f"debug.fail=train_step:0:{step}:signal"
    harness.run(*command(folder, name, fault, *settings), code=75, ranks=ranks)
    return settings


def checkpoints(folder, output):
    return sorted(os.listdir(path_of(folder, output, "checkpoints")))


def a_run_goes_on_whatever_doesnt_change_its_result(folder):
    for name, output, mode in (("sft", "sft", ()), ("dpo", "dpo", ()), ("distill", "aligned", ()),
                               ("distill", "aligned", ('distill.mode="off-policy"',))):
        settings = stopped_at(folder, name, *mode)
        other = (f'data.train="{folder}/./desk/../desk/train.jsonl"', "eval.max_rows=3",
                 "checkpoint.every_steps=1", f'sft.model="{folder}/./policy"',
                 f'teacher.reverse="{folder}//rev"', "roles.trainers=1", "runtime.threads=1")
        done = harness.run(*command(folder, name, *settings, *other), ranks=2)
        assert "going on from" in done.err and "step-000003" in done.err, done
        ends = harness.weights(path_of(folder, output))
        shutil.rmtree(path_of(folder))
        harness.run(*command(folder, name, *settings))
        for tensor, values in harness.weights(path_of(folder, output)).items():
            assert (values == ends[tensor]).all(), (name, mode, tensor)


def a_run_doesnt_go_on_with_other_inputs(folder):
    """The same paths, other content: named with what was and what is."""
    train = f"{folder}/desk/train.jsonl"
    for i, (name, mode, path, change, words) in enumerate((
            ("sft", (), train, lambda text: text + text.splitlines(True)[0], ("data.train was",)),
            ("dpo", (), train, lambda text: text + text.splitlines(True)[0], ("data.train was",)),
            ("sft", ("data.max_rows=9",), None, None, ("data.max_rows was 9, is 0",)),
            ("distill", ("optimizer.lr=1e-3",), None, None, ("optimizer.lr was 0.001, is 1e-06",)),
            ("distill", ("distill.divergence=forward",), None, None,
             ('distill.divergence was "forward", is "reverse"',)))):
        settings = stopped_at(folder, name, *mode)
        kept = settings[:len(settings) - len(mode)]
        if path is not None:
            before = open(path).read()
            harness.write(path, change(before))
        for ranks in (1, 2) if harness.ALL_TRIALS else (1 + i % 2,):
            done = harness.run(*command(folder, name, *kept), ranks=ranks, code=2)
            assert len(done.errors) == 1 and all(word in done.errors[0] for word in words), done
            assert "state.json" in done.errors[0], done
        if path is not None:
            harness.write(path, before)
        harness.run(*command(folder, name, *settings))
    for name, model, key in (("sft", "policy", "sft.model"), ("dpo", "dpo", "dpo.reference"),
                             ("distill", "rev", "teacher.reverse")):
        settings = stopped_at(folder, name)
        harness.copy(f"{folder}/{model}", f"{folder}/kept")
        harness.make_model(folder, model, 77)
        done = harness.run(*command(folder, name, *settings), code=2)
        assert f"{key} was " in done.errors[0], done
        harness.copy(f"{folder}/kept", f"{folder}/{model}")
        harness.run(*command(folder, name, *settings))


def state_of(folder):
    """path -> (mtime, bytes) of all files that a run leaves."""
    return {path: (os.stat(path).st_mtime_ns, open(path, "rb").read()) for path in files(path_of(folder))}


def a_finished_stage_is_not_run_again(folder):
    """With an equal recipe it says so and touches nothing; with another it is refused, unless forced."""
    off = ('distill.mode="off-policy"',)
    for i, (name, output, mode, change, words) in enumerate((
            ("sft", "sft", (), "runtime.dtype=BF16", 'runtime.dtype was "auto", is "BF16"'),
            ("dpo", "dpo", (), f'dpo.reference="{folder}/rev"', "dpo.reference was"),
            ("distill", "aligned", ("distill.mode=mixed", "distill.on_policy_fraction=0.5"),
             "distill.on_policy_fraction=0.6", "distill.on_policy_fraction was 0.5, is 0.6"),
            ("distill", "aligned", off, "teacher.strength=3", "teacher.strength was 20.0, is 3.0"))):
        shutil.rmtree(path_of(folder), ignore_errors=True)
        mode = ("optimizer.max_steps=2", "checkpoint.every_steps=1", *mode)
        harness.run(*command(folder, name, *mode))
        before = state_of(folder)
        done_json = path_of(folder, output, "done.json")
        ranks = 1 + i % 2
        done = harness.run(*command(folder, name, *mode, "eval.max_rows=3", "roles.trainers=1"), ranks=3 - ranks)
        told = [line for line in done.err.splitlines() if "finished" in line]
        assert len(told) == 1 and done_json in told[0] and "--force" in told[0], done
        assert state_of(folder) == before, name
        done = harness.run(*command(folder, name, *mode, change), ranks=ranks, code=2)
        assert len(done.errors) == 1 and done_json in done.errors[0] and words in done.errors[0], done
        assert "--force" in done.errors[0] and "another output" in done.errors[0], done
        assert state_of(folder) == before, name
        harness.run(*command(folder, name, *mode, change), "--force" if name == "sft" else "--set",
                    *([] if name == "sft" else ["checkpoint.resume=false"]))
        after = state_of(folder)
        assert after[done_json] != before[done_json] and checkpoints(folder, output) == ["step-000001"]
        harness.run(*command(folder, name, *mode, change))
        assert state_of(folder) == after


def a_finished_stage_that_doesnt_say_of_what_is_not_run_again(folder):
    """An older version's done.json, one that is damaged, and weights that are others than it says."""
    shutil.rmtree(path_of(folder), ignore_errors=True)
    settings = ("optimizer.max_steps=1",)
    harness.run(*command(folder, "sft", *settings))
    path, weights = path_of(folder, "sft", "done.json"), path_of(folder, "sft", "model.safetensors")
    told, model = harness.read_json(path), open(weights, "rb").read()
    assert told["stage"] == "sft" and told["steps"] == 1 and "inputs" in told, told
    old = {key: value for key, value in told.items() if key != "recipe"}
    other = {**told, "recipe": {**told["recipe"], "optimizer.new": "1"}}
    fewer = {**told, "recipe": {k: v for k, v in told["recipe"].items() if k != "seed"}}
    for i, (text, blob, code, words) in enumerate((
            (json.dumps(old), model, 2, "older version"),
            (json.dumps(other), model, 2, "optimizer.new was 1, is not there"),
            (json.dumps(fewer), model, 2, "seed was not there, is 1"),
            ("{", model, 3, "done.json"), (json.dumps(told), model[:-4] + b"abcd", 3, "sha256"),
            (json.dumps(told), None, 3, "can't be read"))):
        harness.write(path, text)
        os.remove(weights)
        if blob is not None:
            harness.write(weights, blob)
        before = state_of(folder)
        done = harness.run(*command(folder, "sft", *settings), ranks=1 + i % 2, code=code)
        assert len(done.errors) == 1 and words in done.errors[0], done
        assert code == 3 and text == "{" or "--force" in done.errors[0], done
        assert state_of(folder) == before
        harness.write(weights, model)
    harness.run(*command(folder, "sft", *settings), "--force")
    assert harness.read_json(path)["recipe"] == told["recipe"]


def a_signal_stops_a_stage_that_starts(folder):
    """As soon as the program is there, before its libraries have started; in a while; and at two
    points of loading, to any of its ranks."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children don't ignore it, whoever started us
    kinds = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
    commands = [*((name, ()) for name in STAGES), ("score", ()), ("distill", ("distill.mode=off-policy",))]
    seen = set()
    for i, (name, mode) in enumerate(commands):
        shutil.rmtree(path_of(folder), ignore_errors=True)
        trains = name in ("sft", "dpo", "distill")  # for long; the others may be done in a moment
        wait, ranks = (0, 0.02, 0.06)[i % 3] * trains, 2 if i in (1, 5) else 1
        process = harness.start(command(folder, name, "optimizer.max_steps=0", "optimizer.epochs=1000", *mode), ranks)
        found, deadline = [], time.monotonic() + 20
        while not found and time.monotonic() < deadline:
            pids = [pid for pid in harness.members(process) if ranks == 1 or pid != process.pid]
            found = [pid for pid in pids if harness.is_program(pid) and harness.heed(pid)]
        seen.add(harness.heed(found[-1]))
        time.sleep(wait)
        os.kill(found[-1], kinds[i % 4])
        done = harness.finish(process)
        assert done.code == 75 and len(done.errors) == 1 and "run the same command again" in done.errors[0], done
    for _ in range(40):  # a busy machine may have shown none of them early enough
        if "SigBlk" in seen:
            break
        process = harness.start(command(folder, "sft"))
        while process.poll() is None and "SigCgt" != (state := harness.heed(process.pid)):
            seen.add(state)
        harness.finish(process)
    assert "SigBlk" in seen, "no start was seen before its handlers were set"
    for i, (name, mode) in enumerate(commands):
        site = ("start", "data_open")[i % 2]
        done = harness.run(*command(folder, name, f"debug.fail={site}:{i // 6}:1:signal", *mode),
                           ranks=1 + i // 6, code=75)
        assert "stopped by a signal before its first step" in done.errors[0], done


def bytes_of(folder):
    """Without what the runs have taken, which no two take alike."""
    return {os.path.relpath(path, folder): open(path, "rb").read() for path in files(folder)
            if "/measured/" not in path and not path.endswith("run.json")}


def sampling_and_measuring_go_on(folder):
    """generate and eval, stopped at a token or a micro-batch, by a kill, on other ranks: the same bytes."""
    few = ("optimizer.micro_batch_tokens=120", "sampling.max_new_tokens=12", "eval.generate=20",
           "generate.samples=8", f'eval.dpo="{folder}/dpo"', f'eval.contrast="{folder}/rev"',
           f'eval.reference="{folder}/dpo"')
    strengths = ("--strengths", "5,10")
    cases = (("generate", (), "generations.jsonl.progress", ("token:0:65:signal", "token:0:62:signal")),
             ("generate", ("generate.teacher=true",), "generations.jsonl.progress", ("token:1:65:signal",)),
             ("eval", (), "eval/eval.progress", ("measure:0:3:signal", "token:0:65:signal", "measure:0:2:signal")),
             ("eval", strengths, "eval/strengths.progress", ("token:0:65:signal", "measure:0:9:signal")))
    for name, more, progress, stops in cases:
        settings, words = (few, more) if more == strengths else ((*few, *more), ())
        shutil.rmtree(path_of(folder), ignore_errors=True)
        whole_run = harness.run(*command(folder, name, *settings), *words)
        whole = bytes_of(path_of(folder))
        assert not os.path.exists(path_of(folder, progress)) and any(k.endswith("done.json") for k in whole)
        shutil.rmtree(path_of(folder))
        sizes = []
        for i, fault in enumerate(stops):
            ranks = 2 if fault.split(":")[1] == "1" or i % 2 else 1
            done = harness.run(*command(folder, name, *settings, "debug.fail=" + fault), *words, code=75,
                               ranks=ranks)
            assert "run the same command again to go on" in done.errors[0] and len(done.errors) == 1, done
            assert (i == 0) == ("going on from" not in done.err), done
            sizes.append(os.path.getsize(path_of(folder, progress)))
        assert sizes == sorted(set(sizes)) and sizes[-1] > 5000, sizes  # more each time, and not the head alone
        done = harness.run(*command(folder, name, *settings, "seed=2"), *words, code=2)
        assert "seed was 1, is 2" in done.errors[0] and progress in done.errors[0], done
        with open(path_of(folder, progress), "ab") as file:
            file.write(b"answers 99999 ")  # cut by a kill
        done = harness.run(*command(folder, name, *settings), *words, ranks=2)
        assert done.out == whole_run.out and "damaged at byte" in done.err, done
        assert bytes_of(path_of(folder)) == whole, name
        before = state_of(folder)
        done = harness.run(*command(folder, name, *settings), *words, ranks=1)
        assert "finished" in done.err and state_of(folder) == before, done
        done = harness.run(*command(folder, name, *settings, "seed=2"), *words, code=2)
        assert "seed was 1, is 2" in done.errors[0] and "--force" in done.errors[0], done
    harness.run(*command(folder, "eval", *few, "seed=2"), "--force")
    harness.run(*command(folder, "eval", *few, "seed=2", 'data.eval="none.jsonl"'), code=3)


def a_killed_generation_goes_on(folder):
    settings = ("sampling.max_new_tokens=200", "generate.samples=40")
    shutil.rmtree(path_of(folder), ignore_errors=True)
    harness.run(*command(folder, "generate", *settings))
    whole, path = bytes_of(path_of(folder)), path_of(folder, "generations.jsonl.progress")
    shutil.rmtree(path_of(folder))
    process = harness.start(command(folder, "generate", *settings), 2)
    while process.poll() is None and not (os.path.exists(path) and os.path.getsize(path) > 20000):
        time.sleep(0.01)
    killed = harness.kill(process)
    done = harness.run(*command(folder, "generate", *settings))
    assert not killed or "going on from" in done.err, done
    made = bytes_of(path_of(folder))
    assert made == whole, (done, {name: (made.get(name), whole.get(name)) for name in {*made, *whole}
                                  if made.get(name) != whole.get(name)})


def weights_are_known_by_their_content(folder):
    """A byte of the policy is changed in its place, and the file's time set back."""
    path = f"{folder}/policy/model.safetensors"
    os.utime(path, (time.time() - 60, time.time() - 60))
    time.sleep(2.1)  # a digest is remembered of files that have rested
    settings = stopped_at(folder, "sft")
    assert os.path.exists(f"{folder}/policy/.model.safetensors.sha256")
    before = os.stat(path)
    for changes in (1, 2):  # and back
        with open(path, "r+b") as file:
            file.seek(-4, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-4, os.SEEK_END)
            file.write(bytes([byte ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        done = harness.run(*command(folder, "sft", *settings), code=2 if changes == 1 else 0)
        assert changes == 2 or "sft.model was " in done.errors[0], done


def a_damaged_checkpoint_is_set_aside(folder):
    settings = stopped_at(folder, "sft")
    harness.run(*command(folder, "sft", *settings))
    whole = harness.weights(path_of(folder, "sft"))
    for i, name in enumerate(("optimizer.h5", "model.safetensors", "config.json", "state.json")):
        for ranks in (1, 2) if harness.ALL_TRIALS else (1 + i % 2,):
            stopped_at(folder, "sft")
            path = path_of(folder, "sft", "checkpoints", "step-000003", name)
            data = bytearray(open(path, "rb").read())
            data[len(data) // 2] ^= 1 if name != "state.json" else 0x80
            harness.write(path, bytes(data))
            done = harness.run(*command(folder, "sft", *settings), ranks=ranks)
            warned = [line for line in done.err.splitlines() if "step-000003" in line]
            assert len(warned) == 1 and name in warned[0] and "older checkpoint" in warned[0], done
            assert "step-000003.damaged" in checkpoints(folder, "sft")
            for tensor, values in harness.weights(path_of(folder, "sft")).items():
                assert (values == whole[tensor]).all(), (name, tensor)


def nothing_is_left_of_a_run_that_fails(folder):
    shutil.rmtree(path_of(folder), ignore_errors=True)
    os.makedirs(path_of(folder))
    for name in STAGES:
        harness.run(*command(folder, name, 'data.train="none.jsonl"', 'data.eval="none.jsonl"'), code=3)
    assert os.listdir(path_of(folder)) == []


if __name__ == "__main__":
    harness.main([the_second_is_refused_and_the_first_unharmed, a_dead_owner_is_followed_at_once,
                  a_silent_owner_elsewhere_is_followed_after_five_minutes,
                  a_job_started_again_follows_itself, who_lost_the_lock_publishes_nothing,
                  scoring_is_shared_but_not_with_a_run_that_makes_shards, an_input_is_no_output,
                  a_run_goes_on_whatever_doesnt_change_its_result, a_run_doesnt_go_on_with_other_inputs,
                  a_finished_stage_is_not_run_again, a_finished_stage_that_doesnt_say_of_what_is_not_run_again,
                  a_signal_stops_a_stage_that_starts, sampling_and_measuring_go_on, a_killed_generation_goes_on, weights_are_known_by_their_content, a_damaged_checkpoint_is_set_aside,
                  nothing_is_left_of_a_run_that_fails], prepare)
