#!/usr/bin/python3
"""What `score` writes, recomputed by the NumPy twin from the model files; that the encodings train
alike; that shards open with h5py, the viewer and `inspect`; that equal content is equal bytes."""
import doctest
import hashlib
import os
import shutil
import subprocess
import sys
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model  # noqa: E402

sys.path.insert(0, harness.TOOLS)
import aligndistil_shards  # noqa: E402

SHARD_H5PY = os.path.abspath(__file__ + "/../shard_h5py.py")
K = 24
SOURCES = {"chosen": 0, "rejected": 1, "policy": 2}


class Setting:
    data = directories = twins = None


def score(folder, directory, **options):
    """Shards of the pairs in FOLDER/directory; `none` as chat format."""
    settings = {"data__train": Setting.data.path, "data__chat_format": "none",
                "teacher__dpo": Setting.directories["dpo"], "shards__directory": directory,
                "teacher__reverse": Setting.directories["reverse"], "shards__top_k": K, **options}
    training.stage("score", folder, **settings)
    return os.path.join(folder, directory)


def prepare(folder):
    Setting.data = training.Data(folder)
    Setting.directories = training.make_models(folder, training.KINDS["qwen3"])
    Setting.twins = training.load(Setting.directories)
    for encoding in ("full", "hidden", "topk"):
        score(folder, encoding, shards__encoding=encoding, data__responses="both")


def shard_paths(directory):
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory))
            if name.endswith(".h5")]


def keyed(which):
    """[(key in the shards, (prompt, response))]"""
    kinds = ("chosen", "rejected") if which == "both" else (which,)
    keys = [(row, SOURCES[kind]) for row in range(len(Setting.data.rows)) for kind in kinds]
    return list(zip(keys, Setting.data.sequences(which)))


def teacher_logprobs(sequence, contrast="reverse"):
    """Log-probabilities [R, V] of both teachers."""
    return [model.log_softmax(Setting.twins[name].response_logits(*sequence))
            for name in ("dpo", contrast)]


def near(name, found, expected, bound):
    assert found.shape == expected.shape, f"{name}: {found.shape}, expected {expected.shape}"
    gap = np.abs(found.astype(float) - expected).max()
    assert gap <= bound, f"{name}: off by {gap:.3g}, more than {bound:.3g}"


def check_common(directory, sequences, contrast="reverse"):
    """Ids, log-probabilities of the tokens, distance."""
    columns = {name: training.shard_rows(directory, "response/" + name) for name in
               ("id", "logprob_dpo", "logprob_reverse", "logprob_policy", "tvd")}
    assert set(columns["id"]) == {key for key, _ in sequences}
    for key, (prompt, response) in sequences:
        assert columns["id"][key].tolist() == response, f"tokens of {key}"
        rows = teacher_logprobs((prompt, response), contrast)
        at = np.arange(len(response)), np.array(response)
        near("logprob_dpo", columns["logprob_dpo"][key], rows[0][at], 1e-4)
        near("logprob_reverse", columns["logprob_reverse"][key], rows[1][at], 1e-4)
        near("tvd", columns["tvd"][key], losses.tvd(*rows), 1e-4)
    return columns


def token_ids(directory):
    """Prompt and response tokens per (id, source)."""
    out = {}
    for path in shard_paths(directory):
        with h5py.File(path, "r") as file:
            start = file["sequence/token_start"][...]
            for i, key in enumerate(zip(file["sequence/id"], file["sequence/source"])):
                out[tuple(map(int, key))] = file["token/id"][start[i]:start[i + 1]].tolist()
    return out


# --- contents ----------------------------------------------------------------------------------


def full_holds_the_distributions(folder):
    directory = os.path.join(folder, "full")
    columns = check_common(directory, keyed("both"))
    assert all(np.isnan(x).all() for x in columns["logprob_policy"].values())
    stored = [training.shard_rows(directory, "teacher/" + n) for n in ("logprob_dpo", "log_ratio")]
    for key, sequence in keyed("both"):
        rows = teacher_logprobs(sequence)
        near("logprob_dpo", stored[0][key], rows[0], 1e-3)
        near("log_ratio", stored[1][key], rows[0] - rows[1], 1e-3)


