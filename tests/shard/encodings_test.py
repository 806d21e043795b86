#!/usr/bin/python3
"""The encodings against `full`, position by position, recomputed in NumPy: that a certified `topk` is
never further off than it says; that `hidden32` trains as `full` does; what `sampled` draws."""
import hashlib
import os
import subprocess
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model, philox  # noqa: E402

sys.path.insert(0, harness.TOOLS)
import aligndistil_shards  # noqa: E402

SHARD_H5PY = os.path.abspath(__file__ + "/../shard_h5py.py")
KINDS = {"random": 0, "trained": 1}


class Setting:
    data = directories = twins = None


def score(folder, directory, **options):
    settings = {"data__train": Setting.data.path, "data__chat_format": "none",
                "data__responses": "both", "teacher__dpo": Setting.directories["dpo"],
                "teacher__reverse": Setting.directories["reverse"],
                "shards__directory": directory, **options}
    training.stage("score", folder, **settings)
    return os.path.join(folder, directory)


def trained_teachers(folder):
    """A policy trained a little both ways: teachers that are near each other."""
    for name, reverse in (("near_dpo", False), ("near_rev", True)):
        training.stage("dpo", folder, data__train=Setting.data.path, data__chat_format="none",
                       dpo__policy=Setting.directories["policy"], dpo__reverse=reverse,
                       dpo__output=name, optimizer__lr=0.02, optimizer__batch_size=5,
                       optimizer__epochs=3)
    return {"teacher__dpo": os.path.join(folder, "near_dpo"),
            "teacher__reverse": os.path.join(folder, "near_rev")}


def prepare(folder):
    Setting.data = training.Data(folder)
    Setting.directories = training.make_models(folder, training.KINDS["qwen3"])
    Setting.twins = training.load(Setting.directories)
    Setting.teachers = {"random": {}, "trained": trained_teachers(folder)}
    for kind, teachers in Setting.teachers.items():
        score(folder, f"{kind}-full", shards__encoding="full", **teachers)
        for K in (4, 24, 389):
            score(folder, f"{kind}-{K}", shards__encoding="topk", shards__top_k=K, **teachers)
        third = {**teachers, "teacher__reference": Setting.directories["policy"],
                 "shards__with_reference": True}
        score(folder, f"{kind}-full-third", shards__encoding="full", **third)
        score(folder, f"{kind}-24-third", shards__encoding="topk", shards__top_k=24, **third)


def sequences(folder, directory):
    return list(aligndistil_shards.sequences(os.path.join(folder, directory)))


def students(found):
    """Log-probabilities [R, V] of the policy, over the tokens that the shard has."""
    ids = found.prompt_ids.tolist() + found.response_ids.tolist()
    logits, _ = Setting.twins["policy"].forward(ids)
    return model.log_softmax(logits[len(found.prompt_ids) - 1:-1, :found.shard.vocab_size])


def settings_to_try():
    return [{"strength": r} for r in (0.0, 0.5, 3.0, 20.0, 60.0)] + [
        {"strength": 20.0, "temperature": 0.7}, {"strength": 9.0, "temperature": 1.6},
        {"strength": 2.0, "extrapolation": "constant"}, {"extrapolation": "none"},
        {"strength": 20.0, "granularity": "sequence"}]


def exact_errors(true, made, ids, tail, student):
    """(variation with the bucket's mass where it hurts most, |difference of the reverse KLs|)."""
    V = true.shape[1]
    variation, reverse = [], []
    for q, m, i, t, p in zip(np.exp(true), np.exp(made), ids, np.exp(tail), student):
        outside = np.setdiff1d(np.arange(V), i)
        gap = 0.5 * np.abs(q[i] - m).sum()
        if len(outside):
            gap += 0.5 * (q[outside].sum() + t - 2 * min(t, q[outside].min()))
        variation.append(gap)
        P = np.exp(p[outside]).sum()
        made_kl = (np.exp(p[i]) * (p[i] - np.log(m))).sum()
        if len(outside):
            made_kl += P * (np.log(P) - np.log(t))
        reverse.append(abs((np.exp(p) * (p - np.log(q))).sum() - made_kl))
    return np.array(variation), np.array(reverse)


