#!/usr/bin/python3
"""Prints the figures of the tree that have a goal, one a line, and what misses it. No test: the rules of
tests/cli/layers_test.py, which measure here too, hold the tree to the goals."""
import os
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../cli"))
import layers_test as layers  # noqa: E402


def figures(tree):
    """(name, figure, goal, what misses the goal)"""
    functions = [*layers.functions(tree)]
    name, lines = max(((f"{path}: {name}", lines) for path, name, lines, _ in functions),
                      key=lambda pair: pair[1])
    many = layers.with_many_parameters(tree)
    circles = layers.include_circles(tree) + layers.call_circles()
    for title, found in [("circles of files", circles),
                         ("headers without source", layers.headers_without_source(tree)),
                         ("private headers elsewhere", layers.stray_headers(tree))]:
        yield title, len(found), 0, found
    for title, found, goal in [
            ("files that know an encoding", layers.files_of_encodings(tree), layers.ENCODING_FILES),
            ("training loops", layers.training_loops(tree), 1)]:
        yield title, len(found), goal, found
    yield "comparisons with texts of choices", len(found := layers.compared_choices(tree)), 0, found
    yield "lines of the longest function", lines, layers.LONGEST, [name]
    yield "longer functions", len(found := layers.long_functions(tree)), 0, found
    yield (f"% of functions with more than {layers.PARAMETERS} parameters",
           round(100 * len(many) / len(functions), 2), 100 * layers.SHARE, many)
    found = layers.sources_without_opening(tree)
    yield "sources without opening comment", len(found), 0, found
    yield "lines of README.md", layers.pages(tree)["README.md"].count("\n"), 170, []


def main():
    missed = 0
    for title, figure, goal, found in figures(layers.Tree(layers.harness.ROOT)):
        print(f"{figure:6} {title} (goal: {'at most ' if goal else ''}{goal:g})")
        if figure > goal:
            missed = 1
            print("".join(f"       {line}\n" for line in found), end="")
    sys.exit(missed)


if __name__ == "__main__":
    main()
