#!/usr/bin/python3
"""Reads what `ctest -V` prints, once or several times over, on its standard input. Prints a line for
each program as it ends, the whole output of those that failed, what was skipped and why, and last
"N passed, N failed, N skipped", which counts the cases inside the programs."""
import re
import sys

OUTPUT = re.compile(r"(\d+): (.*)")
END = re.compile(r" *\d+/\d+ Test +#(\d+): (\S+) \.*[ *]*(\w.*?) +([\d.]+) sec")
STARTS = "Test timeout computed to be: "  # behind it comes what the program itself prints
# The closing lines of harness.py's programs and of cmocka's; the last one of a program counts.
COUNTS = [
    ("passed", re.compile(r"(\d+) passed, \d+ failed|\[  PASSED  \] (\d+) test")),
    ("failed", re.compile(r"\d+ passed, (\d+) failed|\[  FAILED  \] (\d+) test")),
    ("skipped", re.compile(r"\d+ passed, \d+ failed, (\d+) skipped|\[  SKIPPED \] (\d+) test")),
]
SKIPPED = re.compile(r"(^|: )skipped: ")


def count(lines, outcome):
    """{"passed": N, ...} of a program. One that ends badly without a failure of its own is a failure,
    and so is one that counts nothing."""
    found = {}
    for line in lines:
        for name, pattern in COUNTS:
            if match := pattern.match(line):
                found[name] = int(next(filter(None, match.groups())))
    counted = "passed" in found or "skipped" in found
    if not found.get("failed") and (outcome != "Passed" or not counted):
        found["failed"] = 1
    return {name: found.get(name, 0) for name, _ in COUNTS}


def report(name, lines, outcome, seconds):
    """Prints what is to be said of a program that ended; returns what it counted."""
    counted = count(lines, outcome)
    print(f"{name}: {counted['passed']} passed, {counted['failed']} failed"
          + (f", {counted['skipped']} skipped" if counted["skipped"] else "")
          + ("" if outcome in ("Passed", "Failed") else f", {outcome}")
          + f" ({float(seconds):.0f} s)")
    for line in lines:
        if counted["failed"] or SKIPPED.search(line):
            print(line)
    sys.stdout.flush()
    return counted


def summarize(stream):
    """The sums over all programs in the output of ctest."""
    total = {name: 0 for name, _ in COUNTS}
    said, under_way, programs = {}, False, 0
    for line in stream:
        line = line.rstrip("\n")
        if match := OUTPUT.fullmatch(line):
            lines = said.setdefault(match[1], [])
            if match[2].startswith(STARTS):
                lines.clear()
            else:
                lines.append(match[2])
        elif match := END.match(line):
            counted = report(match[2], said.pop(match[1], []), match[3], match[4])
            total = {name: total[name] + counted[name] for name in total}
            programs += 1
        elif line.startswith("Test project "):
            said, under_way = {}, True
        elif line.startswith(("Total Test time", "No tests were found")):
            under_way = False
    if under_way or not programs:
        print("tests: " + ("ctest ended early" if under_way else "no such test"))
        total["failed"] += 1
    return total


def main():
    sys.stdin.reconfigure(errors="replace")
    total = summarize(sys.stdin)
    print(", ".join(f"{number} {name}" for name, number in total.items()))
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
