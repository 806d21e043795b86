#!/usr/bin/python3
"""Models of one tokenizer with different row counts, against the NumPy twin: what each stage compares
them on, what a shard says of it, the losses; and that padding rows are never sampled."""
import os
import shutil
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model  # noqa: E402

IDS = 384  # of the tokenizer
ROWS = {"policy": 395, "wide": 430, "dpo": 420, "reverse": 410}  # 410 are the teachers' common ones


class Setting:
    data = directories = twins = None


def prepare(folder):
    Setting.data = training.Data(folder)
    shape = ["--heads", 4, "--kv-heads", 2, "--init-std", 0.25, "--norm-jitter", 0.2, "--untied"]
    Setting.directories = {
        name: harness.make_model(folder, name, seed, *shape, "--vocab-size", rows, "--dtype", dtype)
        for seed, ((name, rows), dtype) in enumerate(zip(ROWS.items(), ("F32", "F32", "BF16", "F16")))}
    Setting.twins = training.load(Setting.directories)


def said(run):
    return [line for line in run.err.splitlines() if "vocabulary: " in line]


def score(folder, directory, **options):
    done = training.stage("score", folder, data__train=Setting.data.path, data__chat_format="none",
                          teacher__dpo=Setting.directories["dpo"], shards__directory=directory,
                          teacher__reverse=Setting.directories["reverse"], **options)
    return os.path.join(folder, directory), done


def step(folder, directory, policy, **options):
    """(metrics, run) of one step over all sequences."""
    output = os.path.join(folder, "run")
    done = training.stage("distill", folder, **{
        "distill__policy": Setting.directories[policy], "distill__mode": "off-policy",
        "distill__output": output, "shards__directory": directory, "optimizer__batch_size": 100,
        "checkpoint__resume": False, "teacher__dpo": Setting.directories["dpo"],
        "teacher__reverse": Setting.directories["reverse"], **options})
    return harness.read_rows(os.path.join(output, "metrics.jsonl"))[0], done


def rows_of(name, count):
    return [z[:, :count] for z in
            training.logits_of(Setting.twins[name], Setting.data.sequences("chosen"))]


def distances():
    """Over the teachers' common tokens, as the shards hold them."""
    return [losses.tvd(model.log_softmax(d), model.log_softmax(c))
            for d, c in zip(rows_of("dpo", ROWS["reverse"]), rows_of("reverse", ROWS["reverse"]))]


def expected_loss(policy, **options):
    """All three restricted to what policy and shards have; alpha of the shard's distance."""
    common = min(ROWS[policy], ROWS["reverse"])
    teacher, parts = losses.Teacher(**options), []
    for z, d, c, distance in zip(*(rows_of(n, common) for n in (policy, "dpo", "reverse")),
                                 distances()):
        alpha = teacher.alpha(distance)
        per_token = losses.divergence(teacher.divergence, model.log_softmax(z),
                                      teacher.log_distribution(d, c, alpha))
        parts.append(losses.sequence_loss(teacher, per_token, alpha))
    return np.mean(parts)


def a_shard_has_the_teachers_common_tokens(folder):
    for encoding in ("full", "hidden", "topk"):
        directory, done = score(folder, encoding, shards__encoding=encoding, shards__top_k=500)
        assert len(said(done)) == 1, done
        for word in ("dpo has 420 rows", "reverse 410", "384 ids", "compared on 410"):
            assert word in said(done)[0], done
        with h5py.File(os.path.join(directory, "shard-000000.h5"), "r") as file:
            assert file.attrs["vocab_size"] == 410
        stored = training.shard_rows(directory, "response/tvd")
        for i, distance in enumerate(distances()):
            assert np.abs(stored[i, 0] - distance).max() < 1e-4
    full = training.shard_rows(os.path.join(folder, "full"), "teacher/logprob_dpo")
    for i, z in enumerate(rows_of("dpo", 410)):
        assert np.abs(full[i, 0] - model.log_softmax(z)).max() < 1e-3


def losses_are_over_what_policy_and_shards_have(folder):
    for policy in ("policy", "wide"):  # fewer rows than the shards, and more
        for kind in ("reverse", "forward", "jsd"):
            expected = expected_loss(policy, divergence=kind)
            for encoding, bound in (("full", 1e-4), ("hidden", 1e-2), ("topk", 1e-2)):
                found, done = step(folder, encoding, policy, distill__divergence=kind)
                gap = abs(found["loss"] / expected - 1)
                assert gap < bound, f"{policy}, {encoding}, {kind}: {found['loss']}, not {expected}"
                assert len(said(done)) == 1 and str(min(ROWS[policy], 410)) in said(done)[0], done


def a_support_loses_the_tokens_that_the_policy_lacks(folder):
    directory, _ = score(folder, "few", shards__encoding="topk", shards__top_k=40)
    keys = [(i, 0) for i in range(len(Setting.data.rows))]
    teacher, parts, dropped = losses.Teacher(), [], 0
    for z, (ids, logprob, ratio, tail_dpo, tail_c, distance) in zip(
            rows_of("policy", ROWS["policy"]), training.topk_of(directory, keys)):
        alpha, per_token = teacher.alpha(distance), []
        for r, row in enumerate(ids):
            kept = row < ROWS["policy"]
            dropped += (~kept).sum()
            student = losses.gather_outcomes(model.log_softmax(z[r:r + 1]), row[None, kept])
            dpo = np.append(logprob[r, kept], tail_dpo[r])[None]
            other = np.append(logprob[r, kept] - ratio[r, kept], tail_c[r])[None]
            per_token.append(losses.divergence(
                "reverse", student, teacher.log_distribution(dpo, other, alpha[r:r + 1]))[0])
        parts.append(losses.sequence_loss(teacher, np.array(per_token), alpha))
    found, _ = step(folder, "few", "policy")
    assert dropped > 0, "no support had a padding row"
    assert abs(found["loss"] / np.mean(parts) - 1) < 1e-3, (found["loss"], np.mean(parts))


