#!/usr/bin/python3
"""Brings the metrics of runs into Weights & Biases or MLflow, on a machine that has them.

Each folder with a metrics.jsonl is a run, named as the folder; the settings that its result depends on
(done.json, or the newest checkpoint's state.json) are its configuration. Brought in again, a run
of W&B goes on under the same id, one of MLflow is passed over at the steps that it has. --dry-run needs
neither package, and prints what would be sent.
"""
import argparse
import glob
import hashlib
import json
import math
import os
import sys

import terminal

BATCH = 500  # metrics a call of MLflow, which takes 1,000 at most


class Bad(Exception):
    """Input that can't be used, in one line."""


def read_steps(folder):
    """[(step, {name: value})] of a run; numbers that aren't finite are left out."""
    path = os.path.join(folder, "metrics.jsonl")
    steps = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = json.loads(text)
                    step = line.pop("step")
                except (ValueError, KeyError, AttributeError, TypeError):
                    raise Bad(f"{path}:{number}: expected an object with a \"step\"") from None
                steps.append((step, {name: float(value) for name, value in line.items()
                                     if isinstance(value, (int, float)) and math.isfinite(value)}))
    except (OSError, UnicodeError) as error:
        raise Bad(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    if not steps:
        raise Bad(f"{path}: no step in it")
    return steps


def value_of(text):
    """A value of a recipe, which holds texts of the configuration's syntax, and digests."""
    try:
        return text if len(text) == 64 else json.loads(text)
    except ValueError:
        return text


def read_settings(folder):
    """The recipe of a run's result, {key: value}; empty where nothing tells it."""
    states = sorted(glob.glob(os.path.join(glob.escape(folder), "checkpoints", "step-*", "state.json")))
    for path in [os.path.join(folder, "done.json"), *reversed(states)]:
        try:
            with open(path, encoding="utf-8") as file:
                return {key: value_of(text) for key, text in json.load(file)["recipe"].items()}
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            continue
    return {}


def identity(folder):
    """The same for a folder each time: W&B takes letters and digits."""
    return hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:16]


def to_wandb(options, name, folder, steps, settings):
    import wandb
    run = wandb.init(project=options.project, name=name, id=identity(folder), resume="allow", config=settings)
    for step, values in steps:
        run.log(values, step=step)
    run.finish()


def to_mlflow(options, name, folder, steps, settings):
    import mlflow
    from mlflow.entities import Metric, Param
    mlflow.set_experiment(options.project)
    client = mlflow.tracking.MlflowClient()
    experiment = client.get_experiment_by_name(options.project).experiment_id
    tag = f"tags.`aligndistil.run` = '{identity(folder)}'"
    found = client.search_runs([experiment], tag)
    run = found[0] if found else client.create_run(experiment, run_name=name, tags={"aligndistil.run": identity(folder)})
    known = run.info.run_id
    last = -1
    if found:
        last = max((m.step for key in run.data.metrics for m in client.get_metric_history(known, key)), default=-1)
    else:
        params = [Param(key, str(value)) for key, value in settings.items()]
        for i in range(0, len(params), 100):
            client.log_batch(known, params=params[i:i + 100])
    seconds, metrics = 0.0, []
    for step, values in steps:
        seconds += values.get("seconds", 0.0)
        metrics += [Metric(key, value, int(1000 * seconds), step) for key, value in values.items() if step > last]
    for i in range(0, len(metrics), BATCH):
        client.log_batch(known, metrics=metrics[i:i + BATCH])
    client.set_terminated(known)


def to_screen(options, name, folder, steps, settings):
    print(json.dumps({"run": name, "id": identity(folder), "project": options.project, "config": settings}))
    for step, values in steps:
        print(json.dumps({"step": step, **values}))


def bring():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="output of a stage, with metrics.jsonl")
    parser.add_argument("--to", choices=["wandb", "mlflow"], required=True)
    parser.add_argument("--project", default="aligndistil", help="project of W&B, experiment of MLflow (aligndistil)")
    parser.add_argument("--dry-run", action="store_true", help="prints what would be sent")
    options = parser.parse_args()
    send = to_screen if options.dry_run else {"wandb": to_wandb, "mlflow": to_mlflow}[options.to]
    runs = [(os.path.basename(os.path.realpath(f)), f, read_steps(f), read_settings(f)) for f in options.folders]
    for run in runs:
        send(options, *run)
        if not options.dry_run:
            print(f"{run[1]}: {len(run[2])} steps", file=sys.stderr)


def main():
    try:
        bring()
    except (Bad, ImportError) as error:
        sys.exit(f"import_metrics: {error}")


if __name__ == "__main__":
    terminal.run(main)
