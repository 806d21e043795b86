#!/usr/bin/python3
"""Nothing that isn't a number: weights, moments, logits and losses that aren't finite end a command with
one line that names them, and nothing of them is published. Gradients of any size are summed alike on any
number of ranks. Models are told of positions that they haven't learnt."""
import hashlib
import itertools
import os
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

INPUT, INTERNAL, USAGE = 3, 5, 2
CONFIG = """shards: { sequences_per_shard = 4; };
distill: { policy = "policy"; mode = "off-policy"; };
generate: { model = "policy"; };
eval: { model = "policy"; dpo = "dpo"; contrast = "rev"; reference = "policy"; };
sampling: { max_new_tokens = 12; };
optimizer: { lr = 1e-3; batch_size = 5; micro_batch_tokens = 100; };
"""
TENSOR = "model.layers.1.mlp.down_proj.weight"
# Garbage in fresh memory shows what is read before it is written.
ENV = {"MALLOC_PERTURB_": "165"}


def prepare(folder):
    prepare_route(folder, CONFIG)
    for name, value in (("nan", np.nan), ("inf", -np.inf)):
        poke(copy(f"{folder}/policy", f"{folder}/{name}"), TENSOR, 37, value)
    huge(copy(f"{folder}/policy", f"{folder}/huge"))


def change(path, edit):
    """Rewrites a model's tensors: edit(name, values) changes them in place."""
    header, data = safetensors_header(f"{path}/model.safetensors")
    data = bytearray(data)
    for name, entry in header.items():
        if name != "__metadata__":
            edit(name, np.frombuffer(memoryview(data)[slice(*entry["data_offsets"])], "<f4"))
    write_safetensors(f"{path}/model.safetensors", header, bytes(data))


def poke(path, tensor, element, value):
    def edit(name, values):
        if name == tensor:
            values[element] = value
    change(path, edit)


def huge(path):
    """Finite weights, and logits that overflow."""
    def edit(name, values):
        if name in ("model.embed_tokens.weight", "model.norm.weight"):
            values *= 1e3 if "embed" in name else 1e37
    change(path, edit)


def keys(settings):
    return [word for setting in ("data.chat_format=none", *settings) for word in ("--set", setting)]


def command(folder, name, *settings, **options):
    return run(name, "-c", f"{folder}/run.cfg", *keys(settings), env={**ENV, **options.pop("env", {})}, **options)


def refused(folder, name, settings, code, words, ranks=(1, 3)):
    """One line with these words, and nothing published."""
    for n in ranks:
        shutil.rmtree(f"{folder}/out", ignore_errors=True)
        done = command(folder, name, *settings, code=None, ranks=n)
        assert done.code == code and len(done.errors) == 1, f"{name} {settings} on {n}: {done}"
        for word in words:
            assert word in done.errors[0], f"{name} {settings} on {n}: \"{word}\": {done.errors[0]}"
        for place, _, names in os.walk(f"{folder}/out"):
            left = [x for x in names if x.endswith((".h5", ".safetensors")) or x in ("done.json", "eval.json")
                    or x.startswith("generations")]
            assert not left, f"{name} {settings} on {n}: {place}: {left}"
            assert "checkpoints" not in place, place


def weights_are_checked_wherever_a_model_is_read(folder):
    places = {"sft": ["sft.model"], "dpo": ["dpo.policy", "dpo.reference"],
              "score": ["teacher.dpo", "teacher.reverse"], "generate": ["generate.model"],
              "eval": ["eval.model", "eval.dpo", "eval.contrast", "eval.reference"],
              "distill": ["distill.policy", "teacher.dpo", "teacher.reverse"]}
    for name, slots in places.items():
        for slot in slots:
            more = ["data.eval=desk/eval.jsonl"] if name == "eval" else []
            refused(folder, name, [f"{slot}=nan", *more], INPUT,
                    ["nan/model.safetensors", TENSOR, "element 37", "nan"], ranks=(1, 3) if slot == slots[0] else (1,))
    refused(folder, "distill", ["distill.mode=on-policy", "teacher.reverse=inf"], INPUT, [TENSOR, "-inf"])
    refused(folder, "dpo", ["dpo.loss=tdpo1", "dpo.reference=inf"], INPUT, [TENSOR, "-inf"])