def topk_is_never_further_off_than_it_says(folder):
    """On every position, for settings within and beyond the configured strength."""
    ratios = {}
    for kind in KINDS:
        for shards, full, contrast in (("4", "full", "reverse"), ("24", "full", "reverse"),
                                       ("389", "full", "reverse"),
                                       ("24-third", "full-third", "reference")):
            exact = {(s.id, s.source): s for s in sequences(folder, f"{kind}-{full}")}
            for found in sequences(folder, f"{kind}-{shards}"):
                whole, student = exact[found.id, found.source], students(found)
                for options in settings_to_try():
                    options = {**options, "contrast": contrast}
                    made, true = found.teacher(**options), whole.teacher(**options)
                    bounds = found.error(**options, student=student)
                    actual = exact_errors(true.logprob, made.logprob, made.ids, made.tail, student)
                    for name, bound, error in zip(("TV", "KL"), bounds, actual):
                        worst = (error - bound).max()
                        assert worst <= 1e-9, f"{kind}-{shards}, {options}: {name} above its bound by {worst:.3g}"
                        ratios.setdefault((kind, shards, name), []).extend(bound / error.clip(1e-12))
    for (kind, shards, name), values in ratios.items():
        print(f"{kind} teachers, K {shards}: bound of {name} over its error, median "
              f"{np.median(values):.3g}, 95% {np.percentile(values, 95):.3g}")


def first_step(folder, directory, code=0, **options):
    """Metrics of one step over all sequences, or the run that failed."""
    output = os.path.join(folder, "run")
    values = {"distill__policy": Setting.directories["policy"], "distill__mode": "off-policy",
              "distill__output": output, "shards__directory": directory,
              "optimizer__batch_size": 100, "checkpoint__resume": False,
              "teacher__dpo": Setting.directories["dpo"],
              "teacher__reverse": Setting.directories["reverse"], "output": folder, **options}
    path = harness.write(os.path.join(folder, "empty.cfg"), "# all is set on the command line\n")
    done = harness.run("distill", "-c", path, *training.settings(values), code=code)
    return done if code else (harness.read_rows(os.path.join(output, "metrics.jsonl"))[0], done)


def the_trainer_reports_the_bound(folder):
    """teacher/error is the mean of the positions' bounds, teacher/error_max their largest."""
    third = {"teacher__contrast": "reference", "teacher__reference": Setting.directories["policy"]}
    for shards, options, names in (
            ("24", {"teacher__strength": 20.0}, {"strength": 20.0}),
            ("24", {"teacher__strength": 3.0, "teacher__temperature": 1.3},
             {"strength": 3.0, "temperature": 1.3}),
            ("24-third", {"teacher__strength": 3.0, **third}, {"strength": 3.0, "contrast": "reference"})):
        for kind, teachers in Setting.teachers.items():
            metrics, done = first_step(folder, f"{kind}-{shards}", **{**teachers, **options})
            variation, weighted = [], []
            for found in sequences(folder, f"{kind}-{shards}"):
                tv, kl = found.error(**names, student=students(found))
                variation.extend(tv)
                weighted.extend(kl * 0.1 / found.alpha(strength=names["strength"],
                                                       contrast=names.get("contrast")))
            for name, expected, bound in (("teacher/error", np.mean(variation), 1e-4),
                                          ("teacher/error_max", np.max(variation), 1e-4),
                                          ("teacher/error_kl", np.mean(weighted), 2e-2)):
                gap = abs(metrics[name] / expected - 1)
                assert gap < bound, f"{kind}, {options}: {name} {metrics[name]}, expected {expected}"
            warned = "may be off" in done.err
            assert warned == (metrics["teacher/error"] > 0.1), done.err[-500:]


def a_limit_refuses(folder):
    errors = np.concatenate([s.error()[0] for s in sequences(folder, "random-24")])
    first_step(folder, "random-24", distill__max_teacher_error=min(1.0, errors.max() * 1.01))
    refused = first_step(folder, "random-24", code=3, distill__max_teacher_error=errors.max() / 2)
    assert "shard-000000.h5: sequence" in refused.errors[0] and "row" in refused.errors[0], refused
    metrics, _ = first_step(folder, "random-full", distill__max_teacher_error=0.01)
    assert "teacher/error" not in metrics


