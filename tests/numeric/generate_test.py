#!/usr/bin/python3
"""`generate` against the NumPy twin: greedy tokens, log-probabilities, frequencies of sampled tokens;
and that a sample depends on seed, row and number alone."""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import model  # noqa: E402

NEW = 40
STOPS = {training.END, 0}  # the chat's end, and what generation_config.json adds


class Setting:
    data = directories = limit = None


def prepare(folder):
    Setting.data = training.Data(folder)
    Setting.directories = {}
    for kind, options in training.KINDS.items():
        place = os.path.join(folder, kind)
        os.makedirs(place)
        os.symlink(os.path.join(folder, "tok"), os.path.join(place, "tok"))
        Setting.directories[kind] = training.make_models(place, options, ("policy",))["policy"]
    tokenizer = harness.read_json(os.path.join(folder, "tok", "tokenizer.json"))
    Setting.limit = len(tokenizer["model"]["vocab"])  # ids beyond have no text


def generate(folder, kind="qwen2", data=None, ranks=1, threads=1, **options):
    path = os.path.join(folder, "generations.jsonl")
    settings = {"data__train": data or Setting.data.path, "data__chat_format": "none",
                "generate__model": Setting.directories[kind], "generate__output": path,
                "sampling__max_new_tokens": NEW, **options}
    training.stage("generate", folder, ranks=ranks, threads=threads, **settings)
    return harness.read_rows(path)


def check_row(row, twin):
    """Tokens, text and log-probabilities of a row, whatever picked the tokens."""
    prompt, response = row["prompt_ids"], row["response_ids"]
    assert prompt == Setting.data.prompts[row["id"]]
    stopped = response[-1] in STOPS
    assert not STOPS & set(response[:-1]) and (stopped or len(response) == NEW), response
    assert row["finished"] == stopped
    gap = np.abs(twin.logprobs(prompt, response) - row["logprobs"]).max()
    assert gap < 1e-4, f"row {row['id']}: log-probabilities off by {gap:.3g}"


def greedy_is_the_twins_argmax(folder):
    longest = 0
    for kind, directory in Setting.directories.items():
        twin = model.Model.load(directory)
        rows = generate(folder, kind, sampling__temperature=0.0)
        assert [row["id"] for row in rows] == list(range(len(Setting.data.rows)))
        for row in rows:
            check_row(row, twin)
            logits = twin.response_logits(row["prompt_ids"], row["response_ids"])
            best = logits[:, :Setting.limit].argmax(axis=1).tolist()
            assert row["response_ids"] == best, f"{kind}, row {row['id']}"
            longest = max(longest, len(best))
    assert longest == NEW, "no response reached the limit"


def sampled_log_probabilities(folder):
    """They are the policy's own, whatever temperature and filters did."""
    for kind, directory in Setting.directories.items():
        twin = model.Model.load(directory)
        rows = generate(folder, kind, generate__samples=2, sampling__temperature=0.8,
                        sampling__top_p=0.9, sampling__top_k=30)
        for row in rows:
            check_row(row, twin)


def expected_frequencies(z, temperature, top_p, top_k):
    p = model.softmax(z[:Setting.limit] / temperature)
    order = np.argsort(-p, kind="stable")
    if top_k:
        p[order[top_k:]] = 0.0
        p /= p.sum()
    before = np.cumsum(p[order]) - p[order]
    p[order[before >= top_p]] = 0.0
    return p / p.sum()


def frequencies_are_the_twins(folder):
    """The first token, 3000 times each of two prompts."""
    count = 3000
    twin = model.Model.load(Setting.directories["qwen2"])
    path = harness.write_rows(os.path.join(folder, "two.jsonl"), Setting.data.rows[:2])
    for temperature, top_p, top_k in ((1.0, 1.0, 0), (0.6, 0.8, 0), (1.3, 1.0, 7), (1.0, 0.7, 9)):
        rows = generate(folder, data=path, generate__samples=count, sampling__max_new_tokens=1,
                        sampling__temperature=temperature, sampling__top_p=top_p,
                        sampling__top_k=top_k)
        for i in range(2):
            first = [row["response_ids"][0] for row in rows if row["id"] == i]
            z = twin.forward(Setting.data.prompts[i])[0][-1]
            p = expected_frequencies(z, temperature, top_p, top_k)
            seen = np.bincount(first, minlength=Setting.limit)
            assert len(first) == count and seen[p == 0].sum() == 0, "a token that is filtered out"
            deviation = np.abs(seen - count * p) / np.sqrt(count * p + 1)
            assert deviation.max() < 5, f"{temperature} {top_p} {top_k}: {deviation.max():.1f} sigma"


def samples_depend_on_nothing_else(folder):
    """Not on threads, ranks, or what else is sampled: 75 requests, more than run at once. The model
    is so wide that a matrix product for speed would have other bits for other batches."""
    Setting.directories["wide"] = harness.make_model(
        folder, "wide", 1, "--hidden", 144, "--heads", 4, "--intermediate", 328, "--init-std", 0.1)
    rows = (Setting.data.rows * 5)[:25]
    path = harness.write_rows(os.path.join(folder, "many.jsonl"), rows)

    def sample(**options):
        out = generate(folder, "wide", data=path, generate__samples=3, sampling__max_new_tokens=16,
                       **options)
        assert [(r["id"], r["sample"]) for r in out] == [(i, s) for i in range(25)
                                                         for s in range(3)]
        return out
    first = sample()
    assert len({tuple(row["response_ids"]) for row in first}) > 40
    for ranks, threads in ((1, 2), (2, 1), (3, 1)):
        assert sample(ranks=ranks, threads=threads) == first, f"{ranks} ranks, {threads} threads"
    assert sample(optimizer__micro_batch_tokens=1) == first
    few = harness.write_rows(os.path.join(folder, "few.jsonl"), rows[:2])
    alone = generate(folder, "wide", data=few, sampling__max_new_tokens=16)
    assert alone == [first[0], first[3]], "fewer requests give other samples"
    assert sample(seed=2) != first


if __name__ == "__main__":
    harness.main([greedy_is_the_twins_argmax, sampled_log_probabilities, frequencies_are_the_twins,
                  samples_depend_on_nothing_else], prepare)
