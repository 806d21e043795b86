#!/usr/bin/python3
"""Three optimizer steps of whole commands against the twins: loss, gradient norm, learning rate and
every metric of each step, and the weights after the third.

Gradients come from the PyTorch twin; without PyTorch these tests are skipped (gradient_test.py holds
the program to central differences of the NumPy twin).
"""
import os
import shutil
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model, optim, philox  # noqa: E402

try:
    import torch
    from reference import torch_twin
except ImportError:
    torch = None

STEPS, SEED = 3, 11
OPTIMIZER = {"optimizer__lr": 0.02, "optimizer__weight_decay": 0.1, "optimizer__max_grad_norm": 0.7,
             "optimizer__warmup_ratio": 0.4, "optimizer__min_lr_ratio": 0.2}
# AdamW divides a gradient by its own size: where that is near float32's noise, the update is noise.
# epsilon stands above the noise; one case takes the default.
EPSILON = 1e-3


class Twin:
    """The policy in training. `step_loss(parameters, items)` gives the loss as a tensor and the
    metrics of a step."""

    def __init__(self, start, step_loss, epsilon):
        self.config, self.step_loss = start.config, step_loss
        self.weights = {name: w.copy() for name, w in start.weights.items()}
        self.adamw = optim.AdamW(self.weights, epsilon=epsilon, weight_decay=0.1)

    def step(self, number, items):
        parameters = torch_twin.parameters(self.weights)
        loss, metrics = self.step_loss(parameters, items)
        gradients = torch_twin.backward(loss, parameters)
        norm = optim.clip(gradients, 0.7)
        lr = optim.learning_rate(number, STEPS, 0.02, 0.4, 0.2)
        self.adamw.step(gradients, lr)
        return {"loss": loss.item(), "grad_norm": norm, "lr": lr, **metrics}


def rows_of_logits(config, parameters, sequences):
    return [torch_twin.response_logits(config, parameters, *s) for s in sequences]


def check_metrics(number, found, expected, room):
    for name, value in expected.items():
        # Rewards are differences of sums of some hundreds.
        bound = room * max(abs(value), 1.0 if name.startswith("rewards/") else 0.01)
        assert abs(found[name] - value) <= bound, \
            f"step {number + 1}, {name}: {found[name]}, expected {value}"


def check_weights(output, start, twin, bound):
    """The update's error, of the update's size, tensor by tensor."""
    after = model.Model.load(output).weights
    for name, expected in twin.weights.items():
        update = np.linalg.norm(expected - start.weights[name])
        gap = np.linalg.norm(after[name] - expected)
        assert update > 0 and gap <= bound * update, f"{name}: update off by {gap / update:.2g}"


def check_run(folder, command, start, step_loss, count, batch, epsilon=EPSILON, bound=2e-5,
              room=1e-5, **settings):
    """Trains with program and twin; `count` items, `batch` a step."""
    output = os.path.join(folder, "run")
    training.stage(command, folder, **{
        "seed": SEED, "data__chat_format": "none", "optimizer__batch_size": batch,
        "optimizer__epsilon": epsilon, "optimizer__micro_batch_tokens": 60,
        f"{command}__output": output, **OPTIMIZER, **settings})
    lines = harness.read_rows(os.path.join(output, "metrics.jsonl"))
    assert len(lines) == STEPS
    twin = Twin(start, step_loss, epsilon)
    for number, found in enumerate(lines):
        items = philox.step_items(SEED, count, batch, number)
        expected = twin.step(number, items)
        expected.update(step=number + 1, epoch=(number + 1) / STEPS)
        check_metrics(number, found, expected, room)
        assert found["seconds"] > 0 and found["tokens_per_second"] > 0
    check_weights(output, start, twin, bound)


# --- data and models, once ---------------------------------------------------------------------


class Setting:
    data = directories = twins = None


def prepare(folder):
    Setting.data = training.Data(folder)
    Setting.directories = training.make_models(folder, training.KINDS["qwen2"])
    Setting.twins = training.load(Setting.directories)
    for contrast in ("reverse", "reference"):
        training.stage("score", folder, data__train=Setting.data.path, data__responses="both",
                       data__chat_format="none", shards__directory=contrast,
                       shards__encoding="full", teacher__contrast=contrast,
                       teacher__dpo=Setting.directories["dpo"],
                       **{f"teacher__{contrast}": Setting.directories[contrast]})


