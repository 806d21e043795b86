#!/usr/bin/python3
"""Checkpoints that a thread writes while training goes on: it does go on, a thread that fails ends the run,
a run that is killed meanwhile has the checkpoint before, and results are those of a run without any."""
import os
import shutil
import sys
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

CONFIG = """optimizer: { batch_size = 4; epochs = 2; max_steps = 8; };
checkpoint: { every_steps = 3; keep_last = 0; };
distill: { policy = "policy"; };
"""


def prepare(folder):
    harness.prepare_route(folder, CONFIG)


def path_of(folder, *names):
    return os.path.join(folder, "out", *names)


def command(folder, *settings):
    return ["sft", "-c", f"{folder}/run.cfg", *(part for s in settings for part in ("--set", s))]


def checkpoints(folder):
    path = path_of(folder, "sft", "checkpoints")
    return sorted(os.listdir(path)) if os.path.exists(path) else []


def steps_of(folder):
    try:
        return len(harness.read_rows(path_of(folder, "sft", "metrics.jsonl")))
    except (FileNotFoundError, ValueError):
        return 0


def whole(folder):
    """The model of a run without checkpoints."""
    shutil.rmtree(path_of(folder), ignore_errors=True)
    harness.run(*command(folder, "checkpoint.every_steps=0"))
    model = open(path_of(folder, "sft", "model.safetensors"), "rb").read()
    shutil.rmtree(path_of(folder))
    return model


def goes_on(folder, ranks, model, before):
    """The run ends as the whole one, from the checkpoint that is told."""
    done = harness.run(*command(folder), ranks=ranks)
    assert ("going on from" in done.err) == (before is not None) and (before or "") in done.err, done
    assert open(path_of(folder, "sft", "model.safetensors"), "rb").read() == model
    assert checkpoints(folder) == ["step-000003", "step-000006"]
    harness.check_files(path_of(folder))


def training_goes_on_beside_it(folder):
    """Up to the next checkpoint, which waits for a thread that never ends; then the run is killed."""
    model = whole(folder)
    for ranks, rank, time_, before, steps in ((1, 0, 1, None, 6), (2, 0, 2, "step-000003", 8), (2, 1, 1, None, 6)):
        shutil.rmtree(path_of(folder), ignore_errors=True)
        process = harness.start(command(folder, f"debug.fail=checkpoint_thread:{rank}:{time_}:hang"), ranks)
        deadline = time.monotonic() + 30
        while steps_of(folder) < steps:
            assert time.monotonic() < deadline and process.poll() is None, (checkpoints(folder), steps_of(folder))
            time.sleep(0.05)
        time.sleep(0.5)
        assert process.poll() is None and steps_of(folder) == steps
        assert [name for name in checkpoints(folder) if "." not in name] == ([before] if before else [])
        assert not os.path.exists(path_of(folder, "sft", "done.json"))
        assert harness.kill(process)
        goes_on(folder, 3 - ranks, model, before)


def a_thread_that_fails_ends_the_run(folder):
    """At the next step, or where none is left before the model is written; on all ranks, with one line."""
    model = whole(folder)
    for ranks, rank, time_, left in ((1, 0, 1, []), (2, 0, 1, []), (2, 1, 1, []), (2, 0, 2, ["step-000003"]),
                                     (2, 1, 2, ["step-000003"]), (1, 0, 2, ["step-000003"])):
        shutil.rmtree(path_of(folder), ignore_errors=True)
        settings = (f"debug.fail=checkpoint_thread:{rank}:{time_}",)
        done = harness.run(*command(folder, *settings), ranks=ranks, code=5)
        assert len(done.errors) == 1 and f"checkpoint_thread, time {time_}" in done.errors[0], done
        assert checkpoints(folder) == left and not os.path.exists(path_of(folder, "sft", "done.json")), done
        # On a busy machine the thread may fail late: the next checkpoint waits for it.
        assert 3 * time_ <= steps_of(folder) <= 3 * time_ + 3, steps_of(folder)
        goes_on(folder, 3 - ranks, model, left[0] if left else None)


def a_folder_that_cant_be_written_ends_the_run(folder):
    """What the thread meets on the disk is said as ever, and nothing has its final name."""
    model = whole(folder)
    harness.write(path_of(folder, "sft", "checkpoints"), "no folder")
    for ranks in (1, 2):
        done = harness.run(*command(folder), ranks=ranks, code=3)
        assert len(done.errors) == 1 and "sft/checkpoints" in done.errors[0], done
        assert not os.path.exists(path_of(folder, "sft", "model.safetensors"))
    os.remove(path_of(folder, "sft", "checkpoints"))
    goes_on(folder, 1, model, None)


