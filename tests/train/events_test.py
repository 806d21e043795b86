#!/usr/bin/python3
"""TensorBoard's event files, read back: by a reader of the format written here from its documents, and by
TensorBoard's own where that is installed. The numbers are those of metrics.jsonl, also after a stop."""
import glob
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

CONFIG = """optimizer: { batch_size = 4; epochs = 2; max_steps = 6; };
checkpoint: { every_steps = 2; };
distill: { policy = "policy"; mode = "off-policy"; };
"""
NAME = "events.out.tfevents.aligndistil"


def crc32c(data):
    """Castagnoli's, by long division of the message's polynomial: x^32 + ... as in RFC 3720, B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def records(blob):
    """The data of each record, checksums looked at."""
    at, found = 0, []
    while at < len(blob):
        length, = struct.unpack_from("<Q", blob, at)
        data = blob[at + 12:at + 12 + length]
        for piece, place in ((blob[at:at + 8], at + 8), (data, at + 12 + length)):
            crc = crc32c(piece)
            assert struct.unpack_from("<I", blob, place)[0] == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        found.append(data)
        at += length + 16
    return found


def fields(message):
    """[(number, value)] of a message of protocol buffers: integers, 8 and 4 bytes, strings of bytes."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (message[at] & 0x7F) << shift
            shift += 7
            at += 1
            if message[at - 1] < 0x80:
                return value, at
    at, found = 0, []
    while at < len(message):
        key, at = varint(at)
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            value, at = varint(at)
        else:
            if key & 7 == 2:
                size, at = varint(at)
            value, at = message[at:at + size], at + size
            assert len(value) == size
        found.append((key >> 3, value))
    return found


def double(data):
    return np.frombuffer(data, "<f8")


def events(path):
    """[(time, step, {tag: number or histogram})] behind the first event, which has the version."""
    with open(path, "rb") as file:
        first, *rest = [fields(data) for data in records(file.read())]
    assert dict(first)[3] == b"brain.Event:2", first
    found = []
    for event in map(dict, rest):
        values = {}
        for number, value in fields(event[5]):
            assert number == 1
            value = dict(fields(value))
            if 2 in value:
                values[value[1].decode()], = struct.unpack("<f", value[2])
            else:
                values[value[1].decode()] = {n: double(v) for n, v in fields(value[5])}
        found.append((double(event[1])[0], event[2], values))
    return found


def prepare(folder):
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the catalogue of CRCs
    harness.prepare_route(folder, CONFIG)


def command(folder, stage, *settings, **options):
    words = [w for s in settings for w in ("--set", s)]
    return harness.run(stage, "-c", f"{folder}/run.cfg", *words, **options)


def check(folder, output):
    """The events of a stage are its metrics; returns them."""
    rows = harness.read_rows(f"{folder}/out/{output}/metrics.jsonl")
    found = events(f"{folder}/out/{output}/{NAME}")
    assert [step for _, step, _ in found] == [row["step"] for row in rows]
    times = [time for time, _, _ in found]
    assert times == sorted(times) and times[0] > 1.6e9
    for row, (_, _, values) in zip(rows, found):
        scalars = {name: value for name, value in values.items() if not isinstance(value, dict)}
        expected = {name: value for name, value in row.items() if name != "step" and value is not None}
        assert set(scalars) == set(expected), set(scalars) ^ set(expected)
        for name, value in expected.items():
            assert abs(scalars[name] - value) <= 1e-6 * abs(value) + 1e-30, (name, scalars[name], value)
    return found


def numbers_are_those_of_the_metrics(folder):
    for ranks in (1, 2):
        shutil.rmtree(f"{folder}/out", ignore_errors=True)
        command(folder, "sft", ranks=ranks)
        assert not any(isinstance(value, dict) for value in check(folder, "sft")[0][2].values())


def tvd_of(path):
    with h5py.File(path) as file:
        return file["response/tvd"][:].astype(float)


def histograms_are_of_all_positions(folder):
    """Recomputed from the shards: every position of a step's responses once, on any number of trainers."""
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    command(folder, "score")
    everything = np.concatenate([tvd_of(path) for path in sorted(glob.glob(f"{folder}/out/shards/*.h5"))])
    seen = []
    for ranks in (1, 3):
        command(folder, "distill", "optimizer.batch_size=20", "optimizer.max_steps=1", "checkpoint.resume=false", ranks=ranks)
        (_, _, values), = check(folder, "aligned")
        for name, numbers in (("tvd", everything), ("alpha", 20 * everything + 1e-3)):
            h = values[name]
            assert h[3][0] == len(numbers)
            assert np.allclose([h[k][0] for k in (1, 2, 4, 5)],
                               [numbers.min(), numbers.max(), numbers.sum(), (numbers**2).sum()], rtol=1e-5)
            limits = np.concatenate([h[1], h[6]])
            limits[-1] = np.inf
            counts = np.histogram(numbers, limits)[0]
            assert len(h[7]) == 30 and h[7].sum() == len(numbers)
            assert np.abs(counts - h[7]).sum() <= 2, (counts, h[7])  # a number at a limit, in floats
        seen.append([(name, {k: v.tolist() for k, v in values[name].items()}) for name in ("tvd", "alpha")])
    assert seen[0] == seen[1]


