#!/usr/bin/python3
"""Makes one self-contained HTML page of a run: every stage's evaluation, curves, answers side by side.

Reads DIR/eval/NAME/eval.json and answers.jsonl (NAME is a stage, STAGE-greedy for its likeliest answers,
or STAGE-step-NNNNNN for one of its checkpoints) and DIR/STAGE/metrics.jsonl. Prints the table of stages
and what follows from it, by comparing intervals: no result is written in this file.
"""
import argparse
import base64
import html
import io
import json
import math
import os
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

import terminal  # noqa: E402

STAGES = ["sft", "dpo", "teacher", "off-policy", "on-policy", "baseline"]
MEANING = {
    "sft": "supervised fine-tuning", "dpo": "DPO",
    "teacher": "the composed teacher itself, sampled: nothing was trained",
    "off-policy": "distilled from shards of the chosen responses",
    "on-policy": "distilled on its own samples", "baseline": "DPO continued for as many steps",
}
SAID = {"off-policy": "off-policy distillation", "on-policy": "on-policy distillation",
        "baseline": "continued DPO", "teacher": "the teacher", "dpo": "DPO"}
DISTILLED = ["off-policy", "on-policy"]
# name in the metrics, title, digits after the point
COLUMNS = [
    ("exact", "exact figures", 3), ("forbidden", "forbidden term", 3),
    ("greedy/exact", "exact, greedy", 3), ("response_length", "tokens", 1),
    ("kl/token", "KL from SFT / token", 4), ("reward/token", "token reward", 4),
]
UNCHECKED = ("perplexity", "perplexity of chosen", 3)  # where nothing can be checked
CURVES = [("exact", "exact-figure accuracy"), ("forbidden", "answers with a forbidden term"),
          ("reward/token", "expected token reward"), ("kl/token", "KL from SFT, nats per token")]
