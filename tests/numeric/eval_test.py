#!/usr/bin/python3
"""`eval` recomputed from the model files by the twins, and its answers judged by the order desk's own
rules; the same on any number of ranks."""
import json
import os
import re
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model  # noqa: E402
import make_orderdesk as desk  # noqa: E402

BETA = 0.1


class Setting:
    pass


def prepare(folder):
    Setting.desk = harness.make_desk(folder)
    Setting.models = {name: harness.make_model(folder, name, seed) for seed, name in
                      enumerate(("policy", "dpo", "contrast", "reference"), 1)}
    Setting.twins = {name: model.Model.load(path) for name, path in Setting.models.items()}
    Setting.data = os.path.join(Setting.desk, "eval.jsonl")


def evaluate(folder, name="eval", ranks=1, **options):
    models = {"eval__" + ("model" if key == "policy" else key): path
              for key, path in Setting.models.items()}
    values = {"data__eval": Setting.data, "eval__output": name, "eval__generate": 2,
              "sampling__max_new_tokens": 20, "teacher__beta": BETA, **models, **options}
    training.stage("eval", folder, ranks=ranks, **values)
    return os.path.join(folder, name)


def tokens_of(folder):
    """[(prompt, chosen, rejected)] as ids."""
    encoder = training.bpe.Encoder(
        harness.read_json(os.path.join(folder, "tok", "tokenizer.json")))
    out = []
    for row in harness.read_rows(Setting.data):
        prompt = f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n"
        listed = subprocess.run([harness.BINARY, "tokenize", os.path.join(folder, "tok")],
                                input=prompt, capture_output=True, text=True, check=True,
                                env=harness.environment())
        out.append(([int(i) for i in listed.stdout.split()],
                    encoder.encode(row["chosen"]) + [training.END],
                    encoder.encode(row["rejected"]) + [training.END]))
    return out


def close(got, wanted, what, bound=1e-4):
    assert abs(got - wanted) <= bound * max(1.0, abs(wanted)), f"{what}: {got}, expected {wanted}"


def wilson(k, n, z=1.959963984540054):
    p = k / n
    root = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [(p + z * z / (2 * n) + s * root) / (1 + z * z / n) for s in (-1, 1)]


def preferences_are_the_twins(folder):
    metrics = harness.read_json(os.path.join(evaluate(folder), "eval.json"))["metrics"]
    rows = tokens_of(folder)
    sums = {name: np.array([[twin.logprobs(p, y).sum() for y in (c, r)] for p, c, r in rows])
            for name, twin in Setting.twins.items()}
    for name, other in (("dpo", "reference"), ("pair", "contrast")):
        reward = BETA * (sums["dpo"] - sums[other])
        margin = reward[:, 0] - reward[:, 1]
        accuracy = metrics[f"reward_accuracy/{name}"]
        close(accuracy["value"], (margin > 0).mean(), name, 1e-8)
        assert accuracy["count"] == len(rows)
        for got, wanted in zip((accuracy["low"], accuracy["high"]),
                               wilson((margin > 0).sum(), len(rows))):
            close(got, min(max(wanted, 0), 1), "interval")
        close(metrics[f"reward_margin/{name}"]["value"], margin.mean(), f"margin/{name}")
        half = 1.959963984540054 * margin.std(ddof=1) / np.sqrt(len(rows))
        close(metrics[f"reward_margin/{name}"]["high"], margin.mean() + half, "margin's interval")
    tokens = sum(len(c) for _, c, _ in rows)
    close(metrics["perplexity"]["value"], np.exp(-sums["policy"][:, 0].sum() / tokens), "perplexity")


