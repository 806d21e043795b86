#!/usr/bin/python3
"""bench as a user runs it, and the threads that a rank takes. No test here is timed."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import BINARY, MPI, environment, main, make_desk, make_model, run, write  # noqa: E402

SHAPE = {"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 96,
         "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3,
         "vocab_size": 300, "max_position_embeddings": 512, "rms_norm_eps": 1e-6,
         "rope_theta": 10000.0, "tie_word_embeddings": True, "eos_token_id": 1}
PHASES = ["forward", "decode", "score", "train"]
TOP = {"model", "layers", "parameters", "sequences", "tokens", "repeat", "threads", "blas",
       "machine_sgemm_gflops", "machine_read_gb_per_second", "peak_rss_bytes"}
EACH = {"tokens_per_second", "gflops", "flop", "seconds", "sgemm_seconds", "sgemm_share",
        "cpu_seconds", "cpu_sgemm_share", "planned_bytes", "held_bytes"}
# Decoding is held to the reading of memory.
DECODE = {name.replace("sgemm", "read") for name in EACH}
LEVELS = ["x86-64", "x86-64-v3", "x86-64-v4"]
CORES = len(os.sched_getaffinity(0))


def config(folder, **changes):
    return write(os.path.join(folder, "config.json"), json.dumps({**SHAPE, **changes}))


def bench(*arguments, **keywords):
    return json.loads(run("bench", "--json", "--repeat", 1, *arguments, **keywords).out)


def parameters(layers, h=32, i=96, v=300, heads=4, kv=2):
    """Of a tied model with biases on q, k, v."""
    d = h // heads
    q = (heads + 2 * kv) * d
    return v * h + layers * (q * h + q + heads * d * h + 3 * i * h + 2 * h) + h


def products(layers, tokens, sequences, h=32, i=96, v=300, heads=4, kv=2):
    """FLOPs of a forward pass's layers, and of the output matrix."""
    d, rows = h // heads, tokens * sequences
    linear = 2 * rows * h * ((heads + 2 * kv) * d + heads * d + 3 * i) * layers
    causal = sum(2 * 2 * d * (t + 1) for t in range(tokens)) * heads * sequences * layers
    return linear + causal, 2 * rows * h * v


def test_text(folder):
    """The tokenizer alone: the same tokens on any number of threads, as `tokenize` counts them."""
    make_desk(folder)
    model = make_model(folder, "model")
    text = "".join(f"Order {i} came\n" for i in range(1000)) + "and no newline here"
    path = write(os.path.join(folder, "text"), text)
    lines = "".join(json.dumps({"text": piece}) + "\n" for piece in pieces(text))
    ids = run("tokenize", model, "--jsonl", stdin=lines.encode()).out.splitlines()
    for threads in (1, 2):
        report = bench("--model", model, "--text", path, "--threads", threads)
        assert report["bytes"] == len(text) and report["threads"] == threads
        assert report["tokens"] == sum(len(json.loads(line)["ids"]) for line in ids)
        assert report["first_seconds"] > 0 and report["seconds"] > 0
    for content, part in ((b"words\xff", "UTF-8"), (b"", "empty")):
        with open(path, "wb") as file:
            file.write(content)
        (error,) = run("bench", "--model", model, "--text", path, code=3).errors
        assert path in error and part in error, error
    (error,) = run("bench", "--config", config(folder), "--text", path, code=2).errors
    assert "--text" in error and "--model" in error, error


def pieces(text):
    while text:
        end = text.find("\n", 4096) + 1 or len(text)
        yield text[:end]
        text = text[end:]


def test_store(folder):
    """Shards beside plain files: figures of both encodings, and nothing left behind."""
    place = os.path.join(folder, "store")
    report = bench("--store", place, "--megabytes", 2)
    assert set(report) == {"hidden", "topk"} and os.listdir(place) == []
    for figures in report.values():
        assert 1.9e6 < figures["bytes"] < 4e6 and figures["positions"] >= 300
        for what in ("write", "read"):
            own, plain = figures[f"{what}_seconds"], figures[f"plain_{what}_seconds"]
            assert own > 0 and plain > 0
            assert abs(figures[f"{what}_share"] / (plain / own) - 1) < 0.05
    shown = run("bench", "--store", place, "--megabytes", 1, "--repeat", 1).out
    assert "hidden" in shown and "topk" in shown and "share" in shown
    (error,) = run("bench", "--store", os.path.join(write(os.path.join(folder, "file"), "x"), "a"),
                   code=None).errors
    assert "file" in error, error