def logits_that_overflow_are_named(folder):
    refused(folder, "generate", ["generate.model=huge"], INPUT, ["huge", "logits aren't finite", "token 1"])
    refused(folder, "generate", ["generate.model=huge", "sampling.temperature=0"], INPUT, ["huge"], ranks=(1,))
    refused(folder, "generate", ["generate.model=huge", "sampling.top_p=0.9", "sampling.top_k=5"], INPUT,
            ["huge"], ranks=(1,))
    evaluation = ["data.eval=desk/eval.jsonl"]
    for slot in ("model", "dpo", "contrast", "reference"):
        refused(folder, "eval", [*evaluation, f"eval.{slot}=huge", "eval.generate=0"], INPUT,
                ["huge", f"eval.{slot}", "log-probability"], ranks=(1, 3) if slot == "dpo" else (1,))
    for encoding in ("full", "hidden", "topk", "sampled"):
        refused(folder, "score", ["teacher.reverse=huge", f"shards.encoding={encoding}"], INPUT,
                ["a teacher's numbers overflow", "no shard is written"], ranks=(1, 2) if encoding == "full" else (1,))
    refused(folder, "dpo", ["dpo.reference=huge"], INPUT, ["huge", "log-probability"])
    for name, settings in (("sft", ["sft.model=huge"]), ("dpo", ["dpo.policy=huge", "dpo.loss=simpo", "dpo.reference="])):
        refused(folder, name, settings, INTERNAL, ["overflow", "first step"])
    refused(folder, "distill", ["distill.policy=huge", "distill.mode=on-policy"], INTERNAL,
            ["the policy in training", "logits aren't finite"])


def a_training_that_diverges_ends(folder):
    done = command(folder, "sft", "optimizer.lr=1000", "optimizer.epochs=30", "optimizer.max_grad_norm=0",
                   "optimizer.schedule=constant", "optimizer.weight_decay=1000", "output=out",
                   "checkpoint.every_steps=1000", code=None)
    assert done.code == INTERNAL and len(done.errors) == 1, done
    assert "diverged" in done.errors[0], done
    assert not os.path.exists(f"{folder}/out/sft/done.json") and \
        not os.path.exists(f"{folder}/out/sft/model.safetensors"), os.listdir(f"{folder}/out/sft")


def a_type_that_has_no_such_number_is_refused(folder):
    copy(f"{folder}/policy", f"{folder}/large")
    poke(f"{folder}/large", "model.norm.weight", 3, 1e6)
    refused(folder, "sft", ["sft.model=large", "runtime.dtype=F16", "optimizer.lr=0"], INTERNAL,
            ["model.norm.weight", "element 3", "1e+06", "F16"], ranks=(1,))


def set_moment(path, moment, element, value):
    """As if the checkpoint had been written so: a digest of the file in state.json is the new one's."""
    state = os.path.join(os.path.dirname(path), "state.json")
    digests = []
    for change in (False, True):
        if change:
            with h5py.File(path, "r+") as file:
                file[moment][element] = value
        with open(path, "rb") as file:
            digests.append(hashlib.sha256(file.read()).hexdigest())
    with open(state, encoding="utf-8") as file:
        text = file.read()
    write(state, text.replace(*digests))


