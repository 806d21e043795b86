#!/usr/bin/python3
"""Makes a fresh, randomly initialised model directory in the Hugging Face layout."""
import argparse
import glob
import json
import math
import os
import shutil
import sys

import numpy as np

import terminal

TYPES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM",
         "mistral": "MistralForCausalLM", "olmo2": "Olmo2ForCausalLM",
         "olmo3": "Olmo3ForCausalLM", "smollm3": "SmolLM3ForCausalLM",
         "gemma3_text": "Gemma3ForCausalLM"}
BEHIND = ("olmo2", "olmo3", "gemma3_text")  # norms after attention and MLP
TORCH_DTYPE = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}

# --- the list of tensors -----------------------------------------------------------------------


def attention_tensors(o, prefix):
    q, kv = o.heads * o.head_dim, o.kv_heads * o.head_dim
    sizes = {"q": q, "k": kv, "v": kv}
    biased = "qkv" if o.type == "qwen2" else "qkvo" if o.attention_bias else ""
    for name, size in sizes.items():
        yield f"{prefix}{name}_proj.weight", (size, o.hidden), "normal"
    yield f"{prefix}o_proj.weight", (o.hidden, q), "residual"
    for name in biased:
        yield f"{prefix}{name}_proj.bias", (sizes.get(name, o.hidden),), "normal"
    if o.type in ("qwen3", "gemma3_text"):
        yield f"{prefix}q_norm.weight", (o.head_dim,), "norm"
        yield f"{prefix}k_norm.weight", (o.head_dim,), "norm"
    if o.type in ("olmo2", "olmo3"):
        yield f"{prefix}q_norm.weight", (q,), "norm"
        yield f"{prefix}k_norm.weight", (kv,), "norm"


def layer_tensors(o, prefix):
    if o.type not in ("olmo2", "olmo3"):
        yield prefix + "input_layernorm.weight", (o.hidden,), "norm"
    yield from attention_tensors(o, prefix + "self_attn.")
    yield prefix + "post_attention_layernorm.weight", (o.hidden,), "norm"
    if o.type == "gemma3_text":
        yield prefix + "pre_feedforward_layernorm.weight", (o.hidden,), "norm"
    yield prefix + "mlp.gate_proj.weight", (o.intermediate, o.hidden), "normal"
    yield prefix + "mlp.up_proj.weight", (o.intermediate, o.hidden), "normal"
    yield prefix + "mlp.down_proj.weight", (o.hidden, o.intermediate), "residual"
    if o.mlp_bias:
        yield prefix + "mlp.gate_proj.bias", (o.intermediate,), "normal"
        yield prefix + "mlp.up_proj.bias", (o.intermediate,), "normal"
        yield prefix + "mlp.down_proj.bias", (o.hidden,), "normal"
    if o.type in BEHIND:
        yield prefix + "post_feedforward_layernorm.weight", (o.hidden,), "norm"


def model_tensors(o):
    """(name, shape, kind) of every tensor, kind saying how it starts."""
    yield "model.embed_tokens.weight", (o.vocab_size, o.hidden), "normal"
    for layer in range(o.layers):
        yield from layer_tensors(o, f"model.layers.{layer}.")
    yield "model.norm.weight", (o.hidden,), "norm"
    if not o.tied:
        yield "lm_head.weight", (o.vocab_size, o.hidden), "normal"


