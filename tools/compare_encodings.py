#!/usr/bin/python3
"""Measures the encodings of teacher shards on one data set, and prints a Markdown table.

Makes pairs and models (a teacher, another and a student near it, random weights) or takes given
ones, scores the same responses in every encoding, and measures per encoding: bytes of /teacher per
response position, scoring and reading speed, and how far the loss's gradient at the student's
logits is from that of `full`, as a relative norm and an angle (`sampled` by the forward divergence,
as its loss is, the others by the reverse one). Needs NumPy and h5py.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

import aligndistil_shards as shards
import terminal

TOOLS = os.path.dirname(os.path.abspath(__file__))
PYTHON = sys.executable
# name, settings of `shards`; the supports' K come from the command line
ENCODINGS = [("full", {"encoding": "full"}),
             ("full, gzip", {"encoding": "full", "compression": "gzip"}),
             ("full, f16", {"encoding": "full", "full_dtype": "f16"}),
             ("full, f16, gzip", {"encoding": "full", "full_dtype": "f16", "compression": "gzip"}),
             ("hidden", {"encoding": "hidden"}),
             ("hidden32", {"encoding": "hidden32"})]


def tool(name, *arguments):
    subprocess.run([PYTHON, os.path.join(TOOLS, name), *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


# --- data and models ---------------------------------------------------------------------------


def make_data(o, folder):
    desk, tokenizer = os.path.join(folder, "desk"), o.tokenizer or os.path.join(folder, "tok")
    tool("make_orderdesk.py", "--output", desk, "--errors", "figures", "--pairs",
         max(o.pairs, 60), "--eval", 6)
    with open(os.path.join(desk, "train.jsonl"), encoding="utf-8") as file:
        rows = file.readlines()[:o.pairs]
    if not o.tokenizer:
        tool("train_tokenizer.py", "--text", os.path.join(desk, "train.jsonl"), "--vocab-size", 384,
             "--fill", o.vocab_size, "--output", tokenizer)
    path = os.path.join(folder, "pairs.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(rows)
    return path, tokenizer


def nudge(source, target, amount, seed):
    """A copy of a model whose BF16 weights have moved by `amount` of each tensor's spread."""
    os.makedirs(target)
    for name in os.listdir(source):
        with open(os.path.join(source, name), "rb") as file:
            blob = file.read()
        if name.endswith(".safetensors"):
            blob = nudged(blob, amount, np.random.default_rng(seed))
        with open(os.path.join(target, name), "wb") as file:
            file.write(blob)


def nudged(blob, amount, generator):
    size = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + size])
    out = bytearray(blob)
    for name, entry in header.items():
        if name == "__metadata__" or len(entry["shape"]) < 2:
            continue
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        values = shards.from_bfloat16(np.frombuffer(blob[first:last], "<u2"))
        noise = generator.standard_normal(values.size, dtype=np.float32)
        moved = (values + amount * values.std() * noise).view(np.uint32)
        moved += 0x7FFF + (moved >> 16 & 1)
        out[first:last] = (moved >> 16).astype("<u2").tobytes()
    return bytes(out)


def make_models(o, folder, tokenizer):
    """Directories of teacher, its contrast and student."""
    names = {name: os.path.join(folder, name) for name in ("dpo", "reverse", "policy")}
    tool("make_model.py", "--tokenizer", tokenizer, "--output", names["dpo"], "--hidden", o.hidden,
         "--layers", o.layers, "--heads", o.heads, "--kv-heads", 2, "--intermediate", 2 * o.hidden,
         "--vocab-size", o.vocab_size, "--init-std", o.spread / o.hidden ** 0.5, "--dtype", "BF16")
    nudge(names["dpo"], names["reverse"], o.distance, 1)
    nudge(names["dpo"], names["policy"], o.distance, 2)
    return names


# --- one encoding ------------------------------------------------------------------------------


def score(o, folder, name, data, first, second, settings):
    """Seconds of scoring into FOLDER/name."""
    config = os.path.join(folder, "run.cfg")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'output = "{folder}";\ndata: {{ train = "{data}"; chat_format = "none";\n'
                   f'  max_response_tokens = {o.tokens}; }};\n'
                   f'teacher: {{ dpo = "{first}"; reverse = "{second}"; }};\n')
    values = {"shards.directory": name, **{f"shards.{k}": v for k, v in settings.items()}}
    options = [x for k, v in values.items() for x in ("--set", f"{k}={json.dumps(v)}")]
    run = subprocess.run([o.program, "score", "-c", config, *options], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"compare_encodings: {name}: {run.stderr}")
    return max(float(re.search(r"([\d.]+) s; complete", run.stderr).group(1)), 0.05)


def read_all(folder):
    """Seconds to read every sequence's part of /teacher, from the page cache, best of two."""
    best = np.inf
    for _ in range(2):
        begun = time.monotonic()
        for sequence in shards.sequences(folder):
            for name in sequence.shard.file["teacher"]:
                sequence.encoded(name)
        best = min(best, time.monotonic() - begun)
    return best


def teacher_bytes(folder):
    """As stored, but not the unused ends of last chunks."""
    return sum(min(data.id.get_storage_size(), data.size * data.dtype.itemsize)
               for shard in shards.open_folder(folder) for data in shard.file["teacher"].values())