def accuracy_by_kind_of_pair(folder):
    """By length, subset and RewardBench's sections, whose weights are written once more here."""
    names = ["alpacaeval-easy", "math-prm", "hep-go", "own", "donotanswer", "mt-bench-hard"]
    rows = [{**row, "subset": name} for row, name in zip(harness.read_rows(Setting.data), names)]
    rows = [{**row, "chosen": row["chosen"][:len(row["chosen"]) - 9 * (k % 4)]} for k in range(3) for row in rows]
    data = harness.write_rows(os.path.join(folder, "kinds.jsonl"), rows)
    place = evaluate(folder, "kinds", data__eval=data, eval__generate=0)
    found = harness.read_json(os.path.join(place, "eval.json"))["rewards_by"]
    encoder = training.bpe.Encoder(harness.read_json(os.path.join(folder, "tok", "tokenizer.json")))
    prompts = tokens_of(folder)
    by = {"length": {}, "subset": {}}
    for i, row in enumerate(rows):
        ids = [encoder.encode(row[key]) + [training.END] for key in ("chosen", "rejected")]
        chosen, rejected = (sum(sign * Setting.twins[name].logprobs(prompts[i % len(names)][0], one).sum()
                                for name, sign in (("dpo", 1), ("reference", -1))) for one in ids)
        ratio = len(ids[0]) / len(ids[1])
        kind = "chosen longer" if ratio > 1.1 else "chosen shorter" if ratio < 1 / 1.1 else "within 10%"
        for key, name in (("length", kind), ("subset", row["subset"])):
            by[key].setdefault(name, []).append(chosen > rejected)
    assert found["reward"] == "dpo"
    with open(os.path.join(place, "eval.html"), encoding="utf-8") as file:
        page = file.read()
    for kinds in by.values():
        for name, right in kinds.items():
            assert f"<td>{name}<td>{np.mean(right):.4f}<td>{len(right)}" in page, (name, page)
    for key, kinds in by.items():
        assert found[key].keys() == kinds.keys(), (found, kinds)
        for name, right in kinds.items():
            assert found[key][name]["count"] == len(right)
            close(found[key][name]["value"], np.mean(right), name, 1e-8)
    share = {name: np.mean(right) for name, right in by["subset"].items()}
    sections = {"Chat": share["alpacaeval-easy"], "Chat Hard": share["mt-bench-hard"], "Safety": share["donotanswer"],
                "Reasoning": (984 * share["math-prm"] + 164 * share["hep-go"]) / (984 + 164)}
    sections["mean of the sections"] = np.mean(list(sections.values()))
    assert found["section"].keys() == sections.keys()
    for name, value in sections.items():
        close(found["section"][name], value, name, 1e-8)


def answers_are_judged_right(folder):
    place = evaluate(folder)
    answers = harness.read_rows(os.path.join(place, "answers.jsonl"))
    metrics = harness.read_json(os.path.join(place, "eval.json"))["metrics"]
    rows, prompts = harness.read_rows(Setting.data), tokens_of(folder)
    assert [(a["id"], a["sample"]) for a in answers] == [(i, j) for i in range(len(rows))
                                                         for j in range(2)]
    length = 0
    for answer in answers:
        row = rows[answer["id"]]
        assert answer["exact"] == desk.figures_exact(answer["response"], row["required"])
        assert answer["forbidden"] == bool(desk.terms_found(answer["response"], row["forbidden"]))
        length += answer["tokens"]
        ids = answer["response_ids"]
        assert len(ids) == answer["tokens"] and (ids[-1] == training.END) == answer["finished"]
        z = {name: losses.log_softmax(twin.response_logits(prompts[answer["id"]][0], ids))
             for name, twin in Setting.twins.items()}
        p = np.exp(z["policy"])
        close(answer["kl"], (p * (z["policy"] - z["reference"])).sum(), "kl", 1e-3)
        close(answer["reward"], BETA * (p * (z["dpo"] - z["contrast"])).sum(), "reward", 1e-3)
    kl, reward = (sum(a[key] for a in answers) for key in ("kl", "reward"))
    close(metrics["kl/token"]["value"], kl / length, "kl/token")
    close(metrics["reward/token"]["value"], reward / length, "reward/token")
    close(metrics["response_length"]["value"], length / len(answers), "response_length")
    close(metrics["finished"]["value"], np.mean([a["finished"] for a in answers]), "finished")


