"""What the numeric tests share: stages with settings, small data and models, their tokens, the twins'
view of a stage."""
import json
import os
import sys

import h5py
import numpy as np

import harness
from reference import losses, model

sys.path.insert(0, harness.TOOLS)
import train_tokenizer as bpe  # noqa: E402

KINDS = {
    "qwen2": ["--type", "qwen2"],
    "qwen2 untied": ["--type", "qwen2", "--untied"],
    "qwen3": ["--type", "qwen3", "--head-dim", 10],
    "llama": ["--type", "llama", "--untied", "--attention-bias"],
    "mistral": ["--type", "mistral", "--kv-heads", 1],
    "mistral window": ["--type", "mistral", "--config", json.dumps(
        {"sliding_window": 7, "rope_theta": 1000.0,
         "rope_scaling": {"type": "linear", "factor": 1.5}})],
    "qwen2 windows": ["--type", "qwen2", "--config", json.dumps(
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
         "rope_scaling": {"type": "dynamic", "factor": 2.0}})],
    "qwen3 yarn": ["--type", "qwen3", "--head-dim", 10, "--config", json.dumps(
        {"use_sliding_window": True, "sliding_window": 9,
         "layer_types": ["sliding_attention", "full_attention"],
         "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 500.0,
                             "original_max_position_embeddings": 64, "beta_fast": 4}})],
    "llama llama3": ["--type", "llama", "--untied", "--mlp-bias", "--config", json.dumps(
        {"rope_theta": 500.0, "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}})],
    "olmo2": ["--type", "olmo2", "--untied"],
    "olmo3": ["--type", "olmo3", "--untied", "--config", json.dumps(
        {"sliding_window": 6, "rope_theta": 500.0,
         "layer_types": ["full_attention", "sliding_attention"],
         "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 4,
                          "attention_factor": 1.2, "original_max_position_embeddings": 64}})],
    "smollm3": ["--type", "smollm3", "--mlp-bias", "--config", json.dumps(
        {"no_rope_layers": [1, 0, 1], "rope_theta": 500.0, "use_sliding_window": True,
         "sliding_window": 8})],
    "gemma3": ["--type", "gemma3_text", "--head-dim", 10, "--attention-bias", "--config", json.dumps(
        {"sliding_window": 7, "sliding_window_pattern": 2, "query_pre_attn_scalar": 6,
         "rope_theta": 1000.0, "rope_local_base_freq": 50.0,
         "rope_scaling": {"rope_type": "linear", "factor": 8.0}})],
}
END = 2  # <|im_end|>, the tokenizer's EOS


def settings(values):
    """--set arguments: {"optimizer__lr": 0.1} is --set optimizer.lr=0.1; strings are quoted."""
    out = []
    for key, value in values.items():
        if isinstance(value, (list, tuple)):
            value = "[" + ", ".join(map(str, value)) + "]"
        elif isinstance(value, (bool, str)):
            value = json.dumps(value)
        out += ["--set", f"{key.replace('__', '.')}={value}"]
    return out


def stage(command, folder, ranks=1, threads=1, code=0, **values):
    """A command with `output` = folder, on an empty configuration and these settings; it ends with `code`. It
    takes nothing over from an earlier one unless checkpoint__resume says so."""
    path = harness.write(os.path.join(folder, "empty.cfg"), "# all is set on the command line\n")
    return harness.run(command, "-c", path, *settings({"output": folder, "checkpoint__resume": False, **values}), ranks=ranks, code=code,
                       env={"OMP_NUM_THREADS": str(threads)})


class Data:
    """Pairs of short strings, `none` as chat format, and their tokens."""

    def __init__(self, folder, pairs=5):
        desk = harness.make_desk(folder, pairs=60)
        rows = harness.read_rows(os.path.join(desk, "train.jsonl"))[:pairs]
        self.rows = [{"prompt": row["prompt"][:9 + 7 * i], "chosen": row["chosen"][:30 - 5 * i],
                      "rejected": row["rejected"][11:20 + 8 * i]} for i, row in enumerate(rows)]
        self.path = harness.write_rows(os.path.join(folder, "pairs.jsonl"), self.rows)
        encoder = bpe.Encoder(harness.read_json(os.path.join(folder, "tok", "tokenizer.json")))
        self.prompts = [encoder.encode(row["prompt"]) for row in self.rows]
        self.responses = {which: [encoder.encode(row[which]) + [END] for row in self.rows]
                          for which in ("chosen", "rejected")}

    def sequences(self, which):
        """[(prompt, response)]; "both": chosen, rejected of the first row, then of the next."""
        kinds = ("chosen", "rejected") if which == "both" else (which,)
        return [(prompt, self.responses[kind][i]) for i, prompt in enumerate(self.prompts)
                for kind in kinds]


def make_models(folder, options, names=("policy", "reference", "dpo", "reverse")):
    """Policy, reference, DPO and reverse teacher of one kind: {name: directory}. Their weights are so
    large that every part counts."""
    shape = ["--heads", 4, "--kv-heads", 2, "--vocab-size", 389, "--init-std", 0.25,
             "--norm-jitter", 0.2]
    return {name: harness.make_model(folder, name, seed, *shape, *options)
            for seed, name in enumerate(names, 1)}


def load(directories):
    return {name: model.Model.load(path) for name, path in directories.items()}


def logits_of(twin, sequences):
    return [twin.response_logits(*sequence) for sequence in sequences]


def logprob_sums(logits, sequences):
    """Summed log-probability of each response."""
    return [model.log_softmax(z)[np.arange(len(r)), r].sum()
            for z, (_, r) in zip(logits, sequences)]


def sft_loss(logits, sequences):
    """Mean over the response tokens of all sequences."""
    parts = [losses.sft(z, response) for z, (_, response) in zip(logits, sequences)]
    return sum(loss for loss, _ in parts) / sum(count for _, count in parts)


def dpo_loss(logits, sequences, reference, **options):
    """Mean over pairs; sequences and `reference` (their summed log-probabilities): chosen, rejected,
    chosen, ..."""
    sums = logprob_sums(logits, sequences)
    pairs = [losses.dpo(0.1, sums[i], sums[i + 1], reference[i], reference[i + 1], **options)[0]
             for i in range(0, len(sums), 2)]
    return np.mean(pairs)


def shard_rows(folder, name):
    """A dataset of /teacher or /response in the shards of a folder, per (id, source)."""
    out = {}
    for file_name in sorted(name for name in os.listdir(folder) if name.endswith(".h5")):
        with h5py.File(os.path.join(folder, file_name), "r") as file:
            start, values = file["sequence/response_start"][...], file[name][...]
            keys = zip(file["sequence/id"][...].tolist(), file["sequence/source"][...].tolist())
            for i, key in enumerate(keys):
                out[key] = values[start[i]:start[i + 1]]
    return out


def topk_of(folder, keys):
    """distill_topk's arguments behind z_student for each sequence, from `topk` shards."""
    names = ("token_id", "logprob_dpo", "log_ratio", "tail_dpo", "tail_reverse")
    columns = [shard_rows(folder, "teacher/" + name) for name in names]
    columns.append(shard_rows(folder, "response/tvd"))
    return [[c[key] if i == 0 else c[key].astype(float) for i, c in enumerate(columns)]
            for key in keys]


def read_moment(checkpoint, twin, which="m"):
    """A moment in optimizer.h5 as {tensor: array}; the flat buffer has the order of the file."""
    with open(os.path.join(checkpoint, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    names = sorted(header, key=lambda name: header[name]["data_offsets"])
    assert set(names) == set(twin.weights)
    with h5py.File(os.path.join(checkpoint, "optimizer.h5"), "r") as file:
        flat = file[which][...].astype(float)
    ends = np.cumsum([twin.weights[name].size for name in names])
    assert ends[-1] == len(flat)
    return {name: part.reshape(twin.weights[name].shape)
            for name, part in zip(names, np.split(flat, ends[:-1]))}
