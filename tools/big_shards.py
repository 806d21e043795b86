#!/usr/bin/python3
"""Scores shards of sizes that tests don't reach, and reads them back: by aligndistil and by h5py.

One file of `full` with more than 4 GiB in each dataset of /teacher: `inspect --verify`, `inspect --row`
of the last sequence, `inspect --diff` against the same sequences in files of a few, two steps of
`distill` on both; the last rows by h5py. And one `topk` file with a sequence of 100,000 response
positions: the same checks; its last rows must be those of its last tokens scored alone, which a
model of one layer with a sliding window can't tell apart. Needs NumPy, h5py and a little more than
twice --gigabytes of disk; prints figures, removes what it made, exits 1 when anything differs. Takes
minutes; no part of the tests.
"""
import argparse
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
WINDOW = 64
LATE = 100  # positions at the end of the long sequence that are scored alone too


def tool(name, *arguments):
    subprocess.run([sys.executable, os.path.join(TOOLS, name), *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def program(o, *arguments):
    """(stdout, stderr, seconds) of aligndistil, which must succeed."""
    begun = time.monotonic()
    done = subprocess.run([o.program, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"big_shards: {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout, done.stderr, time.monotonic() - begun


def check(condition, *what):
    if not condition:
        sys.exit("big_shards: " + " ".join(map(str, what)))


def say(what, seconds, err=""):
    peak = re.search(r"peak memory ([\d.]+ \w+) on rank 0", err)
    print(f"{what}: {seconds:.1f} s" + (f", peak memory {peak.group(1)}" if peak else ""), flush=True)


# --- making them -------------------------------------------------------------------------------


def make_models(folder, vocab_size, *options):
    desk, tokenizer = os.path.join(folder, "desk"), os.path.join(folder, f"tok-{vocab_size}")
    if not os.path.exists(tokenizer):
        tool("make_orderdesk.py", "--output", desk, "--errors", "figures", "--pairs",
             60, "--eval", 6)
        tool("train_tokenizer.py", "--text", os.path.join(desk, "train.jsonl"), "--vocab-size", 384,
             "--fill", vocab_size, "--output", tokenizer)
    names = {}
    for seed, name in enumerate(("policy", "dpo", "reverse"), 1):
        names[name] = os.path.join(folder, f"{name}-{vocab_size}")
        tool("make_model.py", "--tokenizer", tokenizer, "--output", names[name], "--hidden", 16,
             "--layers", 1, "--heads", 2, "--kv-heads", 1, "--intermediate", 32, "--vocab-size",
             vocab_size, "--seed", seed, "--init-std", 0.3, "--max-position", 1 << 17, *options)
    return names


def write_rows(path, sequences):
    """Generations: prompts and responses as ids."""
    with open(path, "w", encoding="utf-8") as file:
        for i, (prompt, response) in enumerate(sequences):
            file.write(json.dumps({"prompt": f"prompt {i}", "response": f"response {i}",
                                   "prompt_ids": prompt, "response_ids": response}) + "\n")
    return path


def random_ids(generator, count):
    return generator.integers(3, 300, count).tolist()


def score(o, folder, name, data, models, **values):
    config = os.path.join(folder, "run.cfg")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'output = "{folder}";\n'
                   f'data: {{ train = "{data}"; chat_format = "none"; max_response_tokens = 1000000; }};\n'
                   f'teacher: {{ dpo = "{models["dpo"]}"; reverse = "{models["reverse"]}"; }};\n'
                   f'distill: {{ policy = "{models["policy"]}"; mode = "off-policy"; }};\n')
    values = {"directory": name, **values}
    options = [x for k, v in values.items() for x in ("--set", f"shards.{k}={json.dumps(v)}")]
    _, err, seconds = program(o, "score", "-c", config, *options)
    return os.path.join(folder, name), seconds, err


def distill(o, folder, name, batch):
    """Weights after two steps on a folder of shards, in the same order however they are cut."""
    output = os.path.join(folder, "trained-" + name)
    _, err, seconds = program(
        o, "distill", "-c", os.path.join(folder, "run.cfg"), "--set", "data.train=", "--set",
        f"shards.directory={name}", "--set", f"distill.output={output}", "--set",
        "optimizer.max_steps=2", "--set", f"optimizer.batch_size={batch}")
    say(f"  distill, two steps of {batch} sequences", seconds, err)
    with open(os.path.join(output, "model.safetensors"), "rb") as file:
        return file.read()


# --- reading them ------------------------------------------------------------------------------


def verify(o, place):
    out, err, seconds = program(o, "inspect", "--verify", place, "--json")
    report = json.loads(out)
    check(report["verified"], place, report)
    say(f"  inspect --verify: {report['sequences']} sequences, {report['positions']} positions, "
        f"{report['bytes']:,} bytes", seconds, err)


def check_last_row(o, shard):
    """`inspect --row` of the last sequence against h5py: every token, in float32."""
    out, err, seconds = program(o, "inspect", "--row", str(len(shard) - 1), shard.path, "--json")
    report, sequence = json.loads(out), shard[-1]
    rows = report["tokens"]
    check(report["response"] == sequence.response and report["prompt"] == sequence.prompt,
          shard.path, "texts differ")
    check([row["id"] for row in rows] == sequence.response_ids.tolist(), shard.path, "ids differ")
    for name, column in (("dpo", "logprob_dpo"), ("contrast", "logprob_reverse"), ("tvd", "tvd")):
        ours = np.array([row[name] for row in rows], "f4")
        check((ours == getattr(sequence, column).astype("f4")).all(), shard.path, name, "differs")
    say(f"  inspect --row {len(shard) - 1}: {len(rows)} tokens as h5py reads them", seconds, err)


def check_last_rows_alike(one, two, count):
    """The last `count` rows of /teacher of two files' last sequences by h5py, bit by bit."""
    names = sorted(one.file["teacher"])
    check(names == sorted(two.file["teacher"]), "other datasets", names)
    for name in names:
        a, b = (shard[-1].encoded(name)[-count:] for shard in (one, two))
        check(a.tobytes() == b.tobytes(), one.path, name, "differs from", two.path)
    print(f"  h5py: the last {count} rows of {', '.join(names)} are those of {two.path}")


# --- the two studies ---------------------------------------------------------------------------


def large_file(o, folder):
    V, length = o.vocab_size, 100
    count = -(-int(o.gigabytes * 1e9) // (8 * V * length))
    generator = np.random.default_rng(1)
    data = write_rows(os.path.join(folder, "many.jsonl"),
                      [(random_ids(generator, 20), random_ids(generator, length)) for _ in range(count)])
    models = make_models(folder, V)
    places = {}
    for name, each in (("large", count), ("small", 8)):
        places[name], seconds, err = score(o, folder, name, data, models, encoding="full",
                                           sequences_per_shard=each)
        say(f"score of {count} sequences, {each} a file", seconds, err)
    (large,) = shards.open_folder(places["large"])
    size = os.path.getsize(large.path)
    part = {name: data.id.get_storage_size() for name, data in large.file["teacher"].items()}
    print(f"  {large.path}: {size:,} bytes, {', '.join(f'{k} {v:,}' for k, v in part.items())}")
    check(min(part.values()) > 1 << 32, "a dataset is below 4 GiB; take more --gigabytes")
    verify(o, places["large"])
    check_last_row(o, large)
    check_last_rows_alike(large, shards.open_folder(places["small"])[-1], length)
    out, err, seconds = program(o, "inspect", "--diff", places["large"], places["small"], "--json")
    report = json.loads(out)
    check(all(row["sequences"] == 0 for row in report["datasets"]) and report["differing"] == 0,
          "inspect --diff:", report)
    say("  inspect --diff: no sequence differs from the small files'", seconds, err)
    check(distill(o, folder, "large", 16) == distill(o, folder, "small", 16), "weights differ")
    print("  distill: the same weights on both")


def long_sequence(o, folder):
    generator = np.random.default_rng(2)
    prompt, response = random_ids(generator, 20), random_ids(generator, o.positions)
    alone = response[-LATE - 2 * WINDOW:-LATE], response[-LATE:]
    data = write_rows(os.path.join(folder, "long.jsonl"), [alone, (prompt, response)])
    models = make_models(folder, 384, "--type", "mistral", "--config",
                         json.dumps({"sliding_window": WINDOW}))
    place, seconds, err = score(o, folder, "long", data, models, encoding="topk", top_k=384)
    say(f"score of a sequence of {o.positions} response positions", seconds, err)
    (shard,) = shards.open_folder(place)
    check(len(shard[-1].response_ids) == o.positions, "the sequence was cut")
    print(f"  {shard.path}: {os.path.getsize(shard.path):,} bytes")
    verify(o, place)
    check_last_row(o, shard)
    gaps = {name: np.abs(getattr(shard[-1], name)[-LATE:] - getattr(shard[0], name)).max()
            for name in ("logprob_dpo", "logprob_reverse", "tvd")}
    probability = [np.zeros((LATE, 384)) for _ in range(2)]
    for made, sequence in zip(probability, (shard[0], shard[-1])):
        ids, values = (sequence.encoded(name)[-LATE:] for name in ("token_id", "logprob_dpo"))
        np.put_along_axis(made, ids, np.exp(values.astype(float)), axis=1)
    gaps["the distribution's total variation"] = \
        0.5 * np.abs(probability[0] - probability[1]).sum(axis=1).max()
    print(f"  its last {LATE} positions against those tokens alone, largest gap: " +
          ", ".join(f"{name} {gap:.2g}" for name, gap in gaps.items()))
    check(max(gaps.values()) < 2e-3, "the last rows aren't those of the last tokens")
    distill(o, folder, "long", 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the aligndistil to run")
    parser.add_argument("--folder", help="where the disk has room (the temporary folder)")
    parser.add_argument("--gigabytes", type=float, default=9.0, help="of the large file (9)")
    parser.add_argument("--vocab-size", type=int, default=151936)
    parser.add_argument("--positions", type=int, default=100000, help="of the long sequence")
    parser.add_argument("--only", choices=("large", "long"))
    o = parser.parse_args()
    for name, study in (("large", large_file), ("long", long_sequence)):
        if o.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="big-shards-", dir=o.folder) as folder:
                study(o, folder)
    print("all as it should be")


if __name__ == "__main__":
    terminal.run(main)
