#!/usr/bin/python3
"""Runs methods x learning rates x seeds on the order desk and compares them: study.json, study.html,
study.csv with what the pictures show.

A seed has a folder with its data, sft, dpo and reverse dpo, which all its runs share; a run has one
below, trains from the DPO model, and evaluates its checkpoints. What has its run.json is done: the same
command goes on where it stopped. Methods are rows of a table, below; one whose keys the program doesn't
have is left out, and said so. Each process has one thread, --jobs of them run at a time.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

import study_summary as summary
import terminal

TOOLS = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
DONE = "run.json"


@dataclass(frozen=True)
class Method:
    """A way to go on from the DPO model: a command and the settings that make it what it is."""
    command: str
    settings: dict = field(default_factory=dict)
    what: str = ""


def distilled(mode, what, **settings):
    """Distillation; keys with a dot as in the configuration, __ standing for it."""
    return Method("distill", {"distill.mode": mode,
                              **{k.replace("__", "."): v for k, v in settings.items()}}, what)


def preference(loss, what, **settings):
    return Method("dpo", {"dpo.loss": loss, **{"dpo." + k: v for k, v in settings.items()}}, what)


MATCHED = "matched"  # a strength that gives the teacher the KL from DPO that the adaptive one has
METHODS = {
    "off-policy": distilled("off-policy", "the method, from shards of the chosen responses"),
    "on-policy": distilled("on-policy", "the method, on its own samples"),
    "continued-dpo": preference("sigmoid", "DPO for as many steps more"),
    "ipo": preference("ipo", "IPO"),
    "hinge": preference("hinge", "hinge (SLiC, RSO)"),
    "simpo": preference("simpo", "SimPO: no reference", reference="", beta="2.0",
                        gamma="1.0"),
    "cdpo": preference("cdpo", "DPO with label smoothing", label_smoothing="0.1"),
    "tdpo1": preference("tdpo1", "TDPO1"),
    "tdpo2": preference("tdpo2", "TDPO2"),
    # The signals have one target at one constant strength (src/objective/README.md).
    "distribution": distilled("on-policy", "the method at a constant strength, on its own samples",
                              teacher__extrapolation="constant", teacher__strength=MATCHED),
    "token-scalars": distilled("on-policy", "policy gradient, token rewards as scalars",
                               distill__signal="token", distill__penalty="beta",
                               teacher__extrapolation="constant", teacher__strength=MATCHED),
    "sequence-scalars": distilled("on-policy", "policy gradient, a response's reward as one scalar",
                                  distill__signal="sequence", distill__penalty="beta",
                                  teacher__extrapolation="constant", teacher__strength=MATCHED),
    "contrast-reference": distilled("off-policy", "extrapolated from the reference: no reverse model",
                                    teacher__contrast="reference"),
    "constant": distilled("off-policy", "the same strength at each position, at equal KL of the teacher",
                          teacher__extrapolation="constant", teacher__strength=MATCHED),
    "plain": distilled("off-policy", "plain distillation from DPO", teacher__extrapolation="none"),
    "forward": distilled("off-policy", "forward divergence", distill__divergence="forward"),
    "jsd": distilled("off-policy", "divergence to the mixture", distill__divergence="jsd"),
    "response": distilled("off-policy", "one strength a response", distill__granularity="response"),
    "auto": distilled("off-policy", "one strength a token or a response, by the spread",
                      distill__granularity="auto"),
    "plausible": distilled("off-policy", "unlikely tokens never raised",
                           teacher__plausibility="0.05"),
    "plausible-on-policy": distilled("on-policy", "unlikely tokens never raised",
                                     teacher__plausibility="0.05"),
}

# Per task: how the order desk is made; steps on right answers, which stand for pretraining; steps on
# the demonstrations, and their rate.
TASKS = {
    "habits": {"desk": ["--errors", "habits"], "able_steps": 480,
               "sft_steps": 240, "sft_lr": "1e-3"},
    "figures": {"desk": ["--errors", "figures"], "able_steps": 0,
                "sft_steps": 1680, "sft_lr": "1.5e-3"},
}


# --- processes -----------------------------------------------------------------------------------


class Failed(Exception):
    """A command ended with another status than 0; its last line of errors."""


def run(command, log):
    """Runs a command, its output behind LOG's; returns its seconds of processor time."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    with open(log, "a", encoding="utf-8") as file:
        print("$ " + shlex.join(command), file=file, flush=True)
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(log, encoding="utf-8") as file:
            raise Failed(f"{log}: status {process.returncode}: {file.readlines()[-1].strip()}")
    return usage.ru_utime + usage.ru_stime