def needs_torch():
    if torch is None:
        raise harness.Skip("python3-torch is not installed")


# --- sft ---------------------------------------------------------------------------------------


def check_sft(folder, **options):
    needs_torch()
    start, sequences = Setting.twins["policy"], Setting.data.sequences("chosen")

    def step_loss(parameters, items):
        chosen = [sequences[i] for i in items]
        rows = rows_of_logits(start.config, parameters, chosen)
        total = sum(torch_twin.sft(z, response) for z, (_, response) in zip(rows, chosen))
        tokens = sum(len(p) + len(r) - 1 for p, r in chosen)
        return total / sum(len(r) for _, r in chosen), {"tokens": tokens}

    check_run(folder, "sft", start, step_loss, 5, 2, data__train=Setting.data.path,
              sft__model=Setting.directories["policy"], **options)


def sft(folder):
    check_sft(folder)


def sft_with_the_usual_epsilon(folder):
    check_sft(folder, epsilon=1e-8, bound=2e-4)


# --- dpo ---------------------------------------------------------------------------------------


def dpo_metrics(beta, rows):
    """`rows`: log-probabilities of preferred, other, then the reference's of both. Equal rewards, as
    before the first step of a policy that is its own reference, are not accurate."""
    rewards = beta * (rows[:, :2] - rows[:, 2:])
    chosen, rejected = rewards.mean(axis=0)
    return {"rewards/chosen": chosen, "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": (rewards[:, 0] > rewards[:, 1] + 1e-9).mean(),
            "logps/chosen": rows[:, 0].mean(), "logps/rejected": rows[:, 1].mean()}


def check_dpo(folder, smoothing=0.0, reverse=False, own=False):
    needs_torch()
    data, start = Setting.data, Setting.twins["policy"]
    sides = [data.sequences(which) for which in ("chosen", "rejected")]
    if reverse:  # the preferred response is then the rejected one, in loss and metrics
        sides.reverse()
    reference = Setting.twins["policy" if own else "reference"]
    fixed = [training.logprob_sums(training.logits_of(reference, side), side) for side in sides]

    def step_loss(parameters, items):
        total, values = 0, []
        for i in items:
            sums = [torch_twin.logprobs(start.config, parameters, *side[i]).sum() for side in sides]
            total = total + torch_twin.dpo(0.3, *sums, fixed[0][i], fixed[1][i], smoothing)
            values.append([s.item() for s in sums] + [fixed[0][i], fixed[1][i]])
        tokens = sum(len(data.prompts[i]) + sum(len(side[i][1]) - 1 for side in sides)
                     for i in items)
        return total / len(items), {"tokens": tokens, **dpo_metrics(0.3, np.array(values))}

    check_run(folder, "dpo", start, step_loss, 5, 2, data__train=data.path,
              dpo__policy=Setting.directories["policy"], dpo__beta=0.3,
              dpo__reference="" if own else Setting.directories["reference"],
              dpo__label_smoothing=smoothing, dpo__reverse=reverse)


def dpo(folder):
    check_dpo(folder)


def dpo_reverse(folder):
    check_dpo(folder, reverse=True)


def dpo_smoothed(folder):
    check_dpo(folder, smoothing=0.15)


def dpo_against_its_own_start(folder):
    check_dpo(folder, own=True)


def dpo_reverse_smoothed_against_its_own_start(folder):
    check_dpo(folder, smoothing=0.15, reverse=True, own=True)


def pair_metrics(found, rows):
    """`rows`: of a pair, both rewards, log-probabilities and divergences."""
    mean = np.mean(rows, axis=0)
    names = ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected")
    out = dict(zip(names, mean), **{"rewards/margins": mean[0] - mean[1]})
    out["rewards/accuracies"] = np.mean([row[0] > row[1] + 1e-9 for row in rows])
    return {**out, **(dict(zip(("kl/chosen", "kl/rejected"), mean[4:])) if found else {})}


