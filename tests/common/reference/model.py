"""Forward pass of qwen2, qwen3, llama, mistral, olmo2, olmo3, smollm3 and gemma3_text, one sequence at a
time. T tokens, V entries."""
import json
import math
import os

import numpy as np

from . import safetensors_reader


def rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def yarn_ramp(settings, theta, D, context):
    """1 for pairs to slow down, 0 for those to keep, between them a line."""
    def pair(turns):
        return D / 2 * math.log(context / (2 * math.pi * turns), theta)
    low, high = pair(settings.get("beta_fast") or 32), pair(settings.get("beta_slow") or 1)
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, D - 1)
    return np.clip((np.arange(D // 2) - low) / ((high - low) or 0.001), 0, 1)


def yarn_factor(settings):
    def scale(weight):
        return max(1.0, 0.1 * weight * math.log(settings["factor"]) + 1)
    if settings.get("attention_factor") is not None:
        return settings["attention_factor"]
    if settings.get("mscale") and settings.get("mscale_all_dim"):
        return scale(settings["mscale"]) / scale(settings["mscale_all_dim"])
    return scale(1)


def rope_settings(config, window):
    """(rope_theta, the other settings) of the layers with a window or of those without."""
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind, own = config["model_type"], given
    if "full_attention" in given:
        own = given["sliding_attention" if window else "full_attention"]
    elif window and kind in ("olmo3", "gemma3_text"):
        own = {}
    default = {"gemma3_text": 1e6, "smollm3": 2e6}.get(kind, 1e4)
    theta = given.get("rope_theta") or config.get("rope_theta", default)
    if window and kind == "gemma3_text":
        theta = config.get("rope_local_base_freq", 1e4)
    return own.get("rope_theta") or theta, own


def rotation(config, window=None):
    """(radians per position [D/2], factor) of the rotary embedding. Sequences are not longer than
    max_position_embeddings, where "dynamic" is the plain one."""
    theta, settings = rope_settings(config, window)
    kind = settings.get("rope_type") or settings.get("type") or "default"
    D = head_dim(config)
    frequency = theta ** (-np.arange(0, D, 2) / D)
    factor = settings.get("factor")
    context = settings.get("original_max_position_embeddings") or config.get(
        "original_max_position_embeddings") or config["max_position_embeddings"]
    if kind == "linear":
        return frequency / factor, 1.0
    if kind == "yarn":
        ramp = yarn_ramp(settings, theta, D, context)
        return frequency / factor * ramp + frequency * (1 - ramp), yarn_factor(settings)
    if kind == "llama3":
        low, high = settings["low_freq_factor"], settings["high_freq_factor"]
        length = 2 * np.pi / frequency
        smooth = (context / length - low) / (high - low)
        between = (1 - smooth) * frequency / factor + smooth * frequency
        return np.where(length > context / low, frequency / factor,
                        np.where(length < context / high, frequency, between)), 1.0
    assert kind in ("default", "dynamic"), kind
    return frequency, 1.0


def windows(config):
    """Tokens that each layer's queries see; None: all."""
    layers, kind = config["num_hidden_layers"], config["model_type"]
    window = config.get("sliding_window", 4096)
    if kind == "mistral":
        return [window] * layers
    if kind in ("olmo3", "gemma3_text"):
        period = config.get("sliding_window_pattern", 6) if kind == "gemma3_text" else 4
        slides = [(i + 1) % period > 0 for i in range(layers)]
    elif kind not in ("qwen2", "qwen3", "smollm3") or not config.get("use_sliding_window"):
        return [None] * layers
    elif kind == "smollm3":
        slides = [not turns for turns in rotated(config)]
    else:
        slides = [i >= config.get("max_window_layers", 28) for i in range(layers)]
    if config.get("layer_types"):
        slides = [name == "sliding_attention" for name in config["layer_types"]]
    return [window if slide else None for slide in slides]


def rotated(config):
    """Whether each layer has a rotation."""
    layers = range(config["num_hidden_layers"])
    if config["model_type"] != "smollm3":
        return [True for _ in layers]
    given = config.get("no_rope_layers")
    interval = config.get("no_rope_layer_interval", 4)
    return [bool(given[i]) if given else (i + 1) % interval != 0 for i in layers]


def score_scale(config):
    """What q k^T is multiplied by."""
    return (config.get("query_pre_attn_scalar", 256) if config["model_type"] == "gemma3_text"
            else head_dim(config)) ** -0.5


def is_tied(config):
    return config.get("tie_word_embeddings", config["model_type"] in ("smollm3", "gemma3_text"))


def rotate(x, frequency, factor):
    """Rotary embedding of x [T, heads, D], halves paired: (i, i + D/2)."""
    T, _, D = x.shape
    angle = np.outer(np.arange(T), frequency)[:, None, :]
    cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
    a, b = x[..., :D // 2], x[..., D // 2:]
    return np.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=-1)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    """The tanh form."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


def attend(q, k, v, scale, window=None, block=512):
    """Causal attention: q [T, NH, D]; k, v [T, NKV, D], each shared by NH / NKV query heads. By
    blocks of queries, each against the keys that one of them sees."""
    T, NH, _ = q.shape
    q, k, v = (np.repeat(x, NH // x.shape[1], axis=1).transpose(1, 0, 2) for x in (q, k, v))
    out = np.empty_like(q)
    for begin in range(0, T, block):
        rows = np.arange(begin, min(begin + block, T))[:, None]
        first = 0 if window is None else max(0, begin - window + 1)
        keys = np.arange(first, rows[-1, 0] + 1)
        scores = q[:, begin:begin + block] @ k[:, keys].transpose(0, 2, 1) * scale
        hidden = keys > rows if window is None else (keys > rows) | (keys <= rows - window)
        scores[:, hidden] = -np.inf
        out[:, begin:begin + block] = softmax(scores) @ v[:, keys]
    return out.transpose(1, 0, 2)


def tokenizer_size(directory):
    """The ids that the tokenizer has; rows of an embedding behind them are padding."""
    with open(os.path.join(directory, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    added = [token["id"] for token in tokenizer.get("added_tokens", [])]
    return 1 + max([*tokenizer["model"]["vocab"].values(), *added])


class Model:
    def __init__(self, config, weights):
        self.config, self.weights = config, weights
        self.heads = config["num_attention_heads"]
        self.kv_heads = config.get("num_key_value_heads", self.heads)
        self.epsilon = config["rms_norm_eps"]
        self.gemma = config["model_type"] == "gemma3_text"
        self.behind = self.gemma or config["model_type"] in ("olmo2", "olmo3")
        self.windows = windows(config)
        self.rotations = [rotation(config, window) if turns else None
                          for window, turns in zip(self.windows, rotated(config))]

    @classmethod
    def load(cls, directory):
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        return cls({**config, "tokens": tokenizer_size(directory)},
                   safetensors_reader.read_directory(directory))

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0.0)

    def heads_of(self, x, name, count):
        """Projection `name` cut into heads [T, count, D], normed where the model does: all heads
        at once (olmo2) or each."""
        y = self.linear(x, f"{name}_proj")
        norm = self.weights.get(f"{name}_norm.weight")
        wide = self.config["model_type"] in ("olmo2", "olmo3")
        if norm is not None and wide:
            y = self.norm(y, f"{name}_norm")
        y = y.reshape(len(x), count, -1)
        if norm is not None and not wide:
            y = self.norm(y, f"{name}_norm")
        return y

    def attention(self, x, layer):
        prefix, turn = f"model.layers.{layer}.self_attn.", self.rotations[layer]
        q = self.heads_of(x, prefix + "q", self.heads)
        k = self.heads_of(x, prefix + "k", self.kv_heads)
        v = self.heads_of(x, prefix + "v", self.kv_heads)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        mixed = attend(q, k, v, score_scale(self.config), self.windows[layer])
        return self.linear(mixed.reshape(len(x), -1), prefix + "o_proj")

    def mlp(self, x, prefix):
        gate = (gelu if self.gemma else silu)(self.linear(x, prefix + "gate_proj"))
        return self.linear(gate * self.linear(x, prefix + "up_proj"), prefix + "down_proj")

    def norm(self, x, name):
        return rms_norm(x, self.weights[name + ".weight"] + self.gemma, self.epsilon)

    def hidden(self, ids):
        """Final normed hidden states [T, H]."""
        x = self.weights["model.embed_tokens.weight"][np.asarray(ids)]
        if self.gemma:
            x = x * math.sqrt(x.shape[1])
        for layer in range(len(self.windows)):
            prefix = f"model.layers.{layer}."
            if self.gemma:
                y = self.attention(self.norm(x, prefix + "input_layernorm"), layer)
                x = x + self.norm(y, prefix + "post_attention_layernorm")
                y = self.mlp(self.norm(x, prefix + "pre_feedforward_layernorm"), prefix + "mlp.")
                x = x + self.norm(y, prefix + "post_feedforward_layernorm")
            elif self.behind:
                x = x + self.norm(self.attention(x, layer), prefix + "post_attention_layernorm")
                x = x + self.norm(self.mlp(x, prefix + "mlp."),
                                  prefix + "post_feedforward_layernorm")
            else:
                x = x + self.attention(self.norm(x, prefix + "input_layernorm"), layer)
                x = x + self.mlp(self.norm(x, prefix + "post_attention_layernorm"), prefix + "mlp.")
        return self.norm(x, "model.norm")

    def output_matrix(self):
        name = "model.embed_tokens" if is_tied(self.config) else "lm_head"
        return self.weights[name + ".weight"]

    def forward(self, ids):
        """(logits [T, V], hidden [T, H])."""
        hidden = self.hidden(ids)
        return hidden @ self.output_matrix().T, hidden

    def response_logits(self, prompt, response):
        """Row t predicts response[t]: [R, V] over the tokens of the tokenizer."""
        logits, _ = self.forward(list(prompt) + list(response))
        return logits[len(prompt) - 1:-1, :self.config["tokens"]]

    def logprobs(self, prompt, response):
        """log p of each response token [R]."""
        rows = log_softmax(self.response_logits(prompt, response))
        return rows[np.arange(len(response)), np.asarray(response)]
