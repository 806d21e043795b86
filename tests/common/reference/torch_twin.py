"""The model and its losses once more, in PyTorch and float64, for gradients by autograd.

    params = parameters(weights)            # {name: tensor}, from safetensors_reader
    logits = response_logits(config, params, prompt, response)
    gradients = backward(loss, params)      # {name: float64 array}
"""
import numpy as np
import torch
import torch.nn.functional as F

from .losses import Teacher  # settings only
from .model import is_tied, rotated, rotation, score_scale, windows  # of config.json

torch.set_default_dtype(torch.float64)


def parameters(weights):
    return {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}


def norm(x, weight, epsilon):
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)


def named_norm(config, p, name, x):
    return norm(x, p[name + ".weight"] + (config["model_type"] == "gemma3_text"),
                config["rms_norm_eps"])


def rope_tables(count, config, window):
    frequency, factor = rotation(config, window)
    angle = torch.arange(count)[:, None] * torch.tensor(frequency)[None, :]
    angle = torch.cat([angle, angle], -1)
    return factor * angle.cos(), factor * angle.sin()


def rope(x, tables):
    """x [heads, T, D]"""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * tables[0] + turned * tables[1]


def project(p, name, x):
    return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))


def head_norms(config, p, prefix, q, k):
    """q, k [T, heads, width]"""
    if prefix + "q_norm.weight" not in p:
        return q, k
    wide = config["model_type"] in ("olmo2", "olmo3")
    return tuple(named_norm(config, p, prefix + name, y.flatten(1) if wide else y).view(y.shape)
                 for y, name in ((q, "q_norm"), (k, "k_norm")))


def mask(T, window):
    """-inf [T, T] where a query (row) doesn't see a key."""
    behind = torch.full((T, T), float("-inf")).triu(1)
    return behind if window is None else behind + torch.full((T, T), float("-inf")).tril(-window)


def attention(config, p, layer, x):
    prefix, window = f"model.layers.{layer}.self_attn.", windows(config)[layer]
    T, heads = len(x), config["num_attention_heads"]
    q, k, v = (project(p, f"{prefix}{n}_proj", x) for n in "qkv")
    width = q.shape[-1] // heads
    q, k, v = (y.view(T, -1, width) for y in (q, k, v))
    q, k = head_norms(config, p, prefix, q, k)
    q, k, v = (y.transpose(0, 1) for y in (q, k, v))
    if rotated(config)[layer]:
        tables = rope_tables(T, config, window)
        q, k = rope(q, tables), rope(k, tables)
    group = heads // k.shape[0]
    k, v = (y.repeat_interleave(group, 0) for y in (k, v))
    scores = q @ k.transpose(1, 2) * score_scale(config) + mask(T, window)
    mixed = torch.softmax(scores, -1) @ v
    return project(p, prefix + "o_proj", mixed.transpose(0, 1).reshape(T, -1))


def mlp(config, p, prefix, x):
    gate = project(p, prefix + "gate_proj", x)
    gelu = config["model_type"] == "gemma3_text"
    gate = F.gelu(gate, approximate="tanh") if gelu else F.silu(gate)
    return project(p, prefix + "down_proj", gate * project(p, prefix + "up_proj", x))


def forward(config, p, ids):
    """(logits [T, V], final normed hidden states [T, H])."""
    kind, x = config["model_type"], p["model.embed_tokens.weight"][torch.tensor(list(ids))]
    if kind == "gemma3_text":
        x = x * config["hidden_size"] ** 0.5
    for layer in range(config["num_hidden_layers"]):
        def normed(y, name):
            return named_norm(config, p, f"model.layers.{layer}.{name}_layernorm", y)
        at = f"model.layers.{layer}.mlp."
        if kind == "gemma3_text":
            x = x + normed(attention(config, p, layer, normed(x, "input")), "post_attention")
            x = x + normed(mlp(config, p, at, normed(x, "pre_feedforward")), "post_feedforward")
        elif kind in ("olmo2", "olmo3"):
            x = x + normed(attention(config, p, layer, x), "post_attention")
            x = x + normed(mlp(config, p, at, x), "post_feedforward")
        else:
            x = x + attention(config, p, layer, normed(x, "input"))
            x = x + mlp(config, p, at, normed(x, "post_attention"))
    x = named_norm(config, p, "model.norm", x)
    return F.linear(x, p["model.embed_tokens.weight" if is_tied(config) else "lm_head.weight"]), x


def response_logits(config, p, prompt, response):
    logits = forward(config, p, list(prompt) + list(response))[0]
    return logits[len(prompt) - 1:-1, :config["tokens"]]


def logprobs(config, p, prompt, response):
    rows = response_logits(config, p, prompt, response).log_softmax(-1)
    return rows.gather(1, torch.tensor(list(response))[:, None])[:, 0]


def sft(logits, response):
    """Sum of -log p over the response."""
    return F.cross_entropy(logits, torch.tensor(list(response)), reduction="sum")


def dpo(beta, chosen, rejected, ref_chosen, ref_rejected, smoothing=0.0, reverse=False):
    if reverse:
        chosen, rejected, ref_chosen, ref_rejected = rejected, chosen, ref_rejected, ref_chosen
    x = beta * ((chosen - rejected) - (ref_chosen - ref_rejected))
    return -(1 - smoothing) * F.logsigmoid(x) - smoothing * F.logsigmoid(-x)