def check_pairs(folder, loss, reverse=False, own=False, **options):
    """The losses beside DPO's."""
    needs_torch()
    data, start = Setting.data, Setting.twins["policy"]
    settings = losses.Preference(loss, **options)
    sides = [data.sequences(which) for which in ("chosen", "rejected")]
    if reverse:
        sides.reverse()
    fixed = [training.logits_of(Setting.twins["policy" if own else "reference"], side)
             for side in sides]

    def step_loss(parameters, items):
        total, values = 0, []
        for i in items:
            responses, reference = [side[i][1] for side in sides], [side[i] for side in fixed]
            rows = rows_of_logits(start.config, parameters, [side[i] for side in sides])
            total = total + torch_twin.pair(settings, rows, reference, responses)
            plain = [z.detach().numpy() for z in rows]
            values.append([*losses.pair(settings, plain, reference, responses)[1],
                           *(-losses.sft(z, y)[0] for z, y in zip(plain, responses)),
                           *(losses.sequence_kl(q, z) for q, z in zip(reference, plain))])
        tokens = sum(len(data.prompts[i]) + sum(len(side[i][1]) - 1 for side in sides)
                     for i in items)
        return total / len(items), {"tokens": tokens,
                                    **pair_metrics(loss.startswith("tdpo"), values)}

    shutil.rmtree(os.path.join(folder, "run"), ignore_errors=True)
    check_run(folder, "dpo", start, step_loss, 5, 2, data__train=data.path, dpo__loss=loss,
              dpo__policy=Setting.directories["policy"], dpo__reverse=reverse,
              dpo__reference="" if own or loss == "simpo" else Setting.directories["reference"],
              **{f"dpo__{key}": value for key, value in options.items()})
    kept = os.path.exists(os.path.join(folder, "run", "reference.h5"))
    assert kept == (loss not in ("simpo", "tdpo1", "tdpo2")), loss


def pairs(loss, **options):
    def test(folder):
        check_pairs(folder, loss, **options)
    test.label = " ".join(["dpo", loss, *map(str, options.values())])
    return test


PAIRS = [pairs("ipo", beta=0.3), pairs("ipo", beta=0.3, own=True), pairs("hinge", beta=0.03),
         pairs("cdpo", beta=0.3, label_smoothing=0.15, reverse=True),
         pairs("simpo", beta=2.0, gamma=0.8), pairs("simpo", beta=2.0, gamma=0.8, reverse=True),
         pairs("tdpo1", beta=0.1), pairs("tdpo2", beta=0.1, tdpo_alpha=0.7, reverse=True)]


# --- distill -----------------------------------------------------------------------------------


def distill_metrics(parts, chosen):
    every = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    length = sum(len(r) for _, r in chosen)
    return {"kl/teacher": every["kl/teacher"].mean(), "kl/dpo": every["kl/dpo"].mean(),
            "alpha/mean": every["alpha"].mean(), "tvd/mean": every["tvd"].mean(),
            "alpha/p95": np.percentile(every["alpha"], 95, method="nearest"),
            "weight/mean": every["weight"].mean(), "reward/token": every["reward/token"].mean(),
            "response_length": length / len(chosen), "staleness": 0, "on_policy": 0,
            "tokens": sum(len(p) + len(r) - 1 for p, r in chosen)}


def check_distill(folder, teacher):
    needs_torch()
    start, sequences = Setting.twins["policy"], Setting.data.sequences("both")
    fixed = [training.logits_of(Setting.twins[name], sequences)
             for name in ("dpo", teacher.contrast)]

    def step_loss(parameters, items):
        chosen = [sequences[i] for i in items]
        rows = rows_of_logits(start.config, parameters, chosen)
        total = sum(torch_twin.distill(teacher, z, fixed[0][i], fixed[1][i])
                    for z, i in zip(rows, items))
        parts = [losses.distill(teacher, z.detach().numpy(), fixed[0][i], fixed[1][i])[1]
                 for z, i in zip(rows, items)]
        metrics = distill_metrics(parts, chosen)
        if teacher.granularity == "auto":
            metrics["granularity/token"] = np.mean([teacher.by_token(p["tvd"]) for p in parts])
        return total / len(items), metrics

    check_run(folder, "distill", start, step_loss, 10, 4, distill__mode="off-policy",
              distill__policy=Setting.directories["policy"], shards__directory=teacher.contrast,
              teacher__contrast=teacher.contrast, teacher__extrapolation=teacher.extrapolation,
              teacher__strength=teacher.strength, teacher__epsilon=teacher.epsilon,
              teacher__beta=teacher.beta, teacher__temperature=teacher.temperature,
              distill__divergence=teacher.divergence, distill__token_weight=teacher.token_weight,
              distill__granularity=teacher.granularity, teacher__plausibility=teacher.plausibility,
              distill__length_normalize=teacher.length_normalize)


