#!/usr/bin/python3
"""`eval --judged`: generated files in the forms of the judges' programs, counted once more in NumPy, by the
published formulas; the length-controlled fit by another method (Newton's on a smooth penalty's limit)."""
import csv
import json
import os
import random
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

ROWS = 120


def judged(folder, rows, *more, code=0, array=False, ranks=1):
    path = os.path.join(folder, "judged.input")
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows))
    config = harness.write(os.path.join(folder, "judged.cfg"), 'output = ".";\n')
    done = harness.run("eval", "-c", config, "--judged", path, *more, code=code, ranks=ranks)
    return harness.read_json(os.path.join(folder, "eval", "judged.json"))["models"] if code == 0 else done.err


def close(got, wanted, bound=1e-8):  # nine digits are written
    assert abs(got - wanted) <= bound * max(1, abs(wanted)), (got, wanted)


def text(rng, count):
    return "".join(rng.choice(["a", "é", "語", "😀", " "]) for _ in range(count))


def annotations(rng):
    rows = []
    for i in range(ROWS):
        lengths = [rng.randint(1, 400), rng.randint(1, 600)]
        preference = rng.choice([0, 1.5, None, 1 + rng.random(), 1 + 1 / (1 + np.exp(-(lengths[1] - lengths[0]) / 200))])
        rows.append({"instruction": str(i), "output_1": text(rng, lengths[0]), "generator_1": "base", "output_2": text(rng, lengths[1]),
                     "generator_2": "mine", "annotator": "a", "preference": preference})
    return rows


def preferences(rows):
    """0 to 1; NaN without a judgement."""
    values = np.array([np.nan if row["preference"] is None else row["preference"] or 1.5 for row in rows])
    return values - 1


def alpaca_eval(folder):
    rows = annotations(random.Random(1))
    for array in (False, True):
        found = judged(folder, rows, array=array)["mine"]
    p = preferences(rows)
    left_out = harness.read_json(os.path.join(folder, "eval", "judged.json"))["rows_without_judgement"]
    assert left_out == np.isnan(p).sum() > 0, left_out
    p = p[~np.isnan(p)]
    close(found["win_rate"], 100 * p.mean())
    close(found["standard_error"], 100 * p.std(ddof=1) / len(p) ** 0.5)
    assert (found["n_wins"], found["n_wins_base"], found["n_draws"], found["n_total"]) == (
        (p > 0.5).sum(), (p < 0.5).sum(), (p == 0.5).sum(), len(p))
    close(found["discrete_win_rate"], 100 * ((p > 0.5).sum() + (p == 0.5).sum() / 2) / len(p))
    assert found["avg_length"] == int(np.mean([len(row["output_2"]) for row in rows]))
    assert "length_controlled_winrate" not in found


def l1_fit(x, y, weight, c):
    """argmin |w|_1 + c sum weight crossentropy, by accelerated proximal gradient steps."""
    step = 1 / (c * (weight[:, None] * x ** 2).sum() / 4)
    w = np.zeros(x.shape[1])
    z, t = w, 1.0
    for _ in range(60000):
        gradient = c * x.T @ (weight * (1 / (1 + np.exp(-x @ z)) - y))
        new = z - step * gradient
        new = np.sign(new) * np.maximum(np.abs(new) - step, 0)
        if np.abs(new - w).max() < 1e-13:
            break
        after = (1 + (1 + 4 * t * t) ** 0.5) / 2
        z, t, w = new + (t - 1) / after * (new - w), after, new
    return w


