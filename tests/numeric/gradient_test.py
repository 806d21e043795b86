#!/usr/bin/python3
"""Gradients of every loss with respect to every tensor: the program's, in float32, against central
differences of the NumPy twin in double precision.

The program's gradient is AdamW's first moment after one step with beta1 = 0 and no clipping, read
from the checkpoint: the whole way through packing, micro-batches and sums is in it.
"""
import os
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses  # noqa: E402

BOUND = 5e-6  # of the norm of a tensor's gradient; seen: 2e-6
ENTRIES = 2   # of each tensor, and one direction through all of it
PAIR_KEYS = {"ipo": [], "hinge": [], "simpo": ["gamma"], "cdpo": ["label_smoothing"], "tdpo1": [],
             "tdpo2": ["tdpo_alpha"]}
DIVERGENCES = ("reverse", "forward", "jsd")
TEACHER = {"teacher__strength": 2.0, "teacher__beta": 0.5, "teacher__temperature": 1.25}


def teacher_of(divergence):
    return losses.Teacher(strength=2.0, beta=0.5, temperature=1.25, divergence=divergence)


class Case:
    """One loss: how the program computes it, and `loss(logits)` of the twin, whose logits are those
    of all sequences, chosen and rejected in turn."""

    def __init__(self, command, settings, loss):
        self.command, self.settings, self.loss = command, settings, loss


def sft_case(sequences):
    return Case("sft", {}, lambda z: training.sft_loss(z[::2], sequences[::2]))


def dpo_case(sequences, reference, smoothing, reverse):
    settings = {"dpo__label_smoothing": smoothing, "dpo__reverse": reverse}
    return Case("dpo", settings, lambda z: training.dpo_loss(
        z, sequences, reference, smoothing=smoothing, reverse=reverse))


def pair_case(settings, sequences, policy, reference, reverse=False):
    """`policy`: its logits where the gradient is taken."""
    order = (1, 0) if reverse else (0, 1)

    def pairs(rows):
        return [[rows[i + side] for side in order] for i in range(0, len(rows), 2)]

    responses = pairs([response for _, response in sequences])
    still = [losses.sequence_kl(q[0], z[0]) for q, z in zip(pairs(reference), pairs(policy))]

    def loss(z):
        return np.mean([losses.pair(settings, *parts)[0]
                        for parts in zip(pairs(z), pairs(reference), responses, still)])
    keys = {f"dpo__{key}": value for key, value in vars(settings).items()
            if key in PAIR_KEYS[settings.loss] + ["loss", "beta"]}
    own = {"dpo__reference": ""} if settings.loss == "simpo" else {}
    return Case("dpo", {"dpo__reverse": reverse, **keys, **own}, loss)


def full_case(teachers, divergence):
    def loss(z):
        return np.mean([losses.distill(teacher_of(divergence), *rows)[0]
                        for rows in zip(z, *teachers)])
    return Case("distill", {"distill__divergence": divergence, "shards__directory": "full"}, loss)


def topk_case(stored, divergence):
    def loss(z):
        return np.mean([losses.distill_topk(teacher_of(divergence), rows, *shard)
                        for rows, shard in zip(z, stored)])
    return Case("distill", {"distill__divergence": divergence, "shards__directory": "topk"}, loss)


def make_cases(folder, data, directories, twins, every):
    """Losses by name; `every`: all of their options, else a choice."""
    sequences = data.sequences("both")
    policy, frozen = (training.logits_of(twins[name], sequences) for name in ("policy", "reference"))
    reference = training.logprob_sums(frozen, sequences)
    teachers = [training.logits_of(twins[name], sequences) for name in ("dpo", "reverse")]
    for encoding in ("full", "topk"):
        training.stage("score", folder, data__train=data.path, data__responses="both",
                       data__chat_format="none", shards__directory=encoding,
                       shards__encoding=encoding, shards__top_k=24,
                       teacher__dpo=directories["dpo"], teacher__reverse=directories["reverse"])
    keys = [(row, source) for row in range(len(data.rows)) for source in (0, 1)]
    stored = training.topk_of(os.path.join(folder, "topk"), keys)
    cases = {"sft": sft_case(sequences)}
    for smoothing, reverse in ((0.0, False), (0.2, False), (0.0, True), (0.2, True)):
        if every or (smoothing > 0 and not reverse):
            cases[f"dpo {smoothing} {reverse}"] = dpo_case(sequences, reference, smoothing, reverse)
    for loss in PAIR_KEYS if every else ("tdpo2",):
        for reverse in (False, True) if every else (False,):
            chosen = losses.Preference(loss, 0.02, 0.2, 0.6, 0.4)
            cases[f"{loss} {reverse}"] = pair_case(chosen, sequences, policy, frozen, reverse)
    for divergence in DIVERGENCES if every else ("reverse",):
        cases[f"full {divergence}"] = full_case(teachers, divergence)
        cases[f"topk {divergence}"] = topk_case(stored, divergence)
    return cases