def shards_without_a_certificate_are_read(folder):
    """As version 1 wrote them at first: trained on, but not under a limit."""
    place = harness.copy(os.path.join(folder, "random-24"), os.path.join(folder, "bare"))
    for name in os.listdir(place):
        if not name.endswith(".h5"):
            os.remove(os.path.join(place, name))
            continue
        with h5py.File(os.path.join(place, name), "r+") as file:
            for part in ("alpha_max", "tail_mass", "tail_least", "tail_ratio_min", "tail_ratio_max"):
                del file["teacher"][part]
    whole, _ = first_step(folder, "random-24")
    bare, _ = first_step(folder, "bare")
    assert bare["loss"] == whole["loss"] and "teacher/error" not in bare
    refused = first_step(folder, "bare", code=3, distill__max_teacher_error=0.5)
    assert "says nothing of its error" in refused.errors[0], refused


# --- hidden states -----------------------------------------------------------------------------


def hidden32_trains_as_full_does(folder):
    """The same bits in every figure of every step, though the trainers' micro-batches are others than
    the scorers', and on any number of ranks; `hidden` comes close."""
    def losses_of(directory, ranks=1, **options):
        output = os.path.join(folder, "bits")
        training.stage("distill", folder, ranks=ranks, **{
            "distill__policy": Setting.directories["policy"], "distill__mode": "off-policy",
            "distill__output": output, "shards__directory": directory,
            "optimizer__batch_size": 5, "optimizer__epochs": 2, "optimizer__lr": 0.01,
            "optimizer__micro_batch_tokens": 50, "checkpoint__resume": False,
            "teacher__dpo": Setting.directories["dpo"],
            "teacher__reverse": Setting.directories["reverse"], **options})
        rows = harness.read_rows(os.path.join(output, "metrics.jsonl"))
        names = ("loss", "grad_norm", "kl/teacher", "kl/dpo", "reward/token", "alpha/p95")
        with open(os.path.join(output, "model.safetensors"), "rb") as file:
            return [[row[name] for name in names] for row in rows], file.read()
    for kind, teachers in Setting.teachers.items():
        for encoding in ("hidden", "hidden32"):
            score(folder, f"{kind}-{encoding}", shards__encoding=encoding, **teachers)
        for options in ({}, {"distill__divergence": "forward", "teacher__strength": 3.0}):
            full, model_full = losses_of(f"{kind}-full", **teachers, **options)
            for ranks in (1, 2):
                found, written = losses_of(f"{kind}-hidden32", ranks, **teachers, **options)
                assert found == full, f"{kind}, {ranks} ranks: {found[0]}, full {full[0]}"
                assert written == model_full, f"{kind}, {ranks} ranks: other weights"
            near, _ = losses_of(f"{kind}-hidden", **teachers, **options)
            assert near != full and np.allclose(near, full, rtol=0.05)


def hidden_states_name_their_matrices(folder):
    """Attributes on both datasets, by the bytes in the model's file; another matrix is refused."""
    for encoding in ("hidden", "hidden32"):
        with h5py.File(os.path.join(folder, f"random-{encoding}", "shard-000000.h5"), "r") as file:
            for name in ("dpo", "reverse"):
                attributes = file["teacher/hidden_" + name].attrs
                place = os.path.join(Setting.directories[name], "model.safetensors")
                header, data = harness.safetensors_header(place)
                entry = header.get("lm_head.weight", header["model.embed_tokens.weight"])
                digest = hashlib.sha256(data[slice(*entry["data_offsets"])]).hexdigest()
                assert attributes["output_matrix_sha256"] == digest
                assert attributes["output_matrix_dtype"] == "F32"
                assert attributes["final_norm"] == "applied"
        stored = training.shard_rows(os.path.join(folder, f"random-{encoding}"), "teacher/hidden_dpo")
        for found in sequences(folder, f"random-{encoding}"):
            tokens = found.prompt_ids.tolist() + found.response_ids.tolist()
            _, expected = Setting.twins["dpo"].forward(tokens)
            rows = stored[found.id, {"chosen": 0, "rejected": 1}[found.source]]
            wide = rows if encoding == "hidden32" else aligndistil_shards.from_bfloat16(rows)
            gap = np.abs(wide - expected[len(found.prompt_ids) - 1:-1]).max()
            assert gap < (1e-4 if encoding == "hidden32" else 0.05), f"{encoding}: {gap}"