def length_controlled(folder):
    """Two gamed baselines and a difficulty for each instruction, as in AlpacaEval's file."""
    rng = random.Random(2)
    rows = annotations(rng)
    difficulty = [rng.gauss(0, 1) for _ in range(ROWS)]
    gamed = [{"index": i, "preference": rng.random() if j + i else "", "std_delta_len": rng.gauss(0, 1),
              "instruction_difficulty": difficulty[i], "not_gamed_baseline": False, "model": f"gamed{j}"}
             for j in range(2) for i in range(ROWS)]
    path = os.path.join(folder, "gamed.csv")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, gamed[0])
        writer.writeheader()
        writer.writerows(gamed)
    found = judged(folder, rows, "--set", f"eval.gamed={path}")["mine"]
    p = preferences(rows)
    delta = np.array([len(row["output_1"]) - len(row["output_2"]) for row in rows], float)
    x = np.array([[np.tanh(row["std_delta_len"]), row["instruction_difficulty"], 0] for row in gamed if row["preference"] != ""]
                 + [[np.tanh(d / delta.std(ddof=1)), difficulty[i], 1] for i, d in enumerate(delta) if not np.isnan(p[i])])
    y = np.array([row["preference"] for row in gamed if row["preference"] != ""] + list(p[~np.isnan(p)]))
    weight = np.where(x[:, 2] == 1, 1, 0.1)
    fold = (len(y) - 1 - np.arange(len(y))) % 5

    def loss(c):
        total = 0
        for k in range(5):
            w = l1_fit(x[fold != k], y[fold != k], weight[fold != k], c)
            z = x[fold == k] @ w
            total += (weight[fold == k] * (np.logaddexp(0, z) - y[fold == k] * z)).mean()
        return total / 5
    scales = 10 ** np.linspace(-4, 4, 10)
    c = scales[int(np.argmin([loss(c) for c in scales[:7]]))]  # the last ones differ in nothing that shows
    w = l1_fit(x, y, weight, c)
    expected = 100 * (1 / (1 + np.exp(-(np.array(difficulty) * w[1] + w[2])))).mean()
    close(found["length_controlled_winrate"], expected, 1e-3)
    same = [{**row, "generator_2": "base"} for row in rows]
    assert judged(folder, same, "--set", f"eval.gamed={path}")["base"]["length_controlled_winrate"] == 50
    with open(path, "a") as file:
        file.write("x,1,1,1,False,m\n")
    assert f"{path}:{2 * ROWS + 2}: expected a number as \"index\"" in judged(folder, rows, "--set", f"eval.gamed={path}", code=3)
    harness.write(path, "index,preference\n0,1\n")
    assert f'{path}:1: no column "std_delta_len"' in judged(folder, rows, "--set", f"eval.gamed={path}", code=3)


def interval_is_near(found, scores, tail):
    """Percentiles of a bootstrap with other draws, and many more of them."""
    rounds = 100 * np.random.default_rng(1).choice(np.array(scores, float), (20000, len(scores))).mean(1)
    for key, at in (("lower", tail), ("upper", 100 - tail)):
        expected, spread = np.percentile(rounds, at), rounds.std()
        assert abs(found[key] - expected) <= 0.2 * spread, (found, key, expected)
        assert rounds.min() - 1e-6 <= found[key] <= rounds.max() + 1e-6


def intervals_stay_between_none_and_all(folder):
    """Few battles, nearly all won: percentiles of what samples can have. The same on two ranks, another by another seed."""
    for mark, tail in (({"uid": "1"}, 5), ({"question_id": "1"}, 2.5)):
        for losses in (0, 1, 3):
            pairs = [("B>A", "A>B")] * 10 + [("A>B", "A>B")] * losses
            rows = [{**mark, "model": "x", "games": [{"score": a}, {"score": b}]} for a, b in pairs]
            found = judged(folder, rows)["x"]
            scores = [1] * 10 + [0] * losses + [1] * len(pairs)
            close(found["score"], 100 * np.mean(scores))
            assert 0 <= found["lower"] <= found["score"] <= found["upper"] <= 100, found
            # What a share of so many battles can be, or a place between two of them.
            if losses == 0:
                assert found["lower"] == found["upper"] == 100, found
            else:
                rounds = np.random.default_rng(2).choice(scores, (20000, len(scores))).mean(1) * 100
                for key, at in (("lower", tail), ("upper", 100 - tail)):
                    assert abs(found[key] - np.percentile(rounds, at)) < 1.01 * 100 / len(scores), (found, key)
    rng = random.Random(8)
    rows = [{"uid": str(i), "model": "x", "games": [{"score": rng.choice(["A>B", "A=B", "B>>A"])} for _ in range(2)]} for i in range(300)]
    one = judged(folder, rows)
    assert judged(folder, rows, ranks=2) == one
    other = judged(folder, rows, "--set", "seed=2")
    assert other["x"]["score"] == one["x"]["score"] and other != one


def arena_hard(folder):
    rng = random.Random(3)
    worth = {"A>>B": (1, 3), "A>B": (1, 1), "A=B": (0.5, 1), "B>A": (0, 1), "B>>A": (0, 3)}
    rows = [{"uid": str(i), "model": rng.choice(["x", "y"]), "judge": "j",
             "games": [{"score": rng.choice(list(worth)), "judgment": ""}, {"score": rng.choice([*worth, None])}]} for i in range(ROWS)]
    found = judged(folder, rows)
    for name in ("x", "y"):
        scores = []
        for row in rows:
            first, second = (game["score"] for game in row["games"])
            if row["model"] == name and second is not None:
                scores += [1 - worth[first][0]] * worth[first][1] + [worth[second][0]] * worth[second][1]
        close(found[name]["score"], 100 * np.mean(scores))
        close(found[name]["standard_error"], 100 * np.std(scores, ddof=1) / len(scores) ** 0.5)
        interval_is_near(found[name], scores, 5)
        assert found[name]["battles"] == len(scores)


