#!/usr/bin/python3
"""How well `audit` finds flipped labels, on the order desk with labels flipped on purpose.

For each share of flips and each seed: the audit by cross-fitting and by lengths, held against what was
flipped; at the shares of --train also DPO on the file as it is, with likely flipped rows removed, with
them exchanged, and on the true labels, each evaluated on held-out pairs. Prints Markdown tables. The model
that all start from is trained once, on prompts of its own. What is there is kept: the same command goes on
where it stopped. One process at a time, of one thread.
"""
import argparse
import json
import os
import shutil
import sys

import study
import study_summary as summary

CONFIG = """seed = {seed};
output = ".";
data: {{ train = "data/train.jsonl"; eval = "data/eval.jsonl"; max_prompt_tokens = 256; max_response_tokens = 128; }};
optimizer: {{ lr = {rate}; batch_size = {batch}; epochs = 1000; max_steps = {steps}; }};
sft: {{ model = "fresh"; }};
dpo: {{ policy = "{base}"; reference = "{base}"; }};
eval: {{ reference = "{base}"; }};
teacher: {{ beta = 1.0; }};
sampling: {{ max_new_tokens = 128; }};
checkpoint: {{ every_steps = 0; }};
runtime: {{ threads = 1; }};
"""
THRESHOLDS = (0.2, 0.3, 0.5, 0.7, 0.9)
BINS = (0.0, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 1.0)


def tool(name, log, *arguments):
    study.run([study.PYTHON, os.path.join(study.TOOLS, name), *map(str, arguments)], log)


class Place:
    """A folder with data and a configuration, in which stages are run."""

    def __init__(self, program, options, folder, seed, base):
        self.program, self.folder, self.log = program, folder, os.path.join(folder, "log")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "study.cfg"), "w", encoding="utf-8") as file:
            file.write(CONFIG.format(seed=seed, base=base, rate=options.rate, batch=options.batch,
                                     steps=options.steps))

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def stage(self, command, **settings):
        self.program.stage(self.folder, "log", command,
                           {k.replace("__", "."): str(v) for k, v in settings.items()})

    def desk(self, options, pairs, flip, seed):
        if not os.path.exists(self.path("data", "train.jsonl")):
            tool("make_orderdesk.py", self.log, "--output", self.path("data"), "--pairs", pairs, "--eval",
                 options.eval, "--seed", seed, "--flip", flip, "--errors", options.errors)


def make_base(program, options):
    """The model that everything starts from: right answers, then demonstrations of mixed quality."""
    place = Place(program, options, os.path.join(options.output, "base"), 1, "sft")
    place.desk(options, options.base_pairs, 0.0, 1000)  # prompts of no audit
    if not os.path.exists(place.path("fresh")):
        tool("train_tokenizer.py", place.log, "--text", place.path("data/train.jsonl"), "--output",
             place.path("data/tokenizer"))
        tool("make_model.py", place.log, "--tokenizer", place.path("data/tokenizer"), "--output",
             place.path("fresh"), "--seed", 1, *options.size.split())
    task, model = study.TASKS[options.errors], "fresh"
    common = {"optimizer__batch_size": 16, "optimizer__weight_decay": 0.1,
              "optimizer__warmup_ratio": 0.03, "optimizer__min_lr_ratio": 0.02}
    able_steps = options.able_steps if options.able_steps is not None else task["able_steps"]
    if able_steps > 0:
        place.stage("sft", sft__output="able", optimizer__lr="2e-3",
                    optimizer__max_steps=able_steps, **common)
        model = place.path("able")
    place.stage("sft", sft__output="sft", sft__model=model, data__train="data/sft.jsonl",
                optimizer__lr=task["sft_lr"],
                optimizer__max_steps=options.sft_steps or task["sft_steps"], **common)
    return os.path.abspath(place.path("sft"))