def moments_of_a_checkpoint_are_checked(folder):
    settings = ["optimizer.epochs=2", "checkpoint.every_steps=2", "output=moments"]
    command(folder, "sft", *settings)
    for moment, element, value in (("m", 7, np.nan), ("v", 9, np.inf), ("v", 11, -1.0)):
        os.remove(f"{folder}/moments/sft/done.json") if os.path.exists(f"{folder}/moments/sft/done.json") else None
        last = sorted(os.listdir(f"{folder}/moments/sft/checkpoints"))[-1]
        path = f"{folder}/moments/sft/checkpoints/{last}/optimizer.h5"
        with h5py.File(path, "r+") as file:
            before = file[moment][element]
        set_moment(path, moment, element, value)
        done = command(folder, "sft", *settings, code=INPUT)
        assert f"{last}/optimizer.h5: {moment}: element {element}: expected" in done.errors[0], done
        set_moment(path, moment, element, before)


def distilled(folder, output, ranks, *settings, **options):
    command(folder, "distill", f"output={output}", "data.train=", f"shards.directory={folder}/uniform/shards",
            "optimizer.max_grad_norm=0", "optimizer.epochs=2", *settings, ranks=ranks, **options)
    return read_rows(f"{folder}/{output}/aligned/metrics.jsonl"), weights(f"{folder}/{output}/aligned")


def gradients_of_any_size_are_summed_exactly(folder):
    """The loss is proportional to teacher.beta, and so is the norm of the first step; Adam's steps don't
    change while epsilon is nothing beside them. The same bits on 1 to 3 ranks."""
    command(folder, "score", "output=uniform", "data.responses=both", "shards.encoding=full")
    rows, expected = distilled(folder, "plain", 1, "teacher.beta=1", "optimizer.epsilon=1e-20")
    for beta in (1e-3, 1e-9, 1e-11):
        found, tuned = {}, [f"teacher.beta={beta}", "optimizer.epsilon=1e-20"]
        for ranks in (1, 2, 3) if beta == 1e-11 or ALL_TRIALS else (1, 3):
            found[ranks] = distilled(folder, f"beta{beta}-{ranks}", ranks, *tuned)
        lines, values = found[1]
        ratio = lines[0]["grad_norm"] / rows[0]["grad_norm"] / beta
        assert abs(ratio - 1) < 1e-6, f"beta {beta}: the norm is off by {ratio - 1:.2g}"
        for name, after in expected.items():
            gap = np.abs(values[name] - after).max()
            assert gap < 2e-4, f"beta {beta}: {name} is off by {gap:.2g}"
        for ranks in found:
            assert [r["grad_norm"] for r in found[ranks][0]] == [r["grad_norm"] for r in lines], f"{ranks} ranks"
            assert all(np.array_equal(v, values[k]) for k, v in found[ranks][1].items()), f"{ranks} ranks"


def the_unit_survives_a_restart(folder):
    """A run that goes on from its middle, on another number of ranks, ends with the same bits."""
    command(folder, "score", "output=uniform", "data.responses=both", "shards.encoding=full")
    tuned = ["teacher.beta=1e-11", "optimizer.epsilon=1e-20", "checkpoint.every_steps=3", "checkpoint.keep_last=0"]
    lines, values = distilled(folder, "parts", 1, *tuned)
    output = f"{folder}/parts/aligned"
    steps = sorted(os.listdir(f"{output}/checkpoints"))
    assert steps[0] == "step-000003" and len(lines) > 6, steps
    unit = read_json(f"{output}/checkpoints/{steps[0]}/state.json")["gradient_unit"]
    assert unit < -60, unit
    for name in steps[1:]:
        shutil.rmtree(f"{output}/checkpoints/{name}")
    os.remove(f"{output}/done.json")
    again, after = distilled(folder, "parts", 2, *tuned)
    assert [r["grad_norm"] for r in again] == [r["grad_norm"] for r in lines]
    assert all(np.array_equal(v, values[k]) for k, v in after.items())
    assert read_json(f"{output}/checkpoints/{steps[-1]}/state.json")["gradient_unit"] == unit