def categories_of_arena_hard(folder):
    """Each has its own score and interval; the model's pools them, and a row without a category."""
    worth = {"A>>B": [1] * 3, "A>B": [1], "A=B": [0.5], "B>A": [0], "B>>A": [0] * 3, "A<<B": [0] * 3, "B<A": [1]}
    rng = random.Random(9)
    rows = [{"uid": str(i), "category": rng.choice(["hard_prompt", "creative_writing", None]), "model": rng.choice(["x", "y"]),
             "games": [{"score": rng.choice([*worth, None])}, {"score": rng.choice(list(worth)[:3])}]} for i in range(3 * ROWS)]
    found = judged(folder, rows)
    out = harness.run("eval", "-c", f"{folder}/judged.cfg", "--judged", f"{folder}/judged.input").out
    for name in ("x", "y"):
        assert sorted(found[name]["categories"]) == ["creative_writing", "hard_prompt"], found
        for category in ("hard_prompt", "creative_writing", "all"):
            values = found[name] if category == "all" else found[name]["categories"][category]
            scores = []
            for row in rows:
                first, second = (game["score"] for game in row["games"])
                if row["model"] == name and category in ("all", row["category"]) and first:
                    scores += [1 - value for value in worth[first]] + worth[second]
            close(values["score"], 100 * np.mean(scores))
            close(values["standard_error"], 100 * np.std(scores, ddof=1) / len(scores) ** 0.5)
            interval_is_near(values, scores, 5)
            assert values["battles"] == len(scores)
            indent = 2 if category == "all" else 4
            assert f"\n{' ' * indent}{'score':26} {100 * np.mean(scores):.6g}\n" in out, out
    assert out.count("\n  hard_prompt\n    score ") == 2, out
    assert '"category": expected a string, found' in judged(folder, [{**rows[0], "category": 1}], code=3)
    assert "categories" not in judged(folder, [{**row, "category": None} for row in rows])["x"]


def arena_hard_of_the_first_version(folder):
    """Each game counts for itself; what isn't one of five verdicts has no weight."""
    worth = {"A>>B": (1, 3), "A>B": (1, 1), "A=B": (0.5, 1), "B>A": (0, 1), "B>>A": (0, 3)}
    rng = random.Random(6)
    verdicts = [*worth, None, "A<B", "what"]
    many = [(rng.choice(verdicts), rng.choice(verdicts)) for _ in range(ROWS)]
    for pairs, expected in (([("A>B", "B>A"), (None, "A>B"), ("B>A", None)], (50, 4)), (many, None)):
        rows = [{"question_id": str(i), "model": "x", "games": [{"score": a}, {"score": b}]} for i, (a, b) in enumerate(pairs)]
        found = judged(folder, rows)["x"]
        scores = []
        for pair in pairs:
            for game, verdict in enumerate(pair):
                value, times = worth.get(verdict, (0, 0))
                scores += [value if game else 1 - value] * times
        assert expected in (None, (np.mean(scores) * 100, len(scores))), scores
        close(found["score"], 100 * np.mean(scores))
        assert found["battles"] == len(scores)
        if expected is None:
            interval_is_near(found, scores, 2.5)
        page = harness.read_json(os.path.join(folder, "eval", "judged.json"))
        assert page["benchmark"] == "Arena-Hard 0.1", page
        assert page["games_without_judgement"] == sum(verdict not in worth for pair in pairs for verdict in pair)
        rows = [{**row, "category": "hard_prompt"} for row in rows if row["games"][0]["score"] != "what" != row["games"][1]["score"]]
        found = judged(folder, rows)["x"]
        page = harness.read_json(os.path.join(folder, "eval", "judged.json"))
        left_out = sum(None in (row["games"][0]["score"], row["games"][1]["score"]) for row in rows)
        assert (page["benchmark"], page["rows_without_judgement"]) == ("Arena-Hard 2.0", left_out), page
        kept = [tuple(game["score"] for game in row["games"]) for row in rows]
        assert found["battles"] == sum(worth.get(v, (0, 1))[1] for pair in kept if None not in pair for v in pair)


def mt_bench(folder):
    rng = random.Random(4)
    rows = [{"question_id": i, "model": m, "score": rng.choice([-1, 1, 4, 7.5, 10]), "turn": rng.choice([int, float])(t)}
            for i in range(30) for m in ("x", "y") for t in (1, 2)]
    found = judged(folder, rows)
    for name in ("x", "y"):
        turns = [[row["score"] for row in rows if row["model"] == name and row["turn"] == t and row["score"] != -1] for t in (1, 2)]
        close(found[name]["first_turn"], np.mean(turns[0]))
        close(found[name]["second_turn"], np.mean(turns[1]))
        close(found[name]["average"], np.mean(turns[0] + turns[1]))
    winners = ["model_1", "model_2", "tie", "error"]
    rows = [{"question_id": i, "model_1": rng.choice("xy"), "model_2": "z", "g1_winner": rng.choice(winners), "g2_winner": rng.choice(winners)}
            for i in range(ROWS)]
    found = judged(folder, rows)
    counts = {name: [0, 0, 0] for name in "xyz"}
    for row in rows:
        first, second = row["g1_winner"], row["g2_winner"]
        if "error" in (first, second):
            continue
        for key in ("model_1", "model_2"):
            counts[row[key]][2 if first != second or first == "tie" else 0 if first == key else 1] += 1
    for name, (win, loss, tie) in counts.items():
        assert [found[name][key] for key in ("win", "loss", "tie")] == [win, loss, tie]
        close(found[name]["win_rate"], win / (win + loss + tie))
        close(found[name]["win_rate_adjusted"], (win + tie / 2) / (win + loss + tie))


