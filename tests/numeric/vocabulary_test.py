#!/usr/bin/python3
"""Models of one tokenizer with different row counts, against the NumPy twin: what each stage compares
them on, what a shard says of it, the losses; and that padding rows are never sampled nor get any
mass from a teacher, though shards of version 1 are read as they were."""
import os
import shutil
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model  # noqa: E402

sys.path.insert(0, harness.TOOLS)
import aligndistil_shards  # noqa: E402

IDS = 384  # of the tokenizer
ROWS = {"policy": 395, "wide": 430, "dpo": 420, "reverse": 410}
OLD = 410  # what version 1 had: the teachers' common rows


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
    done = training.stage("score", folder, **{
        "data__train": Setting.data.path, "data__chat_format": "none", "shards__directory": directory,
        "teacher__dpo": Setting.directories["dpo"],
        "teacher__reverse": Setting.directories["reverse"], **options})
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


def rows_of(name, count=IDS):
    """Logits of the first `count` rows at every response position, padding rows among them."""
    return [Setting.twins[name].forward(prompt + response)[0][len(prompt) - 1:-1, :count]
            for prompt, response in Setting.data.sequences("chosen")]


def distances(count=IDS):
    return [losses.tvd(model.log_softmax(d), model.log_softmax(c))
            for d, c in zip(rows_of("dpo", count), rows_of("reverse", count))]


def expected_loss(policy, common=IDS, scored=IDS, **options):
    """All three restricted to `common` rows; alpha of the distance over the `scored` ones."""
    teacher, parts = losses.Teacher(**options), []
    for z, d, c, distance in zip(*(rows_of(n, common) for n in (policy, "dpo", "reverse")),
                                 distances(scored)):
        alpha = teacher.alpha(distance)
        per_token = losses.divergence(teacher.divergence, model.log_softmax(z),
                                      teacher.log_distribution(d, c, alpha))
        parts.append(losses.sequence_loss(teacher, per_token, alpha))
    return np.mean(parts)


def a_shard_has_the_tokenizers_tokens(folder):
    for encoding in ("full", "hidden", "topk"):
        directory, done = score(folder, encoding, shards__encoding=encoding, shards__top_k=500)
        assert len(said(done)) == 1, done
        for word in ("dpo has 420 rows", "reverse 410", "384 ids", "compared on 384"):
            assert word in said(done)[0], done
        with h5py.File(os.path.join(directory, "shard-000000.h5"), "r") as file:
            assert file.attrs["vocab_size"] == IDS
        stored = training.shard_rows(directory, "response/tvd")
        for i, distance in enumerate(distances()):
            assert np.abs(stored[i, 0] - distance).max() < 1e-4
    full = training.shard_rows(os.path.join(folder, "full"), "teacher/logprob_dpo")
    for i, z in enumerate(rows_of("dpo")):
        assert np.abs(full[i, 0] - model.log_softmax(z)).max() < 1e-3


def losses_are_over_the_tokenizers_tokens(folder):
    for policy in ("policy", "wide"):
        for kind in ("reverse", "forward", "jsd"):
            expected = expected_loss(policy, divergence=kind)
            for encoding, bound in (("full", 1e-4), ("hidden", 1e-2), ("topk", 1e-2)):
                found, done = step(folder, encoding, policy, distill__divergence=kind)
                gap = abs(found["loss"] / expected - 1)
                assert gap < bound, f"{policy}, {encoding}, {kind}: {found['loss']}, not {expected}"
                assert len(said(done)) == 1 and "compared on 384" in said(done)[0], done


