#!/usr/bin/python3
"""The study of methods and the report's conclusions: their arithmetic against published and plain
figures, and a small study of real runs, stopped and gone on."""
import contextlib
import csv
import glob
import io
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

sys.path.insert(0, harness.TOOLS)
import report  # noqa: E402
import study  # noqa: E402
import study_summary as summary  # noqa: E402

SMALL = ["--rates", "2e-4", "--seeds", "1,2", "--steps", "3", "--points", "2", "--batch", "2",
         "--rows", "6", "--pairs", "40", "--sft-steps", "3", "--size",
         "--hidden 16 --layers 1 --heads 2 --kv-heads 1"]


def close(a, b, what, bound=1e-9):
    assert abs(a - b) <= bound * max(1, abs(b)), f"{what}: {a}, expected {b}"


def wilson(count, of):
    z, p = 1.959964, count / of
    middle, half = p + z * z / (2 * of), z * (p * (1 - p) / of + z * z / (4 * of * of))**0.5
    return {"value": p, "low": (middle - half) / (1 + z * z / of),
            "high": (middle + half) / (1 + z * z / of)}


def differences_are_newcombes(folder):
    """Newcombe (1998), Statistics in Medicine 17, table II, method 10."""
    for one, other, low, high in (((56, 70), (48, 80), 0.0524, 0.3339),
                                  ((9, 10), (3, 10), 0.1705, 0.8090),
                                  ((10, 10), (0, 20), 0.6791, 1.0)):
        gap = report.difference(wilson(*one), wilson(*other))
        close(gap["low"], low, "low", 6e-5)
        close(gap["high"], high, "high", 6e-5)


def means_are_students(folder):
    mean = summary.interval([1.0, 2.0, 3.0])  # standard error 1/sqrt(3), t(2) = 4.303
    close(mean["value"], 2, "mean")
    close(mean["high"] - 2, 4.303 / 3**0.5, "half")
    close(summary.interval([0.0, 2.0])["low"], 1 - 12.706, "two")
    assert summary.interval([5.0])["low"] is None


def metrics(value, **others):
    return {name: {"value": v, "low": v - 0.01, "high": v + 0.01}
            for name, v in {"exact": value, "kl/token": 0.1, "reward/token": 0.0,
                            "response_length": 40.0, "reward_accuracy/pair": 0.9,
                            "reward_accuracy/dpo": 0.8, **others}.items()}


def summary_of_known_runs(folder):
    """Two methods, two rates, two seeds, whose table can be worked out by hand."""
    ends = {("off-policy", 1e-4): (0.2, 0.6), ("off-policy", 2e-4): (0.8, 0.84),
            ("continued-dpo", 1e-4): (0.3, 0.5), ("continued-dpo", 2e-4): (0.4, 0.46)}
    runs = [{"seed": seed, "method": name, "rate": rate, "points": [
        {"step": 20, "cpu_seconds": 5.0, "metrics": metrics(ends[name, rate][0] + 0.01 * seed)},
        {"step": 40, "cpu_seconds": 9.0, "metrics": metrics(ends[name, rate][1] + 0.01 * seed)}]}
            for seed in (1, 2) for name, rate in ends]
    bases = [{"seed": seed, "cpu_seconds": {"reverse": 30.0, "score": 10.0 * seed}, "stages": {
        "dpo": metrics(0.1), "sft": metrics(0.0), "teacher": metrics(0.9)}} for seed in (1, 2)]
    header = {"task": "habits", "steps": 40, "rows": 9, "seeds": [1, 2], "rates": [1e-4, 2e-4],
              "methods": {n: {"command": study.METHODS[n].command, "what": "",
                              "settings": study.METHODS[n].settings}
                          for n in ("off-policy", "continued-dpo")}}
    results = summary.summarise(header, bases, runs)
    off, dpo = (results["methods"][n] for n in ("off-policy", "continued-dpo"))
    assert (off["best_rate"], off["good_rates"], off["at_edge"]) == (2e-4, [2e-4], True)
    assert dpo["good_rates"] == [1e-4, 2e-4] and dpo["steps_to_level"] is None
    close(results["level"], 0.81, "level")
    assert off["steps_to_level"] == 20  # means 0.815, 0.855
    close(off["cpu_seconds_to_level"], 5 + 30 + 15, "with the reverse model and scoring")
    close(dpo["rates"][1e-4][1]["cpu_seconds"]["value"], 9, "DPO needs neither")
    gap = summary.paired(results, "off-policy", "continued-dpo")
    close(gap["value"], 0.34, "difference at the best rates")
    assert "+0.100 [+0.100, +0.100]: above" in results["claims"][0], results["claims"]
    assert all(name in summary.page(results) for name in ("off-policy", "continued-dpo", "teacher"))