def another_matrix_is_refused(folder):
    for encoding in ("hidden", "hidden32"):
        place = harness.copy(os.path.join(folder, f"random-{encoding}"), os.path.join(folder, "odd"))
        os.remove(os.path.join(place, "manifest.json"))
        with h5py.File(os.path.join(place, "shard-000000.h5"), "r+") as file:
            file["teacher/hidden_reverse"].attrs["output_matrix_sha256"] = "e" * 64
        refused = first_step(folder, "odd", code=3)
        for word in ("shard-000000.h5", "hidden_reverse", "e" * 64, Setting.directories["reverse"]):
            assert word in refused.errors[0], refused
        with h5py.File(os.path.join(place, "shard-000000.h5"), "r+") as file:
            for name in ("hidden_dpo", "hidden_reverse"):
                for attribute in ("output_matrix_sha256", "output_matrix_dtype", "final_norm"):
                    del file["teacher"][name].attrs[attribute]
        first_step(folder, "odd")  # as version 1 wrote them at first


# --- draws -------------------------------------------------------------------------------------


def sampled_holds_the_draws_of_its_counters(folder):
    """Each draw is where its random number falls in the teacher's cumulated probabilities."""
    score(folder, "draws", shards__encoding="sampled", shards__top_k=32, teacher__strength=5.0,
          teacher__temperature=1.25)
    full = {(s.id, s.source): s for s in sequences(folder, "random-full")}
    for found in sequences(folder, "draws"):
        exact = full[found.id, found.source]
        true = np.exp(exact.teacher(strength=5.0, temperature=1.25).logprob)
        dpo, ratio = (exact.encoded(name) for name in ("logprob_dpo", "log_ratio"))
        seed = mix(mix(1, 0), mix(found.id, {"chosen": 0, "rejected": 1}[found.source]))
        columns = {name: found.encoded(name) for name in found.shard.file["teacher"]}
        for r, ids in enumerate(columns["token_id"]):
            numbers = np.sort([philox.uniform(seed, r, k) for k in range(32)])
            ends = np.cumsum(true[r])
            assert (numbers <= ends[ids] + 1e-4).all() and (numbers >= (ends - true[r])[ids] - 1e-4).all()
            assert np.allclose(columns["logprob_dpo"][r], dpo[r, ids], rtol=2 ** -10, atol=1e-3)
            assert np.allclose(columns["log_ratio"][r], ratio[r, ids], rtol=2 ** -10, atol=1e-3)
            z = (dpo[r] + columns["proposal_factor"][r] * ratio[r]) / 1.25
            assert abs(np.log(np.exp(z - z.max()).sum()) + z.max() - columns["proposal_logz"][r]) < 1e-3
        assert np.allclose(columns["proposal_factor"], 5.0 * found.tvd + 1e-3)
        assert (columns["proposal_temperature"] == 1.25).all()
        estimate = found.teacher(strength=5.0, temperature=1.25)
        assert np.allclose(np.exp(estimate.logprob), 1 / 32)


def mix(a, b):
    """The C code's, of two numbers into a key."""
    mask = (1 << 64) - 1
    z = (a + 0x9E3779B97F4A7C15 * (b + 1)) & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def draws_do_not_depend_on_ranks(folder):
    for name, ranks, batch in (("one", 1, 4096), ("three", 3, 60)):
        training.stage("score", folder, ranks=ranks, data__train=Setting.data.path,
                       data__chat_format="none", data__responses="both",
                       teacher__dpo=Setting.directories["dpo"],
                       teacher__reverse=Setting.directories["reverse"], shards__directory=name,
                       shards__encoding="sampled", shards__sequences_per_shard=2,
                       optimizer__micro_batch_tokens=batch)
    one, three = (training.shard_rows(os.path.join(folder, name), "teacher/token_id")
                  for name in ("one", "three"))
    same = sum((one[key] == three[key]).sum() for key in one)
    count = sum(ids.size for ids in one.values())
    assert one.keys() == three.keys() and same >= 0.99 * count, f"{same} of {count}"


