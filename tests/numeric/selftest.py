#!/usr/bin/python3
"""Holds the NumPy twins to the PyTorch twin and to PyTorch itself, on tiny random models."""
import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.abspath(__file__ + "/../../..")
sys.path.insert(0, os.path.join(ROOT, "tests", "common"))
from reference import losses, model, optim  # noqa: E402

try:
    import torch
    from reference import torch_twin
except ImportError:
    print("skipped: python3-torch is not installed\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)

MODELS = {
    "qwen2": ["--type", "qwen2"],
    "qwen2 untied": ["--type", "qwen2", "--untied", "--dtype", "BF16"],
    "qwen3": ["--type", "qwen3", "--head-dim", "12"],
    "qwen3 biased": ["--type", "qwen3", "--attention-bias", "--untied"],
    "llama": ["--type", "llama", "--untied", "--kv-heads", "4"],
    "llama biased": ["--type", "llama", "--attention-bias", "--dtype", "F16"],
    "mistral": ["--type", "mistral", "--kv-heads", "1", "--max-shard-mb", "0.02"],
    "mistral window": ["--type", "mistral", "--config",
                       '{"sliding_window": 3, "rope_scaling": {"type": "linear", "factor": 2}}'],
    "qwen2 windows": ["--type", "qwen2", "--config",
                      '{"use_sliding_window": true, "sliding_window": 3, "max_window_layers": 1}'],
    "qwen3 yarn": ["--type", "qwen3", "--config",
                   '{"rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 64}}'],
    "llama mlp": ["--type", "llama", "--mlp-bias", "--untied"],
    "olmo2": ["--type", "olmo2", "--untied"],
    "olmo3": ["--type", "olmo3", "--untied", "--config",
              '{"sliding_window": 3, "rope_scaling": {"type": "yarn", "factor": 4}}'],
    "smollm3": ["--type", "smollm3", "--mlp-bias", "--config", '{"no_rope_layers": [0, 1, 1, 1]}'],
    "gemma3": ["--type", "gemma3_text", "--head-dim", "12", "--config",
               '{"sliding_window": 3, "sliding_window_pattern": 2, "query_pre_attn_scalar": 5,'
               ' "rope_scaling": {"type": "linear", "factor": 8}}'],
}
PAIR_LOSSES = ("sigmoid", "cdpo", "ipo", "hinge", "simpo", "tdpo1", "tdpo2")
results = {True: 0, False: 0}


def check(name, difference, bound):
    good = bool(difference <= bound)  # False for NaN
    results[good] += 1
    if not good:
        print(f"FAILED {name}: {difference:.3g}, bound {bound:.3g}")


def gap(a, b):
    """Largest difference, relative to the largest value."""
    a, b = (x.detach().numpy() if torch.is_tensor(x) else np.asarray(x) for x in (a, b))
    assert a.shape == b.shape, (a.shape, b.shape)
    return np.abs(a - b).max() / max(np.abs(a).max(), 1e-300)


def tool(name, *arguments):
    subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "tools", name), *arguments],
                   check=True, stdout=subprocess.DEVNULL)


def make_models(folder):
    """Tiny models, with weights large enough that every part matters."""
    tokenizer = os.path.join(folder, "tokenizer")
    tool("make_orderdesk.py", "--output", folder, "--errors", "figures", "--pairs", "20", "--eval",
         "2")
    tool("train_tokenizer.py", "--text", os.path.join(folder, "train.jsonl"), "--vocab-size",
         "259", "--output", tokenizer)
    for name, options in MODELS.items():
        path = os.path.join(folder, name)
        tool("make_model.py", "--tokenizer", tokenizer, "--output", path, "--hidden", "32",
             "--layers", "2", "--intermediate", "48", "--vocab-size", "260", "--norm-jitter",
             "0.2", *options)
        twin = model.Model.load(path)
        for key, weight in twin.weights.items():
            weight *= 1 if "norm" in key else 8
        yield name, twin


def numeric_gradient(loss, weight, index, step=1e-5):
    keep, ends = weight[index], []
    for sign in (1, -1):
        weight[index] = keep + sign * step
        ends.append(loss())
    weight[index] = keep
    return (ends[0] - ends[1]) / (2 * step)


def check_gradient(name, twin, gradients, loss, rng):
    """Autograd through the PyTorch twin against central differences through the NumPy twin."""
    scale = max(np.abs(g).max() for g in gradients.values())
    for key, weight in twin.weights.items():
        row = rng.choice([40, 50]) if key == "model.embed_tokens.weight" else None
        index = tuple(row if row is not None and i == 0 else rng.integers(n)
                      for i, n in enumerate(weight.shape))
        difference = abs(numeric_gradient(loss, weight, index) - gradients[key][index])
        check(f"{name} gradient {key}", difference / scale, 1e-7)


def check_model(name, twin, rng):
    prompt, response = [40, 50, 7, 50, 99], [40, 3, 250, 2]
    parameters = torch_twin.parameters(twin.weights)
    logits, hidden = twin.forward(prompt + response)
    logits2, hidden2 = torch_twin.forward(twin.config, parameters, prompt + response)
    check(f"{name} logits", gap(logits, logits2), 1e-11)
    check(f"{name} hidden", gap(hidden, hidden2), 1e-11)
    check(f"{name} logprobs", gap(twin.logprobs(prompt, response),
          torch_twin.logprobs(twin.config, parameters, prompt, response)), 1e-11)
    rows = torch_twin.response_logits(twin.config, parameters, prompt, response)
    gradients = torch_twin.backward(torch_twin.sft(rows, response), parameters)
    check_gradient(name, twin, gradients,
                   lambda: losses.sft(twin.response_logits(prompt, response), response)[0], rng)


