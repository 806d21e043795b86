#!/usr/bin/python3
"""Speed of our tokenizer beside that of Hugging Face's tokenizers, in turns, each on one thread.

Needs Node.js and npm: the npm package `tokenizers` (a binding of that library, which is in Rust) is
installed into the build folder. Both programs encode the same pieces of the text and must find the
same number of tokens."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

import terminal

TOOLS = os.path.dirname(os.path.realpath(__file__))
BUILD = os.path.join(os.path.dirname(TOOLS), "build")
PACKAGE = "tokenizers@0.23.2"


def fail(message):
    sys.exit(f"bench_tokenizer: {message}")


def install(folder):
    if shutil.which("node") is None or shutil.which("npm") is None:
        fail("expected node and npm for the reference library")
    if not os.path.isdir(os.path.join(folder, "node_modules", "tokenizers")):
        os.makedirs(folder, exist_ok=True)
        done = subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", folder, PACKAGE])
        if done.returncode != 0:
            fail(f"npm could not install {PACKAGE}")


def measure(words, env):
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        fail(done.stderr.strip())
    return json.loads(done.stdout)


def speeds(runs, key="seconds"):
    return sorted(run["bytes"] * 1e-6 / run[key] for run in runs)


def print_row(name, runs):
    passes = speeds(runs)
    print(f"{name:12} {statistics.median(passes):8.2f} {passes[0]:8.2f} {passes[-1]:8.2f} "
          f"{statistics.median(speeds(runs, 'first_seconds')):12.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="directory with tokenizer.json")
    parser.add_argument("text", help="UTF-8 text")
    parser.add_argument("--rounds", type=int, default=5, help="turns of both (5)")
    parser.add_argument("--repeat", type=int, default=3, help="passes in a turn (3)")
    parser.add_argument("--binary", default=os.path.join(BUILD, "release", "aligndistil"))
    words = parser.parse_args()
    npm = os.path.join(BUILD, "npm")
    install(npm)
    env = {**os.environ, "NODE_PATH": os.path.join(npm, "node_modules"), "RAYON_NUM_THREADS": "1",
           "TOKENIZERS_PARALLELISM": "false"}
    ours = [words.binary, "bench", "--model", words.model, "--text", words.text, "--threads", "1",
            "--repeat", str(words.repeat), "--json"]
    theirs = ["node", os.path.join(TOOLS, "bench_tokenizer.js"),
              os.path.join(words.model, "tokenizer.json"), words.text, str(words.repeat)]
    mine, reference = [], []
    for _ in range(words.rounds):
        mine.append(measure(ours, env))
        reference.append(measure(theirs, env))
    if mine[0]["tokens"] != reference[0]["tokens"]:
        fail(f"{mine[0]['tokens']} tokens here, {reference[0]['tokens']} by the reference library")
    print(f"{words.text}: {mine[0]['bytes']} bytes, {mine[0]['tokens']} tokens, one thread each")
    print(f"{'MB/s':12} {'median':>8} {'least':>8} {'most':>8} {'first pass':>12}")
    print_row("aligndistil", mine)
    print_row("reference", reference)
    ratio = sorted(r["seconds"] / m["seconds"] for m, r in zip(mine, reference))
    print(f"ratio        {statistics.median(ratio):8.2f} {ratio[0]:8.2f} {ratio[-1]:8.2f}")


if __name__ == "__main__":
    terminal.run(main)