# --- on-policy: the responses are those that the program sampled -------------------------------


def shard_sequences(path):
    """[(row, (prompt, response), log-probabilities when sampled)] and the policy's step."""
    with h5py.File(path, "r") as file:
        tokens, starts = file["sequence/token_start"][...], file["sequence/response_start"][...]
        ids, logprobs = file["token/id"][...].tolist(), file["response/logprob_policy"][...]
        out = []
        for i, row in enumerate(file["sequence/id"][...].tolist()):
            assert file["sequence/source"][i] == 2
            split = tokens[i + 1] - (starts[i + 1] - starts[i])
            sequence = ids[tokens[i]:split], ids[split:tokens[i + 1]]
            out.append((row, sequence, logprobs[starts[i]:starts[i + 1]]))
        return out, file.attrs["policy_step"]


def check_policy_gradient(folder, signal, staleness=0, penalty="beta0", normalize=True, batch=2):
    """The rewards as scalars; the responses are the program's, everything else the twins'."""
    needs_torch()
    start, data = Setting.twins["policy"], Setting.data
    teacher = losses.Teacher("reverse", "adaptive", 2.5, 0.05, 0.6)
    directory = os.path.join(folder, f"{signal}{staleness}{penalty}{batch}")
    steps = []

    def step_loss(parameters, items):
        name = f"shard-{len(steps) * batch:06d}.h5"
        sampled, policy_step = shard_sequences(os.path.join(directory, name))
        assert policy_step == max(0, len(steps) - staleness)
        steps.append(items)
        fixed, weights, current, distance = [], [], [], []
        for _, (prompt, response), logprobs in sampled:
            models = [model.log_softmax(Setting.twins[name].response_logits(prompt, response))
                      for name in ("dpo", "reverse")]
            at = np.arange(len(response)), response
            fixed.append([*(rows[at] for rows in models), logprobs.astype(float)])
            distance.append(losses.tvd(*models))
            weights.append(teacher.weight(teacher.alpha(distance[-1])) if penalty == "beta"
                           else np.full(len(response), teacher.beta))
            current.append(torch_twin.logprobs(start.config, parameters, prompt, response))
        loss = torch_twin.policy_gradient(signal, teacher.beta, weights,
                                          list(zip(current, *zip(*fixed))), normalize)
        returns = [losses.policy_returns(signal, teacher.beta, *rows, weight)
                   for rows, weight in zip(fixed, weights)]
        advantage = np.concatenate(losses.advantages(returns))
        rewards = [losses.token_reward(teacher.beta, rows[0], rows[1]) for rows in fixed]
        now = np.concatenate([p.detach().numpy() for p in current])
        length = sum(len(response) for _, (_, response), _ in sampled)
        return loss, {
            "kl/dpo": (now - np.concatenate([rows[0] for rows in fixed])).mean(),
            "tvd/mean": np.concatenate(distance).mean(), "advantage/mean": advantage.mean(),
            "advantage/std": advantage.std(), "reward/token": np.concatenate(rewards).mean(),
            "reward/sequence": np.mean([r.sum() for r in rewards]), "on_policy": 1,
            "response_length": length / len(items), "staleness": len(steps) - 1 - policy_step,
            "tokens": sum(len(p) + len(r) - 1 for _, (p, r), _ in sampled)}

    # Returns are sums of the float32 log-probabilities of sampler and scorer, some of them near -20.
    check_run(folder, "distill", start, step_loss, 5 if batch > 1 else 3, batch,
              bound=1e-4, room=5e-5, data__train=data.path, data__max_rows=5 if batch > 1 else 3,
              distill__mode="on-policy", distill__policy=Setting.directories["policy"],
              distill__signal=signal, distill__penalty=penalty, distill__length_normalize=normalize,
              distill__max_staleness=staleness, sampling__max_new_tokens=14,
              shards__directory=directory, shards__encoding="topk" if normalize else "hidden",
              teacher__dpo=Setting.directories["dpo"],
              teacher__reverse=Setting.directories["reverse"], teacher__strength=2.5,
              teacher__epsilon=0.05, teacher__beta=0.6)