def check_losses(rng):
    response = rng.integers(0, 30, 6)
    z, z_dpo, z_c = (rng.normal(size=(6, 30)) * 2 for _ in range(3))
    z_c = z_dpo + 0.1 * z_c
    check("sft", gap(losses.sft(z, response)[0], torch_twin.sft(torch.tensor(z), response)), 1e-12)
    for smoothing, reverse in itertools.product((0.0, 0.1), (False, True)):
        values = rng.normal(size=4) * 20
        ours = losses.dpo(0.1, *values, smoothing, reverse)[0]
        check("dpo", gap(ours, torch_twin.dpo(0.1, *torch.tensor(values), smoothing, reverse)),
              1e-12)
    check_pairs(rng)
    check_policy_gradients(rng)
    for choice in itertools.product(("reverse", "reference"), ("adaptive", "constant", "none"),
                                    ("reverse", "forward", "jsd"), ("beta", "uniform"),
                                    ("token", "sequence"), (True, False), (1.0, 0.7)):
        check_distill(choice, z, z_dpo, z_c)


def check_pairs(rng):
    """Every loss of pairs; near equal models and far ones, on both sides of the hinge."""
    for kind, scale in itertools.product(PAIR_LOSSES, (0.1, 1.0, 3.0)):
        settings = losses.Preference(kind, 0.3, 0.2 if kind == "cdpo" else 0.0, 0.7, 0.4)
        responses = [rng.integers(0, 30, count).tolist() for count in (6, 9)]
        reference = [rng.normal(size=(len(y), 30)) for y in responses]
        policy = [q + scale * rng.normal(size=q.shape) for q in reference]
        ours = losses.pair(settings, policy, reference, responses)[0]
        tensors = [torch.tensor(z, requires_grad=True) for z in policy]
        loss = torch_twin.pair(settings, tensors, reference, responses)
        check(f"pair {kind}", gap(ours, loss), 1e-11)
        loss.backward()
        still = losses.sequence_kl(reference[0], policy[0])
        for side, tensor in enumerate(tensors):
            slope = numeric_gradient(
                lambda: losses.pair(settings, policy, reference, responses, still)[0],
                policy[side], (2, 11))
            check(f"pair {kind} gradient", abs(slope - tensor.grad[2, 11].item()), 1e-7)


def check_policy_gradients(rng):
    for signal, count, normalize in itertools.product(("token", "sequence"), (1, 4), (True, False)):
        rows = [[rng.normal(size=5 + i) for _ in range(4)] for i in range(count)]
        returns = [losses.policy_returns(signal, 0.3, *r[1:], 0.2) for r in rows]
        ours = losses.policy_gradient(losses.advantages(returns), [r[0] for r in rows], normalize)
        rows = [[torch.tensor(x) for x in r] for r in rows]
        check(f"policy gradient {signal}", gap(ours, torch_twin.policy_gradient(
            signal, 0.3, 0.2, rows, normalize)), 1e-12)


def check_distill(choice, z, z_dpo, z_c):
    contrast, extrapolation, kind, weight, granularity, normalize, temperature = choice
    teacher = losses.Teacher(contrast, extrapolation, 5.0, 1e-3, 0.1, temperature, kind, weight,
                             granularity, normalize)
    ours, parts = losses.distill(teacher, z, z_dpo, z_c)
    check(f"distill {choice}", gap(ours, torch_twin.distill(teacher, torch.tensor(z), z_dpo, z_c)),
          1e-10)
    rows = model.log_softmax(z_dpo), model.log_softmax(z_dpo) - model.log_softmax(z_c)
    every = np.tile(np.arange(z.shape[1]), (len(z), 1))
    none = np.full(len(z), -np.inf)
    topk = losses.distill_topk(teacher, z, every, *rows, none, none, parts["tvd"])
    check(f"topk K = V {choice}", gap(ours, topk), 1e-10)


def check_optimizer(rng):
    start = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)}
    ours = optim.AdamW({k: v.copy() for k, v in start.items()}, weight_decay=0.1)
    theirs = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
    groups = [{"params": [theirs["a"]], "weight_decay": 0.1},
              {"params": [theirs["b"]], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95))
    for step in range(8):
        gradients = {k: rng.normal(size=v.shape) * 3 ** (step - 4) for k, v in start.items()}
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(gradients[name])
        norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)
        check("clip norm", gap(optim.clip(gradients, 1.0), norm), 1e-12)
        lr = optim.learning_rate(step, 8, 1e-2, 0.2)
        for group in adamw.param_groups:
            group["lr"] = lr
        adamw.step()
        ours.step(gradients, lr)
        for name in start:
            check(f"adamw {name}", gap(ours.values[name], theirs[name]), 1e-12)


def check_schedule():
    rates = [optim.learning_rate(s, 20, 2.0, 0.1, 0.1) for s in range(21)]
    check("warmup", gap(rates[:3], [1.0, 2.0, 2.0]), 1e-12)
    check("half way", abs(rates[11] - 1.1), 1e-12)
    check("end", abs(rates[20] - 0.2), 1e-12)
    check("linear", abs(optim.learning_rate(11, 20, 2.0, 0.1, 0.1, "linear") - 1.1), 1e-12)


def main():
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, twin in make_models(folder):
            check_model(name, twin, rng)
    check_losses(rng)
    check_optimizer(rng)
    check_schedule()
    print(f"{results[True]} passed, {results[False]} failed")
    return 1 if results[False] else 0


if __name__ == "__main__":
    sys.exit(main())