def initial_values(rng, shape, kind, o):
    """Ones for norms (Gemma's, of 1 + weight: zeros), normal(init_std) for the rest; what feeds the
    residual is scaled by depth."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if kind == "norm":
        return np.float32(o.type != "gemma3_text") + np.float32(o.norm_jitter) * noise
    scale = 1 / math.sqrt(2 * o.layers) if kind == "residual" else 1
    return noise * np.float32(o.init_std * scale)


# --- safetensors -------------------------------------------------------------------------------


def to_bytes(values, dtype):
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def tensor_bytes(shape, dtype):
    return math.prod(shape) * (4 if dtype == "F32" else 2)


def write_safetensors(path, tensors, dtype, values_of):
    """`tensors`: (name, shape, kind); `values_of(shape, kind)` is called in that order."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in tensors:
        end = offset + tensor_bytes(shape, dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape, kind in tensors:
            file.write(to_bytes(values_of(shape, kind), dtype))
    os.replace(path + ".tmp", path)


def shards_of(tensors, dtype, limit):
    shards, size = [[]], 0
    for tensor in tensors:
        bytes_ = tensor_bytes(tensor[1], dtype)
        if shards[-1] and size + bytes_ > limit:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += bytes_
    return shards


def write_weights(o, tensors):
    rng = np.random.default_rng(o.seed)

    def values_of(shape, kind):
        return initial_values(rng, shape, kind, o)

    if not o.max_shard_mb:
        write_safetensors(os.path.join(o.output, "model.safetensors"), tensors, o.dtype, values_of)
        return
    shards = shards_of(tensors, o.dtype, o.max_shard_mb * 2**20)
    places = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(os.path.join(o.output, name), shard, o.dtype, values_of)
        places.update({tensor[0]: name for tensor in shard})
    total = sum(tensor_bytes(shape, o.dtype) for _, shape, _ in tensors)
    write_json(os.path.join(o.output, "model.safetensors.index.json"),
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))})


# --- configuration -----------------------------------------------------------------------------


def write_json(path, value):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    os.replace(path + ".tmp", path)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: {error}")