def gradient(found, forward, student, heads):
    """d loss / d logits [R, V] of the student's log-probabilities, weighted by 1 / alpha."""
    p, teacher = np.exp(student), found.teacher(strength=20.0, heads=heads)
    weight = 1 / teacher.alpha[:, None]
    if teacher.ids is None:
        return weight * (p - np.exp(teacher.logprob) if forward else
                         reverse_gradient(p, student - teacher.logprob))
    if forward:
        out = p.copy()
        for r, ids in enumerate(teacher.ids):
            np.subtract.at(out[r], ids, np.exp(teacher.logprob[r]))
        return weight * out
    inside = np.take_along_axis(p, teacher.ids, axis=1)
    rest = np.maximum(p.sum(axis=1) - inside.sum(axis=1), 1e-12)
    gaps = np.column_stack([np.log(inside) - teacher.logprob, np.log(rest) - teacher.tail])
    kl = (np.column_stack([inside, rest]) * gaps).sum(axis=1, keepdims=True)
    out = p * (gaps[:, -1:] - kl)
    np.put_along_axis(out, teacher.ids, inside * (gaps[:, :-1] - kl), axis=1)
    return weight * out


def reverse_gradient(p, gap):
    return p * (gap - (p * gap).sum(axis=1, keepdims=True))


def compare_gradients(folder, name, forward, heads):
    """(relative norm of the difference, angle in degrees) to `full`'s, over all positions."""
    sums = np.zeros(4)
    found = {(s.id, s.source): s for s in shards.sequences(os.path.join(folder, name))}
    full = {(s.id, s.source): s for s in shards.sequences(os.path.join(folder, "full"))}
    for sequence in shards.sequences(os.path.join(folder, "student")):
        key = sequence.id, sequence.source
        student = shards.log_softmax(sequence.log_pair()[0])
        g, exact = (gradient(s[key], forward, student, heads) for s in (found, full))
        sums += [(g * exact).sum(), (g * g).sum(), (exact * exact).sum(), ((g - exact) ** 2).sum()]
    cosine = sums[0] / np.sqrt(sums[1] * sums[2])
    return np.sqrt(sums[3] / sums[2]), np.degrees(np.arccos(min(cosine, 1.0)))


# --- the table ---------------------------------------------------------------------------------


def short(number):
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"


def encodings(o):
    supports = [(f"{kind}, K {k}", {"encoding": kind, "top_k": k}) for kind in o.supports for k in o.k]
    return ENCODINGS + supports


def measure(o, folder):
    data, tokenizer = make_data(o, folder) if not o.data else (o.data, o.tokenizer)
    models = make_models(o, folder, tokenizer)
    score(o, folder, "student", data, models["policy"], models["dpo"], {"encoding": "full"})
    heads = shards.Heads(models["dpo"], models["reverse"])
    positions = tvd = 0
    lines = []
    for name, settings in encodings(o):
        place = name.replace(", ", "-").replace(" ", "")
        seconds = score(o, folder, place, data, models["dpo"], models["reverse"], settings)
        found = list(shards.sequences(os.path.join(folder, place)))
        positions, tvd = sum(len(s.tvd) for s in found), np.concatenate([s.tvd for s in found])
        size = teacher_bytes(os.path.join(folder, place)) / positions
        speed = positions / read_all(os.path.join(folder, place))
        error, angle = compare_gradients(folder, place, settings["encoding"] == "sampled", heads)
        lines.append(f"| {name} | {size:,.0f} | {100 * size / (2 * 2 * o.vocab_size):.3g} % | "
                     f"{positions / seconds:,.0f} | {short(speed)} | {short(error)} | {short(angle)}° |")
        print(f"{name}: done", file=sys.stderr)
        if place != "full":
            for path in glob.glob(os.path.join(folder, place, "*.h5")):
                os.remove(path)
    print(f"{positions} response positions, vocabulary {o.vocab_size:,}, hidden size {o.hidden}, "
          f"{o.layers} layers, TVD {tvd.mean():.3g} on average, r 20.\n")
    print("| encoding | bytes per position | of two dense bf16 rows | scored per s | read per s | "
          "gradient: relative error | angle |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--program", required=True, metavar="FILE", help="aligndistil")
    add("--data", metavar="FILE", help="pairs (JSONL); made without it. Needs --tokenizer")
    add("--tokenizer", metavar="DIR", help="folder of a tokenizer.json; made without it")
    add("--pairs", type=int, default=4, help="made pairs (4)")
    add("--tokens", type=int, default=64, help="longest response (64)")
    add("--vocab-size", type=int, default=151936, help="(151936)")
    add("--hidden", type=int, default=896, help="(896)")
    add("--layers", type=int, default=2, help="(2)")
    add("--heads", type=int, default=14, help="(14)")
    add("--spread", type=float, default=6.0, help="of the logits, standard deviation (6)")
    add("--distance", type=float, default=0.03, help="of the models, in the weights' spread (0.03)")
    add("--k", type=int, nargs="+", default=[16, 64, 256], help="(16 64 256)")
    add("--supports", nargs="*", default=["topk", "sampled"],
        help="encodings with a K (topk sampled)")
    return parser.parse_args(argv)


def main(argv):
    o = parse(argv)
    with tempfile.TemporaryDirectory(prefix="compare-encodings-") as folder:
        measure(o, folder)
    return 0


if __name__ == "__main__":
    terminal.run(main, sys.argv[1:])