def pair(settings, policy, reference, responses):
    """losses.pair with gradients: its loss. The reference's logits are arrays or tensors."""
    beta, kind, sums, kls = settings.beta, settings.loss, [], []
    for z, q, y in zip(policy, reference, responses):
        q = torch.as_tensor(q).detach()
        logp, logq = (-F.cross_entropy(x, torch.tensor(list(y)), reduction="none") for x in (z, q))
        sums.append(logp.mean() if kind == "simpo" else (logp - logq).sum())
        kls.append(F.kl_div(z.log_softmax(-1), q.log_softmax(-1), reduction="sum", log_target=True))
    x = beta * (sums[0] - sums[1])
    if kind == "ipo":
        return (sums[0] - sums[1] - 1 / (2 * beta)).square()
    if kind == "hinge":
        return F.relu(1 - x)
    if kind == "simpo":
        return -F.logsigmoid(x - settings.gamma)
    if kind == "tdpo1":
        return -F.logsigmoid(x - beta * (kls[1] - kls[0]))
    if kind == "tdpo2":
        return -F.logsigmoid(x - settings.tdpo_alpha * beta * (kls[1] - kls[0].detach()))
    s = settings.label_smoothing
    return -(1 - s) * F.logsigmoid(x) - s * F.logsigmoid(-x)


def teacher_alpha(teacher, dpo_probs, c_probs):
    distance = (dpo_probs - c_probs).abs().sum(-1) / 2
    if not teacher.by_token(distance.numpy()):
        distance = distance.mean().expand_as(distance)
    if teacher.extrapolation == "none":
        return torch.ones_like(distance)
    if teacher.extrapolation == "constant":
        return torch.full_like(distance, teacher.strength)
    return teacher.strength * distance + teacher.epsilon


def teacher_rows(teacher, z_dpo, z_c, alpha):
    """Log-probabilities [R, V]."""
    a, z_dpo, z_c = alpha[:, None], z_dpo.log_softmax(-1), z_c.log_softmax(-1)
    z = {"reverse": (1 + a) * z_dpo - a * z_c, "reference": (1 - a) * z_c + a * z_dpo}
    star = z_dpo if teacher.extrapolation == "none" else z[teacher.contrast]
    if teacher.plausibility > 0:
        p = z_dpo.exp()
        raised = (p < teacher.plausibility * p.max(-1, keepdim=True).values) & (star > z_dpo)
        star = torch.where(raised, z_dpo, star)
    return (star / teacher.temperature).log_softmax(-1)


def rows_divergence(kind, student, teacher):
    """Of rows of log-probabilities; kl_div's arguments are (q, p) for KL(p || q)."""
    if kind == "jsd":
        mixture = torch.logaddexp(student, teacher) - torch.tensor(2.0).log()
        both = [F.kl_div(mixture, rows, reduction="none", log_target=True)
                for rows in (student, teacher)]
        return (both[0] + both[1]).sum(-1) / 2
    p, q = (student, teacher) if kind == "reverse" else (teacher, student)
    return F.kl_div(q, p, reduction="none", log_target=True).sum(-1)


def distill(teacher: Teacher, z_student, z_dpo, z_c):
    """Loss of one sequence; all [R, V], the teachers' as arrays or tensors without gradient."""
    z_dpo, z_c = torch.as_tensor(z_dpo).detach(), torch.as_tensor(z_c).detach()
    alpha = teacher_alpha(teacher, z_dpo.softmax(-1), z_c.softmax(-1))
    target = teacher_rows(teacher, z_dpo, z_c, alpha)
    rows = rows_divergence(teacher.divergence, z_student.log_softmax(-1), target)
    if teacher.token_weight == "beta":
        rows = rows * (teacher.beta / alpha)
    return rows.mean() if teacher.length_normalize else rows.sum()


def policy_gradient(signal, beta, penalty, responses, length_normalize=True):
    """Loss of a step whose responses are (log pi with gradient, log pi_dpo, log pi_c, log pi when
    sampled, R each); the penalty is a number or one [R] per response."""
    returns = []
    for i, (_, *fixed) in enumerate(responses):
        dpo, c, sampled = (torch.as_tensor(x).detach().double() for x in fixed)
        weight = penalty[i] if isinstance(penalty, list) else penalty
        rho = beta * (dpo - c) - torch.as_tensor(weight) * (sampled - dpo)
        later = torch.ones(len(rho), len(rho), dtype=torch.double)
        returns.append((later.triu() if signal == "token" else later) @ rho)
    n, total = len(responses), 0
    for i, (logprob, *_) in enumerate(responses):
        others = [g.mean() for j, g in enumerate(returns) if j != i]
        baseline = sum(others) / (n - 1) if n > 1 else 0.0
        loss = -((returns[i] - baseline) * logprob)
        total = total + (loss.mean() if length_normalize else loss.sum())
    return total / n


def backward(loss, p):
    """{name: gradient}, zeros for tensors that the loss doesn't reach."""
    gradients = torch.autograd.grad(loss, list(p.values()), allow_unused=True)
    return {name: np.zeros(tuple(w.shape)) if g is None else g.numpy().copy()
            for (name, w), g in zip(p.items(), gradients)}