def hidden_holds_the_hidden_states(folder):
    directory = os.path.join(folder, "hidden")
    check_common(directory, keyed("both"))
    for name, twin in (("hidden_dpo", "dpo"), ("hidden_reverse", "reverse")):
        bits = training.shard_rows(directory, "teacher/" + name)
        for key, (prompt, response) in keyed("both"):
            found = (bits[key].astype("<u4") << 16).view("<f4").astype(float)
            _, hidden = Setting.twins[twin].forward(prompt + response)
            expected = hidden[len(prompt) - 1:-1]
            near(name, found / np.abs(expected).clip(1e-3), expected / np.abs(expected).clip(1e-3),
                 2.0 ** -8 * 1.01)  # half a unit in the last of 8 bits


def topk_holds_the_likely_tokens(folder):
    directory = os.path.join(folder, "topk")
    check_common(directory, keyed("both"))
    keys = [key for key, _ in keyed("both")]
    for (_, sequence), stored in zip(keyed("both"), training.topk_of(directory, keys)):
        ids, logprob, ratio, tail_dpo, tail_c, _ = stored
        rows = teacher_logprobs(sequence)
        twin = losses.Teacher()  # the configured one
        extrapolated = twin.log_distribution(*rows, twin.alpha(losses.tvd(*rows)))
        larger = np.maximum(np.maximum(*rows), extrapolated)
        threshold = np.sort(larger, axis=1)[:, -K]
        inside = np.take_along_axis(larger, ids, axis=1)
        assert all(len(set(row)) == K for row in ids.tolist()), "a token twice in a support"
        close = 1e-3  # the extrapolation multiplies what differs between us
        assert (inside >= threshold[:, None] - close).all(), "a likelier token is left out"
        assert (np.diff(inside, axis=1) <= close).all(), "not in falling order"
        expected = [np.take_along_axis(r, ids, axis=1) for r in (rows[0], rows[0] - rows[1])]
        for name, found, value in zip(("logprob_dpo", "log_ratio"), (logprob, ratio), expected):
            near(name, found, value, 2.0 ** -11 * np.abs(value).max() + 1e-4)  # half precision
        near("tail_dpo", tail_dpo, losses.gather_outcomes(rows[0], ids)[:, -1], 1e-4)
        near("tail_reverse", tail_c, losses.gather_outcomes(rows[1], ids)[:, -1], 1e-4)


def chosen_and_rejected_alone(folder):
    for which in ("chosen", "rejected"):
        directory = score(folder, which, shards__encoding="full", data__responses=which,
                          optimizer__micro_batch_tokens=40)
        check_common(directory, keyed(which))


def a_reference_as_contrast(folder):
    directory = score(folder, "contrast", teacher__contrast="reference", data__responses="both",
                      teacher__reference=Setting.directories["reference"])
    check_common(directory, keyed("both"), "reference")
    with h5py.File(shard_paths(directory)[0], "r") as file:
        assert file.attrs["contrast"] == "reference"


def teachers_of_other_kinds(folder):
    """BF16 in several files, and F16 of another family and width; the policy is smaller than both."""
    common = ["--vocab-size", 389, "--init-std", 0.2, "--norm-jitter", 0.2]
    first = harness.make_model(folder, "first", 5, *common, "--type", "llama", "--untied",
                               "--hidden", 24, "--heads", 4, "--attention-bias", "--dtype", "BF16",
                               "--max-shard-mb", 0.02)
    second = harness.make_model(folder, "second", 6, *common, "--type", "mistral", "--hidden", 32,
                                "--dtype", "F16")
    assert len([n for n in os.listdir(first) if n.endswith(".safetensors")]) > 2
    directory = score(folder, "kinds", shards__encoding="full", teacher__dpo=first,
                      teacher__reverse=second)
    kept = dict(Setting.twins)
    Setting.twins.update(dpo=model.Model.load(first), reverse=model.Model.load(second))
    try:
        check_common(directory, keyed("chosen"))
        found = first_step(folder, directory, teacher__dpo=first, teacher__reverse=second)
        policy = training.logits_of(Setting.twins["policy"], Setting.data.sequences("chosen"))
        expected = np.mean([losses.distill(losses.Teacher(), z, *teacher_logprobs(sequence))[0]
                            for z, (_, sequence) in zip(policy, keyed("chosen"))])
        assert abs(found["loss"] / expected - 1) < 1e-4, (found["loss"], expected)
    finally:
        Setting.twins.update(kept)


