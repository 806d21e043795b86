"""AdamW, clipping and the learning rate, as PyTorch computes them; on dicts of arrays."""
import math

import numpy as np


def global_norm(gradients):
    return math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))


def clip(gradients, limit):
    """Scales in place to at most `limit` (0: never); returns the norm before."""
    norm = global_norm(gradients)
    factor = limit / (norm + 1e-6)
    if limit > 0 and factor < 1:
        for g in gradients.values():
            g *= factor
    return norm


class AdamW:
    """Loshchilov and Hutter 2019: decoupled weight decay, on matrices: norms and biases have none, as in
    transformers' Trainer."""

    def __init__(self, values, betas=(0.9, 0.95), epsilon=1e-8, weight_decay=0.0):
        self.values, self.betas = values, betas
        self.epsilon, self.weight_decay, self.steps = epsilon, weight_decay, 0
        self.m = {name: np.zeros_like(p) for name, p in values.items()}
        self.v = {name: np.zeros_like(p) for name, p in values.items()}

    def step(self, gradients, lr):
        self.steps += 1
        b1, b2 = self.betas
        for name, p in self.values.items():
            g, m, v = gradients[name], self.m[name], self.v[name]
            p *= 1 - lr * (self.weight_decay if p.ndim > 1 else 0.0)
            m += (1 - b1) * (g - m)
            v += (1 - b2) * (g * g - v)
            root = np.sqrt(v) / math.sqrt(1 - b2 ** self.steps) + self.epsilon
            p -= lr / (1 - b1 ** self.steps) * m / root


def learning_rate(step, steps, lr, warmup_ratio=0.1, min_lr_ratio=0.1, schedule="cosine"):
    """Of 0-based `step` of `steps`: a linear rise, then cosine or linear to the minimum."""
    warmup, low = math.ceil(warmup_ratio * steps), lr * min_lr_ratio
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "cosine":
        return low + (lr - low) * 0.5 * (1 + math.cos(math.pi * done))
    return low + (lr - low) * (1 - done) if schedule == "linear" else lr