# --- finding flips -------------------------------------------------------------------------------


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def measure_audit(place, output):
    """An audit's labels against what was flipped."""
    flipped = [row["meta"]["flipped"] for row in read_lines(place.path("data/train.jsonl"))]
    labels = read_lines(place.path(output, "labels.jsonl"))
    assert [label["line"] for label in labels] == list(range(1, len(flipped) + 1))
    report = study.read_json(place.path(output, "audit.json"))
    said = [label["label"] == "flipped" for label in labels]
    return {"rate": report["labels"]["flip_rate"], "actual": sum(flipped) / len(flipped),
            "found": sum(s and f for s, f in zip(said, flipped)) / max(1, sum(flipped)),
            "alarms": sum(s and not f for s, f in zip(said, flipped)) / (len(flipped) - sum(flipped)),
            "ambiguous": sum(label["label"] == "ambiguous" for label in labels) / len(labels),
            "brier": sum((label["probability"] - f) ** 2 for label, f in zip(labels, flipped)) / len(labels),
            "repeats": sum(report["reasons"][r]["rows"] for r in ("contradiction", "duplicate-pair",
                                                                  "near-duplicate")),
            "predictions": [(label["probability"], f) for label, f in zip(labels, flipped)]}


def audit(program, options, base, flip, seed):
    """The audits of one share and seed: {models: figures}, and the place."""
    place = Place(program, options, os.path.join(options.output, f"{flip}-{seed}"), seed, base)
    place.desk(options, options.pairs, flip, seed)
    place.stage("audit", audit__models="crossfit", audit__folds=options.folds)
    place.stage("audit", audit__models="length", audit__output="audit-length")
    return {"crossfit": measure_audit(place, "audit"),
            "length": measure_audit(place, "audit-length")}, place


# --- what cleaning is worth ----------------------------------------------------------------------