def files_without_a_verdict(folder):
    """One line and exit code 3, in each form; numbers of one verdict alone have no error that is no number."""
    annotation = annotations(random.Random(7))[0]
    empty = {"score": None}
    pair = {"question_id": 1, "model_1": "x", "model_2": "y", "g1_winner": "error", "g2_winner": "tie"}
    for rows in ([{**annotation, "preference": None}] * 2, [{"uid": "1", "model": "x", "games": [empty, {"score": "A>B"}]}],
                 [{"question_id": 1, "model": "x", "games": [empty, None]}],
                 [{"question_id": 1, "model": "x", "score": -1, "turn": 1 + i % 2} for i in range(3)], [pair] * 2):
        said = [line for line in judged(folder, rows, code=3).splitlines() if "error:" in line]
        expected = f"{folder}/judged.input: no verdict in it can be used; the judge failed at every row"
        assert len(said) == 1 and said[0].endswith(expected), said
    for rows, name, nothing in (([{**annotation, "preference": 1.25}], "mine", ["standard_error"]),
                                ([{"question_id": 1, "model": "x", "score": 7, "turn": 1}], "x", ["second_turn", "standard_error"]),
                                ([{"question_id": 1, "model": "x", "games": [empty, {"score": "A>B"}]}], "x", ["standard_error"])):
        found = judged(folder, rows)[name]
        assert [key for key, value in found.items() if value is None] == nothing, found
        out = harness.run("eval", "-c", f"{folder}/judged.cfg", "--judged", f"{folder}/judged.input").out
        assert "nan" not in out and all(f"{key:26} -\n" in out for key in nothing), out
    # Of two models, one without a verdict: it has no numbers.
    found = judged(folder, [{"question_id": 1, "model": m, "score": s, "turn": 1} for m, s in (("x", -1), ("y", 4))])
    assert (found["x"]["average"], found["x"]["grades"], found["y"]["average"]) == (None, 0, 4), found


def what_is_no_judgement(folder):
    row = annotations(random.Random(5))[0]
    pair = {"question_id": 1, "model_1": "x", "model_2": "y", "g1_winner": "tie", "g2_winner": "error"}
    for rows, line in (([{"a": 1}], "judged.input:1: expected a row of the judge of AlpacaEval"),
                       ([row, {**row, "generator_2": "b"}], 'judged.input:2: "generator_2" is "b" against "base"; expected one model'),
                       ([row, {**row, "output_2": 1}], 'judged.input:2: "output_2": expected a string, found'),
                       ([{**row, "preference": "2"}], 'judged.input:1: "preference": expected a number or null'),
                       ([{"model": "m", "games": [{"score": "A"}, {"score": "A>B"}]}], 'judged.input:1: "games"[0].score: "A"; expected'),
                       ([{"model": "m", "games": []}], 'judged.input:1: "games": expected a list of two'),
                       ([pair, {**pair, "g1_winner": "foo", "g2_winner": "foo"}],
                        'judged.input:2: "g1_winner": "foo"; expected "model_1", "model_2", "tie" or "error"'),
                       ([{**pair, "g2_winner": "A"}], 'judged.input:1: "g2_winner": "A"; expected "model_1"'),
                       ([{**pair, "g2_winner": None}], 'judged.input:1: "g2_winner": expected a string, found'),
                       ([{"model": "m", "score": 1, "turn": 3}], 'judged.input:1: "turn": expected 1 or 2'),
                       ([{"model": "m", "score": 1, "turn": 1.5}], 'judged.input:1: "turn": expected 1 or 2')):
        assert line in judged(folder, rows, code=3), (line, judged(folder, rows, code=3))
    assert "no such file" in harness.run("eval", "-c", os.path.join(folder, "judged.cfg"), "--judged", f"{folder}/none", code=3).err.lower()


if __name__ == "__main__":
    harness.main([alpaca_eval, length_controlled, arena_hard, categories_of_arena_hard, intervals_stay_between_none_and_all, arena_hard_of_the_first_version, mt_bench, files_without_a_verdict, what_is_no_judgement])