def program_gradient(folder, data, directories, twin, case, micro_batch_tokens):
    """(loss, {tensor: gradient})"""
    output = os.path.join(folder, "run")
    common = {"data__chat_format": "none", "data__train": data.path,
              "optimizer__lr": 0.0, "optimizer__betas": [0.0, 0.5], "optimizer__max_grad_norm": 0.0,
              "optimizer__batch_size": 100, "optimizer__epochs": 2, "checkpoint__every_steps": 1,
              "checkpoint__resume": False, "optimizer__micro_batch_tokens": micro_batch_tokens,
              f"{case.command}__output": output}
    own = {"sft": {"sft__model": directories["policy"]},
           "dpo": {"dpo__policy": directories["policy"],
                   "dpo__reference": directories["reference"]},
           "distill": {"distill__policy": directories["policy"], "distill__mode": "off-policy",
                       "data__train": "", **TEACHER}}
    training.stage(case.command, folder, **{**common, **own[case.command], **case.settings})
    first = harness.read_rows(os.path.join(output, "metrics.jsonl"))[0]
    return first["loss"], training.read_moment(
        os.path.join(output, "checkpoints", "step-000001"), twin)


def derivative(twin, weight, direction, losses_of, step=1e-5):
    """Of every loss along `direction` of one tensor, by central differences."""
    ends, keep = [], weight.copy()
    for sign in (1, -1):
        weight[...] = keep + sign * step * direction
        ends.append(losses_of(twin))
    weight[...] = keep
    return (ends[0] - ends[1]) / (2 * step)


def directions(name, shape, used, rng):
    """Single entries (of the embedding: rows of tokens that occur), then all at once."""
    for i in range(ENTRIES):
        index = [rng.integers(n) for n in shape]
        if name == "model.embed_tokens.weight" and i > 0:
            index[0] = rng.choice(used)
        direction = np.zeros(shape)
        direction[tuple(index)] = 1.0
        yield direction
    direction = rng.normal(size=shape)
    yield direction / np.linalg.norm(direction)


def check_kind(folder, kind, every=False, sft=False):
    """`every`: all options of the losses; `sft`: that loss alone, where only the model is new."""
    folder = os.path.join(folder, kind)
    data = training.Data(folder)
    directories = training.make_models(folder, training.KINDS[kind])
    twins = training.load(directories)
    twin, sequences = twins["policy"], data.sequences("both")
    cases = ({"sft": sft_case(sequences)} if sft else
             make_cases(folder, data, directories, twins, every))
    found = [program_gradient(folder, data, directories, twin, case, 4096 if i % 2 == 0 else 50)
             for i, case in enumerate(cases.values())]

    def losses_of(model):
        logits = training.logits_of(model, sequences)
        return np.array([case.loss(logits) for case in cases.values()])

    for name, ours, theirs in zip(cases, (loss for loss, _ in found), losses_of(twin)):
        assert abs(ours - theirs) < 1e-5 * abs(theirs), f"loss {name}: {ours}, twin {theirs}"
    rng = np.random.default_rng(7)
    used = sorted({i for p, r in sequences for i in p + r})
    for tensor, weight in twin.weights.items():
        gradients = [gradient[tensor] for _, gradient in found]
        sizes = np.array([np.linalg.norm(g) for g in gradients])
        assert (sizes > 0).all(), f"{tensor}: a gradient is zero"
        for direction in directions(tensor, weight.shape, used, rng):
            expected = derivative(twin, weight, direction, losses_of)
            gap = np.abs([(g * direction).sum() for g in gradients] - expected) / sizes
            worst = gap.argmax()
            assert gap[worst] < BOUND, \
                f"{kind}, {tensor}, {list(cases)[worst]}: off by {gap[worst]:.2g} of its size"


