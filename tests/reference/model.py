"""Forward pass of qwen2, qwen3, llama and mistral, one sequence at a time. T tokens, V entries."""
import json
import os

import numpy as np

from . import safetensors_reader


def rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def rotate(x, theta):
    """Rotary embedding of x [T, heads, D], halves paired: (i, i + D/2)."""
    T, _, D = x.shape
    angle = np.outer(np.arange(T), theta ** (-np.arange(0, D, 2) / D))[:, None, :]
    a, b = x[..., :D // 2], x[..., D // 2:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                           b * np.cos(angle) + a * np.sin(angle)], axis=-1)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def silu(x):
    return x / (1 + np.exp(-x))


def attend(q, k, v):
    """Causal attention: q [T, NH, D]; k, v [T, NKV, D], each shared by NH / NKV query heads."""
    T, NH, D = q.shape
    k, v = (np.repeat(x, NH // k.shape[1], axis=1) for x in (k, v))
    scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(D)
    scores[:, np.triu(np.ones((T, T), bool), 1)] = -np.inf
    return np.einsum("hts,shd->thd", softmax(scores), v)


class Model:
    def __init__(self, config, weights):
        self.config, self.weights = config, weights
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads", self.heads)
        self.epsilon = config["rms_norm_eps"]

    @classmethod
    def load(cls, directory):
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
            return cls(json.load(file), safetensors_reader.read_directory(directory))

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0.0)

    def heads_of(self, x, name, count):
        """Projection `name` cut into heads [T, count, D], normed per head where the model does."""
        y = self.linear(x, f"{name}_proj").reshape(len(x), count, -1)
        norm = self.weights.get(f"{name}_norm.weight")
        return y if norm is None else rms_norm(y, norm, self.epsilon)

    def attention(self, x, prefix):
        theta = self.config.get("rope_theta", 10000.0)
        q = rotate(self.heads_of(x, prefix + "q", self.heads), theta)
        k = rotate(self.heads_of(x, prefix + "k", self.kv_heads), theta)
        v = self.heads_of(x, prefix + "v", self.kv_heads)
        return self.linear(attend(q, k, v).reshape(len(x), -1), prefix + "o_proj")

    def mlp(self, x, prefix):
        gate = silu(self.linear(x, prefix + "gate_proj"))
        return self.linear(gate * self.linear(x, prefix + "up_proj"), prefix + "down_proj")

    def norm(self, x, name):
        return rms_norm(x, self.weights[name + ".weight"], self.epsilon)

    def hidden(self, ids):
        """Final normed hidden states [T, H]."""
        x = self.weights["model.embed_tokens.weight"][np.asarray(ids)]
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, prefix + "input_layernorm"), prefix + "self_attn.")
            x = x + self.mlp(self.norm(x, prefix + "post_attention_layernorm"), prefix + "mlp.")
        return self.norm(x, "model.norm")

    def output_matrix(self):
        tied = self.config.get("tie_word_embeddings", False)
        return self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"]

    def forward(self, ids):
        """(logits [T, V], hidden [T, H])."""
        hidden = self.hidden(ids)
        return hidden @ self.output_matrix().T, hidden

    def response_logits(self, prompt, response):
        """Row t predicts response[t]: [R, V]."""
        logits, _ = self.forward(list(prompt) + list(response))
        return logits[len(prompt) - 1:-1]

    def logprobs(self, prompt, response):
        """log p of each response token [R]."""
        rows = log_softmax(self.response_logits(prompt, response))
        return rows[np.arange(len(response)), np.asarray(response)]