def levels():
    """The levels that this CPU has, as the line about an unknown one lists them."""
    (error,) = run("bench", "--kernels", env={"ALIGNDISTIL_ISA": "fast"}, code=2).errors
    assert "ALIGNDISTIL_ISA=fast" in error, error
    return error.rsplit(": ", 1)[1].split(", ")


def test_kernels(folder):
    """Each kernel on each level of this CPU, whatever level is set."""
    there = levels()
    assert there == LEVELS[:len(there)] and there
    for level in there:
        report = bench("--kernels", env={"ALIGNDISTIL_ISA": level})
        assert len(report) > 30
        for figures in report:
            assert set(figures) == {"name", "size"} | set(there), figures
            assert all(0 < figures[name] < 1 for name in there), figures
    shown = run("bench", "--kernels", "--repeat", 1, ranks=2).out
    assert all(name in shown for name in there) and shown.count("logsumexp") == 2, shown
    assert "100%" in shown and "below 40%" in shown, shown


def test_levels_that_the_cpu_lacks(folder):
    """One line on any number of ranks, also where one rank alone is told so."""
    there = levels()
    for level in ["", "x86-64-v2"] + LEVELS[len(there):]:
        for ranks in (1, 2):
            (error,) = run("bench", "--kernels", env={"ALIGNDISTIL_ISA": level}, ranks=ranks,
                           code=2).errors
            assert all(name in error for name in there), error


def test_json_of_a_config(folder):
    report = bench("--config", config(folder), "--sequences", 3, "--tokens", 20)
    assert set(report) == TOP | set(PHASES), report
    assert report["parameters"] == parameters(3) and report["layers"] == 3
    assert report["sequences"] == 3 and report["tokens"] == 20 and report["repeat"] == 1
    assert report["blas"].startswith("OpenBLAS ") and "kernel" in report["blas"]
    assert report["machine_sgemm_gflops"] > 0.1 and report["machine_read_gb_per_second"] > 0.1
    for phase in PHASES:
        figures = report[phase]
        assert set(figures) == (DECODE if phase == "decode" else EACH), figures
        assert all(value > 0 for value in figures.values()), (phase, figures)
        assert figures["gflops"] * figures["seconds"] * 1e9 == approximately(figures["flop"])
        tokens = 24 if phase == "decode" else 60
        assert figures["tokens_per_second"] * figures["seconds"] == approximately(tokens)
        held = 4 * report["parameters"] * (6 if phase == "train" else 1)
        assert figures["held_bytes"] > held and figures["planned_bytes"] > held, figures


class approximately(float):
    def __eq__(self, other):
        return abs(self - other) < 1e-6 * abs(self)


def test_flops_are_those_of_the_model(folder):
    report = bench("--config", config(folder), "--sequences", 3, "--tokens", 20)
    layers, head = products(3, 20, 3)
    assert report["forward"]["flop"] == approximately(layers)
    assert report["score"]["flop"] == approximately(2 * (layers + head))
    assert report["train"]["flop"] == approximately(3 * (layers + head))


def test_layers_and_a_part_of_the_phases(folder):
    report = bench("--config", config(folder), "--layers", 1, "--tokens", 8, "--only",
                   "score,forward")
    assert report["layers"] == 1 and report["parameters"] == parameters(1)
    assert set(report) == TOP | {"forward", "score"}, report


def test_vocabulary_of_more_than_one_chunk(folder):
    """About 256 MiB of logits are made at once: 40 positions of 2 million tokens are two chunks."""
    path = config(folder, vocab_size=2000000, hidden_size=8, num_attention_heads=2,
                  num_key_value_heads=1, intermediate_size=8)
    report = bench("--config", path, "--layers", 1, "--sequences", 1, "--tokens", 40, "--only",
                   "score")
    layers, head = products(1, 40, 1, h=8, i=8, v=2000000, heads=2, kv=1)
    assert report["score"]["flop"] == approximately(2 * (layers + head)), report


def test_a_model_directory(folder):
    make_desk(folder)
    report = bench("--model", make_model(folder, "policy"), "--tokens", 16)
    assert report["model"].endswith("policy") and set(report) == TOP | set(PHASES)
    assert report["layers"] == 2


def test_text_for_people(folder):
    done = run("bench", "--config", config(folder), "--tokens", 8, "--repeat", 1)
    for word in PHASES + ["tokens/s", "GFLOP/s", "share", "OpenBLAS", "memory read", "MiB"]:
        assert word in done.out, (word, done.out)
    assert os.listdir(folder) and not done.errors