def the_trainer_learns_from_draws(folder):
    """The loss is the draws' estimate, at the scoring's settings and at others; and it nears that of
    `full` with many draws. Other divergences are refused."""
    score(folder, "many", shards__encoding="sampled", shards__top_k=389, teacher__strength=5.0,
          teacher__temperature=1.25)
    for options, names in (({"teacher__strength": 5.0, "teacher__temperature": 1.25},
                            {"strength": 5.0, "temperature": 1.25}),
                           ({"teacher__strength": 4.0}, {"strength": 4.0})):
        metrics, _ = first_step(folder, "many", distill__divergence="forward", **options)
        losses_found = []
        for found in sequences(folder, "many"):
            student, estimate = students(found), found.teacher(**names)
            dpo, ratio = (found.encoded(n).astype(float) for n in ("logprob_dpo", "log_ratio"))
            factor, tau = estimate.alpha[:, None], names.get("temperature", 1.0)
            x = (dpo + factor * ratio) / tau
            own = (dpo + found.encoded("proposal_factor")[:, None] * ratio) / 1.25
            logz = found.encoded("proposal_logz")[:, None] + np.log(np.exp(x - own).mean(axis=1, keepdims=True))
            gap = x - logz - np.take_along_axis(student, estimate.ids, axis=1)
            kl = (np.exp(estimate.logprob) * gap).sum(axis=1)
            losses_found.append((kl * 0.1 / estimate.alpha).mean())
        expected = np.mean(losses_found)
        assert abs(metrics["loss"] / expected - 1) < 1e-3, (metrics["loss"], expected)
        full, _ = first_step(folder, "random-full", distill__divergence="forward", **options)
        for name, bound in (("loss", 0.1), ("grad_norm", 0.2)):
            assert abs(metrics[name] / full[name] - 1) < bound, (name, metrics[name], full[name])
    for divergence in ("reverse", "jsd"):
        refused = first_step(folder, "many", code=2, distill__divergence=divergence)
        assert "distill.divergence" in refused.errors[0] and "forward" in refused.errors[0], refused


# --- on-policy ---------------------------------------------------------------------------------


def on_policy(folder, encoding, ranks=1, **options):
    place = os.path.join(folder, "on-policy")
    training.stage("distill", place, ranks=ranks, **{
        "data__train": Setting.data.path, "data__chat_format": "none", "distill__mode": "on-policy",
        "distill__policy": Setting.directories["policy"], "distill__divergence": "forward",
        "teacher__dpo": Setting.directories["dpo"], "optimizer__lr": 0.001, "shards__top_k": 20,
        "teacher__reverse": Setting.directories["reverse"], "shards__encoding": encoding,
        "optimizer__batch_size": 3, "sampling__max_new_tokens": 10, "checkpoint__resume": False,
        **options})
    names = ("loss", "grad_norm", "tvd/mean", "teacher/error", "teacher/error_max")
    return [[row.get(name) for name in names]
            for row in harness.read_rows(os.path.join(place, "aligned", "metrics.jsonl"))]


def every_encoding_works_on_policy(folder):
    """The same figures on any number of ranks; hidden32 those of full."""
    found = {encoding: on_policy(folder, encoding) for encoding in
             ("full", "hidden32", "topk", "sampled")}
    assert found["hidden32"] == found["full"] and found["topk"][0][3] > 0
    for encoding in ("hidden32", "topk", "sampled"):
        assert on_policy(folder, encoding, ranks=3) == found[encoding], encoding
        near = np.array([row[:3] for row in found[encoding]])
        assert np.allclose(near, [row[:3] for row in found["full"]], rtol=0.2), found
    path = harness.write(os.path.join(folder, "empty.cfg"), "# all is set on the command line\n")
    refused = harness.run("distill", "-c", path, *training.settings({
        "distill__policy": Setting.directories["policy"], "shards__encoding": "sampled",
        "distill__divergence": "jsd", "output": folder}), ranks=3, code=2)
    assert "distill.divergence" in refused.errors[0] and len(refused.errors) == 1, refused


# --- full in halves, version 1 -----------------------------------------------------------------


