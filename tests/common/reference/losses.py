"""Losses on logits [R, V] of the response positions. AlignDistil: arXiv 2503.02832, eq. 11 to 17."""
from dataclasses import dataclass

import numpy as np

from .model import log_softmax


def sft(logits, response):
    """(sum of -log p over the response, number of positions)."""
    rows = log_softmax(logits)
    return -rows[np.arange(len(response)), np.asarray(response)].sum(), len(response)


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


def dpo(beta, chosen, rejected, ref_chosen, ref_rejected, smoothing=0.0, reverse=False):
    """From summed response log-probabilities: (loss, reward of the preferred response, of the other).

    The preferred one is chosen, or rejected with `reverse`.
    """
    rewards = [beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)]
    if reverse:
        rewards.reverse()
    margin = rewards[0] - rewards[1]
    return -(1 - smoothing) * log_sigmoid(margin) - smoothing * log_sigmoid(-margin), *rewards


@dataclass
class Preference:
    """dpo.loss and its settings, named as the keys are."""
    loss: str = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    gamma: float = 0.5
    tdpo_alpha: float = 0.5


def sequence_kl(z_ref, z):
    """Sum over the positions [R, V] of KL(reference || policy)."""
    return kl(log_softmax(z_ref), log_softmax(z)).sum()


def pair(settings, policy, reference, responses, still=None):
    """The loss of a pair and both rewards. Of two each, the preferred first: logits of the policy and
    of the reference, ids. `still`: the preferred response's KL where tdpo2 takes it for constant.

    DPO eq. 7, cDPO (Mitchell 2023), IPO eq. 17, hinge of RSO, SimPO eq. 6, TDPO section 4.
    """
    beta, kind = settings.beta, settings.loss
    w, l = (log_softmax(z)[np.arange(len(y)), y].sum() for z, y in zip(policy, responses))
    if kind == "simpo":
        rewards = [beta * w / len(responses[0]), beta * l / len(responses[1])]
        return -log_sigmoid(rewards[0] - rewards[1] - settings.gamma), rewards
    w_ref, l_ref = (log_softmax(z)[np.arange(len(y)), y].sum()
                    for z, y in zip(reference, responses))
    rewards = [beta * (w - w_ref), beta * (l - l_ref)]
    u = rewards[0] - rewards[1]
    if kind == "ipo":
        return ((w - l) - (w_ref - l_ref) - 1 / (2 * beta)) ** 2, rewards
    if kind == "hinge":
        return max(0.0, 1 - u), rewards
    if kind in ("tdpo1", "tdpo2"):
        kl_w, kl_l = (beta * sequence_kl(q, z) for q, z in zip(reference, policy))
        rewards = [rewards[0] + kl_w, rewards[1] + kl_l]
        if kind == "tdpo1":
            return -log_sigmoid(u - (kl_l - kl_w)), rewards
        kept = kl_w if still is None else beta * still
        return -log_sigmoid(u - settings.tdpo_alpha * (kl_l - kept)), rewards
    s = settings.label_smoothing
    return -(1 - s) * log_sigmoid(u) - s * log_sigmoid(-u), rewards


@dataclass
class Teacher:
    contrast: str = "reverse"         # what z_c is: "reverse" | "reference"
    extrapolation: str = "adaptive"   # "adaptive" | "constant" | "none"
    strength: float = 20.0            # r
    epsilon: float = 1e-3
    beta: float = 0.1                 # beta0
    temperature: float = 1.0          # tau
    divergence: str = "reverse"       # "reverse" | "forward" | "jsd"
    token_weight: str = "beta"        # "beta" | "uniform"
    granularity: str = "token"        # "token" | "response": alpha from the mean TVD | "auto"
    length_normalize: bool = True
    plausibility: float = 0.0         # lambda

    def by_token(self, distance):
        """With "auto": whether the TVD is concentrated, its effective share of positions below half."""
        spread = distance.sum() ** 2 / (len(distance) * (distance ** 2).sum())
        return self.granularity == "token" or (self.granularity == "auto" and spread < 0.5)

    def alpha(self, distance):
        """alpha_t (eq. 16); for "none", what it counts as in the weight."""
        if not self.by_token(distance):
            distance = np.full_like(distance, distance.mean())
        if self.extrapolation == "adaptive":
            return self.strength * distance + self.epsilon
        return np.full_like(distance, 1.0 if self.extrapolation == "none" else self.strength)

    def log_distribution(self, z_dpo, z_c, alpha, tokens=None):
        """log softmax(z* / tau); the rows may be logits or log-probabilities, but with a plausibility
        both are log-probabilities, since a constant would move the change's sign. The likeliest token
        is sought among the first `tokens` outcomes (all): a bucket behind them is none."""
        if self.extrapolation == "none":
            z = z_dpo
        elif self.contrast == "reverse":
            z = z_dpo + alpha[:, None] * (z_dpo - z_c)
        else:
            z = z_c + alpha[:, None] * (z_dpo - z_c)
        if self.plausibility > 0:
            top = np.exp(z_dpo[:, :tokens]).max(axis=-1, keepdims=True)
            likely = np.exp(z_dpo) >= self.plausibility * top
            z = np.where(likely, z, np.minimum(z, z_dpo))
        return log_softmax(z / self.temperature)

    def weight(self, alpha):
        """beta_t = beta0 / alpha_t (eq. 17)."""
        return self.beta / alpha if self.token_weight == "beta" else np.ones_like(alpha)