def write_json(path, value):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
    os.replace(path + ".tmp", path)


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Program:
    """The binary, and the keys of its configuration with the choices of those that have some."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        done = subprocess.run([self.path, "distill", "--help"], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            sys.exit(f"study: {path} distill --help: status {done.returncode}")
        self.keys = {}
        for line in re.findall(r"^  [a-z]+\.[a-z_0-9]+ .*", done.stdout, re.M):
            key, kind = line.split()[:2]
            choices = re.findall(r"\(([^()]*)\)", line) if kind == "choice" else []
            self.keys[key] = choices[-1].split("|") if choices else None

    def missing(self, method):
        """The first setting that this program doesn't know; None: it knows all."""
        for key, value in method.settings.items():
            if key not in self.keys:
                return key
            if self.keys[key] is not None and value not in self.keys[key]:
                return f"{key} = {value}"
        return None

    def stage(self, folder, log, command, settings):
        """Runs a command on a seed's configuration, its output behind FOLDER/LOG.log's; returns its
        processor seconds."""
        sets = [part for item in settings.items() for part in ("--set", "=".join(item))]
        return run([self.path, command, "-c", os.path.join(folder, "study.cfg"), "--quiet", *sets],
                   os.path.join(folder, log + ".log"))


# --- a seed --------------------------------------------------------------------------------------

CONFIG = """seed = {seed};
output = ".";
data: {{
  train = "data/train.jsonl";  eval = "data/eval.jsonl";  max_rows = {rows};
  max_prompt_tokens = 256;  max_response_tokens = 128;
}};
optimizer: {{ lr = 1e-5;  batch_size = {batch};  epochs = 1000;  max_steps = {steps}; }};
dpo: {{ policy = "sft";  reference = "sft"; }};
teacher: {{ dpo = "dpo";  reverse = "reverse";  reference = "sft";  strength = 20.0; }};
distill: {{ policy = "dpo"; }};
eval: {{ dpo = "dpo";  contrast = "reverse";  reference = "sft";  max_rows = {eval_rows}; }};
sampling: {{ max_new_tokens = 128; }};
checkpoint: {{ every_steps = 0;  keep_last = 0; }};
runtime: {{ threads = 1; }};
"""


def evaluate(program, folder, log, name, settings):
    """{metric: {value, low, high}} of one evaluation of a seed, in FOLDER/eval/NAME."""
    program.stage(folder, log, "eval", {"eval.output": "eval/" + name, **settings})
    return read_json(os.path.join(folder, "eval", name, "eval.json"))["metrics"]


def evaluate_both(program, folder, log, name, settings):
    """Sampled at temperature 1, and the share of exact answers at temperature 0 beside it."""
    metrics = evaluate(program, folder, log, name, settings)
    likeliest = evaluate(program, folder, log, name + "-greedy",
                         {**settings, "sampling.temperature": "0"})
    metrics.update({"greedy/" + k: likeliest[k] for k in ("exact", "forbidden")})
    return metrics


