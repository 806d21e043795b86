#!/usr/bin/python3
"""The audit's likely flipped labels: margins against a NumPy twin of the models, the noise model against a
search over a grid, folds that no model has seen, the same bytes on 1 and 3 ranks and after stops, rows
exchanged in every layout, what is refused."""
import os
import random
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403
import harness  # noqa: E402
import training  # noqa: E402

TESTS = []
FILES = ("audit.json", "audit.html", "clean.jsonl", "removed.jsonl", "labels.jsonl")


def test(function):
    TESTS.append(function)
    return function


def audit(folder, data, ranks=1, code=0, env=None, more=(), **values):
    """Audits a file with these settings into FOLDER/audit; the finished run."""
    config = write(f"{folder}/audit.cfg", f'output = "."; data: {{ train = "{data}"; chat_format = "none"; }};')
    return run("audit", "-c", config, *training.settings(values), *more, ranks=ranks, code=code, env=env)


def labels_of(folder):
    return read_rows(f"{folder}/audit/labels.jsonl")


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


# --- the noise model ----------------------------------------------------------------------------


def likelihood(margins, scale, rate):
    p = 1 / (1 + np.exp(-scale * np.abs(margins)))
    agrees = (1 - rate) * p + rate * (1 - p)
    with np.errstate(divide="ignore"):
        return np.log(np.where(margins > 0, agrees, 1 - agrees))[margins != 0].sum()


def search(margins):
    """(likelihood, scale, rate) by a grid that is made finer round its best point; the profile of the rate."""
    scales = np.exp(np.linspace(-9, 9, 181)) / np.abs(margins).mean()
    rates = np.linspace(0, 0.5, 101)
    for _ in range(5):
        value, s, e = max((likelihood(margins, s, e), s, e) for s in scales for e in rates)
        i, j = np.searchsorted(scales, s), np.searchsorted(rates, e)
        scales = np.linspace(scales[max(0, i - 2)], scales[min(len(scales) - 1, i + 2)], 25)
        rates = np.linspace(rates[max(0, j - 2)], rates[min(len(rates) - 1, j + 2)], 25)
    return value, s, e


def profile(margins, rate):
    scales = np.exp(np.linspace(-7, 7, 1401)) / np.abs(margins).mean()
    return max(likelihood(margins, s, rate) for s in scales)


def rows_of_lengths(count, scale, rate, seed):
    """Pairs whose better answer is the longer one with the probability 1 / (1 + exp(-scale x difference)),
    and of which a share is flipped."""
    rng, rows = random.Random(seed), []
    for i in range(count):
        more = rng.randint(0, 60)
        better, worse = "a" * (70 + more), "b" * 70
        wrong = rng.random() > 1 / (1 + np.exp(-scale * more))
        if wrong != (rng.random() < rate):
            better, worse = worse, better
        rows.append({"prompt": f"p{i}", "chosen": better, "rejected": worse})
    return rows


@test
def the_noise_model_is_that_of_a_search(folder):
    """Rates of 0, 5, 20 and 40%, and a signal that tells nothing: e, its interval, probabilities, labels."""
    for number, (scale, rate) in enumerate(((0.2, 0.0), (0.1, 0.05), (0.1, 0.2), (0.3, 0.4), (0.0, 0.2))):
        place = f"{folder}/noise-{number}"
        rows = rows_of_lengths(700, scale, rate, number)
        audit(place, write_rows(f"{place}/data.jsonl", rows), audit__models="length")
        report, labels = read_json(f"{place}/audit/audit.json")["labels"], labels_of(place)
        margins = np.array([label["margin"] for label in labels])
        more = np.array([len(r["chosen"]) - len(r["rejected"]) for r in rows])
        assert (np.abs(margins) == np.abs(more)).all() and (margins == more * np.sign((margins * more).sum())).all()
        value, s, e = search(margins)
        got = report["flip_rate"]
        here = likelihood(margins, report["scale"], got["value"])
        assert here > value - 1e-4, (number, report["scale"], got, s, e, here - value)
        for bound, end in ((got["low"], 0.0), (got["high"], 0.5)):
            gap = 2 * (here - profile(margins, bound))
            assert abs(gap - 3.8415) < 0.02 or (bound == end and gap < 3.8415), (number, bound, gap)
        if scale > 0:
            assert got["low"] <= rate <= got["high"], (rate, got)
        e, s = got["value"], report["scale"]
        p = 1 / (1 + np.exp(-s * np.abs(margins)))
        says = np.where(margins < 0, p, 1 - p)
        flipped = e * says / (e * says + (1 - e) * (1 - says))
        assert np.abs(flipped - [label["probability"] for label in labels]).max() < 2e-6
        for label, f in zip(labels, flipped):
            expected = "flipped" if f >= 0.5 else "right" if f <= 0.2 else "ambiguous"
            assert label["label"] == expected or min(abs(f - 0.5), abs(f - 0.2)) < 1e-6, (label, f)
        assert sum(report[k] for k in ("right", "ambiguous", "flipped")) == report["flip_rate"]["count"] == 700
        assert sum(b[k] for b in report["margins"] for k in ("right", "ambiguous", "flipped")) == 700