def policy_gradient(signal, **options):
    def test(folder):
        check_policy_gradient(folder, signal, **options)
    test.label = " ".join(["policy gradient", signal, *map(str, options.values())])
    return test


POLICY_GRADIENTS = [policy_gradient("token"), policy_gradient("sequence"),
                    policy_gradient("token", staleness=1, penalty="beta"),
                    policy_gradient("sequence", penalty="beta", normalize=False),
                    policy_gradient("token", batch=1)]


def check_on_policy(folder, staleness):
    """Also that each step's samples come from the policy of that step, or of `staleness` before."""
    needs_torch()
    start, data = Setting.twins["policy"], Setting.data
    teacher = losses.Teacher("reverse", "adaptive", 2.5, 0.05, 0.6)
    directory = os.path.join(folder, f"samples{staleness}")
    versions, batch = [], 2

    def step_loss(parameters, items):
        number = len(versions)
        versions.append({name: p.detach().numpy().copy() for name, p in parameters.items()})
        version = max(0, number - staleness)
        sampler = model.Model(start.config, versions[version])
        name = f"shard-{number * batch:06d}.h5"  # of its first item
        sampled, policy_step = shard_sequences(os.path.join(directory, name))
        assert policy_step == version and [row for row, _, _ in sampled] == items
        total, parts = 0, []
        for row, (prompt, response), logprobs in sampled:
            assert prompt == data.prompts[row]
            gap = np.abs(sampler.logprobs(prompt, response) - logprobs).max()
            assert gap < 1e-4, f"step {number + 1}: sampled from another policy, off by {gap:.2g}"
            fixed = [Setting.twins[name].response_logits(prompt, response)
                     for name in ("dpo", "reverse")]
            z = torch_twin.response_logits(start.config, parameters, prompt, response)
            total = total + torch_twin.distill(teacher, z, *fixed)
            parts.append(losses.distill(teacher, z.detach().numpy(), *fixed)[1])
        metrics = distill_metrics(parts, [sequence for _, sequence, _ in sampled])
        return total / len(items), {**metrics, "on_policy": 1, "staleness": number - version}

    check_run(folder, "distill", start, step_loss, 5, batch, data__train=data.path,
              distill__mode="on-policy", distill__policy=Setting.directories["policy"],
              distill__max_staleness=staleness, sampling__max_new_tokens=14,
              shards__directory=directory, shards__encoding="full",
              teacher__dpo=Setting.directories["dpo"],
              teacher__reverse=Setting.directories["reverse"], teacher__strength=2.5,
              teacher__epsilon=0.05, teacher__beta=0.6)


def on_policy(folder):
    check_on_policy(folder, 0)


def on_policy_one_step_behind(folder):
    check_on_policy(folder, 1)


def distill(contrast, extrapolation, **options):
    """Each of the six teachers, the other settings spread over them."""
    teacher = losses.Teacher(contrast, extrapolation, 2.5, 0.05, 0.6, **options)

    def test(folder):
        check_distill(folder, teacher)
    test.label = " ".join(["distill", contrast, extrapolation, *map(str, options.values())])
    return test


DISTILL = [
    distill("reverse", "adaptive"),
    distill("reverse", "adaptive", divergence="jsd", granularity="sequence"),
    distill("reverse", "constant", divergence="forward", token_weight="uniform",
            length_normalize=False, temperature=0.8),
    distill("reverse", "none", divergence="jsd", temperature=1.3),
    distill("reference", "adaptive", divergence="forward", length_normalize=False,
            granularity="sequence"),
    distill("reference", "adaptive", token_weight="uniform", temperature=1.2),
    distill("reference", "constant", divergence="jsd", token_weight="uniform"),
    distill("reference", "none", length_normalize=False),
    distill("reverse", "adaptive", granularity="auto"),
    distill("reverse", "adaptive", plausibility=0.2, granularity="response"),
    distill("reference", "constant", plausibility=0.05, divergence="forward"),
]

if __name__ == "__main__":
    harness.main([sft, sft_with_the_usual_epsilon, dpo, dpo_reverse, dpo_smoothed,
                  dpo_against_its_own_start, dpo_reverse_smoothed_against_its_own_start, *PAIRS, *DISTILL,
                  on_policy, on_policy_one_step_behind, *POLICY_GRADIENTS], prepare)
