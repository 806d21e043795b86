#!/usr/bin/python3
"""Splits preference pairs, of any layout that aligndistil reads, into train.jsonl and eval.jsonl.

Rows with the same prompt stay together, so no prompt of the evaluation part occurs in training.
Rows without a prompt, or without both answers, are left out and counted.
"""
import argparse
import json
import os
import random
import sys

import terminal
from data_rows import Unusable, file_layout, plain, read_rows


def prompt_of(row, layout):
    """The prompt of a row that has one and both answers, else None."""
    try:
        made = plain(row, layout) if isinstance(row, dict) else {}
    except Unusable:
        return None
    whole = all(made.get(key) for key in ("prompt", "chosen", "rejected"))
    return json.dumps(made["prompt"], sort_keys=True) if whole else None


def split(rows, count, seed):
    """(train, eval) of (prompt, row): whole groups of one prompt until eval has `count` rows."""
    groups = {}
    for prompt, row in rows:
        groups.setdefault(prompt, []).append(row)
    keys = sorted(groups)
    random.Random(seed).shuffle(keys)
    held, train = [], []
    for key in keys:
        (held if len(held) < count else train).extend(groups[key])
    return train, held


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--eval", type=int, default=100, help="rows held out (100)")
    parser.add_argument("--limit", type=int, default=0, help="rows to train on at most (0: all)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = read_rows(options.pairs)
    layout = file_layout(rows)
    marked = [(prompt_of(row, layout), row) for _, row in rows]
    complete = [pair for pair in marked if pair[0] is not None]
    train, held = split(complete, options.eval, options.seed)
    train = train[:options.limit or None]
    if not train or not held:
        sys.exit(f"split_pairs: {options.pairs}: {len(complete)} rows with prompt, chosen and "
                 f"rejected; expected more than {options.eval}")
    os.makedirs(options.output, exist_ok=True)
    for name, part in ("train", train), ("eval", held):
        with open(os.path.join(options.output, name + ".jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
    print(f"{options.output}: {len(train)} rows to train on, {len(held)} held out, "
          f"{len(rows) - len(complete)} left out (no prompt, or not both answers)")


if __name__ == "__main__":
    terminal.run(main)
