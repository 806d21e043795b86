#!/usr/bin/python3
"""`monitor.*`: probabilities of terms at their places, recomputed from the checkpoints by the twin; greedy answers,
those of `generate`; the same on any ranks and after a stop; alarms."""
import os
import shutil
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import model  # noqa: E402

CONFIG = """optimizer: { batch_size = 4; epochs = 20; max_steps = 6; lr = 3e-3; };
checkpoint: { every_steps = 1; keep_last = 0; };
distill: { policy = "policy"; mode = "off-policy"; };
sampling: { max_new_tokens = 12; };
monitor: { rows = "watched.jsonl"; every = 3; answer_tokens = 9; };
"""
ROWS = [{"prompt": "Two boxes of tea, order 17.", "chosen": "Order 17: 2 boxes at 4.60, no 4.60x, 4.60 <b>.", "rejected": "No problem, 17.",
         "required": ["4.60", "17"], "forbidden": ["No problem", "none of it"]},
        {"prompt": "Grüße, 茶を 3 つ", "chosen": "茶 3: 4.60", "rejected": "asap"}]
PLACES = [(0, "chosen", "4.60"), (0, "chosen", "4.60"), (0, "chosen", "17"), (0, "rejected", "17"), (0, "rejected", "No problem"), (1, "chosen", "4.60")]


def prepare(folder):
    harness.prepare_route(folder, CONFIG)
    harness.write_rows(f"{folder}/watched.jsonl", ROWS)


def command(folder, stage, *settings, **options):
    return harness.run(stage, "-c", f"{folder}/run.cfg", *(w for s in settings for w in ("--set", s)), **options)


def anew(folder, stage, *settings, **options):
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    return command(folder, stage, *settings, **options)


def places_of(look):
    return [(p["row"], p["in"], p["term"]) for p in look["places"]]