def token_ids(directory):
    """Number of entries and the ids of bos, eos and pad (None where the tokenizer has none)."""
    tokenizer = read_json(os.path.join(directory, "tokenizer.json"))
    settings = read_json(os.path.join(directory, "tokenizer_config.json"))
    ids = dict(tokenizer["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])})

    def id_of(key):
        token = settings.get(key)
        return ids.get(token["content"] if isinstance(token, dict) else token)

    return max(ids.values()) + 1, {key: id_of(f"{key}_token") for key in ("bos", "eos", "pad")}


def model_config(o, ids):
    config = {
        "architectures": [TYPES[o.type]], "model_type": o.type,
        "vocab_size": o.vocab_size, "hidden_size": o.hidden, "num_hidden_layers": o.layers,
        "num_attention_heads": o.heads, "num_key_value_heads": o.kv_heads,
        "intermediate_size": o.intermediate, "max_position_embeddings": o.max_position,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": o.rope_theta,
        "tie_word_embeddings": o.tied, "attention_dropout": 0.0, "initializer_range": o.init_std,
        "bos_token_id": ids["bos"], "eos_token_id": ids["eos"], "pad_token_id": ids["pad"],
        "torch_dtype": TORCH_DTYPE[o.dtype], "use_cache": True,
    }
    if o.type in ("qwen2", "qwen3"):
        config.update(use_sliding_window=False, sliding_window=None, max_window_layers=o.layers)
    if o.type == "mistral":
        config["sliding_window"] = None
    if o.type not in ("qwen2", "mistral"):
        config["attention_bias"] = o.attention_bias
    if o.type in ("llama", "smollm3"):
        config.update(mlp_bias=o.mlp_bias, rope_scaling=None, pretraining_tp=1)
    if o.type == "smollm3":
        config.update(no_rope_layer_interval=4, use_sliding_window=False, sliding_window=None)
    if o.type in ("olmo3", "gemma3_text"):
        config.update(sliding_window=512, rope_scaling=None)
    if o.type == "gemma3_text":
        config["hidden_activation"] = "gelu_pytorch_tanh"
        config.update(query_pre_attn_scalar=o.head_dim, rope_local_base_freq=10000.0,
                      sliding_window_pattern=6, head_dim=o.head_dim)
        del config["hidden_act"]
    if o.type == "qwen3" or o.head_dim * o.heads != o.hidden:
        config["head_dim"] = o.head_dim
    config.update(o.config)
    return dict(sorted(config.items()))


def generation_config(ids):
    stops = [ids[key] for key in ("eos", "pad") if ids[key] is not None]
    return {"bos_token_id": ids["bos"], "do_sample": True,
            "eos_token_id": sorted(set(stops), key=stops.index), "pad_token_id": ids["pad"]}


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def json_object(text):
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("expected a JSON object")
    return value


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--tokenizer", required=True, metavar="DIR",
        help="folder with tokenizer.json and tokenizer_config.json, which are copied")
    add("--output", required=True, metavar="DIR")
    add("--type", choices=TYPES, default="qwen2", help="model_type (qwen2)")
    add("--hidden", type=positive, default=128, help="width (128)")
    add("--layers", type=positive, default=4, help="(4)")
    add("--heads", type=positive, default=4, help="(4)")
    add("--kv-heads", type=positive, default=2, help="(2)")
    add("--head-dim", type=positive, help="(hidden / heads)")
    add("--intermediate", type=positive, default=384, help="(384)")
    add("--vocab-size", type=positive, help="(the tokenizer's, rounded up to a multiple of 64)")
    add("--max-position", type=positive, default=2048, help="(2048)")
    add("--rope-theta", type=float, default=10000.0, help="(10000)")
    add("--untied", dest="tied", action="store_false", help="an output matrix of its own")
    add("--tied", dest="tied", action="store_true", help="the embedding is it (default)")
    add("--attention-bias", action="store_true",
        help="biases in all but mistral (qwen2 has them)")
    add("--mlp-bias", action="store_true", help="llama, smollm3: biases of the MLP")
    add("--config", type=json_object, default={}, metavar="JSON",
        help="an object whose keys go into config.json over the others, such as "
             "{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}}")
    add("--init-std", type=float, default=0.02, metavar="S",
        help="weights start at normal(0, S) (0.02); narrow models learn to copy several times "
             "sooner at about 1 / sqrt(hidden)")
    add("--norm-jitter", type=float, default=0.0, metavar="S",
        help="norms multiply by normal(1, S) at the start instead of 1 (for tests)")
    add("--dtype", choices=TORCH_DTYPE, default="F32", help="(F32)")
    add("--max-shard-mb", type=float, default=0, help="write the sharded form, for tests")
    add("--seed", type=int, default=1)
    parser.set_defaults(tied=True)
    return parser, parser.parse_args(argv)


def complete(parser, o):
    """Fills in what follows from the rest, and checks that it fits together."""
    if o.heads % o.kv_heads:
        parser.error("--heads must be a multiple of --kv-heads")
    if o.head_dim is None and o.hidden % o.heads:
        parser.error("--hidden must be a multiple of --heads, or give --head-dim")
    o.head_dim = o.head_dim or o.hidden // o.heads
    if o.head_dim % 2:
        parser.error("the width of a head must be even")
    if o.attention_bias and o.type == "mistral":
        parser.error("mistral has no attention bias")
    if o.mlp_bias and o.type not in ("llama", "smollm3"):
        parser.error(f"{o.type} has no bias in its MLP")
    entries, ids = token_ids(o.tokenizer)
    o.vocab_size = o.vocab_size or (entries + 63) // 64 * 64
    if o.vocab_size < entries:
        parser.error(f"--vocab-size is below the tokenizer's {entries}")
    return ids


def main(argv):
    parser, o = parse(argv)
    ids = complete(parser, o)
    os.makedirs(o.output, exist_ok=True)
    for old in glob.glob(os.path.join(glob.escape(o.output), "model*.safetensors*")):
        os.remove(old)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(os.path.join(o.tokenizer, name), os.path.join(o.output, name))
    write_json(os.path.join(o.output, "config.json"), model_config(o, ids))
    write_json(os.path.join(o.output, "generation_config.json"), generation_config(ids))
    tensors = list(model_tensors(o))
    write_weights(o, tensors)
    count = sum(math.prod(shape) for _, shape, _ in tensors)
    print(f"{o.output}: {o.type}, {count / 1e6:.2f} M parameters in {len(tensors)} tensors, "
          f"{o.layers} layers of {o.hidden}, {o.vocab_size} entries, {o.dtype}")
    return 0


if __name__ == "__main__":
    terminal.run(main, sys.argv[1:])