def a_chat_format(folder):
    """ChatML, as the tokenizer's template says."""
    directory = score(folder, "chat", data__chat_format="auto", data__responses="both")
    encoder = training.bpe.Encoder(harness.read_json(os.path.join(folder, "tok", "tokenizer.json")))
    found = token_ids(directory)
    for row, pair in enumerate(Setting.data.rows):
        prompt = ([1] + encoder.encode("user\n" + pair["prompt"]) + [2] + encoder.encode("\n") + [1]
                  + encoder.encode("assistant\n"))
        for kind in ("chosen", "rejected"):
            expected = prompt + encoder.encode(pair[kind]) + [2]
            assert found[row, SOURCES[kind]] == expected, (row, kind)


def generations(folder):
    """Responses of `generate` are scored with the tokens and log-probabilities that it wrote."""
    path = os.path.join(folder, "generations.jsonl")
    training.stage("generate", folder, data__train=Setting.data.path, data__chat_format="none",
                   generate__model=Setting.directories["policy"], generate__output=path,
                   sampling__max_new_tokens=12)
    directory = score(folder, "sampled", data__train=path, shards__encoding="full")
    rows = harness.read_rows(path)
    sequences = [((row["id"], SOURCES["policy"]), (row["prompt_ids"], row["response_ids"]))
                 for row in rows]
    assert len({key for key, _ in sequences}) == len(Setting.data.rows)
    columns = check_common(directory, sequences)
    found = token_ids(directory)
    for row, (key, (prompt, response)) in zip(rows, sequences):
        assert found[key] == prompt + response
        near("logprob_policy", columns["logprob_policy"][key], np.array(row["logprobs"]), 1e-6)
    with h5py.File(shard_paths(directory)[0], "r") as file:
        assert list(file["sequence/response"].asstr()) == [row["response"] for row in rows]


# --- the files ---------------------------------------------------------------------------------


def sha256(*paths):
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def the_table_of_the_format(folder):
    for encoding in ("full", "hidden", "topk"):
        for path in shard_paths(os.path.join(folder, encoding)):
            done = subprocess.run([harness.PYTHON, SHARD_H5PY, path], capture_output=True,
                                  text=True)
            assert done.returncode == 0, done.stderr


def attributes_name_the_contents(folder):
    for encoding in ("full", "hidden", "topk"):
        with h5py.File(shard_paths(os.path.join(folder, encoding))[0], "r") as file:
            a = file.attrs
            assert a["encoding"] == encoding and a["vocab_size"] == 384 and a["hidden_size"] == 16
            assert a["top_k"] == (K if encoding == "topk" else 0) and a["policy_step"] == -1
            assert a["chat_format"] == "none" and a["contrast"] == "reverse" and a["seed"] == 1
            for name in ("dpo", "reverse"):
                weights = os.path.join(Setting.directories[name], "model.safetensors")
                assert a["sha256_" + name] == sha256(weights), name
            tokenizer = os.path.join(folder, "tok", "tokenizer.json")
            assert a["sha256_tokenizer"] == sha256(tokenizer)
            assert a["sha256_data"] == sha256(Setting.data.path)
            assert f'encoding = "{encoding}"' in a["config"]
            prompts = [row["prompt"] for row in Setting.data.rows for _ in range(2)]
            assert list(file["sequence/prompt"].asstr()) == prompts