def a_run_that_goes_on_has_each_step_once(folder):
    """Behind a checkpoint, and with a damaged record, from which on the rest is dropped."""
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    command(folder, "sft", "debug.fail=metrics_write:0:4", code=5)
    path = f"{folder}/out/sft/{NAME}"
    before = [step for _, step, _ in events(path)]
    assert before == [1, 2, 3], before
    with open(path, "ab") as file:
        file.write(b"half a record")
    command(folder, "sft")
    check(folder, "sft")
    shutil.rmtree(f"{folder}/out")
    command(folder, "sft", "debug.fail=metrics_write:0:4", code=5)
    with open(path, "rb") as file:
        second = sum(len(data) + 16 for data in records(file.read())[:2])
    with open(path, "r+b") as file:
        file.seek(second + 40)
        file.write(b"?")
    command(folder, "sft")
    there = [step for _, step, _ in events(path)]
    assert there == [1, 3, 4, 5, 6], there


def tensorboards_own_reader(folder):
    if importlib.util.find_spec("tensorboard") is None:
        raise harness.Skip("tensorboard isn't installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    command(folder, "distill")
    accumulator = EventAccumulator(f"{folder}/out/aligned").Reload()
    rows = harness.read_rows(f"{folder}/out/aligned/metrics.jsonl")
    assert np.allclose([e.value for e in accumulator.Scalars("loss")], [row["loss"] for row in rows], rtol=1e-6)
    assert [e.step for e in accumulator.Histograms("alpha")] == [row["step"] for row in rows]


def import_of(*arguments, code=0):
    done = subprocess.run(["/usr/bin/python3", f"{harness.ROOT}/tools/import_metrics.py", *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()] if code == 0 else done.stderr


def what_is_imported_elsewhere(folder):
    """import_metrics.py as far as it goes without W&B and MLflow, which are on no node: what would be sent."""
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    command(folder, "sft")
    out = f"{folder}/out/sft"
    for target in ("wandb", "mlflow"):
        head, *steps = import_of("--to", target, "--dry-run", out)
        assert steps == harness.read_rows(f"{out}/metrics.jsonl") and len(steps) == 6
        assert head["run"] == "sft" and head["config"]["optimizer.batch_size"] == 4, head
        if importlib.util.find_spec(target) is None:
            assert target in import_of("--to", target, out, code=1)
    with open(f"{out}/metrics.jsonl", "a", encoding="utf-8") as file:
        file.write("[1]\n")
    assert f"{out}/metrics.jsonl:7: expected an object" in import_of("--to", "wandb", "--dry-run", out, code=1)
    assert "metrics.jsonl: No such file" in import_of("--to", "wandb", "--dry-run", f"{folder}/none", code=1)


MLFLOW = '''"""The calls of MLflow that are used, with its rules of names and sizes; a store in one file."""
import json, os, posixpath, re, sys, types
STORE, CALLS = os.environ["STORE"], [int(os.environ.get("CALLS", "1000"))]


class Thing(types.SimpleNamespace):
    pass


class MlflowException(Exception):
    pass


class MlflowClient:
    def __init__(self):
        self.runs = json.load(open(STORE)) if os.path.exists(STORE) else []

    def save(self):
        json.dump(self.runs, open(STORE, "w"))

    def view(self, number):
        run = self.runs[number]
        metrics = {key: value for key, value, _, _ in run["metrics"]}
        return Thing(info=Thing(run_id=number), data=Thing(metrics=metrics, params=dict(run["params"])))

    def get_experiment_by_name(self, name):
        return Thing(experiment_id=name)

    def search_runs(self, experiments, text):
        return [self.view(i) for i, run in enumerate(self.runs) if run["experiment"] in experiments and repr(run["tag"]) in text]

    def create_run(self, experiment, run_name, tags):
        self.runs.append({"experiment": experiment, "name": run_name, "tag": tags["aligndistil.run"], "status": "RUNNING",
                          "metrics": [], "params": []})
        self.save()
        return self.view(len(self.runs) - 1)

    def get_metric_history(self, number, name):
        return [Thing(step=step, value=value) for key, value, _, step in self.runs[number]["metrics"] if key == name]

    def log_batch(self, number, metrics=(), params=()):
        for key in [m.key for m in metrics] + [p.key for p in params]:
            if not re.match(r"^[/\\w.\\- :]*$", key) or posixpath.normpath(key) != key or len(key) > 250:
                raise MlflowException(f"INVALID_PARAMETER_VALUE: {key}\\nmore")
        if len(metrics) > 1000 or len(params) > 100 or any(p.key in dict(self.runs[number]["params"]) for p in params):
            raise MlflowException("too many, or there")
        CALLS[0] -= 1
        if CALLS[0] < 0:
            raise MlflowException("connection lost\\nat a line of its own")
        self.runs[number]["metrics"] += [(m.key, m.value, m.timestamp, m.step) for m in metrics]
        self.runs[number]["params"] += [(p.key, p.value) for p in params]
        self.save()

    def set_terminated(self, number, status="FINISHED"):
        self.runs[number]["status"] = status
        self.save()


def thing(*names):
    return lambda *values: Thing(**dict(zip(names, values)))


def set_experiment(name):
    pass


tracking = Thing(MlflowClient=MlflowClient)
entities = sys.modules["mlflow.entities"] = types.ModuleType("mlflow.entities")
entities.Metric, entities.Param = thing("key", "value", "timestamp", "step"), thing("key", "value")
'''
ODD = ["", "loss", "a(b)", "a)b(", "a:28b:29", "a_b_", "/root", "root", "a//b", "a/b", "..", "é", "x%", "n" * 300, "n" * 301]


def names_spelled(names):
    """Those that import_metrics.py gives to MLflow."""
    spec = importlib.util.spec_from_file_location("import_metrics", f"{harness.ROOT}/tools/import_metrics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [module.mlflow_name(name) for name in names]


def imports_into_mlflow_are_whole(folder):
    """Against a stand-in: names within its rule and none twice, nothing lost where an import ends amid a step,
    and said what was sent."""
    spelled = names_spelled(ODD)
    assert len(set(spelled)) == len(ODD) and spelled[:2] == [":", "loss"] and spelled[2] == "a:28b:29", spelled
    assert not [name for name in names_spelled(["loss", "work/scorer", "tokens_per_second", "kl-mean.95"]) if ":" in name]
    run, store = f"{folder}/mlflow-run", f"{folder}/store.json"
    harness.write(f"{folder}/modules/mlflow.py", MLFLOW)
    harness.write(f"{run}/done.json", json.dumps({"recipe": {f"key.{i}": str(i) for i in range(130)}}))

    def metrics(shift):
        rows = [{"step": s, **{name: s + i + shift for i, name in enumerate(ODD)}} for s in range(1, 101)]
        harness.write(f"{run}/metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return {(name, row["step"]): row[odd] for row in rows for name, odd in zip(spelled, ODD)}

    def imported(calls, code=0):
        done = subprocess.run(["/usr/bin/python3", f"{harness.ROOT}/tools/import_metrics.py", "--to", "mlflow", run], text=True,
                              env={**os.environ, "PYTHONPATH": f"{folder}/modules", "STORE": store, "CALLS": str(calls)}, capture_output=True)
        assert done.returncode == code and len(done.stderr.splitlines()) == 1, done.stderr
        runs = harness.read_json(store)
        assert len(runs) == 1 and runs[0]["status"] == ("FAILED" if code else "FINISHED"), runs
        return done.stderr, {(key, step): value for key, value, _, step in runs[0]["metrics"]}, runs[0]

    wanted = metrics(0.5)
    said, _, kept = imported(1, 1)  # amid the settings
    assert "mlflow-run: mlflow failed: connection lost; import again" in said and len(kept["params"]) == 100, said
    _, found, kept = imported(2, 1)  # amid a step: 500 values are no whole number of 15
    assert len(found) == 500 and len(kept["params"]) == 130, len(found)
    said, found, kept = imported(1000)
    assert found == wanted and len(kept["metrics"]) == len(wanted), (len(found), len(wanted))
    assert "values of 67 steps sent (1000), 500 passed over as they are there\n" in said, said
    said, found, _ = imported(1000)
    assert "values of 0 steps sent (0), 1500 passed over" in said and "others by now" not in said, said
    metrics(0.75)  # made anew
    said, found, _ = imported(1000)
    assert "values of 0 steps sent (0), 1500 passed over" in said and "1500 values and settings are others by now" in said, said
    assert found == wanted


if __name__ == "__main__":
    harness.main([numbers_are_those_of_the_metrics, histograms_are_of_all_positions,
                  a_run_that_goes_on_has_each_step_once, what_is_imported_elsewhere, imports_into_mlflow_are_whole, tensorboards_own_reader], prepare)