def exact_answers_are_found(folder):
    """With the data's own chosen answers for an oracle: greedy sampling can't give them, so the rule
    is tried on rows that ask for what any answer has, and for what none has."""
    rows = [{**row, "required": [] if i % 2 else ["none of it"], "forbidden": ["zzzz"]}
            for i, row in enumerate(harness.read_rows(Setting.data))]
    data = harness.write_rows(os.path.join(folder, "asked.jsonl"), rows)
    metrics = harness.read_json(os.path.join(
        evaluate(folder, "asked", data__eval=data), "eval.json"))["metrics"]
    assert metrics["exact"]["value"] == 0.5 and metrics["forbidden"]["value"] == 0.0


def patterns_stand_for_lists(folder):
    """Figures found in the prompts, for rows that have no lists of their own; against Python's expressions."""
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in harness.read_rows(Setting.data)]
    rows[1]["required"] = []
    data = harness.write_rows(os.path.join(folder, "bare.jsonl"), rows)
    path = os.path.join(folder, "patterns.json")
    # Letters of what was sampled: which answers have them is different from row to row.
    items = [{"prompt": r"([a-z])([a-z]+) (?P<next>\w)", "required": ["$2"]},
             {"prompt": "order (\\w)", "required": ["$1$$"]},
             {"forbidden": ["a", "i"]}, {"prompt": "zzz", "forbidden": ["$0"]}]
    for part in ([items[2]], items[:1], items):
        with open(path, "w") as file:
            json.dump(part, file)
        place = evaluate(folder, "patterns", data__eval=data, eval__patterns=path)
        for answer in harness.read_rows(os.path.join(place, "answers.jsonl")):
            row = rows[answer["id"]]
            found = []
            for item in part:
                for match in re.finditer(item.get("prompt", "^"), f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n"
                                         ) if "required" in item else ():
                    found += [text.replace("$2", match[2] if "$2" in text else "").replace("$1", match[1]).replace("$$", "$")
                              for text in item["required"]]
            required = row.get("required", found or None)
            assert answer.get("exact") == (None if required is None else desk.figures_exact(answer["response"], required))
            forbidden = ["a", "i"] if items[2] in part else None
            assert answer.get("forbidden") == (None if forbidden is None else bool(desk.terms_found(answer["response"], forbidden))), (answer, part)
    for text, message in (("{}", "expected a list of objects"), ('[{"prompt": "("}]', 'item 0: expected "required" or "forbidden"'),
                          ('[{"prompt": "(", "forbidden": []}]', 'item 0: "prompt": bad pattern: missing closing parenthesis at byte 1'),
                          ('[{"forbidden": [1]}]', 'item 0: "forbidden"[0]: expected a string, found'),
                          ('[{"needed": []}]', 'item 0: expected "required" or "forbidden"'),
                          ('[{"prompt": "e", "required": ["$9"]}]', "item 0: \"$9\": unknown substring")):
        with open(path, "w") as file:
            file.write(text)
        done = training.stage("eval", folder, code=3, eval__output="bad", data__eval=data, eval__patterns=path, eval__generate=1,
                              sampling__max_new_tokens=2, eval__model=Setting.models["policy"])
        assert message in done.err and path in done.err, done.err


def any_number_of_ranks(folder):
    files = []
    for ranks in (1, 2, 3, 4):
        place = evaluate(folder, "ranks", ranks)
        files.append([open(os.path.join(place, name), "rb").read()
                      for name in ("eval.json", "answers.jsonl", "eval.html")])
    assert all(other == files[0] for other in files)


def parts_alone(folder):
    """Only a model, or only a pair; rows without chosen and rejected."""
    alone = {f"eval__{name}": "" for name in ("dpo", "contrast", "reference")}
    metrics = harness.read_json(os.path.join(evaluate(folder, "alone", **alone),
                                             "eval.json"))["metrics"]
    assert set(metrics) == {"perplexity", "exact", "forbidden", "finished", "response_length"}
    metrics = harness.read_json(os.path.join(evaluate(folder, "pair", eval__model=""),
                                             "eval.json"))["metrics"]
    assert set(metrics) == {"reward_accuracy/dpo", "reward_margin/dpo", "reward_accuracy/pair",
                            "reward_margin/pair"}
    prompts = harness.write_rows(os.path.join(folder, "prompts.jsonl"),
                                 [{"prompt": row["prompt"]} for row in harness.read_rows(Setting.data)])
    metrics = harness.read_json(os.path.join(
        evaluate(folder, "prompts", data__eval=prompts, **alone), "eval.json"))["metrics"]
    assert set(metrics) == {"finished", "response_length"}