def conclusions_follow(folder):
    """What the report says turns with the figures."""
    finals = {"dpo": metrics(0.1), "teacher": metrics(0.8), "off-policy": metrics(0.79),
              "baseline": metrics(0.4)}
    curves = {"off-policy": {0: metrics(0.1), 20: metrics(0.73), 40: metrics(0.79)},
              "baseline": {0: metrics(0.1), 20: metrics(0.75), 40: metrics(0.4)}}
    first, second = report.conclusion(finals, curves)
    assert "more than DPO (0.100, " in first and "more than continued DPO (0.400, " in first, first
    assert "not told apart from the teacher" in first, first
    assert "from step 20 on" in second and "continued DPO doesn't" in second, second
    finals["off-policy"], finals["baseline"] = finals["baseline"], finals["off-policy"]
    first, _ = report.conclusion(finals, curves)
    assert "less than continued DPO (0.790, " in first and "less than the teacher" in first, first


def call(folder, *arguments, code=0):
    done = subprocess.run([harness.PYTHON, os.path.join(harness.TOOLS, "study.py"), "--program",
                           harness.BINARY, "--output", folder, *SMALL, *arguments],
                          capture_output=True, text=True, env=harness.environment(), check=False)
    assert done.returncode == code, done
    return done


def times(folder):
    return {path: os.stat(path).st_mtime_ns
            for path in glob.glob(os.path.join(folder, "*", "**", "run.json"), recursive=True)}


def a_small_study(folder):
    two = ["--methods", "off-policy,continued-dpo"]
    assert "2 of 2 seeds, 4 of 4 runs" in call(folder, *two, "--dry-run").stdout
    call(folder, *two)
    with open(os.path.join(folder, "study.json"), encoding="utf-8") as file:
        results = json.load(file)
    assert os.path.getsize(os.path.join(folder, "study.html")) > 20000
    assert len(results["runs"]) == 4 and set(results["stages"]) == {"sft", "dpo", "teacher"}
    lengths = []
    for seed in (1, 2):  # the mean is that of what eval itself wrote
        with open(os.path.join(folder, f"habits-{seed}", "eval", "off-policy-0.0002-3", "eval.json"),
                  encoding="utf-8") as file:
            lengths.append(json.load(file)["metrics"]["response_length"]["value"])
    end = results["methods"]["off-policy"]["rates"]["0.0002"][-1]
    assert end["step"] == 3 and end["cpu_seconds"]["value"] > 0
    close(end["metrics"]["response_length"]["value"], sum(lengths) / 2, "mean over seeds")
    with open(os.path.join(folder, "study.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2, rows  # methods, points of one rate
    last, = [row for row in rows if (row["method"], row["rate"], row["step"]) == ("off-policy", "0.0002", "3")]
    assert abs(float(last["response_length"]) - sum(lengths) / 2) <= 0.05
    before = times(folder)
    gone = os.path.join(folder, "habits-2", "continued-dpo-0.0002", "run.json")
    os.remove(gone)
    assert "0 of 2 seeds, 1 of 4 runs" in call(folder, *two, "--dry-run").stdout
    call(folder, *two)
    after = times(folder)
    assert after.keys() == before.keys() and [p for p in after if after[p] != before[p]] == [gone]
    error = call(folder, *two, "--rows", "7", code=1).stderr
    assert "rows = 6" in error and len(error.splitlines()) == 1, error


def bad_calls(folder):
    for arguments, word in ((["--methods", "off-policy,magic"], "'magic'"), (["--jobs", "0"], "--jobs")):
        assert word in call(folder, *arguments, code=2).stderr
    with contextlib.redirect_stderr(io.StringIO()):
        assert study.parse(["--program", "a", "--output", "b"]).methods == list(study.METHODS)
    program = study.Program(harness.BINARY)
    assert [n for n, m in study.METHODS.items() if program.missing(m)] == []
    assert program.missing(study.Method("dpo", {"dpo.loss": "no"})) == "dpo.loss = no"
    assert program.missing(study.Method("dpo", {"dpo.no": "1"})) == "dpo.no"


if __name__ == "__main__":
    harness.main([differences_are_newcombes, means_are_students, summary_of_known_runs,
                  conclusions_follow, a_small_study, bad_calls])