@test
def threads_give_the_same_bytes(folder):
    place = f"{folder}/threads"
    data = write_rows(f"{place}/data.jsonl", rows_of_lengths(9000, 0.1, 0.2, 9))
    for threads in ("1", "3"):
        audit(f"{place}/{threads}", data, audit__models="length", env={"OMP_NUM_THREADS": threads})
    for name in FILES:
        assert read_bytes(f"{place}/1/audit/{name}") == read_bytes(f"{place}/3/audit/{name}"), name


# --- models --------------------------------------------------------------------------------------


class Setting:
    """Made once, by the first test that needs it: pairs, a model and its tokens."""

    def __init__(self, folder):
        self.data = training.Data(folder, pairs=5)
        self.models = {name: make_model(folder, name, seed) for seed, name in
                       enumerate(("policy", "reference"), 1)}
        rows = read_rows(os.path.join(folder, "desk", "train.jsonl"))[:40]
        self.rows = [{"prompt": r["prompt"][:20], "chosen": r["chosen"][:40], "rejected": r["rejected"][:30 + i]}
                     for i, r in enumerate(rows)]
        self.rows[7]["prompt"] = self.rows[8]["prompt"] = self.rows[31]["prompt"]
        self.rows[12] = {"prompt": "no answers"}
        self.path = write_rows(f"{folder}/rows.jsonl", self.rows)
        self.training = {"audit__models": "crossfit", "audit__folds": 2, "dpo__policy": self.models["policy"],
                         "optimizer__lr": 0.01, "optimizer__batch_size": 8, "optimizer__max_steps": 3,
                         "optimizer__micro_batch_tokens": 300}


def setting(folder):
    if not hasattr(setting, "made"):
        setting.made = Setting(os.path.join(folder, "setting"))
    return setting.made


@test
def margins_of_a_given_pair_are_the_twins(folder):
    made, place = setting(folder), f"{folder}/given"
    twins = training.load(made.models)
    audit(place, made.data.path, audit__models="given", audit__policy=made.models["policy"],
          audit__reference=made.models["reference"])
    both = made.data.sequences("both")
    sums = {name: training.logprob_sums(training.logits_of(twin, both), both) for name, twin in twins.items()}
    ratio = np.array(sums["policy"]) - np.array(sums["reference"])
    got = [label["margin"] for label in labels_of(place)]
    assert np.allclose(got, ratio[::2] - ratio[1::2], rtol=1e-4, atol=1e-3), (got, ratio[::2] - ratio[1::2])


@test
def folds_are_scored_by_models_that_have_not_seen_them(folder):
    """On 1 and 3 ranks the same; each fold's model is that of `dpo` on the rows of the other fold; rows of one
    prompt are in one fold."""
    made, place = setting(folder), f"{folder}/folds"
    for ranks in (1, 3):
        audit(f"{place}/{ranks}", made.path, ranks=ranks, audit__keep_models=True, **made.training)
        for name in (*FILES, "folds/1-of-2.json"):
            assert read_bytes(f"{place}/{ranks}/audit/{name}") == read_bytes(f"{place}/1/audit/{name}"), name
    crossed = {label["line"]: label["margin"] for label in labels_of(f"{place}/1")}
    assert sorted(crossed) == [i + 1 for i in range(40) if i != 12]
    seen = {}
    for k in (1, 2):
        model = f"{place}/1/audit/folds/{k}-of-2"
        audit(f"{place}/given-{k}", made.path, audit__models="given", audit__policy=model,
              audit__reference=made.models["policy"], optimizer__micro_batch_tokens=300)
        given = {label["line"]: label["margin"] for label in labels_of(f"{place}/given-{k}")}
        seen[k] = {line for line in crossed if abs(given[line] - crossed[line]) < 1e-5}
    assert seen[1] | seen[2] == set(crossed) and not seen[1] & seen[2] and min(map(len, seen.values())) > 8, seen
    assert len({8 in seen[1], 9 in seen[1], 32 in seen[1]}) == 1, seen
    for k in (1, 2):
        others = write_rows(f"{place}/others-{k}.jsonl", [row for i, row in enumerate(made.rows)
                                                          if i + 1 in seen[3 - k]])
        values = {key: v for key, v in made.training.items() if not key.startswith("audit")}
        training.stage("dpo", f"{place}/dpo-{k}", data__train=others, data__chat_format="none", **values)
        assert read_bytes(f"{place}/dpo-{k}/dpo/model.safetensors") == \
            read_bytes(f"{place}/1/audit/folds/{k}-of-2/model.safetensors"), k