def rows_that_no_teacher_has_are_left_alone(folder):
    step(folder, "full", "wide", optimizer__lr=0.1, optimizer__warmup_ratio=0.0)
    before, after = (harness.weights(d)["lm_head.weight"].reshape(ROWS["wide"], -1) for d in
                     (Setting.directories["wide"], os.path.join(folder, "run")))
    assert (before[410:] == after[410:]).all(), "padding rows moved"
    assert (before[:410] != after[:410]).any(axis=1).all(), "some rows stood still"


def on_policy(folder):
    for policy in ("policy", "wide"):
        found, _ = step(folder, "on-policy", policy, distill__mode="on-policy",
                        data__train=Setting.data.path, data__chat_format="none",
                        optimizer__batch_size=2, optimizer__max_steps=1,
                        sampling__max_new_tokens=8, shards__directory="on-" + policy)
        assert np.isfinite(found["loss"]) and found["grad_norm"] > 0


def dpo_with_another_reference(folder):
    sequences = Setting.data.sequences("both")
    for policy, reference in (("policy", "reverse"), ("wide", "policy")):
        common = min(ROWS[policy], ROWS[reference])
        logits, other = ([z[:, :common] for z in training.logits_of(Setting.twins[n], sequences)]
                         for n in (policy, reference))
        expected = training.dpo_loss(logits, sequences, training.logprob_sums(other, sequences))
        output = os.path.join(folder, "pair")
        shutil.rmtree(output, ignore_errors=True)
        done = training.stage("dpo", folder, data__train=Setting.data.path,
                              data__chat_format="none", dpo__policy=Setting.directories[policy],
                              dpo__reference=Setting.directories[reference], dpo__output=output)
        assert len(said(done)) == 1 and f"compared on {common}" in said(done)[0], done
        found = harness.read_rows(os.path.join(output, "metrics.jsonl"))[0]["loss"]
        assert abs(found / expected - 1) < 1e-4, (policy, found, expected)


def eval_of_all(folder):
    done = training.stage("eval", folder, data__eval=Setting.data.path, data__chat_format="none",
                          eval__model=Setting.directories["wide"],
                          eval__dpo=Setting.directories["dpo"],
                          eval__contrast=Setting.directories["reverse"], eval__generate=1,
                          sampling__max_new_tokens=4, eval__output="eval")
    assert "compared on 410" in said(done)[-1], done


def padding_rows_are_never_sampled(folder):
    """Pairs of opposite rows, so large that one of each leads wherever the hidden state points."""
    directory = harness.copy(Setting.directories["wide"], os.path.join(folder, "loud"))
    path = os.path.join(directory, "model.safetensors")
    header, data = harness.safetensors_header(path)
    begin, end = header["lm_head.weight"]["data_offsets"]
    matrix = np.frombuffer(data[begin:end], "<f4").reshape(ROWS["wide"], -1).copy()
    padding = ROWS["wide"] - IDS
    matrix[IDS::2] = 100.0 * matrix[:padding // 2]
    matrix[IDS + 1::2] = -matrix[IDS::2]
    harness.write_safetensors(path, header, data[:begin] + matrix.tobytes() + data[end:])
    twin = model.Model.load(directory)
    for options in ({"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.9},
                    {"temperature": 2.0, "top_k": 20}):
        out = os.path.join(folder, "loud.jsonl")
        training.stage("generate", folder, data__train=Setting.data.path, data__chat_format="none",
                       generate__model=directory, generate__output=out,
                       sampling__max_new_tokens=12,
                       **{"sampling__" + name: value for name, value in options.items()})
        for row in harness.read_rows(out):
            logits = twin.response_logits(row["prompt_ids"], row["response_ids"])
            assert (logits.argmax(axis=1) >= IDS).all(), "a padding row ought to lead"
            assert max(row["response_ids"]) < IDS, (options, row)
            gap = twin.logprobs(row["prompt_ids"], row["response_ids"]) - row["logprobs"]
            assert np.abs(gap).max() < 2e-3, "padding rows take part in the softmax"
            if options["temperature"] == 0.0:
                assert row["response_ids"] == logits[:, :IDS].argmax(axis=1).tolist()
    found, _ = step(folder, "loud-shards", "wide", distill__policy=directory, distill__mode="on-policy",
                    data__train=Setting.data.path, data__chat_format="none",
                    optimizer__batch_size=4, optimizer__max_steps=1, sampling__max_new_tokens=8,
                    shards__encoding="full", optimizer__lr=0.0)
    assert np.isfinite(found["loss"])
    for row in training.shard_rows(os.path.join(folder, "loud-shards"), "response/id").values():
        assert row.max() < IDS


if __name__ == "__main__":
    harness.main([a_shard_has_the_teachers_common_tokens,
                  losses_are_over_what_policy_and_shards_have,
                  a_support_loses_the_tokens_that_the_policy_lacks,
                  rows_that_no_teacher_has_are_left_alone, on_policy, dpo_with_another_reference,
                  eval_of_all, padding_rows_are_never_sampled], prepare)
