#!/usr/bin/python3
"""Brings the metrics of runs into Weights & Biases or MLflow, on a machine that has them.

Each folder with a metrics.jsonl is a run, named as the folder; the settings that its result depends on
(done.json, or the newest checkpoint's state.json) are its configuration. Brought in again, a run
of W&B goes on under the same id, one of MLflow gets the values and settings that it lacks; what it has stays,
also where the folder has another value by now, which is said. --dry-run needs neither package, and prints
what would be sent.
"""
import argparse
import glob
import hashlib
import json
import math
import os
import posixpath
import re
import sys

import terminal

BATCH = 500  # metrics a call of MLflow, which takes 1,000 at most
LONGEST = 250  # characters of a name there


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
    try:
        for step, values in steps:
            run.log(values, step=step)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
    return f"{len(steps)} steps sent; W&B passes over those that it has"


def mlflow_name(name):
    """A name in MLflow's characters, which are letters, digits and "/_.- :", and must be a path that can't be
    written shorter. Others are spelled :28, by their bytes; so is the colon, so that no two names become one."""
    def spelled(outside, text):
        return re.sub(outside, lambda found: "".join(f":{byte:02x}" for byte in found[0].encode("utf-8", "surrogatepass")), text)
    out = spelled("[^A-Za-z0-9_/. -]", name)
    if posixpath.normpath(out) != out or out.startswith(("/", "..")) or out == ".":
        out = spelled("[^A-Za-z0-9_ -]", name)
    if len(out) > LONGEST:
        out = out[:LONGEST - 65] + ":" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return out or ":"


def complete_mlflow(client, run, metrics, settings):
    """Sends a run what it lacks, value by value, as an import may have ended amid a step; what it did, in words."""
    from mlflow.entities import Param
    known = run.info.run_id
    there = {(key, m.step): m.value for key in run.data.metrics for m in client.get_metric_history(known, key)}
    params = [(key, value) for key, value in settings if key not in run.data.params]
    for i in range(0, len(params), 100):
        client.log_batch(known, params=[Param(*pair) for pair in params[i:i + 100]])
    new = [m for m in metrics if (m.key, m.step) not in there]
    for i in range(0, len(new), BATCH):
        client.log_batch(known, metrics=new[i:i + BATCH])
    client.set_terminated(known)
    other = sum(there.get((m.key, m.step), m.value) != m.value for m in metrics)
    other += sum(run.data.params.get(key, value) != value for key, value in settings)
    return (f"values of {len({m.step for m in new})} steps sent ({len(new)}), {len(metrics) - len(new)} passed over as they are there" +
            (f"; {other} values and settings are others by now, and weren't changed there: if the run was made anew, "
             "remove it in MLflow, or import into another --project" if other else ""))


def to_mlflow(options, name, folder, steps, settings):
    import mlflow
    from mlflow.entities import Metric
    mlflow.set_experiment(options.project)
    client = mlflow.tracking.MlflowClient()
    experiment = client.get_experiment_by_name(options.project).experiment_id
    found = client.search_runs([experiment], f"tags.`aligndistil.run` = '{identity(folder)}'")
    run = found[0] if found else client.create_run(experiment, run_name=name, tags={"aligndistil.run": identity(folder)})
    seconds, metrics = 0.0, []
    for step, values in steps:
        seconds += values.get("seconds", 0.0)
        metrics += [Metric(mlflow_name(key), value, int(1000 * seconds), step) for key, value in values.items()]
    try:
        return complete_mlflow(client, run, metrics, [(mlflow_name(key), str(value)) for key, value in settings.items()])
    except BaseException:
        try:
            client.set_terminated(run.info.run_id, status="FAILED")
        except Exception:  # what failed may be the way there; the first failure is told
            pass
        raise


def to_screen(options, name, folder, steps, settings):
    print(json.dumps({"run": name, "id": identity(folder), "project": options.project, "config": settings}))
    for step, values in steps:
        print(json.dumps({"step": step, **values}))
    return None


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
        try:
            said = send(options, *run)
        except (Bad, ImportError):
            raise
        except Exception as error:  # of the package, which has many kinds
            if options.dry_run:
                raise
            text = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise Bad(f"{run[1]}: {options.to} failed: {text}; import again to send the rest") from None
        if said:
            print(f"{run[1]}: {said}", file=sys.stderr)


def main():
    try:
        bring()
    except (Bad, ImportError) as error:
        sys.exit(f"import_metrics: {error}")


if __name__ == "__main__":
    terminal.run(main)