def equal_content_is_equal_bytes(folder):
    """Runs at two times, into two places, alone and on two ranks: the same files."""
    def files(name, ranks):
        place = os.path.join(folder, name)
        training.stage("score", folder, ranks=ranks, data__train=Setting.data.path,
                       data__chat_format="none", data__responses="both", output=place,
                       teacher__dpo=Setting.directories["dpo"],
                       teacher__reverse=Setting.directories["reverse"], shards__directory=name,
                       shards__sequences_per_shard=4)
        place = os.path.join(place, name)
        return {name: sha256(os.path.join(place, name)) for name in sorted(os.listdir(place))}
    first = files("once", 1)
    time.sleep(1.1)
    assert list(first) == ["manifest.json", *(f"shard-{i:06d}.h5" for i in range(3))]
    assert files("twice", 1) == first, "a second run differs"
    assert files("ranks", 2) == first, "two ranks differ from one"


def viewer_and_inspect(folder):
    viewer = os.path.join(harness.TOOLS, "inspect_shard.py")
    image = os.path.join(folder, "plot.png")
    count = sum(len(r) for _, (_, r) in keyed("both"))
    for encoding in ("full", "hidden", "topk"):
        path = shard_paths(os.path.join(folder, encoding))[0]
        for options in ([], ["--row", "3"], ["--plot", image], ["--row", "1", "--plot", image]):
            done = subprocess.run([harness.PYTHON, viewer, path, *options], capture_output=True,
                                  text=True)
            assert done.returncode == 0, done.stderr
            if not options:
                assert "10 sequences" in done.stdout and f"{count} response" in done.stdout
        with open(image, "rb") as file:
            assert file.read(4) == b"\x89PNG"
        os.remove(image)
        shown = harness.run("inspect", path).out
        for word in (encoding, "10", str(count), "384"):
            assert word in shown, f"inspect doesn't say {word}"


def topk_expected(twin, rows, ids, alpha):
    """Probabilities of the support and of the bucket for the rest, [R, K + 1]."""
    dpo, other = (losses.gather_outcomes(row, ids) for row in rows)
    return np.exp(twin.log_distribution(dpo, other, alpha, ids.shape[1]))


def the_importable_reader(folder):
    """Its own example; then the teacher distribution of every encoding against the twin's."""
    places = {"folder": os.path.join(folder, "full"), "hidden_folder": os.path.join(folder, "hidden"),
              "both_folder": score(folder, "both", shards__encoding="topk", **beside()),
              **{name: Setting.directories[name] for name in ("dpo", "reverse")}}
    done = doctest.testmod(aligndistil_shards, extraglobs=places)
    assert done.attempted > 5 and done.failed == 0, done
    heads = aligndistil_shards.Heads(places["dpo"], places["reverse"])
    settings = ({"strength": 3.0}, {"strength": 1.5, "extrapolation": "constant", "temperature": 0.7},
                {"extrapolation": "none"}, {"strength": 4.0, "granularity": "response"},
                {"strength": 6.0, "plausibility": 0.3}, {"strength": 2.0, "granularity": "auto"})
    bounds = {"full": 2e-3, "hidden": 0.1, "topk": 0.03}
    keys = dict(keyed("both"))
    for encoding, bound in bounds.items():
        for found in aligndistil_shards.sequences(os.path.join(folder, encoding)):
            prompt, response = keys[found.id, SOURCES[found.source]]
            assert found.prompt_ids.tolist() == prompt and found.response_ids.tolist() == response
            assert found.response == Setting.data.rows[found.id][found.source]
            assert np.isnan(found.logprob_policy).all()
            rows = teacher_logprobs((prompt, response))
            for options in settings:
                twin, mine = losses.Teacher(**options), found.teacher(**options, heads=heads)
                alpha = twin.alpha(losses.tvd(*rows))
                near("alpha", mine.alpha, alpha, 1e-4 * max(1.0, alpha.max()))
                if encoding == "topk":
                    probabilities = np.exp(np.column_stack([mine.logprob, mine.tail]))
                    expected = topk_expected(twin, rows, mine.ids, alpha)
                else:
                    probabilities = np.exp(mine.logprob)
                    expected = np.exp(twin.log_distribution(*rows, alpha))
                gap = np.abs(probabilities - expected).sum(axis=1).max()
                assert gap < bound, (encoding, options, gap)


