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
    """One that stops leaves a checkpoint and no finished output; without it the same command goes on."""
    done = anew(folder, "sft", "monitor.alarm=4.60 < 1; No problem > 0.999 stop")
    assert done.err.count("monitor.alarm") == 1 and '"4.60" has the probability' in done.err, done.err
    whole = content(folder, "sft")["model.safetensors"]
    words, out = ("monitor.alarm=17 < 1 stop", "monitor.every=2"), f"{folder}/out/sft"
    for ranks in (2, 1):  # the second time nothing is trained
        done = (anew if ranks == 2 else command)(folder, "sft", *words, ranks=ranks, code=75)
        assert done.err.count("monitor.alarm ends the run") == 1 and "another monitor.alarm, or none," in done.errors[0], done
        assert len(harness.read_rows(f"{out}/metrics.jsonl")) == 1 and os.listdir(f"{out}/checkpoints") == ["step-000001"]
        assert not os.path.exists(f"{out}/done.json") and not os.path.exists(f"{out}/model.safetensors")
    done = command(folder, "sft", "monitor.alarm=17 < 1", "monitor.every=2")
    assert done.err.count("monitor.alarm") == 1 and "step 1:" in done.err, done
    assert content(folder, "sft")["model.safetensors"] == whole
    done = anew(folder, "sft", "monitor.alarm=17 < 1 stop", "monitor.every=6", "optimizer.max_steps=6", code=75)
    for split in ((), ("roles.trainers=1", "roles.scorers=1", "roles.generators=1", "distill.max_staleness=1")):
        done = anew(folder, "distill", "distill.mode=on-policy", "monitor.alarm=17 < 1 stop", *split, ranks=3, code=75)
        assert len(harness.read_rows(f"{folder}/out/aligned/metrics.jsonl")) == 1 and len(done.errors) == 1, done


def other_rows_after_a_stop(folder):
    """What was seen of other places is kept, and not shown as if it were of these."""
    anew(folder, "sft", "debug.fail=metrics_write:0:5", code=5)
    harness.write_rows(f"{folder}/other.jsonl", [{"prompt": "Other", "chosen": "9.99", "rejected": "4.60", "required": ["9.99"]}])
    seen = harness.read_rows(f"{folder}/out/sft/monitor.jsonl")
    done = command(folder, "sft", "monitor.rows=other.jsonl", "monitor.alarm=9.99 > 0")
    assert "monitor-until-4.jsonl" in done.err and done.err.count("monitor.alarm") == 1, done
    assert harness.read_rows(f"{folder}/out/sft/monitor-until-4.jsonl") == seen
    assert [place["term"] for look in harness.read_rows(f"{folder}/out/sft/monitor.jsonl") for place in look["places"]] == ["9.99"]


def terms_at_borders(folder):
    """Letters of any script with capitals are part of a word; forbidden terms are found in upper and lower case."""
    texts = {"который": 0, "кот.": 1, "сокот": 0, "кот": 1, "私のкотは": 1, "CHEAP": 1, "Cheaper": 0, "cheap\u0301": 0, "приcheap": 0, "茶cheap": 1}
    harness.write_rows(f"{folder}/borders.jsonl", [{"prompt": "p", "chosen": text, "rejected": "-", "forbidden": ["кот", "cheap"]}
                                                   for text in texts])
    done = anew(folder, "sft", "monitor.rows=borders.jsonl", "monitor.alarm=кот > 2e-1; cheap < 1e-30", "optimizer.max_steps=1")
    look, = harness.read_rows(f"{folder}/out/sft/monitor.jsonl")
    found = [place["row"] for place in look["places"]]
    assert {text: found.count(i) for i, text in enumerate(texts)} == texts, found
    assert "never sound" not in done.err, done
    done = anew(folder, "sft", "monitor.alarm=none of it > 0", "optimizer.max_steps=1")
    assert '"none of it" is in no response of' in done.err and "never sound" in done.err, done


def padding_has_no_probability(folder):
    """Rows of the vocabulary behind the tokenizer's were never trained, and count nowhere."""
    harness.make_model(folder, "padded", 4, "--vocab-size", 448)
    anew(folder, "sft", "sft.model=padded", "optimizer.max_steps=1", "optimizer.lr=1e-12")
    look, = harness.read_rows(f"{folder}/out/sft/monitor.jsonl")
    found = [p["probability"] for p in look["places"] if p["term"] == "17" and p["in"] == "rejected"]
    twin, row = model.Model.load(f"{folder}/padded"), ROWS[0]
    encoder = training.bpe.Encoder(harness.read_json(f"{folder}/tok/tokenizer.json"))
    ids, place = encoder.encode(row["rejected"]), row["rejected"].index("17")
    prompt = tokens(folder, f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n")
    ends = np.cumsum(sizes(folder, ids))
    twin.config["tokens"] = None  # all rows
    logits = twin.response_logits(prompt, ids)
    wanted = {}
    for rows in (384, 448):
        logprobs = logits[:, :rows] - np.log(np.exp(logits[:, :rows]).sum(1, keepdims=True))
        wanted[rows] = np.exp(sum(logprobs[t, ids[t]] for t in range(len(ids))
                                  if ends[t] > place and (ends[t - 1] if t else 0) < place + 2))
    assert logits.shape[1] == 448, logits.shape
    assert np.isclose(found, [wanted[384]], rtol=1e-4, atol=0), (found, wanted)
    assert not np.isclose(wanted[448], wanted[384], rtol=1e-2, atol=0), wanted


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
                  every_kind_of_training_is_watched, terms_of_a_file, alarms_warn_and_stop,
                  other_rows_after_a_stop, terms_at_borders, padding_has_no_probability, bad_settings], prepare)