def clean_sets(options, place):
    """{name: data file} of the variants that are trained on."""
    sets = {"as it is": "data/train.jsonl", "removed": "removed.jsonl", "exchanged": "exchanged.jsonl",
            "true labels": "true.jsonl"}
    for name, settings in (("removed", {"audit__remove": "standard,likely-flipped"}),
                           ("exchanged", {"audit__flip": "true"})):
        if not os.path.exists(place.path(sets[name])):
            place.stage("audit", audit__models="crossfit", audit__folds=options.folds,
                        audit__output="audit", **settings)
            shutil.copy(place.path("audit/clean.jsonl"), place.path(sets[name]))
    if not os.path.exists(place.path("true.jsonl")):
        rows = read_lines(place.path("data/train.jsonl"))
        for row in rows:
            if row["meta"]["flipped"]:
                row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
        with open(place.path("true.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return sets


def train_sets(options, place):
    """{name: metrics on the held-out pairs} of DPO on each variant."""
    out = {}
    for name, data in clean_sets(options, place).items():
        folder = "dpo-" + name.replace(" ", "-")
        place.stage("dpo", data__train=data, dpo__output=folder)
        place.stage("eval", eval__dpo=folder, eval__model=folder, eval__output="eval-" + folder,
                    eval__generate=1)
        metrics = study.read_json(place.path("eval-" + folder, "eval.json"))["metrics"]
        out[name] = {k: metrics[k]["value"] for k in ("reward_accuracy/dpo", "reward_margin/dpo", "exact")}
    return out


# --- tables --------------------------------------------------------------------------------------


def mean(values, digits=3):
    found = summary.interval(list(values))
    ends = "" if found["low"] is None else f" [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
    return f"{found['value']:.{digits}f}{ends}"


def print_found(results):
    print("| flipped | by | seeds | found | false alarms | ambiguous | estimated rate (each seed's interval) | Brier |")
    print("|---|---|---|---|---|---|---|---|")
    for (flip, models), runs in results.items():
        rates = "; ".join(f"{r['rate']['value']:.3f} [{r['rate']['low']:.3f}, {r['rate']['high']:.3f}]" for r in runs)
        print(f"| {mean((r['actual'] for r in runs), 3)} | {models} | {len(runs)} | "
              f"{mean(r['found'] for r in runs)} | {mean(r['alarms'] for r in runs)} | "
              f"{mean(r['ambiguous'] for r in runs)} | {rates} | {mean(r['brier'] for r in runs)} |")


def print_thresholds(flip, runs):
    """What other second numbers of audit.ambiguous would give."""
    print(f"\n| at {flip}: flipped from | found | false alarms |\n|---|---|---|")
    for least in THRESHOLDS:
        shares = [[[p >= least for p, f in run["predictions"] if f == flipped] for flipped in (True, False)]
                  for run in runs]
        print(f"| {least:g} | " + " | ".join(mean(sum(s[k]) / max(1, len(s[k])) for s in shares) for k in (0, 1)) + " |")


def print_reliability(flip, runs):
    print(f"\n| at {flip}: predicted | pairs | mean predicted | flipped |\n|---|---|---|---|")
    pairs = [p for run in runs for p in run["predictions"]]
    for low, high in zip(BINS, BINS[1:]):
        here = [(p, f) for p, f in pairs if low <= p < high or (high == 1.0 and p == 1.0)]
        if here:
            print(f"| {low:g} to {high:g} | {len(here)} | {sum(p for p, _ in here) / len(here):.3f} | "
                  f"{sum(f for _, f in here) / len(here):.3f} |")


def print_trained(flip, runs):
    metrics = {"reward_accuracy/dpo": "reward accuracy", "reward_margin/dpo": "reward margin, nats", "exact": "exact"}
    print(f"\n| at {flip}: trained on | " + " | ".join(f"{m} | less as it is" for m in metrics.values()) + " |")
    print("|---|" + "---|" * 2 * len(metrics))
    for name in runs[0]:
        cells = []
        for metric in metrics:
            gaps = [run[name][metric] - run["as it is"][metric] for run in runs]
            cells += [mean(run[name][metric] for run in runs), "" if name == "as it is" else mean(gaps)]
        print(f"| {name} | " + " | ".join(cells) + " |")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the aligndistil to run")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--flips", type=float, nargs="+", default=[0.05, 0.2, 0.4])
    parser.add_argument("--train", type=float, nargs="*", default=[0.2], help="shares at which DPO is trained on the cleaned file (0.2)")
    parser.add_argument("--seeds", type=int, default=1, help="at each share (1)")
    parser.add_argument("--train-seeds", type=int, default=3, help="at those of --train (3)")
    parser.add_argument("--errors", choices=list(study.TASKS), default="habits", help="the task of make_orderdesk.py")
    parser.add_argument("--pairs", type=int, default=1200, help="of an audited file (1200)")
    parser.add_argument("--base-pairs", type=int, default=6000, help="of the model that all start from")
    parser.add_argument("--eval", type=int, default=300, help="held-out pairs")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="of DPO (60)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", default="5e-5", help="of DPO")
    parser.add_argument("--able-steps", type=int, help="on right answers; the task's")
    parser.add_argument("--sft-steps", type=int, help="on demonstrations; the task's")
    parser.add_argument("--size", default="--hidden 96 --layers 3 --heads 6 --kv-heads 3 --init-std 0.09")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    program = study.Program(options.program)
    base = make_base(program, options)
    results, trained = {}, {}
    for flip in options.flips:
        for seed in range(1, (options.train_seeds if flip in options.train else options.seeds) + 1):
            figures, place = audit(program, options, base, flip, seed)
            for models, figure in figures.items():
                results.setdefault((flip, models), []).append(figure)
            if flip in options.train:
                trained.setdefault(flip, []).append(train_sets(options, place))
            print(f"study_flips: {flip} of seed {seed}: found {figures['crossfit']['found']:.3f}, "
                  f"false alarms {figures['crossfit']['alarms']:.3f}", file=sys.stderr, flush=True)
    print_found(results)
    repeats = sum(run["repeats"] for runs in results.values() for run in runs)
    print(f"\nRows with a reason of repeats (duplicate-pair, near-duplicate, contradiction), all files: {repeats}.")
    for flip in options.flips:
        print_thresholds(flip, results[flip, "crossfit"])
        print_reliability(flip, results[flip, "crossfit"])
    for flip, runs in trained.items():
        print_trained(flip, runs)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except study.Failed as failure:
        sys.exit(f"study_flips: {failure}")
