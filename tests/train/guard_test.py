#!/usr/bin/python3
"""distill.guard: a run that over-optimises, and what the guard does of it; the same on any number of
ranks and after a stop. The reverse model likes to end, so the teacher doesn't, and answers grow."""
import os
import signal
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import model  # noqa: E402

END = training.END
STEPS = 24


class Setting:
    data = models = None


def ends(folder, name, source, size):
    """A copy of a model whose row of the closing token points where its hidden states do."""
    directory = harness.copy(source, os.path.join(folder, name))
    path = os.path.join(directory, "model.safetensors")
    twin = model.Model.load(directory)
    hidden = np.concatenate([twin.forward(p + r)[1] for p, r in Setting.data.sequences("chosen")])
    header, data = harness.safetensors_header(path)
    begin, end = header["lm_head.weight"]["data_offsets"]
    matrix = np.frombuffer(data[begin:end], "<f4").reshape(-1, hidden.shape[1]).copy()
    matrix[END] = size * hidden.mean(axis=0) / np.linalg.norm(hidden.mean(axis=0))
    harness.write_safetensors(path, header, data[:begin] + matrix.tobytes() + data[end:])
    return directory


def prepare(folder):
    Setting.data = training.Data(folder)
    base = harness.make_model(folder, "base", 1, "--heads", 4, "--kv-heads", 2, "--init-std", 0.1,
                              "--untied")
    Setting.models = {"dpo": ends(folder, "dpo", base, 4.0), "reverse": ends(folder, "reverse", base, 6.0)}


def keys_of(output, **more):
    return {"data__train": Setting.data.path, "data__chat_format": "none", "distill__mode": "on-policy",
            "distill__policy": Setting.models["dpo"], "teacher__dpo": Setting.models["dpo"],
            "teacher__reverse": Setting.models["reverse"], "distill__output": output,
            "shards__directory": output + "-shards", "optimizer__batch_size": 5, "optimizer__epochs": 100,
            "optimizer__max_steps": STEPS, "optimizer__lr": 0.01, "optimizer__warmup_ratio": 0.0,
            "sampling__max_new_tokens": 30, "shards__encoding": "full", "checkpoint__every_steps": 0,
            **more}


def distill(folder, output, ranks=1, **more):
    done = training.stage("distill", folder, ranks=ranks, **keys_of(output, **more))
    return harness.read_rows(os.path.join(folder, output, "metrics.jsonl")), done


def said(done):
    return [line for line in done.err.splitlines() if "as long as in the first step" in line]


def averages(values):
    out = [values[0]]
    for value in values[1:]:
        out.append(0.9 * out[-1] + 0.1 * value)
    return np.array(out)


def check_figures(rows):
    length = averages([row["response_length"] for row in rows]) / rows[0]["response_length"]
    kl = averages([row["kl/dpo"] for row in rows])
    assert np.abs(length - [row["guard/length_ratio"] for row in rows]).max() < 1e-6
    assert np.abs(kl - [row["guard/kl"] for row in rows]).max() < 1e-6
    return length, kl


def it_is_warned_of_once(folder):
    rows, done = distill(folder, "warn", distill__guard__max_length_ratio=1.2, distill__guard__max_kl=100.0)
    length, _ = check_figures(rows)
    first = int(np.argmax(length > 1.2))
    assert length.max() > 1.4 and first > 0, length
    assert len(rows) == STEPS and all(row["guard/strength"] == 20.0 for row in rows)
    assert len(said(done)) == 1 and f"step {first + 1}:" in said(done)[0], (first, said(done))
    free, quiet = distill(folder, "free")
    assert not said(quiet) and "guard/kl" not in free[0]
    assert [row["loss"] for row in free] == [row["loss"] for row in rows]


def r_is_reduced(folder):
    options = {"distill__guard__max_kl": 0.02, "distill__guard__action": "reduce"}
    rows, done = distill(folder, "reduce", **options)
    _, kl = check_figures(rows)
    wanted, r, last = [], 20.0, -100
    for step in range(STEPS):  # what the step was taken with; a reduction is for those behind it
        wanted.append(r)
        if kl[step] > 0.02 and step - last >= 10:
            r, last = r * 0.8, step
    assert r < 20.0 * 0.8 and len(set(wanted)) >= 3, wanted
    assert np.allclose([row["guard/strength"] for row in rows], wanted, rtol=1e-6), wanted
    for row in rows:  # alpha is what the metrics say of r
        assert abs(row["alpha/mean"] - row["guard/strength"] * row["tvd/mean"] - 1e-3) < 1e-6
    assert len(said(done)) == len(set(wanted)) - 1 + (r != wanted[-1])