# --- policy gradients: the responses are those that the program samples --------------------------


def sampled(path):
    """[(prompt, response)] of a shard, and per response log pi_dpo, log pi_c, log pi of its tokens."""
    with h5py.File(path, "r") as file:
        tokens, starts = file["sequence/token_start"][...], file["sequence/response_start"][...]
        ids = file["token/id"][...].tolist()
        columns = [file[f"response/logprob_{name}"][...].astype(float)
                   for name in ("dpo", "reverse", "policy")]
    sequences, numbers = [], []
    for i, first in enumerate(starts[:-1]):
        split = tokens[i + 1] - (starts[i + 1] - first)
        sequences.append((ids[tokens[i]:split], ids[split:tokens[i + 1]]))
        numbers.append([column[first:starts[i + 1]] for column in columns])
    return sequences, numbers


def policy_gradients_on_qwen2(folder):
    """Advantages are constants, from the shard; log pi is the twin's."""
    data = training.Data(folder)
    directories = training.make_models(folder, training.KINDS["qwen2"])
    twin = training.load({"policy": directories["policy"]})["policy"]
    rng = np.random.default_rng(3)
    for signal, normalize in (("token", True), ("sequence", False)):
        settings = {"data__train": data.path, "distill__mode": "on-policy", "distill__signal": signal,
                    "distill__length_normalize": normalize, "sampling__max_new_tokens": 12,
                    "shards__directory": signal, "teacher__dpo": directories["dpo"],
                    "teacher__reverse": directories["reverse"]}
        loss, gradient = program_gradient(folder, data, directories, twin,
                                          Case("distill", settings, None), 50)
        sequences, numbers = sampled(os.path.join(folder, signal, "shard-000000.h5"))
        advantage = losses.advantages([losses.policy_returns(signal, 0.5, *rows, 0.5)
                                       for rows in numbers])

        def loss_of(model):
            return losses.policy_gradient(
                advantage, [model.logprobs(*sequence) for sequence in sequences], normalize)
        assert abs(loss - loss_of(twin)) < 1e-5 * max(1.0, abs(loss)), signal
        for tensor, weight in twin.weights.items():
            size = np.linalg.norm(gradient[tensor])
            for direction in directions(tensor, weight.shape, sequences[0][1], rng):
                slope = derivative(twin, weight, direction, lambda model: np.array([loss_of(model)]))
                gap = abs((gradient[tensor] * direction).sum() - slope[0])
                assert gap < BOUND * size, f"{signal}, {tensor}: off by {gap / size:.2g} of its size"


def every_loss_on_qwen2(folder):
    check_kind(folder, "qwen2", every=True)


def qwen2_untied(folder):
    check_kind(folder, "qwen2 untied")


def qwen3_head_norms(folder):
    check_kind(folder, "qwen3", sft=True)


def llama_untied_with_biases(folder):
    check_kind(folder, "llama", sft=True)


def mistral_one_kv_head(folder):
    check_kind(folder, "mistral", sft=True)


def mistral_windows(folder):
    check_kind(folder, "mistral window", sft=True)


def qwen2_windows_in_some_layers(folder):
    check_kind(folder, "qwen2 windows", sft=True)


def qwen3_yarn_and_windows(folder):
    check_kind(folder, "qwen3 yarn", sft=True)


def llama3_rotation_and_mlp_biases(folder):
    check_kind(folder, "llama llama3", sft=True)


def olmo2_norms_behind(folder):
    check_kind(folder, "olmo2", sft=True)


def olmo3_plain_windows(folder):
    check_kind(folder, "olmo3", sft=True)


def smollm3_layers_without_rotation(folder):
    check_kind(folder, "smollm3", sft=True)


def gemma3_sandwich(folder):
    check_kind(folder, "gemma3", sft=True)


if __name__ == "__main__":
    harness.main([every_loss_on_qwen2, policy_gradients_on_qwen2, qwen2_untied, qwen3_head_norms, llama_untied_with_biases,
                  mistral_one_kv_head, mistral_windows, qwen2_windows_in_some_layers,
                  qwen3_yarn_and_windows, llama3_rotation_and_mlp_biases, olmo2_norms_behind,
                  olmo3_plain_windows, smollm3_layers_without_rotation, gemma3_sandwich])