def tvd(log_p, log_q):
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1)


def kl(log_p, log_q):
    """KL(p || q) of each row; outcomes without mass in p count nothing."""
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):
        return np.where(p > 0, p * (log_p - log_q), 0.0).sum(axis=-1)


def divergence(kind, log_student, log_teacher):
    if kind == "reverse":
        return kl(log_student, log_teacher)
    if kind == "forward":
        return kl(log_teacher, log_student)
    mixture = np.logaddexp(log_student, log_teacher) - np.log(2.0)
    return 0.5 * kl(log_student, mixture) + 0.5 * kl(log_teacher, mixture)


def token_reward(beta, log_dpo, log_c):
    return beta * (log_dpo - log_c)


def sequence_loss(teacher, per_token, alpha):
    total = (teacher.weight(alpha) * per_token).sum()
    return total / len(per_token) if teacher.length_normalize else total


def distill(teacher, z_student, z_dpo, z_c):
    """One sequence, all [R, V]: its loss and a dict of what each position gave."""
    log_student, log_dpo, log_c = (log_softmax(z) for z in (z_student, z_dpo, z_c))
    distance = tvd(log_dpo, log_c)
    alpha = teacher.alpha(distance)
    log_teacher = teacher.log_distribution(log_dpo, log_c, alpha)
    per_token = divergence(teacher.divergence, log_student, log_teacher)
    parts = {"tvd": distance, "alpha": alpha, "weight": teacher.weight(alpha),
             "divergence": per_token, "kl/teacher": kl(log_student, log_teacher),
             "kl/dpo": kl(log_student, log_dpo),
             "reward/token": (np.exp(log_student)
                              * token_reward(teacher.beta, log_dpo, log_c)).sum(axis=-1)}
    return sequence_loss(teacher, per_token, alpha), parts


def gather_outcomes(rows, token_id):
    """Log-probabilities [R, V] to [R, K + 1]: the support, then all the rest as one outcome."""
    inside = np.take_along_axis(rows, token_id, axis=1)
    rest = np.exp(rows)
    np.put_along_axis(rest, token_id, 0.0, axis=1)
    with np.errstate(divide="ignore"):
        return np.concatenate([inside, np.log(rest.sum(axis=1, keepdims=True))], axis=1)


def distill_topk(teacher, z_student, token_id, log_dpo, log_ratio, tail_dpo, tail_c, distance):
    """The same from a `topk` shard: token_id, log_dpo, log_ratio [R, K]; tails, distance [R]."""
    log_student = gather_outcomes(log_softmax(z_student), token_id)
    full_dpo = np.concatenate([log_dpo, tail_dpo[:, None]], axis=1)
    full_c = np.concatenate([log_dpo - log_ratio, tail_c[:, None]], axis=1)
    has_tail = np.isfinite(tail_dpo) & np.isfinite(tail_c)
    assert has_tail.all() or not has_tail.any()
    if not has_tail.any():  # K = V: there is no rest
        log_student, full_dpo, full_c = (x[:, :-1] for x in (log_student, full_dpo, full_c))
    alpha = teacher.alpha(distance)
    log_teacher = teacher.log_distribution(full_dpo, full_c, alpha, log_dpo.shape[1])
    return sequence_loss(teacher, divergence(teacher.divergence, log_student, log_teacher), alpha)


def policy_returns(signal, beta, log_dpo, log_c, log_sampled, penalty):
    """G_t of a sampled response from log-probabilities of its tokens [R]: under the models, and under
    the policy when it sampled. `penalty`: the weight of the KL to pi_dpo, [R] or a number."""
    rho = token_reward(beta, log_dpo, log_c) - penalty * (log_sampled - log_dpo)
    return np.cumsum(rho[::-1])[::-1] if signal == "token" else np.full_like(rho, rho.sum())


def advantages(returns):
    """Each response's returns less the mean over the others of their mean; alone: less 0."""
    means = [g.mean() for g in returns]
    return [g - (np.mean(means[:i] + means[i + 1:]) if len(means) > 1 else 0.0)
            for i, g in enumerate(returns)]


def policy_gradient(advantage, logprob, length_normalize=True):
    """The step's loss from lists of [R]: advantages, which are constants, and log pi(y_t)."""
    parts = [-(a * p).sum() / (len(a) if length_normalize else 1)
             for a, p in zip(advantage, logprob)]
    return sum(parts) / len(parts)