def the_run_is_ended(folder):
    options = {"distill__guard__max_kl": 0.02, "distill__guard__action": "stop"}
    rows, done = distill(folder, "stop", **options)
    _, kl = check_figures(rows)
    assert 1 < len(rows) < STEPS and kl[-1] > 0.02 and (kl[:-1] <= 0.02).all()
    assert harness.read_json(os.path.join(folder, "stop", "done.json"))["steps"] == len(rows)
    assert "distill.guard ends the run" in said(done)[0]
    for ranks, roles in ((2, {}), (3, {"roles__trainers": 1, "roles__scorers": 1, "roles__generators": 1})):
        other, _ = distill(folder, f"stop{ranks}", ranks, **options, **roles)
        assert [row["loss"] for row in other] == [row["loss"] for row in rows]
        one, two = (harness.read_json(os.path.join(folder, name, "done.json"))["sha256"]
                    for name in ("stop", f"stop{ranks}"))
        assert one == two, ranks


def a_signal_in_the_last_step_leaves_it_the_last(folder):
    options = {"distill__guard__max_kl": 0.02, "distill__guard__action": "stop"}
    last = harness.read_json(os.path.join(folder, "stop", "done.json"))
    for ranks, roles in ((1, {}), (2, {"roles__trainers": 1, "roles__scorers": 1})):
        keys = keys_of(f"last{ranks}", **options, **roles, checkpoint__resume=True,
                       debug__fail=f"train_step:0:{last['steps']}:signal")
        for code in (75, 0):
            training.stage("distill", folder, ranks=ranks, code=code, **keys)
        done = harness.read_json(os.path.join(folder, f"last{ranks}", "done.json"))
        assert (done["steps"], done["sha256"]) == (last["steps"], last["sha256"]), (ranks, done)


def a_stopped_run_goes_on_with_its_averages(folder):
    options = {"distill__guard__max_kl": 0.02, "distill__guard__action": "reduce",
               "checkpoint__keep_last": 0}
    whole, _ = distill(folder, "whole", **options)
    keys = training.settings({"output": folder, **keys_of("parts", **options)})
    command = [harness.BINARY, "distill", "-c", os.path.join(folder, "empty.cfg"), *keys]
    path = os.path.join(folder, "parts", "metrics.jsonl")
    stops = 0
    for _ in range(12):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=harness.environment())
        before = len(harness.read_rows(path)) if os.path.exists(path) else 0
        while process.poll() is None and (not os.path.exists(path) or
                                          len(open(path).readlines()) < before + 4):
            time.sleep(0.005)
        process.send_signal(signal.SIGUSR1)
        code = process.wait(60), process.stderr.read()
        assert code[0] in (0, 75), code
        stops += code[0] == 75
        if code[0] == 0:
            break
    assert stops >= 2, "it was never stopped"
    rows = harness.read_rows(path)
    for name in ("loss", "guard/kl", "guard/strength", "alpha/mean", "response_length"):
        assert [row[name] for row in rows] == [row[name] for row in whole], name


def limits_that_mean_nothing_are_refused(folder):
    for ranks in (1, 3):
        for word, options in (
                ("max_length_ratio", {"distill__mode": "off-policy", "distill__guard__max_length_ratio": 2.0}),
                ("action", {"distill__signal": "token", "distill__guard__max_kl": 0.1,
                            "distill__guard__action": "reduce"}),
                ("action", {"teacher__extrapolation": "none", "distill__guard__max_kl": 0.1,
                            "distill__guard__action": "reduce"})):
            path = os.path.join(folder, "empty.cfg")
            done = harness.run("distill", "-c", path, *training.settings(
                {"output": folder, **keys_of("bad", **options)}), ranks=ranks, code=2)
            assert len(done.errors) == 1 and "distill.guard." + word in done.errors[0], done


if __name__ == "__main__":
    harness.main([it_is_warned_of_once, r_is_reduced, the_run_is_ended,
                  a_signal_in_the_last_step_leaves_it_the_last,
                  a_stopped_run_goes_on_with_its_averages, limits_that_mean_nothing_are_refused], prepare)