def each_trainer_writes_its_share(folder):
    """Moments and files of weights by the trainer that has them; any number goes on from what any number wrote."""
    wide = harness.make_model(folder, "wide", 3, "--hidden", 128, "--heads", 4, "--kv-heads", 2, "--intermediate", 256)
    settings = (f"sft.model={wide}", "runtime.max_shard_size=300KB", "optimizer.max_steps=6")
    made = {}
    for ranks in (1, 2, 3):
        shutil.rmtree(path_of(folder), ignore_errors=True)
        harness.run(*command(folder, *settings), ranks=ranks)
        made[ranks] = path_of(folder, "sft", "checkpoints", "step-000003")
        names = sorted(name for name in os.listdir(made[ranks]) if name.startswith("optimizer"))
        parts = [f"optimizer-{k:05d}-of-{ranks:05d}.h5" for k in range(1, ranks + 1)] if ranks > 1 else []
        assert names == [*parts, "optimizer.h5"], names
        assert sum(name.startswith("model-") for name in os.listdir(made[ranks])) > 3
        assert set(harness.read_json(f"{made[ranks]}/state.json")["files"]) == set(os.listdir(made[ranks])) - {"state.json"}
        made[ranks] = shutil.move(made[ranks], os.path.join(folder, f"made-by-{ranks}"))
        model = {name: open(path_of(folder, "sft", name), "rb").read() for name in os.listdir(path_of(folder, "sft"))
                 if name.endswith(".safetensors")}
        assert model == made.setdefault("model", model)
    for ranks in (2, 3):
        for name in os.listdir(made[1]):
            if name not in ("state.json", "optimizer.h5"):
                assert open(f"{made[ranks]}/{name}", "rb").read() == open(f"{made[1]}/{name}", "rb").read(), name
        with h5py.File(f"{made[1]}/optimizer.h5") as one, h5py.File(f"{made[ranks]}/optimizer.h5") as many:
            assert one["m"].size > 3 * 65536 and np.any(one["m"][-65536:])
            assert all(np.array_equal(one[name][:], many[name][:]) for name in ("m", "v"))
    for by, ranks in ((1, 3), (3, 1), (3, 2), (2, 3)):
        shutil.rmtree(path_of(folder))
        shutil.copytree(made[by], path_of(folder, "sft", "checkpoints", "step-000003"))
        done = harness.run(*command(folder, *settings), ranks=ranks)
        assert "going on from" in done.err and "step-000003" in done.err
        assert all(open(path_of(folder, "sft", name), "rb").read() == content for name, content in made["model"].items())
    shutil.rmtree(path_of(folder))
    shutil.copytree(made[3], path_of(folder, "sft", "checkpoints", "step-000003"))
    os.truncate(path_of(folder, "sft", "checkpoints", "step-000003", "optimizer-00002-of-00003.h5"), 70000)
    done = harness.run(*command(folder, *settings), ranks=2, code=3)
    assert len(done.errors) == 1 and "optimizer-00002-of-00003.h5: its sha256" in done.errors[0], done


def without_memory_training_waits(folder):
    """One rank without memory for a copy: all write at once, and nothing else is different."""
    model = whole(folder)
    for ranks, rank in ((1, 0), (2, 1)):
        shutil.rmtree(path_of(folder), ignore_errors=True)
        process = harness.run(*command(folder, f"debug.fail=checkpoint_copy:{rank}:1"), "--verbose", ranks=ranks)
        assert "training waits for the checkpoint of step 3" in process.err, process
        assert "training waits for the checkpoint of step 6" not in process.err, process
        assert checkpoints(folder) == ["step-000003", "step-000006"]
        assert open(path_of(folder, "sft", "model.safetensors"), "rb").read() == model
        harness.check_files(path_of(folder))


def old_ones_go_when_the_new_one_is_whole(folder):
    model = whole(folder)
    for keep, left in ((1, ["step-000007"]), (3, ["step-000005", "step-000006", "step-000007"])):
        for ranks in (1, 2):
            shutil.rmtree(path_of(folder), ignore_errors=True)
            settings = ("checkpoint.every_steps=1", f"checkpoint.keep_last={keep}")
            harness.run(*command(folder, *settings), ranks=ranks)
            assert checkpoints(folder) == left
            assert open(path_of(folder, "sft", "model.safetensors"), "rb").read() == model
            harness.check_files(path_of(folder))


if __name__ == "__main__":
    harness.main([training_goes_on_beside_it, a_thread_that_fails_ends_the_run,
                  a_folder_that_cant_be_written_ends_the_run, each_trainer_writes_its_share,
                  without_memory_training_waits, old_ones_go_when_the_new_one_is_whole], prepare)