def probabilities_are_the_twins(folder):
    anew(folder, "sft")
    out = f"{folder}/out/sft"
    looks = harness.read_rows(f"{out}/monitor.jsonl")
    assert [look["step"] for look in looks] == [1, 3, 6]
    encoder = training.bpe.Encoder(harness.read_json(f"{folder}/tok/tokenizer.json"))
    metrics = {row["step"]: row for row in harness.read_rows(f"{out}/metrics.jsonl")}
    for look in looks:
        assert sorted(places_of(look)) == sorted(PLACES), places_of(look)
        place = f"{out}/checkpoints/step-{look['step']:06d}"
        twin = model.Model.load(place if look["step"] < 6 else out)
        means = {}
        for place in look["places"]:
            row = ROWS[place["row"]]
            ids = encoder.encode(row[place["in"]])
            prompt = tokens(folder, f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n")
            logprobs = twin.logprobs(prompt, ids + [training.END])
            ends = np.cumsum(sizes(folder, ids))
            before = row[place["in"]].encode().rfind((place["before"] + place["term"]).encode())
            begin = before + len(place["before"].encode())
            covered = [t for t in range(len(ids)) if ends[t] > begin and (ends[t - 1] if t else 0) < begin + len(place["term"].encode())]
            wanted = np.exp(sum(logprobs[t] for t in covered))
            assert np.isclose(place["probability"], wanted, rtol=2e-3, atol=0), (place, wanted)
            means.setdefault(place["term"], []).append(place["probability"])
        for term, values in means.items():
            assert np.isclose(metrics[look["step"]][f"monitor/p({term})"], np.mean(values), rtol=1e-6)
    assert "monitor/p(4.60)" not in metrics[2] and "monitor/p(none of it)" not in metrics[1]


def tokens(folder, text):
    """Ids of a text with markup, by the program's own tokenizer, which data/tokenizer_test.py holds to others."""
    listed = subprocess.run([harness.BINARY, "tokenize", f"{folder}/tok"], input=text, capture_output=True, text=True, check=True,
                            env=harness.environment())
    return [int(i) for i in listed.stdout.split()]


def sizes(folder, ids):
    """Bytes of each token: the vocabulary has a character for each."""
    vocabulary = {i: text for text, i in harness.read_json(f"{folder}/tok/tokenizer.json")["model"]["vocab"].items()}
    return [len(vocabulary[i]) for i in ids]


def answers_are_those_of_generate(folder):
    looks = harness.read_rows(f"{folder}/out/sft/monitor.jsonl")
    for look in looks[:2]:  # the last step has no checkpoint
        command(folder, "generate", f"generate.model=out/sft/checkpoints/step-{look['step']:06d}", "data.train=watched.jsonl",
                "sampling.temperature=0", "sampling.max_new_tokens=9", f"generate.output=greedy{look['step']}.jsonl")
        wanted = [(row["id"], row["response"]) for row in harness.read_rows(f"{folder}/out/greedy{look['step']}.jsonl")]
        assert [(a["row"], a["answer"]) for a in look["answers"]] == wanted


def content(folder, output):
    return {name: open(f"{folder}/out/{output}/{name}", "rb").read() for name in ("monitor.jsonl", "monitor.html", "model.safetensors")}


def any_ranks_and_stops_give_the_same(folder):
    whole = content(folder, "sft")
    anew(folder, "sft", ranks=3)
    assert content(folder, "sft") == whole
    anew(folder, "sft", "debug.fail=metrics_write:0:5", code=5)
    command(folder, "sft")
    assert content(folder, "sft") == whole
    page = whole["monitor.html"].decode()
    assert "茶" in page and page.count("<svg") == len(PLACES) and "<b>" not in page


def every_kind_of_training_is_watched(folder):
    harness.run("score", "-c", f"{folder}/run.cfg")
    anew_roles = ("distill.mode=on-policy", "distill.output=on", "shards.directory=on-shards")
    for stage, output, settings in (("dpo", "dpo", ()), ("distill", "on", anew_roles)):
        kept = {}
        for ranks in (1, 2):
            anew(folder, stage, *settings, ranks=ranks)
            kept[ranks] = open(f"{folder}/out/{output}/monitor.jsonl", "rb").read()
        assert kept[1] == kept[2] and len(kept[1].splitlines()) == 3
    anew(folder, "score")
    command(folder, "distill")
    assert len(harness.read_rows(f"{folder}/out/aligned/monitor.jsonl")) == 3


def terms_of_a_file(folder):
    """In its order, without blanks at their ends; the metrics have the first 16, and no slash in a name."""
    terms = ["4.60", "boxes", "Order", "17", "茶", "3", "no", "pro", "blem", "asap", "2", "at", "x", ",", "<b>", "of tea", "e"]
    harness.write(f"{folder}/terms.txt", "".join(f" {term}\t\r\n\n" for term in [*terms[:4], "1/2", *terms[4:]]))
    harness.write_rows(f"{folder}/half.jsonl", [*ROWS, {"prompt": "Half?", "chosen": "1/2 of 17", "rejected": "none"}])
    anew(folder, "sft", "monitor.terms=terms.txt", "monitor.rows=half.jsonl", "optimizer.max_steps=1")
    look, = harness.read_rows(f"{folder}/out/sft/monitor.jsonl")
    found = {place["term"] for place in look["places"]}
    assert found - {"4.60"} and found <= {*terms, "1/2"} and {"17", "1/2", "<b>"} <= found, found
    row, = harness.read_rows(f"{folder}/out/sft/metrics.jsonl")
    names = [name for name in row if name.startswith("monitor/")]
    assert "monitor/p(1_2)" in names and "monitor/p(17)" in names and all(name.count("/") == 1 for name in names), names
    listed = [*terms[:4], "1/2", *terms[4:]][:16]
    assert {name[len("monitor/p("):-1].replace("_", "/") for name in names} == found & {*listed}, (names, found)
    harness.write(f"{folder}/latin.txt", "")
    with open(f"{folder}/latin.txt", "wb") as file:
        file.write("für\n".encode("latin-1"))
    done = anew(folder, "sft", "monitor.terms=latin.txt", code=3, ranks=2)
    assert done.errors == [f"{folder}/latin.txt: expected lines of text in UTF-8"], done


def alarms_warn_and_stop(folder):
    done = anew(folder, "sft", "monitor.alarm=4.60 < 1; No problem > 0.999 stop")
    assert done.err.count("monitor.alarm") == 1 and '"4.60" has the probability' in done.err, done.err
    done = anew(folder, "sft", "monitor.alarm=17 < 1 stop", "monitor.every=2", ranks=2)
    assert done.err.count("monitor.alarm ends the run") == 1, done.err
    assert len(harness.read_rows(f"{folder}/out/sft/metrics.jsonl")) == 1 and os.path.exists(f"{folder}/out/sft/model.safetensors")
    command(folder, "sft", "monitor.alarm=17 < 1 stop", "monitor.every=2")
    anew(folder, "distill", "distill.mode=on-policy", "monitor.alarm=17 < 1 stop", ranks=2)
    assert len(harness.read_rows(f"{folder}/out/aligned/metrics.jsonl")) == 1


def bad_settings(folder):
    harness.write(f"{folder}/none.txt", "\n\n")
    for setting, code, line in (("monitor.rows=none.jsonl", 3, "none.jsonl: "), ("monitor.terms=none.txt", 3, "none.txt: no terms"),
                                ("monitor.alarm=4.60", 2, 'monitor.alarm: "4.60"; expected'), ("monitor.alarm=4.60 < 2", 2, "expected"),
                                ("monitor.alarm=tea > 0.5", 2, 'monitor.alarm: "tea" is none of the 4 terms of'),
                                ("monitor.every=0", 2, "monitor.every")):
        done = anew(folder, "sft", setting, code=code, ranks=2)
        assert line in done.err, done.err


if __name__ == "__main__":
    harness.main([probabilities_are_the_twins, answers_are_those_of_generate, any_ranks_and_stops_give_the_same,
                  every_kind_of_training_is_watched, terms_of_a_file, alarms_warn_and_stop, bad_settings], prepare)
