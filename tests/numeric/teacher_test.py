#!/usr/bin/python3
"""Sampling from the composed teacher, and its evaluation, against the NumPy twin: log-probabilities,
greedy tokens, frequencies of sampled tokens, rewards; the same on any number of ranks and threads."""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model  # noqa: E402

BETA = 0.1
SETTINGS = ({"strength": 4.0}, {"strength": 6.0, "plausibility": 0.1},
            {"strength": 1.5, "extrapolation": "constant", "temperature": 0.7},
            {"extrapolation": "none"}, {"strength": 2.0, "contrast": "reference"})


class Setting:
    data = models = twins = None


def prepare(folder):
    Setting.data = training.Data(folder)
    Setting.models = training.make_models(folder, [])
    Setting.twins = training.load(Setting.models)


def teacher_keys(options):
    """The configuration of a twin's settings."""
    return {**{f"teacher__{name}": Setting.models[name] for name in ("dpo", "reverse", "reference")},
            **{f"teacher__{name}": value for name, value in options.items()}}


def generate(folder, options, ranks=1, threads=1, **more):
    path = os.path.join(folder, "generations.jsonl")
    values = {"data__train": Setting.data.path, "data__chat_format": "none", "generate__teacher": True,
              "generate__output": path, "sampling__max_new_tokens": 24, **teacher_keys(options), **more}
    training.stage("generate", folder, ranks=ranks, threads=threads, **values)
    return harness.read_rows(path)


def log_rows(options, prompt, response):
    """The teacher's log-probabilities [R, V], alpha from each position's distance."""
    twin = losses.Teacher(**options)
    dpo, other = (model.log_softmax(Setting.twins[name].response_logits(prompt, response))
                  for name in ("dpo", twin.contrast))
    return twin.log_distribution(dpo, other, twin.alpha(losses.tvd(dpo, other)))


def samples_are_the_teachers(folder):
    for options in SETTINGS:
        for temperature in (0.0, 0.9):
            for row in generate(folder, options, sampling__temperature=temperature, generate__samples=2):
                rows = log_rows(options, row["prompt_ids"], row["response_ids"])
                picked = rows[np.arange(len(rows)), row["response_ids"]]
                gap = np.abs(picked - row["logprobs"]).max()
                assert gap < 2e-3, f"{options}: log-probabilities off by {gap:.2g}"
                if temperature == 0.0:
                    assert (rows.max(axis=1) - picked < 1e-3).all(), options


def frequencies_are_the_teachers(folder):
    """The first token, 4000 times each of two prompts."""
    count = 4000
    path = harness.write_rows(os.path.join(folder, "two.jsonl"), Setting.data.rows[:2])
    for options in SETTINGS:
        rows = generate(folder, options, data__train=path, generate__samples=count,
                        sampling__max_new_tokens=1)
        for i in range(2):
            p = np.exp(log_rows(options, Setting.data.prompts[i], [0])[0])
            seen = np.bincount([r["response_ids"][0] for r in rows if r["id"] == i], minlength=len(p))
            assert seen.sum() == count
            deviation = np.abs(seen - count * p) / np.sqrt(count * p + 1)
            assert deviation.max() < 5, f"{options}: {deviation.max():.1f} sigma"


def any_number_of_ranks(folder):
    first = generate(folder, SETTINGS[0], generate__samples=11)
    assert len(first) == 55 and len({tuple(row["response_ids"]) for row in first}) > 40
    for ranks, threads in ((1, 2), (2, 1), (3, 1)):
        assert generate(folder, SETTINGS[0], ranks, threads, generate__samples=11) == first
    assert generate(folder, SETTINGS[1], generate__samples=11) != first


def evaluate(folder, options, ranks=1, words=(), **more):
    values = {"output": folder, "data__eval": Setting.data.path, "data__chat_format": "none",
              "eval__teacher": True, "eval__dpo": Setting.models["dpo"],
              "eval__contrast": Setting.models["reverse"], "eval__reference": Setting.models["reference"],
              "eval__output": "eval", "sampling__max_new_tokens": 20, "teacher__beta": BETA, "checkpoint__resume": False,
              **teacher_keys(options), **more}
    path = harness.write(os.path.join(folder, "empty.cfg"), "# all is set on the command line\n")
    done = harness.run("eval", "-c", path, *training.settings(values), *words, ranks=ranks)
    return os.path.join(folder, "eval"), done


def close(got, wanted, what):
    assert abs(got - wanted) <= 1e-3 * max(1.0, abs(wanted)), f"{what}: {got}, expected {wanted}"


def check_figures(place, options):
    """Everything that eval.json says of the teacher, from its answers."""
    metrics = harness.read_json(os.path.join(place, "eval.json"))["metrics"]
    kl = reward = length = nats = tokens = 0.0
    for answer in harness.read_rows(os.path.join(place, "answers.jsonl")):
        prompt, ids = Setting.data.prompts[answer["id"]], answer["response_ids"]
        q = log_rows(options, prompt, ids)
        z = {n: model.log_softmax(Setting.twins[n].response_logits(prompt, ids))
             for n in ("dpo", "reverse", "reference")}
        kl += losses.kl(q, z["reference"]).sum()
        reward += BETA * (np.exp(q) * (z["dpo"] - z["reverse"])).sum()
        length += len(ids)
    for prompt, chosen in Setting.data.sequences("chosen"):
        rows = log_rows(options, prompt, chosen)
        nats -= rows[np.arange(len(chosen)), chosen].sum()
        tokens += len(chosen)
    close(metrics["kl/token"]["value"], kl / length, "kl/token")
    close(metrics["reward/token"]["value"], reward / length, "reward/token")
    close(np.log(metrics["perplexity"]["value"]), nats / tokens, "log perplexity")
    return metrics