def make_old(folder, encoding, K=40):
    """A shard of version 1, which was over the teachers' common rows: one of today with its rows
    replaced by what the twins have there."""
    place, _ = score(folder, "old-" + encoding, shards__encoding=encoding, shards__top_k=K)
    os.remove(os.path.join(place, "manifest.json"))
    dpo, other = (np.concatenate([model.log_softmax(z) for z in rows_of(name, OLD)])
                  for name in ("dpo", "reverse"))
    ids = np.argsort(-np.maximum(dpo, other), axis=1)[:, :K].astype("i4")
    inside = [np.take_along_axis(x, ids, axis=1) for x in (dpo, other)]
    tails = [losses.gather_outcomes(x, ids)[:, -1].astype("f4") for x in (dpo, other)]
    columns = {"full": {"logprob_dpo": dpo.astype("f4"), "log_ratio": (dpo - other).astype("f4")},
               "topk": {"token_id": ids, "logprob_dpo": inside[0].astype("f2"), "tail_dpo": tails[0],
                        "log_ratio": (inside[0] - inside[1]).astype("f2"), "tail_reverse": tails[1]}}
    with h5py.File(os.path.join(place, "shard-000000.h5"), "r+") as file:
        file.attrs["schema_version"], file.attrs["vocab_size"] = np.int64(1), np.int64(OLD)
        file["response/tvd"][...] = losses.tvd(dpo, other)
        for name in list(file["teacher"]):
            del file["teacher"][name]
        for name, values in columns[encoding].items():
            file["teacher"].create_dataset(name, data=values, chunks=True, fletcher32=True)
    return place


def version_1_is_read_with_its_padding(folder):
    make_old(folder, "full")
    for policy in ("policy", "wide"):  # fewer rows than the shards, and more
        common = min(ROWS[policy], OLD)
        for kind in ("reverse", "forward", "jsd"):
            expected = expected_loss(policy, common, OLD, divergence=kind)
            found, done = step(folder, "old-full", policy, distill__divergence=kind)
            assert abs(found["loss"] / expected - 1) < 1e-4, (policy, kind, found["loss"], expected)
            assert f"compared on {common}" in said(done)[0], done
    assert abs(expected_loss("wide", OLD, OLD) / expected_loss("wide") - 1) > 1e-3


def loud(folder, name, sign):
    """A copy whose padding rows point where its hidden states do, or (`sign` below 0) away."""
    directory = harness.copy(Setting.directories[name], os.path.join(folder, f"loud-{name}"))
    path = os.path.join(directory, "model.safetensors")
    header, data = harness.safetensors_header(path)
    begin, end = header["lm_head.weight"]["data_offsets"]
    kind = {"BF16": "<u2", "F16": "<f2"}[header["lm_head.weight"]["dtype"]]
    matrix = np.frombuffer(data[begin:end], kind).reshape(ROWS[name], -1).copy()
    hidden = np.concatenate([Setting.twins[name].forward(p + r)[1]
                             for p, r in Setting.data.sequences("chosen")]).mean(axis=0)
    row = (sign * hidden / np.linalg.norm(hidden)).astype("f4")
    matrix[IDS:] = row.view("u4") >> 16 if kind == "<u2" else row
    harness.write_safetensors(path, header, data[:begin] + matrix.tobytes() + data[end:])
    return directory


def extrapolation_gives_padding_no_mass(folder):
    """Padding rows to which pi_dpo gives little and the reverse less: at r = 20 the composition over
    all rows has nearly half of its mass there. In shards, and to a trainer, they aren't there."""
    pair = {"teacher__dpo": loud(folder, "dpo", 0.2), "teacher__reverse": loud(folder, "reverse", -2.0)}
    twins = training.load(pair)
    teacher, before, wide, parts = losses.Teacher(), [], [], []
    for prompt, response in Setting.data.sequences("chosen"):
        rows = [twins[n].forward(prompt + response)[0][len(prompt) - 1:-1, :OLD] for n in pair]
        alpha = teacher.alpha(losses.tvd(*map(model.log_softmax, rows)))
        wide.append(np.exp(teacher.log_distribution(*rows, alpha))[:, IDS:].sum(axis=1))
        before.append(np.exp(model.log_softmax(rows[0]))[:, IDS:].sum(axis=1))
        z = Setting.twins["wide"].response_logits(prompt, response)
        parts.append(losses.distill(teacher, z, *(r[:, :IDS] for r in rows))[0])
    before, wide = (np.concatenate(x).mean() for x in (before, wide))
    assert wide > 0.4 and before < 0.1, (before, wide)
    for encoding, bound in (("full", 1e-4), ("hidden32", 1e-4), ("hidden", 1e-2), ("topk", 1e-2)):
        directory, _ = score(folder, "loud-" + encoding, shards__encoding=encoding, shards__top_k=300,
                             **pair)
        for sequence in aligndistil_shards.sequences(directory):
            heads = aligndistil_shards.Heads(*pair.values())
            made = sequence.teacher(heads=heads)
            assert made.ids is None or made.ids.max() < IDS
            assert made.ids is not None or made.logprob.shape[1] == IDS
        found, _ = step(folder, "loud-" + encoding, "wide", **pair)
        assert abs(found["loss"] / np.mean(parts) - 1) < bound, (encoding, found["loss"], np.mean(parts))