def token_lines(text):
    """The lines of both tables as {column: number}."""
    names = next(line.split() for line in text.splitlines() if line.split()[:3] == ["t", "id", "token"])[3:]
    return [{"id": int(line[5:13]), **dict(zip(names, map(float, re.search(
        r'"(?:[^"\\]|\\.)*"\s+(.*?)(?:  \w+: |$)', line)[1].split())))}
            for line in text.splitlines() if line[:4].strip().isdigit()]


def token_table_of_a_row(folder):
    path = os.path.join(folder, "empty.cfg")
    values = {"output": folder, "data__eval": Setting.data, "teacher__beta": BETA,
              "eval__dpo": Setting.models["dpo"], "eval__contrast": Setting.models["contrast"]}
    shown = harness.run("eval", "-c", path, *training.settings(values), "--show", 2)
    prompt, chosen, rejected = tokens_of(folder)[2]
    lines = token_lines(shown.out)
    assert len(lines) == len(chosen) + len(rejected)
    z = [losses.log_softmax(Setting.twins[n].response_logits(prompt, chosen))
         for n in ("dpo", "contrast")]
    for t, token in enumerate(chosen):
        log_dpo, reward, distance, alpha, weight = (
            lines[t][name] for name in ("dpo", "reward", "tvd", "alpha", "weight"))
        assert lines[t]["id"] == token
        close(log_dpo, z[0][t, token], "log dpo", 1e-3)
        close(reward, BETA * (z[0][t, token] - z[1][t, token]), "reward", 1e-3)
        close(distance, losses.tvd(z[0][t], z[1][t]), "tvd", 1e-3)
        close(alpha, 20 * losses.tvd(z[0][t], z[1][t]) + 1e-3, "alpha", 1e-3)
        close(weight, BETA / alpha, "weight", 1e-2)
    last = float(shown.out.strip().splitlines()[-1].split()[-1])
    sums = [Setting.twins[n].logprobs(prompt, rejected).sum() for n in ("dpo", "contrast")]
    close(last, BETA * (sums[0] - sums[1]), "sum of rewards", 1e-3)
    mean = np.mean([losses.tvd(*rows) for rows in zip(*z)])
    shown = harness.run("eval", "-c", path, *training.settings({**values, "distill__granularity": "sequence"}),
                        "--show", 2)
    lines = token_lines(shown.out)
    for t in range(len(chosen)):
        close(lines[t]["alpha"], 20 * mean + 1e-3, "alpha of the mean", 1e-3)


def bad_input(folder):
    path = os.path.join(folder, "empty.cfg")
    for ranks in (1, 3):
        for code, word, arguments in (
                (2, "eval.model", {}),
                (2, "data.eval", {"eval__model": Setting.models["policy"]}),
                (3, "nowhere", {"eval__model": Setting.models["policy"], "data__eval": "/nowhere"}),
                (3, "/nowhere: no such model directory", {"eval__model": "/nowhere", "data__eval": Setting.data})):
            done = harness.run("eval", "-c", path, *training.settings(
                {"output": folder, **arguments}), ranks=ranks, code=code)
            assert len(done.errors) == 1 and word in done.errors[0], done
        done = harness.run("eval", "-c", path, *training.settings(
            {"output": folder, "data__eval": Setting.data, "eval__dpo": Setting.models["dpo"],
             "eval__contrast": Setting.models["contrast"]}), "--show", 99, ranks=ranks, code=2)
        assert "rows 0 to 5" in done.errors[0], done


if __name__ == "__main__":
    harness.main([preferences_are_the_twins, accuracy_by_kind_of_pair, answers_are_judged_right, exact_answers_are_found, patterns_stand_for_lists,
                  any_number_of_ranks, parts_alone, token_table_of_a_row, bad_input], prepare)
