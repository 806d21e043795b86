#!/usr/bin/python3
"""How long an audit of many rows takes, and how much memory: seconds, peak memory, and how many times as long as
reading the file's bytes on as many processes.

The rows are those of tests/data/make_defects.py; what it has planted must be found, and the result be the same
bytes on every number of ranks. `audit.models = "length"` fits the noise of labels, too. Takes minutes; no part of
the tests."""
import argparse
import filecmp
import json
import os
import re
import subprocess
import sys
import tempfile
import time

import terminal

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/data"))
import make_defects  # noqa: E402


def make(path, count, seed):
    """Writes the rows; {reason: how many have it}."""
    made, planted = make_defects.rows_with_defects(count, seed)
    with open(path, "w", encoding="utf-8") as file:
        for row in made:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return {reason: len(lines) for reason, lines in planted.items() if reason != "near-duplicate"}


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
        print(f"{o.rows} rows, {size / 1e9:.2f} GB; planted: {sum(wanted.values())} defects of {len(wanted)} kinds", flush=True)
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