def positions_beyond_the_model_are_told_of(folder):
    for name in ("short", "short2"):
        path = copy(f"{folder}/{'policy' if name == 'short' else 'rev'}", f"{folder}/{name}")
        config = read_json(f"{path}/config.json")
        config["max_position_embeddings"] = 40
        write(f"{path}/config.json", json.dumps(config))
    cases = [("sft", ["sft.model=short"]), ("dpo", ["dpo.policy=short", "dpo.reference=short"]),
             ("score", ["teacher.dpo=short"]), ("generate", ["generate.model=short"]),
             ("eval", ["eval.model=short", "data.eval=desk/eval.jsonl"]),
             ("distill", ["distill.policy=short"]), ("distill", ["distill.policy=short", "distill.mode=on-policy",
                                                                 "optimizer.max_steps=1"])]
    for i, ((name, settings), ranks) in enumerate(itertools.product(cases, (1, 2))):
        if i // 2 % 2 == i % 2 and not ALL_TRIALS:  # each case on one of them, in turn
            continue
        shutil.rmtree(f"{folder}/out", ignore_errors=True)
        done = command(folder, name, *settings, ranks=ranks)
        said = [line for line in done.err.splitlines() if "max_position_embeddings is 40" in line]
        assert len(said) == 1 and "short/config.json" in said[0], f"{name} {settings} on {ranks}: {done.err}"
        assert int(said[0].split("may have ")[1].split()[0]) > 40, said
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    done = command(folder, "score", "teacher.dpo=short", "teacher.reverse=short2")
    assert done.err.count("max_position_embeddings is 40") == 2, done.err
    assert "max_position_embeddings is" not in command(folder, "sft", "output=quiet").err


def weights_by_which_nothing_can_be_divided(folder):
    for command_, settings, words in (
            ("distill", ["teacher.extrapolation=constant", "teacher.strength=0"],
             ["teacher.strength: 0", "constant", "distill.token_weight"]),
            ("distill", ["teacher.epsilon=0"], ["teacher.epsilon", "0 is out of range", "expected 1e-09 to 1000"]),
            ("generate", ["sampling.temperature=1e-39"], ["sampling.temperature", "expected 0, or 1e-06 to 1000"]),
            ("sft", ["optimizer.betas=[0.9, 1]"], ["optimizer.betas", "expected 0 to 0.999999"])):
        refused(folder, command_, settings, USAGE, words, ranks=(1, 2))
    # Equal teachers: every distance is 0, and the weight is beta over epsilon.
    command(folder, "distill", "teacher.reverse=dpo", "teacher.strength=0", "output=equal")
    loss = [row["loss"] for row in read_rows(f"{folder}/equal/aligned/metrics.jsonl")]
    assert np.isfinite(loss).all(), loss


def a_tied_matrix_of_its_own_is_refused(folder):
    path = copy(f"{folder}/policy", f"{folder}/tied")
    header, data = safetensors_header(f"{path}/model.safetensors")
    assert "lm_head.weight" not in header and read_json(f"{path}/config.json")["tie_word_embeddings"]
    embedding = header["model.embed_tokens.weight"]
    body = data[slice(*embedding["data_offsets"])]
    header["lm_head.weight"] = {**embedding, "data_offsets": [len(data), len(data) + len(body)]}
    write_safetensors(f"{path}/model.safetensors", header, data + body)
    command(folder, "sft", "sft.model=tied", "output=same")
    poke(path, "lm_head.weight", 19, 0.5)
    for name, slot in (("sft", "sft.model"), ("generate", "generate.model"), ("score", "teacher.reverse")):
        refused(folder, name, [f"{slot}=tied"], INPUT, ["lm_head.weight", "element 19", "tie_word_embeddings"])


if __name__ == "__main__":
    main([weights_are_checked_wherever_a_model_is_read, logits_that_overflow_are_named, a_training_that_diverges_ends,
          a_type_that_has_no_such_number_is_refused, moments_of_a_checkpoint_are_checked,
          gradients_of_any_size_are_summed_exactly, the_unit_survives_a_restart,
          positions_beyond_the_model_are_told_of, weights_by_which_nothing_can_be_divided,
          a_tied_matrix_of_its_own_is_refused], prepare)