def matched_strength(folder, count=40):
    """The constant strength whose teacher is, on average over the positions of the first `count`
    sequences, as far from the DPO model (KL(teacher || dpo)) as the adaptive one of r = 20."""
    sys.path.insert(0, TOOLS)
    import aligndistil_shards as reader
    heads = reader.Heads(os.path.join(folder, "dpo"), os.path.join(folder, "reverse"))
    shard = reader.open_folder(os.path.join(folder, "shards"))[0]
    chosen = [shard[i] for i in range(min(count, len(shard)))]
    plain = [s.teacher(extrapolation="none", heads=heads).logprob for s in chosen]

    def distance(**settings):
        total = 0.0
        for sequence, dpo in zip(chosen, plain):
            teacher = sequence.teacher(heads=heads, **settings).logprob
            total += (reader.np.exp(teacher) * (teacher - dpo)).sum()
        return total

    wanted, low, high = distance(strength=20.0), 0.0, 100.0
    for _ in range(20):
        middle = (low + high) / 2
        if distance(extrapolation="constant", strength=middle) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def make_inputs(options, folder, seed):
    """Data, tokenizer, a fresh model and the configuration of a seed."""
    log, data = os.path.join(folder, "seed.log"), os.path.join(folder, "data")
    for name, *rest in (
            ("make_orderdesk.py", "--output", data, "--pairs", options.pairs, "--eval", options.rows,
             "--seed", seed, *TASKS[options.task]["desk"]),
            ("train_tokenizer.py", "--text", os.path.join(data, "train.jsonl"), "--output",
             os.path.join(data, "tokenizer")),
            ("make_model.py", "--tokenizer", os.path.join(data, "tokenizer"), "--output",
             os.path.join(folder, "fresh"), "--seed", seed, *options.size.split())):
        run([PYTHON, os.path.join(TOOLS, name), *map(str, rest)], log)
    with open(os.path.join(folder, "study.cfg"), "w", encoding="utf-8") as file:
        file.write(CONFIG.format(seed=seed, rows=options.steps * options.batch, steps=options.steps,
                                 batch=options.batch, eval_rows=options.rows))


def train_bases(program, options, folder):
    """What a seed's runs share; returns the processor seconds of each stage."""
    task = TASKS[options.task]

    def stage(command, **settings):
        return program.stage(folder, "seed", command, {k.replace("__", "."): str(v)
                                                       for k, v in settings.items()})

    def supervised(data, model, output, steps, rate):
        return stage("sft", data__train=f"data/{data}.jsonl", data__max_rows=0, sft__model=model,
                     sft__output=output, optimizer__lr=rate, optimizer__batch_size=16,
                     optimizer__max_steps=options.sft_steps or steps, optimizer__weight_decay=0.1,
                     optimizer__warmup_ratio=0.03, optimizer__min_lr_ratio=0.02)

    seconds, model = {}, "fresh"
    if task["able_steps"] > 0:
        seconds["able"] = supervised("train", model, "able", task["able_steps"], "2e-3")
        model = "able"
    seconds["sft"] = supervised("sft", model, "sft", task["sft_steps"], task["sft_lr"])
    seconds["dpo"] = stage("dpo")
    seconds["reverse"] = stage("dpo", dpo__reverse="true", dpo__output="reverse")
    seconds["score"] = stage("score", shards__with_reference="true")
    return seconds


def prepare(program, options, folder, seed):
    """Data, a model, sft, dpo, reverse and shards of a seed, with their evaluations."""
    begun = time.time()
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    make_inputs(options, folder, seed)
    seconds = train_bases(program, options, folder)
    stages = {name: evaluate_both(program, folder, "seed", name, {"eval.model": name})
              for name in ("sft", "dpo")}
    if "eval.teacher" in program.keys:
        stages["teacher"] = evaluate_both(program, folder, "seed", "teacher",
                                          {"eval.teacher": "true"})
    write_json(os.path.join(folder, DONE),
               {"seed": seed, "cpu_seconds": seconds, "stages": stages,
                "matched_strength": matched_strength(folder), "wall_seconds": time.time() - begun})


# --- a run ---------------------------------------------------------------------------------------


def shares_of_time(folder):
    """{step: share of the training's time up to it}, from what each step took."""
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    total, so_far, out = sum(line["seconds"] for line in lines), 0.0, {}
    for line in lines:
        so_far += line["seconds"]
        out[int(line["step"])] = so_far / total
    return out