NEAR = 0.9  # the share of the teacher's level that counts as having arrived


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def read_lines(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_run(folder):
    """({stage: metrics}, {stage: {step: metrics}}), metrics being {name: {value, low, high}}."""
    finals, curves, greedy = {}, {}, {}
    for name in sorted(os.listdir(os.path.join(folder, "eval"))):
        metrics = read_json(os.path.join(folder, "eval", name, "eval.json"))["metrics"]
        at_step = re.fullmatch(r"(.+)-step-(\d+)", name)
        if at_step:
            curves.setdefault(at_step[1], {})[int(at_step[2])] = metrics
        elif name.endswith("-greedy"):
            greedy[name.removesuffix("-greedy")] = metrics
        else:
            finals[name] = metrics
    for stage in greedy.keys() & finals.keys():
        finals[stage].update({"greedy/" + name: value for name, value in greedy[stage].items()})
    for stage in curves:
        steps = read_lines(os.path.join(folder, stage, "metrics.jsonl"))
        if stage in finals and steps:
            curves[stage][int(steps[-1]["step"])] = finals[stage]
        if "dpo" in finals:  # where all of them start
            curves[stage][0] = finals["dpo"]
    return finals, curves


def with_interval(metrics, name, digits):
    value = metrics.get(name)
    if value is None:
        return ""
    bounds = "" if value["low"] is None else f" [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
    return f"{value['value']:.{digits}f}{bounds}"


def shown_columns(finals):
    shown = [c for c in COLUMNS if any(c[0] in metrics for metrics in finals.values())]
    return shown if shown and shown[0][0] == "exact" else shown + [UNCHECKED]


def stages_of(results):
    return [stage for stage in STAGES if stage in results]


def print_table(finals):
    columns = shown_columns(finals)
    rows = [["stage"] + [title for _, title, _ in columns]]
    for stage in stages_of(finals):
        rows.append([stage] + [with_interval(finals[stage], name, digits)
                               for name, _, digits in columns])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def reward_lines(finals):
    """Reward accuracy belongs to the teachers, so it is the same whatever stage is evaluated."""
    metrics = next(iter(finals.values()))
    return [f"reward accuracy of the DPO model against {other}: {with_interval(metrics, name, 3)}"
            for name, other in (("reward_accuracy/dpo", "SFT"),
                                ("reward_accuracy/pair", "the reverse DPO model"))
            if name in metrics]


# --- what follows from the figures ---------------------------------------------------------------


def difference(one, other):
    """{value, low, high} of the difference of two independent estimates, from their own intervals:
    Newcombe's (1998) method 10 for shares, which serves means too."""
    value = one["value"] - other["value"]
    down = math.hypot(one["value"] - one["low"], other["high"] - other["value"])
    up = math.hypot(one["high"] - one["value"], other["value"] - other["low"])
    return {"value": value, "low": value - down, "high": value + up}


def compared(one, other, name, digits):
    """How one estimate stands to another's, in words."""
    gap = difference(one, other)
    if gap["low"] <= 0 <= gap["high"]:
        return f"not told apart from {name} ({other['value']:.{digits}f})"
    return (f"{'more' if gap['value'] > 0 else 'less'} than {name} ({other['value']:.{digits}f}, "
            f"difference {gap['low']:+.{digits}f} to {gap['high']:+.{digits}f})")


def steps_to_level(curve, name, level):
    """The first evaluated step from which on the metric stays at `level` or above; None: none."""
    steps = sorted(step for step in curve if name in curve[step])
    below = [step for step in steps if curve[step][name]["value"] < level]
    after = [step for step in steps if not below or step > below[-1]]
    return after[0] if after else None


def ranking_sentence(finals, goal, title, digits):
    """Each distilled model against DPO, continued DPO and the teacher."""
    parts = []
    others = [s for s in ("dpo", "baseline", "teacher") if goal in finals.get(s, {})]
    for stage in (s for s in DISTILLED if goal in finals.get(s, {})):
        words = [compared(finals[stage][goal], finals[other][goal], SAID[other], digits)
                 for other in others]
        parts.append(f"{SAID[stage]} ends at {finals[stage][goal]['value']:.{digits}f}: "
                     + ", ".join(words))
    said = "; ".join(parts)
    return f"{title[0].upper()}{title[1:]}: {said}." if parts else ""


def cost_sentence(finals, curves, goal):
    """How soon each came near the teacher, and how far from sft each has moved for it."""
    parts = []
    level = finals.get("teacher", {}).get(goal)
    for stage in (s for s in (*DISTILLED, "baseline") if s in finals):
        words = []
        if level is not None and level["value"] > 0 and stage in curves:
            step = steps_to_level(curves[stage], goal, NEAR * level["value"])
            words.append(f"stays within {1 - NEAR:.0%} of the teacher from step {step} on"
                         if step is not None else
                         f"doesn't stay within {1 - NEAR:.0%} of the teacher")
        if "kl/token" in finals[stage]:
            words.append(f"is {finals[stage]['kl/token']['value']:.3f} nats per token from sft")
        words.append(f"answers in {finals[stage]['response_length']['value']:.1f} tokens")
        parts.append(f"{SAID[stage]} {', '.join(words)}")
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}." if parts else ""


def conclusion(finals, curves):
    """Two sentences, by the first column that every stage has."""
    goal, title, digits = next((c for c in COLUMNS if c[0] in ("exact", "reward/token") and
                                all(c[0] in metrics for metrics in finals.values())), COLUMNS[-1])
    return [line for line in (ranking_sentence(finals, goal, title, digits),
                              cost_sentence(finals, curves, goal)) if line]


# --- the page ------------------------------------------------------------------------------------


def picture(figure):
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return f'<img src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'


def draw_curves(finals, curves):
    """One plot a metric: its value, with interval, against optimizer steps."""
    wanted = [(name, title) for name, title in CURVES
              if any(name in m for steps in curves.values() for m in steps.values())]
    if not wanted:
        return ""
    figure, axes = plt.subplots(-(-len(wanted) // 2), 2, figsize=(11, 3.6 * -(-len(wanted) // 2)),
                                squeeze=False)
    for axis in axes.flat[len(wanted):]:
        axis.remove()
    for axis, (name, title) in zip(axes.flat, wanted):
        if name in finals.get("teacher", {}):
            axis.axhline(finals["teacher"][name]["value"], color="grey", ls="--", label="teacher")
        for stage in stages_of(curves):
            points = sorted((step, m[name]) for step, m in curves[stage].items() if name in m)
            steps, values = [p[0] for p in points], [p[1] for p in points]
            axis.plot(steps, [v["value"] for v in values], marker="o", label=stage)
            axis.fill_between(steps, [v["low"] for v in values], [v["high"] for v in values],
                              alpha=0.15)
        axis.set_xlabel("steps after DPO")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    return picture(figure)


def draw_training(folder):
    """What each stage logged while it trained."""
    panels = []
    for stage in STAGES:
        lines = read_lines(os.path.join(folder, stage, "metrics.jsonl"))
        if lines:
            panels.append((stage, lines))
    if not panels:
        return ""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels), 2.8), squeeze=False)
    for axis, (stage, lines) in zip(axes[0], panels):
        steps = [line["step"] for line in lines]
        axis.plot(steps, [line["loss"] for line in lines], lw=1)
        axis.set_title(f"{stage}: loss")
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    return picture(figure)


