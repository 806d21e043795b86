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


if __name__ == "__main__":
    harness.main([numbers_are_those_of_the_metrics, histograms_are_of_all_positions,
                  a_run_that_goes_on_has_each_step_once, what_is_imported_elsewhere, tensorboards_own_reader], prepare)