def full_in_halves_is_full_rounded(folder):
    for name, options in (("halves", {}), ("zipped", {"shards__compression": "gzip"})):
        score(folder, name, shards__encoding="full", shards__full_dtype="f16", **options)
        path = os.path.join(folder, name, "shard-000000.h5")
        done = subprocess.run([harness.PYTHON, SHARD_H5PY, path], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        for part in ("logprob_dpo", "log_ratio"):
            found, exact = (training.shard_rows(os.path.join(folder, place), "teacher/" + part)
                            for place in (name, "random-full"))
            for key, rows in exact.items():
                assert found[key].dtype == np.float16 and (found[key] == rows.astype("f2")).all()
        harness.run("inspect", os.path.join(folder, name))
        halves, _ = first_step(folder, name)
        whole, _ = first_step(folder, "random-full")
        for figure, bound in (("loss", 1e-3), ("grad_norm", 1e-2)):
            gap = abs(halves[figure] / whole[figure] - 1)
            assert 0 < gap < bound, f"{name}: {figure} {halves[figure]}, in full {whole[figure]}"
        assert halves["alpha/mean"] == whole["alpha/mean"]
    harness.run("inspect", "--index", os.path.join(folder, "halves"))
    with h5py.File(os.path.join(folder, "halves", "index.h5"), "r") as file:
        assert file.attrs["full_dtype"] == "f16" and file["teacher/log_ratio"].dtype == "f2"
    different = harness.run("inspect", "--diff", os.path.join(folder, "halves"),
                            os.path.join(folder, "random-full"), code=None).out
    assert different.count("/teacher/logprob_dpo") == 1, different


def put_sources(file, values):
    """The enum's members in the order of their values, which h5py's own would be in that of names."""
    kind = h5py.h5t.enum_create(h5py.h5t.STD_U8LE)
    for value, name in enumerate((b"chosen", b"rejected", b"policy")):
        kind.enum_insert(name, value)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((len(values),))
    properties.set_fletcher32()
    space = h5py.h5s.create_simple((len(values),), (len(values),))
    data = h5py.h5d.create(file.id, b"sequence/source", kind, space, properties)
    data.write(h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=kind)


def write_version_1(path, encoding, tokenizer):
    """Two sequences of a policy's 6 and 4 response tokens, as the first version wrote them, by plain
    h5py. Returns the parts of /teacher."""
    generator = np.random.default_rng(4)
    V, H, K, R = 389, 16, 5, 10
    rows = np.log(generator.dirichlet(np.full(V, 0.3), size=(2, R)) + 1e-12)
    order = np.argsort(-rows.max(axis=0), axis=1)
    inside = [np.take_along_axis(x, order[:, :K], axis=1) for x in rows]
    tails = [np.log(np.exp(np.take_along_axis(x, order[:, K:], axis=1)).sum(axis=1)) for x in rows]
    hidden = (generator.standard_normal((2, R, H)).astype("f4").view("u4") >> 16).astype("u2")
    teacher = {"full": {"logprob_dpo": rows[0].astype("f4"), "log_ratio": (rows[0] - rows[1]).astype("f4")},
               "hidden": {"hidden_dpo": hidden[0], "hidden_reverse": hidden[1]},
               "topk": {"token_id": order[:, :K].astype("i4"), "logprob_dpo": inside[0].astype("f2"),
                        "log_ratio": (inside[0] - inside[1]).astype("f2"),
                        "tail_dpo": tails[0].astype("f4"), "tail_reverse": tails[1].astype("f4")}}[encoding]
    answers = generator.integers(3, V, R).astype("i4")
    columns = {"sequence/id": np.array([3, 8]), "sequence/token_start": np.array([0, 8, 15]),
               "sequence/response_start": np.array([0, 6, 10]),
               "token/id": np.concatenate([[5, 6], answers[:6], [7, 8, 9], answers[6:]]).astype("i4"),
               "response/id": answers,
               "response/logprob_dpo": rows[0][np.arange(R), answers].astype("f4"),
               "response/logprob_reverse": rows[1][np.arange(R), answers].astype("f4"),
               "response/logprob_policy": np.full(R, np.nan, "f4"),
               "response/tvd": losses.tvd(*rows).astype("f4"),
               **{"teacher/" + name: values for name, values in teacher.items()}}
    with h5py.File(path, "w") as file:
        for name in ("tool_version", "created", "chat_format", "sha256_data", "sha256_dpo", "sha256_reverse"):
            file.attrs[name] = "none"
        file.attrs.update({"format": "aligndistil-shard", "encoding": encoding, "contrast": "reverse",
                           "config": "", "sha256_tokenizer": tokenizer})
        for name, value in (("schema_version", 1), ("vocab_size", V), ("hidden_size", H), ("seed", 1),
                            ("top_k", K if encoding == "topk" else 0), ("policy_step", -1)):
            file.attrs[name] = np.int64(value)
        for name, values in columns.items():
            file.create_dataset(name, data=values, chunks=True, fletcher32=True)
        put_sources(file, np.array([2, 2], "u1"))
        for name in ("prompt", "response"):
            file.create_dataset("sequence/" + name, data=["first", "second"], chunks=(2,),
                                dtype=h5py.string_dtype())
        if encoding == "hidden":
            for name in teacher:
                file["teacher"][name].attrs["dtype"] = "bfloat16"
    return teacher


def version_1_is_read_forever(folder):
    with open(os.path.join(folder, "tok", "tokenizer.json"), "rb") as file:
        tokenizer = hashlib.sha256(file.read()).hexdigest()
    for encoding in ("full", "hidden", "topk"):
        place = os.path.join(folder, "first-" + encoding)
        os.makedirs(place)
        path = os.path.join(place, "shard-000000.h5")
        teacher = write_version_1(path, encoding, tokenizer)
        done = subprocess.run([harness.PYTHON, SHARD_H5PY, path], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        assert encoding in harness.run("inspect", path).out
        for i, found in enumerate(sequences(folder, "first-" + encoding)):
            rows = slice(0, 6) if i == 0 else slice(6, 10)
            for name, values in teacher.items():
                assert (found.encoded(name) == values[rows]).all()
        if encoding == "hidden":
            continue  # its matrices aren't anyone's
        losses_of = [distance_of(found) for found in sequences(folder, "first-" + encoding)]
        metrics, _ = first_step(folder, "first-" + encoding, teacher__dpo="", teacher__reverse="")
        assert abs(metrics["loss"] / np.mean(losses_of) - 1) < 1e-3, (metrics["loss"], losses_of)
        assert "teacher/error" not in metrics


def distance_of(found):
    """The loss of a sequence, from the shard by plain NumPy."""
    student, teacher = students(found), found.teacher()
    if teacher.ids is None:
        kl = losses.kl(student, teacher.logprob)
    else:
        kl = losses.kl(losses.gather_outcomes(student, teacher.ids),
                       np.column_stack([teacher.logprob, teacher.tail]))
    return (0.1 / teacher.alpha * kl).mean()


# --- the comparison ----------------------------------------------------------------------------


def the_comparison_makes_its_table(folder):
    """tools/compare_encodings.py at a small size: a line for each encoding, errors as they must be."""
    done = subprocess.run(
        [harness.PYTHON, os.path.join(harness.TOOLS, "compare_encodings.py"), "--program",
         harness.BINARY, "--vocab-size", "389", "--hidden", "16", "--heads", "2", "--pairs", "2",
         "--tokens", "20", "--k", "8", "64"], capture_output=True, text=True,
        env=harness.environment())
    assert done.returncode == 0, done.stderr
    rows = {cells[1]: cells[2:-1] for cells in ([c.strip() for c in line.split("|")] for line in
                                                done.stdout.splitlines() if line.startswith("| "))}
    errors = {name: float(cells[4]) for name, cells in rows.items() if name != "encoding"}
    sizes = {name: float(cells[0].replace(",", "")) for name, cells in rows.items()
             if name != "encoding"}
    assert errors["full"] == errors["full, gzip"] == 0 and errors["hidden32"] < 1e-5
    assert 1e-4 < errors["hidden"] < 0.1 and errors["topk, K 64"] < errors["topk, K 8"]
    assert sizes["full"] == 8 * 389 and sizes["hidden"] == 64 and sizes["hidden32"] == 128


if __name__ == "__main__":
    harness.main([hidden32_trains_as_full_does, hidden_states_name_their_matrices,
                  another_matrix_is_refused, sampled_holds_the_draws_of_its_counters,
                  draws_do_not_depend_on_ranks, the_trainer_learns_from_draws,
                  full_in_halves_is_full_rounded,
                  version_1_is_read_forever, every_encoding_works_on_policy,
                  the_comparison_makes_its_table,
                  topk_is_never_further_off_than_it_says, the_trainer_reports_the_bound,
                  a_limit_refuses, shards_without_a_certificate_are_read], prepare)
