"""Rows of a data file, JSONL or one JSON array; shared by the tools."""
import json
import os
import sys


def read_rows(path):
    """(line from 1, or item from 0; row) of every row; ends the program on a broken one."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.lstrip().startswith("["):
        return list(enumerate(json.loads(text)))
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except ValueError as error:
                program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
                sys.exit(f"{program}: {path}:{number}: {error}")
    return rows