@test
def a_stopped_audit_goes_on(folder):
    """Stopped after each step and each part of a fold's measuring; models go when they aren't wanted."""
    made, place = setting(folder), f"{folder}/stopped"
    audit(f"{place}/whole", made.path, **made.training)
    stops = 0
    while stops < 40:
        done = audit(f"{place}/parts", made.path, more=("--deadline", "0.001"), code=None, **made.training)
        if done.code == 0:
            break
        assert done.code == 75 and len(done.errors) == 1, done
        assert not os.path.exists(f"{place}/parts/audit/audit.json")
        stops += 1
    assert 2 <= stops < 40, stops
    for name in FILES:
        assert read_bytes(f"{place}/parts/audit/{name}") == read_bytes(f"{place}/whole/audit/{name}"), name
    assert sorted(os.listdir(f"{place}/parts/audit/folds")) == \
        [f"{k}-of-2{end}" for k in (1, 2) for end in (".done.json", ".json")]
    before = os.stat(f"{place}/parts/audit/folds/1-of-2.json").st_mtime_ns
    audit(f"{place}/parts", made.path, audit__remove="likely-flipped", **made.training)  # nothing is trained
    assert before == os.stat(f"{place}/parts/audit/folds/1-of-2.json").st_mtime_ns
    flipped = [label["line"] for label in labels_of(f"{place}/parts") if label["label"] == "flipped"]
    assert [row["line"] for row in read_rows(f"{place}/parts/audit/removed.jsonl")] == flipped
    done = audit(f"{place}/parts", made.path, code=2, **{**made.training, "optimizer__lr": 0.02})
    assert "1-of-2" in done.errors[0] and "optimizer.lr" in done.errors[0] and "--force" in done.errors[0], done
    audit(f"{place}/parts", made.path, more=["--force"], **{**made.training, "optimizer__lr": 0.02})
    assert before != os.stat(f"{place}/parts/audit/folds/1-of-2.json").st_mtime_ns


# --- exchanging ----------------------------------------------------------------------------------


@test
def answers_are_exchanged_in_every_layout(folder):
    """The longer answer is right but in two rows, whose answers are exchanged; with them what belongs to them."""
    def user(text):
        return [{"role": "user", "content": text}]

    def bot(text):
        return [{"role": "assistant", "content": text}]

    turns = [(f"Question {i}?", "Yes, " + "many times, " * (3 + i % 5) + "so.", "No.") for i in range(30)]
    shapes = {
        "pairs": lambda p, c, r: {"prompt": p, "score_chosen": len(c), "chosen": c, "rejected": r,
                                  "score_rejected": len(r), "note": "chosen"},
        "implicit": lambda p, c, r: {"chosen": user(p) + bot(c), "rejected": user(p) + bot(r)},
        "ultrafeedback": lambda p, c, r: {"prompt": p, "chosen": user(p) + bot(c), "rejected": user(p) + bot(r),
                                          "chosen-rating": 1.5, "rejected-rating": 2.5},
        "hh": lambda p, c, r: {"chosen": f"\n\nHuman: {p}\n\nAssistant: {c}",
                               "rejected": f"\n\nHuman: {p}\n\nAssistant: {r}"},
        "sharegpt": lambda p, c, r: {"conversations": [{"from": "human", "value": p}],
                                     "chosen": {"from": "gpt", "value": c}, "rejected": {"from": "gpt", "value": r}},
        "alpaca": lambda p, c, r: {"instruction": p, "input": "", "output": [c, r]}}
    for name, shape in shapes.items():
        place = f"{folder}/exchange-{name}"
        right = [shape(p, c, r) for p, c, r in turns]
        rows = [shape(p, r, c) if i in (4, 19) else right[i] for i, (p, c, r) in enumerate(turns)]
        if name == "pairs":
            for row in rows:
                row["score_chosen"], row["score_rejected"] = len(row["chosen"]), len(row["rejected"])
        if name == "ultrafeedback":
            for i in (4, 19):
                rows[i]["chosen-rating"], rows[i]["rejected-rating"] = 2.5, 1.5
        data = write_rows(f"{place}/data.jsonl", rows)
        audit(place, data, audit__models="length", audit__flip=True, ranks=2 if name == "hh" else 1)
        assert read_rows(f"{place}/audit/clean.jsonl") == right, name
        lines = read_bytes(data).splitlines(keepends=True)
        assert read_bytes(f"{place}/audit/flipped.jsonl") == lines[4] + lines[19], name
        assert read_json(f"{place}/audit/audit.json")["labels"]["exchanged"] == 2
    audit(place, data)  # without labels nothing of them is left
    left = os.listdir(f"{place}/audit")
    assert "labels.jsonl" not in left and "flipped.jsonl" not in left, left
    assert "likely-flipped" not in read_json(f"{place}/audit/audit.json")["reasons"]


