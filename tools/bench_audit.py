#!/usr/bin/python3
"""How long an audit of many rows takes, and how much memory: seconds, peak memory, and the share of the time
in which the same ranks only read the file's bytes.

Rows of made-up words, as frequent as words are (Zipf), about a kilobyte each, with planted defects whose
numbers the audit must find. `audit.models = "length"` fits the noise of labels too. The answer must be the
same bytes on every number of ranks. Takes minutes; no part of the tests."""
import argparse
import filecmp
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

import terminal

PLANTED = {100: "duplicate-pair", 300: "same-answers", 500: "contradiction", 700: "email", 900: "empty"}
PERIOD = 1000  # row 100 of a thousand has the first of these, and so on
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def rows(count, seed):
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(LETTERS, n)) for n in rng.integers(2, 10, 30000)]
    shares = 1 / (np.arange(len(words)) + 2.7)
    cumulated = np.cumsum(shares / shares.sum())
    cumulated[-1] = 1.0
    before = None
    for i in range(count):
        said = [words[k] for k in np.searchsorted(cumulated, rng.random(150))]
        row = {"prompt": " ".join(said[:40]) + f" {i}?", "chosen": " ".join(said[40:100]) + ".",
               "rejected": " ".join(said[100:]) + "."}
        reason = PLANTED.get(i % PERIOD)
        if reason == "duplicate-pair":
            row = before
        elif reason == "contradiction":
            row = {**before, "chosen": before["rejected"], "rejected": before["chosen"]}
        elif reason == "same-answers":
            row["rejected"] = row["chosen"]
        elif reason == "email":
            row["chosen"] += " Write to me@example.org."
        elif reason == "empty":
            row["rejected"] = " "
        before = row
        yield row


def make(path, count, seed):
    """Writes them; {reason: rows that have it}, where both sides of a contradiction have it."""
    with open(path, "w") as file:
        for row in rows(count, seed):
            file.write(json.dumps(row) + "\n")
    return {reason: (1 + (reason == "contradiction")) * len(range(at, count, PERIOD))
            for at, reason in PLANTED.items()}


def reading(path, ranks):
    """Seconds in which so many processes read the file, a part each."""
    part = -(-os.path.getsize(path) // ranks)
    words = ["sh", "-c", " & ".join(f"tail -c +{k * part + 1} {path} | head -c {part} >/dev/null"
                                    for k in range(ranks)) + "; wait"]
    begun = time.monotonic()
    subprocess.run(words, check=True)
    return time.monotonic() - begun


def audit(o, data, output, ranks):
    config = os.path.join(o.folder, "empty.cfg")
    open(config, "w").close()
    settings = [f"output={output}", f"data.train={data}", f"audit.models={o.models}"]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # where it is one who asks
    words = ["mpirun", "-q", "-n", str(ranks)] if ranks > 1 else []
    words += [o.program, "audit", "-c", config, *(w for s in settings for w in ("--set", s))]
    done = subprocess.run(words, capture_output=True, text=True, env={**root, **os.environ})
    if done.returncode:
        sys.exit(f"bench_audit: {' '.join(words)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    told = re.search(r"wall ([\d.]+) s, peak memory ([\d.]+ \w+) on rank 0, ([\d.]+ \w+) on all", done.stderr)
    return float(told[1]), told[2], told[3]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", default="length", help="audit.models (length)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", default=os.path.join(here, "../build/release/aligndistil"))
    o = parser.parse_args()
    o.program = os.path.abspath(o.program)
    with tempfile.TemporaryDirectory(prefix="ald-audit-") as o.folder:
        data = os.path.join(o.folder, "rows.jsonl")
        wanted = make(data, o.rows, o.seed)
        size = os.path.getsize(data)
        print(f"{o.rows} rows, {size / 1e9:.2f} GB; planted {wanted}", flush=True)
        for ranks in o.ranks:
            output = os.path.join(o.folder, f"on-{ranks}")
            bare = reading(data, ranks)
            wall, peak, everyone = audit(o, data, output, ranks)
            with open(os.path.join(output, "audit/audit.json")) as file:
                report = json.load(file)
            found = {reason: report["reasons"][reason]["rows"] for reason in wanted}
            print(f"{ranks} ranks: {wall:.1f} s ({o.rows / wall:.0f} rows/s, {size / wall / 1e6:.0f} MB/s, "
                  f"{wall / bare:.0f} times as long as reading the bytes), peak memory {peak} on rank 0, {everyone} "
                  "on all", flush=True)
            if found != wanted:
                sys.exit(f"bench_audit: found {found}")
            for name in ("audit.json", "clean.jsonl", "removed.jsonl"):
                first = os.path.join(o.folder, f"on-{o.ranks[0]}", "audit", name)
                if not filecmp.cmp(first, os.path.join(output, "audit", name), shallow=False):
                    sys.exit(f"bench_audit: {name} differs on {ranks} ranks")


if __name__ == "__main__":
    terminal.run(main)