def the_teacher_is_evaluated(folder):
    for options in SETTINGS:
        place, _ = evaluate(folder, options)
        check_figures(place, options)
        said = harness.read_json(os.path.join(place, "eval.json"))
        assert said["teacher"]["strength"] == options.get("strength", 20.0), said
        assert said["models"]["model"]["directory"] == Setting.models["dpo"]
        assert set(said["models"]) == {"model", "model_contrast", "dpo", "contrast", "reference"}
    files = [open(os.path.join(evaluate(folder, SETTINGS[0], ranks)[0], "answers.jsonl")).read()
             for ranks in (1, 2, 3)]
    assert files[0] == files[1] == files[2]


def a_judge_is_told_that_it_is_the_teacher(folder):
    """Whatever eval.model is set to, which isn't what answers."""
    data = harness.write_rows(os.path.join(folder, "alpaca.jsonl"),
                              [{"instruction": row["prompt"], "dataset": "x"} for row in Setting.data.rows])
    for name, wanted in (("", "teacher"), ("mine", "mine")):
        evaluate(folder, {}, data__eval=data, data__layout="alpaca-eval", eval__name=name,
                 eval__model=Setting.models["policy"], eval__output="judged")
        answers = harness.read_json(os.path.join(folder, "judged", "alpaca_eval.json"))
        assert {answer["generator"] for answer in answers} == {wanted}, answers
    with open(os.path.join(folder, "judged", "eval.html"), encoding="utf-8") as file:
        assert "the composed teacher of " in file.read()


def a_table_by_strength(folder):
    """Each point as it is alone, whatever else is in the list."""
    place, done = evaluate(folder, {}, words=("--strengths", "0,2,8", "--plausibilities", "0,0.2"))
    points = harness.read_json(os.path.join(place, "strengths.json"))
    wanted = [(r, p) for r in (0, 2, 8) for p in (0, 0.2)]
    assert [(p["strength"], p["plausibility"]) for p in points] == wanted
    table = [line.split() for line in done.out.splitlines()]
    assert table[0][:2] == ["r", "plausibility"] and len(table) == 7
    for (r, p), point, line in zip(wanted, points, table[1:]):
        assert [float(x) for x in line[:2]] == [r, p]
        own = os.path.join(place, f"strength-{r:g}-plausibility-{p:g}")
        assert check_figures(own, {"strength": r, "plausibility": p}) == point["metrics"]
    alone, _ = evaluate(folder, {"strength": 8.0, "plausibility": 0.2}, eval__output="alone")
    alone = os.path.join(folder, "alone")
    for name in ("eval.json", "answers.jsonl"):
        assert open(os.path.join(alone, name)).read().replace("alone", "") == \
            open(os.path.join(place, "strength-8-plausibility-0.2", name)).read()
    again, _ = evaluate(folder, {}, ranks=3, words=("--strengths", "0,2,8", "--plausibilities", "0,0.2"))
    assert harness.read_json(os.path.join(again, "strengths.json")) == points


def bad_input(folder):
    path = os.path.join(folder, "empty.cfg")
    other = harness.copy(Setting.models["reverse"], os.path.join(folder, "other"))
    tokenizer = os.path.join(other, "tokenizer.json")
    harness.write(tokenizer, open(tokenizer).read() + "\n")
    good = {"output": folder, "data__eval": Setting.data.path, "data__train": Setting.data.path,
            "data__chat_format": "none", **teacher_keys({})}
    for ranks in (1, 3):
        for command, code, words, values, more in (
                ("generate", 2, ["teacher.dpo", "not set"], {"teacher__dpo": ""}, ()),
                ("generate", 2, ["teacher.reverse", "not set"], {"teacher__reverse": ""}, ()),
                ("generate", 2, ["distill.granularity", "response"], {"distill__granularity": "response"}, ()),
                ("generate", 3, ["other/tokenizer.json", "dpo"], {"teacher__reverse": other}, ()),
                ("eval", 2, ["teacher.dpo", "not set"], {"teacher__dpo": ""}, ()),
                ("eval", 3, ["other/tokenizer.json", "dpo"], {"eval__dpo": other}, ()),
                ("eval", 2, ["--strengths", "5,x", "commas"], {}, ("--strengths", "5,x")),
                ("eval", 2, ["--strengths", "-1"], {}, ("--strengths", "-1")),
                ("eval", 2, ["--plausibilities", "1.5"], {}, ("--plausibilities", "1.5")),
                ("eval", 2, ["--show", "--strengths"], {}, ("--strengths", "5", "--show", "0"))):
            done = harness.run(command, "-c", path, *training.settings(
                {**good, f"{command}__teacher": True, **values}), *more, ranks=ranks, code=code)
            assert len(done.errors) == 1 and all(word in done.errors[0] for word in words), done


if __name__ == "__main__":
    harness.main([samples_are_the_teachers, frequencies_are_the_teachers, any_number_of_ranks,
                  the_teacher_is_evaluated, a_judge_is_told_that_it_is_the_teacher,
                  a_table_by_strength, bad_input], prepare)