def beside():
    """Settings of a scoring with a reference beside the reverse teacher."""
    return {"teacher__reference": Setting.directories["reference"], "shards__with_reference": True,
            "data__responses": "both"}


def probabilities_of(made):
    """[R, V], or [R, K + 1] with the bucket."""
    return np.exp(made.logprob if made.tail is None else np.column_stack([made.logprob, made.tail]))


def the_reader_composes_the_reference(folder):
    """contrast="reference" from a third model beside the second: of every encoding as from `full`
    shards whose contrast is the reference, at each setting; and the trainer's loss from it."""
    heads = aligndistil_shards.Heads(*(Setting.directories[n] for n in ("dpo", "reverse", "reference")))
    only = score(folder, "only", shards__encoding="full", teacher__contrast="reference",
                 data__responses="both", teacher__reference=Setting.directories["reference"])
    stored = {n: training.shard_rows(only, n) for n in
              ("teacher/logprob_dpo", "teacher/log_ratio", "response/tvd", "response/logprob_reverse")}
    policy = {key: model.log_softmax(Setting.twins["policy"].response_logits(*sequence))
              for key, sequence in keyed("both")}
    settings = ({}, {"strength": 3.0}, {"strength": 1.5, "extrapolation": "constant", "temperature": 0.7},
                {"extrapolation": "none"}, {"strength": 4.0, "granularity": "response"},
                {"strength": 6.0, "plausibility": 0.3}, {"strength": 2.0, "granularity": "auto"})
    for encoding, bound in (("full", 1e-5), ("hidden", 0.1), ("hidden32", 1e-3), ("topk", 0.03)):
        losses_of = []
        place = score(folder, "beside-" + encoding, shards__encoding=encoding, **beside())
        for found in aligndistil_shards.sequences(place):
            key = found.id, SOURCES[found.source]
            dpo, ratio, tvd, logprob = (stored[name][key].astype(float) for name in stored)
            near("tvd_reference", found.tvd_reference, tvd, 1e-5)
            near("logprob_reference", found.logprob_reference, logprob, 1e-4)
            for options in settings:
                twin = losses.Teacher(contrast="reference", **options)
                made = found.teacher(**options, contrast="reference", heads=heads)
                alpha = twin.alpha(tvd)
                near("alpha", made.alpha, alpha, 1e-4 * max(1.0, alpha.max()))
                rows = (dpo, dpo - ratio) if made.ids is None else \
                    [losses.gather_outcomes(row, made.ids) for row in (dpo, dpo - ratio)]
                tokens = None if made.ids is None else made.ids.shape[1]
                expected = np.exp(twin.log_distribution(*rows, alpha, tokens))
                gap = np.abs(probabilities_of(made) - expected).sum(axis=1).max()
                assert gap < bound, (encoding, options, gap)
            made = found.teacher(contrast="reference", heads=heads)
            student = policy[key] if made.ids is None else losses.gather_outcomes(policy[key], made.ids)
            losses_of.append((0.1 / made.alpha * losses.kl(student, np.log(probabilities_of(made)))).mean())
        metrics = first_step(folder, place, teacher__contrast="reference",
                             teacher__reference=Setting.directories["reference"])
        gap = abs(metrics["loss"] / np.mean(losses_of) - 1)
        assert gap < 1e-3, f"{encoding}: loss {metrics['loss']}, from the reader {np.mean(losses_of)}"