def answers_of(folder, stage):
    return {(row["id"], row["sample"]): row
            for row in read_lines(os.path.join(folder, "eval", stage, "answers.jsonl"))}


def verdict(row):
    words = []
    if "exact" in row:
        words.append("exact" if row["exact"] else "<b>wrong</b>")
    if row.get("forbidden"):
        words.append("<b>forbidden term</b>")
    if not row["finished"]:
        words.append("<b>cut</b>")
    return ", ".join(words)


def answers_table(folder, finals, count):
    stages = stages_of(finals)
    answers = {stage: answers_of(folder, stage) for stage in stages}
    keys = sorted(answers[stages[0]])[:count]
    out = ["<table class=answers><tr><th>prompt and chosen response"]
    out += [f"<th>{stage}" for stage in stages]
    for key in keys:
        first = answers[stages[0]][key]
        out.append(f"<tr><td><pre>{html.escape(first['prompt'])}<i>"
                   f"{html.escape(first.get('chosen', ''))}</i></pre>")
        for stage in stages:
            row = answers[stage].get(key)
            out.append("<td>" if row is None else
                       f"<td><pre>{html.escape(row['response'])}</pre>{verdict(row)}")
    return "\n".join(out) + "</table>"


STYLE = """body{font:15px sans-serif;margin:2em auto;max-width:80em;padding:0 1em}
table{border-collapse:collapse}td,th{padding:.25em .6em;text-align:left;vertical-align:top;
border-bottom:1px solid #ddd}pre{white-space:pre-wrap;margin:0;font-size:12px}b{color:#a00}
.answers td{min-width:12em}img{max-width:100%}"""


def page(folder, finals, curves, count):
    columns = shown_columns(finals)
    out = ['<!doctype html><meta charset="utf-8"><title>aligndistil: report</title>',
           f"<style>{STYLE}</style><h1>Report</h1><h2>Stages on held-out prompts</h2>",
           "<p>95% intervals in brackets: Wilson's for shares, the ratio estimator's for means.",
           "<table><tr><th>stage<th>what" + "".join(f"<th>{title}" for _, title, _ in columns)]
    for stage in stages_of(finals):
        out.append(f"<tr><td>{stage}<td>{MEANING[stage]}" + "".join(
            f"<td>{with_interval(finals[stage], name, digits)}" for name, _, digits in columns))
    out.append("</table>")
    out += ["<p>" + html.escape(line) for line in conclusion(finals, curves) + reward_lines(finals)]
    out += ["<h2>Against steps</h2>", draw_curves(finals, curves), "<h2>Training</h2>",
            draw_training(folder), "<h2>Answers side by side</h2>",
            answers_table(folder, finals, count)]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--run", required=True, metavar="DIR")
    parser.add_argument("--output", required=True, metavar="FILE.html")
    parser.add_argument("--answers", type=int, default=12, help="prompts shown (12)")
    options = parser.parse_args()
    if not os.path.isdir(os.path.join(options.run, "eval")):
        sys.exit(f"report: {options.run}/eval: no such folder; expected evaluations in it")
    finals, curves = read_run(options.run)
    if not finals:
        sys.exit(f"report: {options.run}/eval: no evaluation of a stage in it")
    with open(options.output, "w", encoding="utf-8") as file:
        file.write(page(options.run, finals, curves, options.answers))
    print_table(finals)
    print("\n".join(["", *conclusion(finals, curves), *reward_lines(finals)]))


if __name__ == "__main__":
    terminal.run(main)