def test_one_report_on_many_ranks(folder):
    report = bench("--config", config(folder), "--tokens", 8, ranks=3)
    assert set(report) == TOP | set(PHASES)


def test_nothing_is_left_behind(folder):
    place = os.path.join(folder, "tmp")
    os.makedirs(place, exist_ok=True)
    bench("--config", config(folder), "--tokens", 8, "--only", "score", env={"TMPDIR": place})
    left = [name for name in os.listdir(place) if name.startswith("aligndistil")]
    assert not left, left


def test_bad_input_is_one_line(folder):
    path = config(folder)
    broken = write(os.path.join(folder, "broken.json"), "{\"model_type\": ")
    odd = write(os.path.join(folder, "odd.json"), json.dumps({**SHAPE, "hidden_act": "relu"}))
    cases = [(2, [], "--model"), (2, ["--config", path, "--model", folder], "--model"),
             (2, ["--frob"], "--frob"), (2, ["--config"], "--config"),
             (2, ["--config", path, "--tokens", "0"], "--tokens 0"),
             (2, ["--config", path, "--tokens", "5x"], "5x"),
             (2, ["--config", path, "--threads", "-1"], "--threads -1"),
             (2, ["--config", path, "--only", "train,rest"], "rest"),
             (2, ["--model", folder, "--layers", "3"], "--layers"),
             (2, ["--kernels", "--config", path], "--kernels"),
             (2, ["--kernels", "--threads", "2"], "--threads"),
             (3, ["--config", os.path.join(folder, "none.json")], "none.json"),
             (3, ["--config", broken], "broken.json"), (3, ["--config", odd], "hidden_act"),
             (3, ["--model", os.path.join(folder, "nowhere")], "nowhere"),
             (4, ["--config", path, "--sequences", 65536, "--tokens", 1048576], "MiB")]
    for i, (code, arguments, word) in enumerate(cases):
        for ranks in (1, 2) if i % 5 == 4 else (1,):
            done = run("bench", *arguments, ranks=ranks, code=code)
            assert len(done.errors) == 1 and word in done.errors[0], (arguments, done)
            assert done.out == "", done


# --- threads -----------------------------------------------------------------------------------


def threads(folder, ranks, launcher=(), **env):
    """Rank 0's threads when neither option nor OMP_NUM_THREADS says, under plain mpirun or alone."""
    kept = environment()
    for name in MPI:
        if name.startswith("OMP_") or "binding" in name:
            kept.pop(name)
    command = [BINARY, "bench", "--config", config(folder), "--tokens", "4", "--repeat", "1",
               "--only", "forward", "--json"]
    if launcher or ranks > 1:
        command = ["mpirun", "-q", "-n", str(ranks), *launcher, *command]
    done = subprocess.run(command, env={**kept, **env}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    return json.loads(done.stdout)["threads"]


def test_unbound_ranks_share_the_cores(folder):
    assert threads(folder, 1) == CORES
    for ranks in (1, 2, 3):
        assert threads(folder, ranks, ["--bind-to", "none"]) == max(1, CORES // ranks), ranks


def test_bound_ranks_keep_their_cores(folder):
    if CORES >= 2:
        assert threads(folder, 2, ["--bind-to", "core"]) == 1
    if CORES >= 4:
        assert threads(folder, 2, ["--map-by", "slot:PE=2", "--bind-to", "core"]) == 2
    only = [str(min(os.sched_getaffinity(0)))]
    assert threads(folder, 1, ["--bind-to", "none", "taskset", "-c", *only]) == 1


def test_threads_that_are_asked_for(folder):
    assert threads(folder, 2, ["--bind-to", "none"], OMP_NUM_THREADS="3",
                   OMP_WAIT_POLICY="passive") == 3
    assert bench("--config", config(folder), "--threads", 2, "--tokens", 4, "--only",
                 "forward")["threads"] == 2
    assert bench("--config", config(folder), "--tokens", 4, "--only", "forward",
                 env={"OMP_NUM_THREADS": "junk"})["threads"] == CORES


def test_a_warning_for_too_many_threads(folder):
    arguments = ["bench", "--config", config(folder), "--threads", CORES + 1, "--tokens", 4,
                 "--only", "forward", "--repeat", 1]
    assert "OMP_WAIT_POLICY=passive" in run(*arguments, env={"OMP_WAIT_POLICY": ""}).err
    assert "OMP_WAIT_POLICY" not in run(*arguments).err


if __name__ == "__main__":
    main([f for name, f in list(globals().items()) if name.startswith("test_")])