def the_reader_with_a_reference_as_the_second(folder):
    """Shards whose own contrast is "reference" take it without a word; draws of one are weighted as
    the `full` distributions say."""
    settings = {"teacher__contrast": "reference", "data__responses": "both", "teacher__strength": 3.0,
                "teacher__reference": Setting.directories["reference"]}
    full = {(s.id, s.source): s for s in aligndistil_shards.sequences(
        score(folder, "own-full", shards__encoding="full", **settings))}
    for found in aligndistil_shards.sequences(
            score(folder, "own-draws", shards__encoding="sampled", **settings)):
        exact = full[found.id, found.source]
        pair = [np.take_along_axis(exact.teacher(strength=r).logprob, found.teacher().ids, axis=1)
                for r in (5.0, 3.0)]
        expected = model.log_softmax(pair[0] - pair[1])
        near("draws' weights", np.exp(found.teacher(strength=5.0).logprob), np.exp(expected), 0.01)
        assert (found.teacher(contrast="reference").logprob == found.teacher().logprob).all()


def the_reader_says_what_it_lacks(folder):
    """A contrast that isn't in the shard, a matrix that isn't given, a bound that isn't known."""
    heads = aligndistil_shards.Heads(Setting.directories["dpo"], Setting.directories["reverse"])
    cases = (("full", {"contrast": "reference"}, "contrast reference: expected reverse"),
             ("only", {"contrast": "reverse"}, "contrast reverse: expected reference"),
             ("hidden", {}, "needs heads=Heads(dpo, reverse=reverse)"),
             ("beside-hidden", {"contrast": "reference", "heads": heads}, "reference=reference"))
    for directory, options, text in cases:
        (shard,) = aligndistil_shards.open_folder(os.path.join(folder, directory))
        try:
            shard[0].teacher(**options)
        except ValueError as error:
            assert shard.path in str(error) and text in str(error), error
            continue
        raise AssertionError(f"{directory}, {options}: not refused")
    assert not hasattr(shard[0], "tvd_other") and hasattr(shard[0], "tvd_reference")
    plain = os.path.join(folder, "full")
    assert not hasattr(aligndistil_shards.open_folder(plain)[0][0], "tvd_reference")


# --- training on them --------------------------------------------------------------------------


def first_step(folder, directory, **options):
    """Metrics of one step over all sequences."""
    output = os.path.join(folder, "run")
    training.stage("distill", folder, **{
        "distill__policy": Setting.directories["policy"], "distill__mode": "off-policy",
        "distill__output": output, "shards__directory": directory, "optimizer__batch_size": 100,
        "checkpoint__resume": False, "teacher__dpo": Setting.directories["dpo"],
        "teacher__reverse": Setting.directories["reverse"], **options})
    return harness.read_rows(os.path.join(output, "metrics.jsonl"))[0]


def encodings_train_alike(folder):
    score(folder, "all", shards__encoding="topk", shards__top_k=389, data__responses="both")
    for options in ({}, {"teacher__strength": 2.0, "distill__divergence": "forward"},
                    {"teacher__extrapolation": "constant", "teacher__strength": 1.5,
                     "distill__divergence": "jsd", "distill__token_weight": "uniform"}):
        full = first_step(folder, "full", **options)
        for other in ("hidden", "all"):
            found = first_step(folder, other, **options)
            for name in ("loss", "grad_norm", "kl/teacher", "kl/dpo", "reward/token"):
                gap = abs(found[name] / full[name] - 1)
                assert gap < 1e-3, f"{other}, {options}: {name} {found[name]}, full {full[name]}"
            for name in ("alpha/mean", "tvd/mean", "weight/mean", "response_length"):
                # `full` is scored with products of another order (encodings_test.py).
                assert abs(found[name] / full[name] - 1) < 1e-5, (name, found[name], full[name])


if __name__ == "__main__":
    harness.main([full_holds_the_distributions, hidden_holds_the_hidden_states,
                  topk_holds_the_likely_tokens, chosen_and_rejected_alone, a_reference_as_contrast,
                  teachers_of_other_kinds, a_chat_format, generations, the_table_of_the_format,
                  attributes_name_the_contents, equal_content_is_equal_bytes, viewer_and_inspect,
                  the_importable_reader, the_reader_composes_the_reference,
                  the_reader_with_a_reference_as_the_second, the_reader_says_what_it_lacks,
                  encodings_train_alike], prepare)