def train_and_evaluate(program, options, folder, name, method, rate):
    """A run of a seed in FOLDER/NAME; its results in run.json there."""
    base, begun = read_json(os.path.join(folder, DONE)), time.time()
    place, own = os.path.join(folder, name), dict(method.settings)
    shutil.rmtree(place, ignore_errors=True)
    if own.get("teacher.strength") == MATCHED:
        own["teacher.strength"] = repr(base["matched_strength"])
    if own.get("distill.mode") == "on-policy":
        own.update({"shards.directory": name + "/shards", "shards.keep": "none"})
    if method.command == "dpo":
        own["dpo.policy"] = "dpo"
    every = max(1, -(-options.steps // options.points))
    seconds = program.stage(folder, name, method.command, {
        **own, method.command + ".output": name, "optimizer.lr": repr(rate),
        "checkpoint.every_steps": str(every)})
    share, points = shares_of_time(place), []
    for step in [*range(every, options.steps, every), options.steps]:
        model = name if step == options.steps else f"{name}/checkpoints/step-{step:06d}"
        settings = {"eval.model": model}
        measure = evaluate_both if step == options.steps else evaluate
        metrics = measure(program, folder, name, f"{name}-{step}", settings)
        points.append({"step": step, "cpu_seconds": seconds * share[step], "metrics": metrics})
    shutil.rmtree(os.path.join(place, "checkpoints"), ignore_errors=True)
    write_json(os.path.join(place, DONE),
               {"points": points, "cpu_seconds": seconds, "settings": own,
                "wall_seconds": time.time() - begun})


def finished(tasks, what):
    """Waits for tasks, counting them aloud; one that failed doesn't stop the others, but is raised at
    the end."""
    failures = []
    for i, task in enumerate(concurrent.futures.as_completed(tasks), 1):
        if isinstance(task.exception(), Failed):
            failures.append(task.exception())
            print(terminal.line(f"study: failed: {failures[-1]}"), file=sys.stderr)
        else:
            task.result()
        print(f"study: {i} of {len(tasks)} {what}", file=sys.stderr)
    if failures:
        raise Failed(f"{len(failures)} of {len(tasks)} {what} failed; the same command tries them "
                     "again")


def run_name(method, rate):
    return f"{method}-{rate:g}"


class Study:
    """What there is to do, what is done, and doing the rest."""

    def __init__(self, options, program):
        self.options, self.program = options, program
        self.methods = {}
        for name in options.methods:
            missing = program.missing(METHODS[name])
            if missing:
                print(f"study: {name} is left out: this program has no {missing}", file=sys.stderr)
            else:
                self.methods[name] = METHODS[name]
        self.runs = [(seed, name, rate) for seed in options.seeds for rate in options.rates
                     for name in self.methods]

    def folder(self, seed):
        return os.path.join(self.options.output, f"{self.options.task}-{seed}")

    def record(self, seed, name="", rate=0.0):
        """What a run, or with no name a seed, has left; None: not done."""
        path = os.path.join(self.folder(seed), run_name(name, rate) if name else "", DONE)
        return read_json(path) if os.path.exists(path) else None

    def todo(self):
        seeds = [seed for seed in self.options.seeds if self.record(seed) is None]
        return seeds, [(s, n, r) for s, n, r in self.runs
                       if s in seeds or self.record(s, n, r) is None]

    def plan(self):
        """The lines of --dry-run: what is to do, and what that takes by what was measured."""
        seeds, runs = self.todo()
        took = {}
        for seed, name, rate in self.runs:
            done = self.record(seed, name, rate) if self.record(seed) else None
            if done:
                took.setdefault(name, []).append(done["wall_seconds"])
        prepared = [self.record(s)["wall_seconds"] for s in self.options.seeds if self.record(s)]
        mean = lambda values: sum(values) / len(values)
        lines = [f"{name}: {mean(values):.0f} s a run, {len(values)} done"
                 for name, values in took.items()]
        lines.append(f"to do: {len(seeds)} of {len(self.options.seeds)} seeds, {len(runs)} of "
                     f"{len(self.runs)} runs")
        if took and (prepared or not seeds):
            usual = mean([mean(values) for values in took.values()])
            total = sum(mean(took.get(name, [usual])) for _, name, _ in runs)
            total += len(seeds) * mean(prepared or [0])
            lines.append(f"about {total / self.options.jobs / 60:.0f} minutes with "
                         f"--jobs {self.options.jobs}")
        else:
            lines.append("no run measured yet: how long it takes is said after the first")
        return lines

    def work(self):
        """Does what is left, --jobs at a time: first the seeds, then their runs, a seed's all."""
        seeds, runs = self.todo()
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            finished([pool.submit(prepare, self.program, self.options, self.folder(s), s)
                      for s in seeds], "seeds")
            finished([pool.submit(train_and_evaluate, self.program, self.options, self.folder(s),
                                  run_name(n, r), self.methods[n], r) for s, n, r in runs], "runs")

    def results(self):
        """What study.json holds."""
        return summary.summarise(
            {"format": "aligndistil-study", "task": self.options.task, "steps": self.options.steps,
             "rows": self.options.rows, "seeds": self.options.seeds, "rates": self.options.rates,
             "methods": {n: {"command": m.command, "settings": m.settings, "what": m.what}
                         for n, m in self.methods.items()}},
            [self.record(seed) for seed in self.options.seeds],
            [{"seed": s, "method": n, "rate": r, **self.record(s, n, r)}
             for s, n, r in self.runs])


# --- the command line ----------------------------------------------------------------------------


def listed(kind):
    def parse(text):
        return [kind(part) for part in text.split(",")]
    return parse


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", required=True, metavar="FILE", help="the binary aligndistil")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--task", choices=list(TASKS), default="habits")
    parser.add_argument("--methods", type=listed(str), default=list(METHODS), metavar="A,B,...",
                        help="of " + ", ".join(METHODS) + " (all)")
    parser.add_argument("--rates", type=listed(float), default=[2e-5, 5e-5, 1e-4, 2e-4],
                        metavar="A,B,...", help="learning rates (2e-5,5e-5,1e-4,2e-4)")
    parser.add_argument("--seeds", type=listed(int), default=[1, 2, 3], metavar="A,B,...",
                        help="(1,2,3)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--steps", type=int, default=60, help="of dpo and of each run (60)")
    parser.add_argument("--points", type=int, default=3, help="evaluations along a run (3)")
    parser.add_argument("--batch", type=int, default=32, help="pairs or sequences a step (32)")
    parser.add_argument("--rows", type=int, default=200, help="held-out orders (200)")
    parser.add_argument("--pairs", type=int, default=12000, help="training pairs (12000)")
    parser.add_argument("--sft-steps", type=int, default=0, help="(as the task needs)")
    parser.add_argument("--size", default="--hidden 128 --layers 4 --heads 8 --kv-heads 4 "
                        "--init-std 0.09", help="options of make_model.py")
    parser.add_argument("--dry-run", action="store_true", help="only say what is to do")
    options = parser.parse_args(argv)
    for name in options.methods:
        if name not in METHODS:
            parser.error(f"--methods: {name!r}: expected some of {', '.join(METHODS)}")
    for name in ("jobs", "steps", "points", "batch", "rows", "pairs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def keep_settings(options):
    """Writes what all runs of the folder have in common, or compares with what is there."""
    names = ("steps", "points", "batch", "rows", "pairs", "sft_steps", "size")
    path = os.path.join(options.output, f"{options.task}.json")
    settings = {name: getattr(options, name) for name in names}
    os.makedirs(options.output, exist_ok=True)
    if not os.path.exists(path):
        write_json(path, settings)
    for name, value in read_json(path).items():
        if value != settings[name]:
            sys.exit(f"study: {path}: the runs there have {name} = {value}; expected "
                     f"{settings[name]}, or another --output")


def main(argv):
    options = parse(argv)
    study = Study(options, Program(options.program))
    if not study.methods:
        sys.exit("study: no method is left")
    keep_settings(options)
    print("\n".join(study.plan()), file=sys.stdout if options.dry_run else sys.stderr)
    if options.dry_run:
        return 0
    try:
        study.work()
    except Failed as failure:
        sys.exit(f"study: {failure}")
    results = study.results()
    write_json(os.path.join(options.output, "study.json"), results)
    with open(os.path.join(options.output, "study.csv"), "w", encoding="utf-8") as file:
        file.writelines(",".join(row) + "\n" for row in summary.curves(results))
    with open(os.path.join(options.output, "study.html"), "w", encoding="utf-8") as file:
        file.write(summary.page(results))
    print(summary.table(results))
    return 0


if __name__ == "__main__":
    terminal.run(main, sys.argv[1:])
