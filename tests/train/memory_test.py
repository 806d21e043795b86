#!/usr/bin/python3
"""What each stage says with --verbose that it will take, held to the peak that it reports."""
import os
import re
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

ROOM = 0.10


def prepare(folder):
    desk = harness.make_desk(folder, pairs=200, held_out=60)
    models = {name: harness.make_model(folder, name, seed, "--hidden", 192, "--heads", 4, "--kv-heads", 2,
                                       "--intermediate", 768, "--layers", 5)
              for seed, name in enumerate(("policy", "dpo", "reverse"), 1)}
    harness.write(os.path.join(folder, "run.cfg"), f"""
output = "out";
data: {{ train = "{desk}/train.jsonl"; eval = "{desk}/eval.jsonl"; responses = "both"; max_rows = 100; }};
optimizer: {{ batch_size = 50; max_steps = 2; micro_batch_tokens = 3500; }};
sft: {{ model = "{models['policy']}"; }};
dpo: {{ policy = "{models['policy']}"; }};
teacher: {{ dpo = "{models['dpo']}"; reverse = "{models['reverse']}"; }};
distill: {{ policy = "{models['policy']}"; mode = "off-policy"; }};
generate: {{ model = "{models['policy']}"; }};
eval: {{ model = "{models['policy']}"; dpo = "{models['dpo']}"; contrast = "{models['reverse']}"; }};
sampling: {{ max_new_tokens = 40; }};
checkpoint: {{ every_steps = 1; resume = false; }};
""")


def check(folder, command, *more, ranks=1):
    done = harness.run(command, "-c", os.path.join(folder, "run.cfg"), "--verbose", *more, ranks=ranks, timeout=200)
    said = re.findall(r"^(\w+): memory at most ([\d.]+) MiB", done.err, re.M)
    assert [name for name, _ in said][-1] == command, done
    peak = float(re.search(r"peak memory ([\d.]+) MiB on rank 0", done.err).group(1))
    promised = float(said[-1][1])
    gap = promised / peak - 1
    assert abs(gap) <= ROOM, f"{command}: {promised} MiB said, {peak} MiB taken, {100 * gap:+.1f}%\n{done.err}"
    return done


def sft(folder):
    check(folder, "sft")


def recomputed(folder):
    """Without activations of all layers at once: the same model in less memory, on one trainer and on two."""
    models = set()
    for ranks in (1, 2):
        peaks = []
        for value in ("false", "true"):
            done = check(folder, "sft", "--set", f"runtime.recompute={value}", ranks=ranks)
            peaks.append(float(re.search(r"peak memory ([\d.]+) MiB", done.err).group(1)))
            with open(os.path.join(folder, "out", "sft", "model.safetensors"), "rb") as file:
                models.add(file.read())
        assert peaks[1] < 0.8 * peaks[0], peaks
    assert len(models) == 1, f"{len(models)} models"


# 25 pairs have more tokens than a micro-batch takes.
PAIRS = ["--set", "optimizer.batch_size=25", "--set", "data.max_rows=50"]


def dpo(folder):
    check(folder, "dpo", *PAIRS)
    check(folder, "dpo", *PAIRS, ranks=2)


def dpo_beside_its_reference(folder):
    """The reference's own rows come with each micro-batch."""
    check(folder, "dpo", *PAIRS, "--set", "dpo.loss=tdpo2", "--set", "dpo.output=tdpo2")
    check(folder, "dpo", *PAIRS, "--set", "dpo.loss=simpo", "--set", "dpo.output=simpo")


def score(folder):
    """Shards that `distill` finds."""
    for encoding in ("full", "hidden", "topk"):
        check(folder, "score", "--set", f"shards.encoding={encoding}", "--set",
              f"shards.directory={encoding}", "--set", "data.max_rows=50")


def distill(folder):
    for encoding in ("hidden", "topk"):
        check(folder, "distill", "--set", f"shards.encoding={encoding}", "--set",
              f"shards.directory={encoding}", "--set", "data.max_rows=50", "--set", "checkpoint.resume=false")


def on_policy(folder):
    check(folder, "distill", "--set", "distill.mode=on-policy", "--set", "shards.directory=sampled",
          "--set", "optimizer.max_steps=3", "--set", "optimizer.batch_size=24", "--set",
          "checkpoint.resume=false")


def on_policy_scalars(folder):
    """Policy gradients need no rows of the teacher."""
    check(folder, "distill", "--set", "distill.mode=on-policy", "--set", "shards.directory=scalars",
          "--set", "optimizer.max_steps=3", "--set", "optimizer.batch_size=24", "--set",
          "checkpoint.resume=false", "--set", "distill.signal=token", "--set", "shards.encoding=full")


def read_ahead(folder):
    """The whole set, 1.4 MiB a sequence, is there before its first sequences have been used."""
    wide = {"tokenizer": "wide"}
    harness.tool("train_tokenizer.py", "--text", os.path.join(folder, "desk", "train.jsonl"), "--vocab-size",
                 384, "--fill", 4096, "--output", os.path.join(folder, "wide"))
    words = ["--set", "shards.encoding=full", "--set", "shards.directory=wide", "--set", "data.max_rows=26"]
    for key, seed, shape in (("teacher.dpo", 11, []), ("teacher.reverse", 12, []),
                             ("distill.policy", 13, ["--hidden", 96, "--layers", 24, "--intermediate", 512])):
        words += ["--set", f"{key}={harness.make_model(folder, key, seed, *shape, **wide)}"]
    harness.run("score", "-c", os.path.join(folder, "run.cfg"), *words)
    done = check(folder, "distill", *words, "--set", "optimizer.batch_size=26", "--set",
                 "optimizer.micro_batch_tokens=100", "--set", "checkpoint.resume=false")
    ahead = float(re.search(r"([\d.]+) read ahead", done.err).group(1))
    assert ahead > 50, f"{ahead} MiB said to be read ahead"


def generate(folder):
    check(folder, "generate")


def evaluate(folder):
    check(folder, "eval")


if __name__ == "__main__":
    harness.main([sft, recomputed, dpo, dpo_beside_its_reference, score, distill, on_policy, on_policy_scalars, read_ahead, generate, evaluate], prepare)