def a_support_loses_the_tokens_that_the_policy_lacks(folder):
    directory = make_old(folder, "topk")
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
    found, _ = step(folder, "old-topk", "policy")
    assert dropped > 0, "no support had a padding row"
    assert abs(found["loss"] / np.mean(parts) - 1) < 1e-3, (found["loss"], np.mean(parts))


def rows_that_no_teacher_has_are_left_alone(folder):
    step(folder, "full", "wide", optimizer__lr=0.1, optimizer__warmup_ratio=0.0)
    before, after = (harness.weights(d)["lm_head.weight"].reshape(ROWS["wide"], -1) for d in
                     (Setting.directories["wide"], os.path.join(folder, "run")))
    assert (before[IDS:] == after[IDS:]).all(), "padding rows moved"
    assert (before[:IDS] != after[:IDS]).any(axis=1).all(), "some rows stood still"


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
        logits, other = (training.logits_of(Setting.twins[n], sequences) for n in (policy, reference))
        expected = training.dpo_loss(logits, sequences, training.logprob_sums(other, sequences))
        output = os.path.join(folder, "pair")
        shutil.rmtree(output, ignore_errors=True)
        done = training.stage("dpo", folder, data__train=Setting.data.path,
                              data__chat_format="none", dpo__policy=Setting.directories[policy],
                              dpo__reference=Setting.directories[reference], dpo__output=output)
        assert len(said(done)) == 1 and "compared on 384" in said(done)[0], done
        found = harness.read_rows(os.path.join(output, "metrics.jsonl"))[0]["loss"]
        assert abs(found / expected - 1) < 1e-4, (policy, found, expected)


def losses_of_pairs_are_over_the_ids(folder):
    """A loss of the reference's whole distribution, and one without a reference."""
    sequences = Setting.data.sequences("both")
    responses = [response for _, response in sequences]
    for loss, reference in (("tdpo2", "reverse"), ("simpo", "")):
        settings = losses.Preference(loss)
        logits = training.logits_of(Setting.twins["wide"], sequences)
        other = training.logits_of(Setting.twins[reference], sequences) if reference else logits
        pairs = zip(*(zip(x[::2], x[1::2]) for x in (logits, other, responses)))
        expected = np.mean([losses.pair(settings, *pair)[0] for pair in pairs])
        output = os.path.join(folder, loss)
        training.stage("dpo", folder, data__train=Setting.data.path, data__chat_format="none",
                       dpo__policy=Setting.directories["wide"], dpo__loss=loss, dpo__output=output,
                       dpo__reference=Setting.directories[reference] if reference else "")
        found = harness.read_rows(os.path.join(output, "metrics.jsonl"))[0]["loss"]
        assert abs(found / expected - 1) < 1e-4, (loss, found, expected)


def eval_of_all(folder):
    done = training.stage("eval", folder, data__eval=Setting.data.path, data__chat_format="none",
                          eval__model=Setting.directories["wide"],
                          eval__dpo=Setting.directories["dpo"],
                          eval__contrast=Setting.directories["reverse"], eval__generate=1,
                          sampling__max_new_tokens=4, eval__output="eval")
    assert "compared on 384" in said(done)[-1], done


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
            logits = twin.forward(row["prompt_ids"] + row["response_ids"])[0]
            logits = logits[len(row["prompt_ids"]) - 1:-1]
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
    harness.main([a_shard_has_the_tokenizers_tokens,
                  losses_are_over_the_tokenizers_tokens, version_1_is_read_with_its_padding,
                  extrapolation_gives_padding_no_mass,
                  a_support_loses_the_tokens_that_the_policy_lacks,
                  rows_that_no_teacher_has_are_left_alone, on_policy, dpo_with_another_reference,
                  losses_of_pairs_are_over_the_ids, eval_of_all, padding_rows_are_never_sampled], prepare)
