#!/usr/bin/python3
"""Each family against the NumPy twin in double precision: log-probabilities of the whole vocabulary at
every position of a sequence of more than 4,096 tokens, with BF16 and F16 weights; and 200 greedy
tokens of models that were trained a little.

Log-probabilities are logits less one number per row, the same for program and twin up to their error.
"""
import json
import os
import random
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import model  # noqa: E402

LONG = 4200    # tokens
BOUND = 1e-4   # absolute, of a log-probability; seen: 2e-5
GREEDY = 200
SHAPE = ["--hidden", 32, "--heads", 2, "--kv-heads", 1, "--intermediate", 64, "--layers", 2,
         "--vocab-size", 389, "--init-std", 0.25, "--norm-jitter", 0.2, "--max-position", 8192]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 1024}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
FAMILIES = {
    "qwen2": ("qwen2", {"rope_theta": 1000000.0}),
    "qwen2 dynamic": ("qwen2", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "qwen3": ("qwen3", {}),
    "qwen3 yarn": ("qwen3", {"rope_parameters": {**YARN, "rope_theta": 10000.0}}),
    "llama linear": ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "llama llama3": ("llama", {"rope_theta": 500000.0, "rope_scaling": LLAMA3}),
    "mistral window": ("mistral", {"sliding_window": 1000}),
    "olmo2": ("olmo2", {"rope_theta": 500000.0}),
    "olmo3": ("olmo3", {"rope_theta": 500000.0, "sliding_window": 1000, "rope_scaling": YARN,
                        "layer_types": ["sliding_attention", "full_attention"]}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "gemma3": ("gemma3_text", {"rope_theta": 1000000.0, "sliding_window": 1000,
                               "sliding_window_pattern": 2, "query_pre_attn_scalar": 24}),
}
TRAINED = ("qwen3 yarn", "llama llama3", "mistral window", "olmo2", "olmo3", "smollm3", "gemma3")
TRAINING = {"optimizer__lr": 0.01, "optimizer__batch_size": 16, "optimizer__max_steps": 25,
            "optimizer__warmup_ratio": 0.1, "data__chat_format": "none"}


class Setting:
    desk = text = None


def prepare(folder):
    Setting.desk = harness.make_desk(folder, pairs=400)
    rng = random.Random(5)
    letters = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz     .,0123456789")
                      for _ in range(2 * LONG))
    Setting.text = harness.write_rows(os.path.join(folder, "long.jsonl"), [
        {"prompt": "a", "chosen": letters, "rejected": "b"}])


def make(folder, name, family, seed, dtype, **keys):
    kind, config = FAMILIES[family]
    return harness.make_model(folder, name, seed, *SHAPE, "--type", kind, "--dtype", dtype,
                              "--config", json.dumps({**config, **keys}))


def scored(folder, halves):
    """(token ids, {dtype: log-probabilities [R, V]}) of the long row; F16 stands in as `reverse`."""
    place = os.path.join(folder, "shards")
    training.stage("score", folder, data__train=Setting.text, data__responses="chosen",
                   data__chat_format="none", data__max_response_tokens=2 * LONG,
                   optimizer__micro_batch_tokens=2 * LONG, shards__directory=place,
                   shards__encoding="full", teacher__dpo=halves["BF16"],
                   teacher__reverse=halves["F16"])
    name, = (n for n in os.listdir(place) if n.endswith(".h5"))
    with h5py.File(os.path.join(place, name)) as file:
        first = file["teacher/logprob_dpo"][...].astype(float)
        ratio = file["teacher/log_ratio"][...].astype(float)
        return file["token/id"][...], {"BF16": first, "F16": first - ratio}


def check_family(folder, family):
    folder = os.path.join(folder, family.replace(" ", "-"))
    os.makedirs(folder)
    os.symlink(os.path.join("..", "tok"), os.path.join(folder, "tok"))
    halves = {dtype: make(folder, dtype, family, seed, dtype)
              for seed, dtype in enumerate(("BF16", "F16"), 1)}
    ids, found = scored(folder, halves)
    assert len(ids) > LONG, f"{len(ids)} tokens"
    for dtype, directory in halves.items():
        if dtype == "F16" and family != next(iter(FAMILIES)):
            continue  # what a model computes doesn't depend on how its weights lie in files
        prompt = len(ids) - len(found[dtype])
        logits = model.Model.load(directory).response_logits(ids[:prompt], ids[prompt:])
        expected = model.log_softmax(logits)
        assert expected.std() > 0.5, "the model says nothing"
        gap = np.abs(found[dtype] - expected).max(axis=1)
        assert gap.max() < BOUND, \
            f"{family}, {dtype}: off by {gap.max():.2g} at row {gap.argmax()} of {len(gap)}"
        if "ALD_TIMES" in os.environ:
            print(f"{family}, {dtype}: off by {gap.max():.2g} at most, {gap[-1]:.2g} at the last row")


def family_test(family):
    def test(folder):
        check_family(folder, family)
    test.label = f"logits of {family}"
    return test


def check_greedy(folder, family):
    """The end that was trained is no end any more, so that every answer has 200 tokens."""
    start = make(folder, "start", family, 3, "F32", max_position_embeddings=2048, sliding_window=40)
    trained = os.path.join(folder, "trained")
    training.stage("sft", folder, data__train=os.path.join(Setting.desk, "train.jsonl"),
                   sft__model=start, sft__output=trained, **TRAINING)
    loss = [row["loss"] for row in harness.read_rows(os.path.join(trained, "metrics.jsonl"))]
    assert loss[-1] < 0.6 * loss[0], f"not trained: {loss[0]:.2f} to {loss[-1]:.2f}"
    for name, end in (("generation_config.json", {"eos_token_id": 0}),
                      ("tokenizer_config.json", {"eos_token": "<|endoftext|>"})):
        path = os.path.join(trained, name)
        harness.write(path, json.dumps({**harness.read_json(path), **end}))
    out = os.path.join(folder, "out.jsonl")
    training.stage("generate", folder, data__train=os.path.join(Setting.desk, "eval.jsonl"),
                   data__chat_format="none", generate__model=trained, generate__output=out,
                   sampling__max_new_tokens=GREEDY, sampling__temperature=0.0)
    twin = model.Model.load(trained)
    limit = len(harness.read_json(os.path.join(folder, "tok", "tokenizer.json"))["model"]["vocab"])
    rows = harness.read_rows(out)
    assert len(rows) == 6 and len({tuple(row["response_ids"]) for row in rows}) > 1
    for row in rows:
        assert len(row["response_ids"]) == GREEDY, f"row {row['id']} has {len(row['response_ids'])}"
        logits = twin.response_logits(row["prompt_ids"], row["response_ids"])[:, :limit]
        assert logits.argmax(axis=1).tolist() == row["response_ids"], f"{family}, row {row['id']}"


def greedy_test(family):
    def test(folder):
        place = os.path.join(folder, "greedy-" + family.replace(" ", "-"))
        os.makedirs(place)
        os.symlink(os.path.join("..", "tok"), os.path.join(place, "tok"))
        check_greedy(place, family)
    test.label = f"greedy tokens of {family}"
    return test


if __name__ == "__main__":
    harness.main([*map(family_test, FAMILIES), *map(greedy_test, TRAINED)], prepare)