@test
def bad_settings_are_one_line(folder):
    made, place = setting(folder), f"{folder}/bad"
    pairs = write_rows(f"{place}/pairs.jsonl", [{"prompt": f"p{i}", "chosen": "aaa", "rejected": "b"}
                                                for i in range(6)])
    same = write_rows(f"{place}/same.jsonl", [{"prompt": "p", "chosen": "aaa" * i, "rejected": "b"}
                                              for i in range(1, 6)])
    prompts = write_rows(f"{place}/prompts.jsonl", [{"prompt": f"p{i}"} for i in range(6)])
    odd = write_rows(f"{place}/odd.jsonl", [{"prompt": "p", "chosen": "aaa", "rejected": "b"},
                                            {"prompt": "q", "chosen_text": "c", "rejected": "d"}])
    given = {"audit__models": "given", "audit__policy": made.models["policy"],
             "audit__reference": made.models["policy"]}
    cases = [
        (pairs, {"audit__models": "given"}, (), 2, ["audit.policy", "model directory"]),
        (pairs, {"audit__models": "given", "audit__policy": "x"}, (), 2, ["audit.reference"]),
        (pairs, {"audit__models": "crossfit"}, (), 2, ["dpo.policy", "crossfit"]),
        (pairs, {**made.training, "dpo__reverse": True}, (), 2, ["dpo.reverse"]),
        (pairs, {"audit__remove": "likely-flipped"}, (), 2, ["audit.remove", "audit.models", "none|length"]),
        (pairs, {"audit__flip": True}, (), 2, ["audit.flip", "audit.models"]),
        (pairs, {}, ("--fail-on", "likely-flipped=0.5"), 2, ["--fail-on likely-flipped", "audit.models"]),
        (pairs, {"audit__models": "length", "audit__flip": True, "audit__remove": "likely-flipped"}, (), 2,
         ["audit.flip", "one of the two"]),
        (pairs, {"audit__ambiguous": [0.6, 0.5]}, (), 2, ["audit.ambiguous", "0.6"]),
        (pairs, {"audit__folds": 1}, (), 2, ["audit.folds", "2 to 1000"]),
        (pairs, given, (), 3, ["pairs.jsonl", "margins", "0"]),
        (pairs, {**given, "audit__policy": f"{place}/gone"}, (), 3, ["gone"]),
        (prompts, {"audit__models": "length"}, (), 3, ["prompts.jsonl", "chosen"]),
        (prompts, made.training, (), 3, ["prompts.jsonl", "chosen"]),
        (prompts, {"audit__models": "length", "audit__flip": True}, (), 2, ["audit.flip", "layout prompts"]),
        (odd, {"audit__models": "length", "audit__flip": True}, (), 3, ["odd.jsonl:2", "exchange"]),
        (same, made.training, (), 3, ["same.jsonl", "one prompt"]),
    ]
    for number, (data, values, more, code, words) in enumerate(cases):
        done = audit(f"{place}/{number}", data, ranks=3 if number in (4, 10, 13) else 1, code=code, more=more, **values)
        (error,) = done.errors
        assert all(word in error for word in words), (number, error)


if __name__ == "__main__":
    main(TESTS)
