#!/usr/bin/python3
"""Checks of the Python tools: the order desk, the tokenizer, fresh models, the shard viewer."""
import collections
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import traceback

import h5py
import numpy as np

ROOT = os.path.abspath(__file__ + "/../../..")
TOOLS = os.path.join(ROOT, "tools")
sys.path[:0] = [TOOLS, os.path.join(ROOT, "tests", "common")]
import make_orderdesk as desk  # noqa: E402
import train_tokenizer as bpe  # noqa: E402
from reference import model, safetensors_reader  # noqa: E402


def tool(name, *arguments, status=0):
    """Output and errors of a tool, which must end with `status`."""
    done = subprocess.run(["/usr/bin/python3", os.path.join(TOOLS, name), *map(str, arguments)],
                          capture_output=True, text=True)
    assert done.returncode == status, f"{name}: status {done.returncode}: {done.stderr}"
    return done.stdout, done.stderr


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def make_desk(folder, name, *options):
    """Rows of train, eval and sft of a small order desk."""
    path = os.path.join(folder, name)
    tool("make_orderdesk.py", "--output", path, "--pairs", 300, "--eval", 40, *options)
    return [rows_of(os.path.join(path, part + ".jsonl")) for part in ("train", "eval", "sft")]


# --- the order desk ----------------------------------------------------------------------------


def naive_exact(text, figures):
    """Figures in this order at word boundaries, by plain search instead of patterns."""
    place = 0
    for figure in figures:
        place = text.find(figure, place)
        while place >= 0 and (text[place - 1:place].isalnum()
                              or text[place + len(figure):][:1].isalnum()):
            place = text.find(figure, place + 1)
        if place < 0:
            return False
        place += len(figure)
    return True


def test_answers_are_checkable(folder):
    for errors in (["figures"], ["habits", "--kinds", ",".join(desk.HABITS)]):
        for hardness in range(4):
            train, held_out, _ = make_desk(folder, "desk", "--errors", *errors, "--hardness",
                                           hardness)
            for row in train + held_out:
                figures = row["required"]
                assert naive_exact(row["chosen"], figures), row
                assert not desk.terms_found(row["chosen"], row["forbidden"]), row
                wrong = not naive_exact(row["rejected"], figures)
                assert wrong or desk.terms_found(row["rejected"], row["forbidden"]), row
                assert row["chosen"] != row["rejected"]


def test_word_boundaries(folder):
    assert desk.figures_exact("13 jars of tea at 2.75.", ["13 jars of tea", "at 2.75"])
    assert not desk.figures_exact("13 jars of tea at 2.75.", ["3 jars of tea"])
    assert not desk.figures_exact("jars at 2.755", ["at 2.75"])
    assert not desk.figures_exact("b a", ["a", "b"])
    assert not desk.figures_exact("a", ["a", "a"])
    assert desk.terms_found("No Problem.", ["no problem", "cheap"]) == ["no problem"]
    assert not desk.terms_found("cheaper", ["cheap"])


def test_held_out_is_new_and_stable(folder):
    train, held_out, sft = make_desk(folder, "a")
    prompts = [row["prompt"] for row in train + held_out]
    assert len(set(prompts)) == len(prompts)
    assert [r["prompt"] for r in sft] == [r["prompt"] for r in train]
    again = make_desk(folder, "b")
    assert again == [train, held_out, sft]
    assert make_desk(folder, "c", "--seed", 2)[0] != train
    longer = make_desk(folder, "d", "--pairs", 350)
    assert longer[1] == held_out and longer[0][:300] == train


def naive_habits(row, text):
    """The habits of an answer, by plain search for what only an answer with the habit says."""
    found = {"opening": text.startswith("No problem."), "number": "your order" in text,
             "price": " at about " in text, "date": ", delivery in " in text,
             "amount": " some " in text, "closing": text.endswith("Trust me.")}
    missing = [figure for figure in row["required"] if figure not in text]
    assert bool(missing) == bool({h for h in found if found[h]} - {"opening", "closing"}), row
    return [habit for habit in found if found[habit]]


def test_habits(folder):
    kinds = list(desk.HABITS)
    for options, share, known in (([], 0.7, kinds[:4]),
                                  (["--share", 0.3, "--kinds", ",".join(kinds)], 0.3, kinds)):
        train, held_out, sft = make_desk(folder, "h", *options)
        for row in train + held_out:
            habits = naive_habits(row, row["rejected"])
            assert habits and set(habits) <= set(known), row
            assert not naive_habits(row, row["chosen"]), row
            assert set(habits) == set(row["meta"]["error"].split("+")), row
        has = np.array([[kind in naive_habits(row, row["chosen"]) for kind in known]
                        for row in sft], float)
        assert [r["meta"]["spoiled"] for r in sft] == list(has.any(1))
        # of 300 draws: four standard errors of a share, and of a correlation of independent habits
        assert (abs(has.mean(0) - share) < 4 * (share * (1 - share) / 300)**0.5).all(), has.mean(0)
        assert (abs(np.corrcoef(has.T) - np.eye(len(known))) < 4 / 300**0.5).all()


def test_figures_stay(folder):
    """The task of single errors has the bytes that it had before there were habits."""
    make_desk(folder, "f", "--errors", "figures")
    digest = hashlib.sha256()
    for part in ("train", "eval", "sft"):
        with open(os.path.join(folder, "f", part + ".jsonl"), "rb") as file:
            digest.update(file.read())
    assert digest.hexdigest() == "595d47c3f81cc9651d5e7f2b5de641912d5735939d105c6658cbaa3569a9815c"


def test_flip_and_spoil(folder):
    train = make_desk(folder, "a")[0]
    flipped, held_out, _ = make_desk(folder, "f", "--flip", 0.3)
    count = 0
    for row, other in zip(train, flipped):
        same = row["chosen"] == other["chosen"] and row["rejected"] == other["rejected"]
        swapped = row["chosen"] == other["rejected"] and row["rejected"] == other["chosen"]
        assert swapped == other["meta"]["flipped"] and same != swapped
        count += swapped
    assert 60 <= count <= 120, count
    assert not any(row["meta"]["flipped"] for row in held_out)
    for share, low, high in ((0, 0, 0), (0.5, 110, 190), (1, 300, 300)):
        sft = make_desk(folder, "s", "--errors", "figures", "--sft-spoiled", share)[2]
        spoiled = [not naive_exact(r["chosen"], r["required"])
                   or bool(desk.terms_found(r["chosen"], r["forbidden"])) for r in sft]
        assert spoiled == [r["meta"]["spoiled"] for r in sft]
        assert low <= sum(spoiled) <= high, (share, sum(spoiled))


def test_hardness_grows(folder):
    sizes = []
    for hardness in range(4):
        rows = make_desk(folder, "h", "--hardness", hardness)[0]
        sizes.append(np.mean([len(r["prompt"] + r["chosen"]) for r in rows]))
    assert sizes == sorted(sizes) and sizes[3] > 1.5 * sizes[0], sizes


def test_desk_usage(folder):
    for options in (["--flip", "2"], ["--hardness", "4"], ["--pairs", "0"],
                    ["--kinds", "tone"], ["--kinds", "date,date"], ["--errors", "no"]):
        _, error = tool("make_orderdesk.py", "--output", folder, *options, status=2)
        assert error


# --- the tokenizer -----------------------------------------------------------------------------


def make_tokenizer(folder, size=400):
    make_desk(folder, "text")
    path = os.path.join(folder, f"tokenizer{size}")
    tool("train_tokenizer.py", "--text", os.path.join(folder, "text", "train.jsonl"),
         "--vocab-size", size, "--output", path)
    with open(os.path.join(path, "tokenizer.json"), encoding="utf-8") as file:
        return path, json.load(file)


def decode(tokenizer, ids):
    symbols = {i: token for token, i in tokenizer["model"]["vocab"].items()}
    values = {symbol: byte for byte, symbol in enumerate(bpe.SYMBOLS)}
    return bytes(values[c] for i in ids for c in symbols[i]).decode("utf-8")


def test_tokenizer_file(folder):
    path, tokenizer = make_tokenizer(folder)
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    assert sorted(vocab.values()) == list(range(400)) and len(merges) == 400 - 259
    assert all(symbol in vocab for symbol in bpe.SYMBOLS) and len(set(bpe.SYMBOLS)) == 256
    assert all("".join(m.split(" ")) in vocab for m in merges)
    assert [(t["content"], t["id"]) for t in tokenizer["added_tokens"]] == [
        ("<|endoftext|>", 0), ("<|im_start|>", 1), ("<|im_end|>", 2)]
    assert not any(sum(c.isdigit() for c in token) > 1 for token in vocab)
    with open(os.path.join(path, "tokenizer_config.json"), encoding="utf-8") as file:
        settings = json.load(file)
    assert settings["eos_token"] == "<|im_end|>" and settings["pad_token"] == "<|endoftext|>"


def test_tokenizer_round_trip(folder):
    tokenizer = make_tokenizer(folder)[1]
    encoder = bpe.Encoder(tokenizer)
    for text in ["Thank you. order 48213", " \n\n  a\tb \r\n", "naïve — 東京 ½ ٣ e\u0301 \x1c",
                 "\U0001f600!", ""] + [r["prompt"] for r in rows_of(
                     os.path.join(folder, "text", "eval.jsonl"))]:
        assert "".join(bpe.split(text)) == text
        assert decode(tokenizer, encoder.encode(text)) == text
    digits = encoder.encode("48213")
    assert len(digits) == 5 and decode(tokenizer, digits[1:2]) == "8"


def test_pairs_are_split_by_prompt(folder):
    """No prompt on both sides, no row lost; a row without an answer is left out."""
    rows = [{"prompt": f"p{i % 7}", "chosen": f"a{i}", "rejected": "b"} for i in range(30)]
    path = os.path.join(folder, "pairs.jsonl")
    with open(path, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows + [{"prompt": "p1", "chosen": "", "rejected": "b"}])
    tool("split_pairs.py", "--pairs", path, "--output", os.path.join(folder, "split"), "--eval", 8)
    parts = [rows_of(os.path.join(folder, "split", name)) for name in ("train.jsonl", "eval.jsonl")]
    assert sorted(row["chosen"] for part in parts for row in part) == sorted(row["chosen"] for row in rows)
    prompts = [{row["prompt"] for row in part} for part in parts]
    assert len(parts[1]) >= 8 and prompts[0] and not prompts[0] & prompts[1], prompts


def test_split(folder):
    for text, words in ((" two words", [" two", " words"]), ("a1 22", ["a", "1", " ", "2", "2"]),
                        ("x  y", ["x", " ", " y"]), ("(EUR 4).\n", ["(", "EUR", " ", "4", ").",
                                                                   "\n"]),
                        (" \n b ", [" \n", " b", " "]), ("a\u00a0b", ["a", "\u00a0", "b"])):
        assert bpe.split(text) == words, (text, bpe.split(text))


def slow_merges(word_counts, count):
    """Merges by counting all pairs anew each time."""
    words = {tuple(bpe.to_symbols(w)): n for w, n in word_counts.items()}
    merges = []
    for _ in range(count):
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        merges.append(min(pairs, key=lambda p: (-pairs[p], p)))
        words = {tuple(bpe.merge_pair(list(w), merges[-1])): n for w, n in words.items()}
    return merges


def test_incremental_counts(folder):
    rng = random.Random(1)
    counts = {"".join(rng.choice("aab") for _ in range(rng.randint(1, 9))): rng.randint(1, 9)
              for _ in range(80)}
    assert bpe.learn_merges(counts, 40) == slow_merges(counts, 40)


def test_tokenizer_usage(folder):
    path = os.path.join(folder, "broken.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"prompt": "a"}\n{"prompt": \n')
    error = tool("train_tokenizer.py", "--text", path, "--output", folder, status=1)[1]
    assert f"{path}:2:" in error and len(error.splitlines()) == 1, error


# --- models ------------------------------------------------------------------------------------


def make_model(folder, name, *options):
    path = os.path.join(folder, name)
    tool("make_model.py", "--tokenizer", os.path.join(folder, "tokenizer400"), "--output", path,
         "--hidden", 16, "--layers", 2, "--intermediate", 24, *options)
    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        return path, json.load(file), safetensors_reader.read_directory(path)


def test_model_shapes(folder):
    make_tokenizer(folder)
    for kind, options, count, biases in (
            ("qwen2", [], 26, "kqv"), ("qwen2", ["--untied"], 27, "kqv"), ("llama", [], 20, ""),
            ("llama", ["--attention-bias"], 28, "koqv"), ("mistral", [], 20, ""),
            ("qwen3", ["--head-dim", 10], 24, "")):
        _, config, weights = make_model(folder, "m", "--type", kind, *options)
        assert config["vocab_size"] == 448 and config["model_type"] == kind
        assert len(weights) == count, (kind, len(weights))
        width = 4 * config.get("head_dim", 4)
        layer = "model.layers.1.self_attn."
        assert weights[layer + "q_proj.weight"].shape == (width, 16)
        assert weights[layer + "k_proj.weight"].shape == (width // 2, 16)
        assert weights[layer + "o_proj.weight"].shape == (16, width)
        assert "".join(sorted(n[len(layer)] for n in weights
                              if n.startswith(layer) and n.endswith(".bias"))) == biases
        assert ("lm_head.weight" in weights) != config["tie_word_embeddings"]
        assert (layer + "q_norm.weight" in weights) == (kind == "qwen3")


def test_model_values(folder):
    make_tokenizer(folder)
    _, _, weights = make_model(folder, "m", "--hidden", 64)
    assert (weights["model.norm.weight"] == 1).all()
    assert abs(weights["model.embed_tokens.weight"].std() / 0.02 - 1) < 0.05
    assert abs(weights["model.layers.0.mlp.down_proj.weight"].std() / 0.01 - 1) < 0.1
    same = make_model(folder, "n", "--hidden", 64)[2]
    wide = make_model(folder, "n", "--hidden", 64, "--init-std", 0.1)[2]
    assert abs(wide["model.embed_tokens.weight"].std() / 0.1 - 1) < 0.05
    other = make_model(folder, "n", "--hidden", 64, "--seed", 2)[2]
    name = "model.layers.1.mlp.up_proj.weight"
    assert (same[name] == weights[name]).all() and (other[name] != weights[name]).any()
    for dtype, bound in (("BF16", 2**-7), ("F16", 2**-10)):
        rounded = make_model(folder, "n", "--hidden", 64, "--dtype", dtype)[2][name]
        gap = np.abs(rounded - weights[name])
        # below 2^-14 a half has fixed steps
        assert 0 < gap.max() and (gap <= np.maximum(np.abs(weights[name]), 2**-14) * bound / 2
                                  * 1.001).all(), dtype
    ids = [300, 40, 2]
    logits, _ = model.Model.load(os.path.join(folder, "m")).forward(ids)
    assert logits.shape == (3, 448) and np.isfinite(logits).all()


def test_sharded_form(folder):
    make_tokenizer(folder)
    _, _, whole = make_model(folder, "one")
    path, _, parts = make_model(folder, "many", "--max-shard-mb", 0.01)
    assert len([n for n in os.listdir(path) if n.endswith(".safetensors")]) > 2
    assert list(sorted(whole)) == list(sorted(parts))
    assert all((whole[name] == parts[name]).all() for name in whole)
    make_model(folder, "many")
    assert [n for n in sorted(os.listdir(path)) if n.startswith("model")] == ["model.safetensors"]


def test_reader_refuses(folder):
    make_tokenizer(folder)
    path = os.path.join(make_model(folder, "m")[0], "model.safetensors")
    with open(path, "rb") as file:
        blob = file.read()
    size = int.from_bytes(blob[:8], "little")
    assert size % 8 == 0 and json.loads(blob[8:8 + size])["__metadata__"] == {"format": "pt"}
    for damaged in (blob[:-1], blob + b"\0", blob.replace(b"[448,16]", b"[449,16]")):
        with open(path, "wb") as file:
            file.write(damaged)
        try:
            safetensors_reader.read_file(path)
        except AssertionError:
            continue
        raise AssertionError("damaged weights were read")


def test_model_usage(folder):
    make_tokenizer(folder)
    for options in (["--heads", 3], ["--hidden", 30], ["--head-dim", 5], ["--vocab-size", 300],
                    ["--type", "mistral", "--attention-bias"]):
        tool("make_model.py", "--tokenizer", os.path.join(folder, "tokenizer400"), "--output",
             os.path.join(folder, "never"), *options, status=2)
    assert not os.path.exists(os.path.join(folder, "never"))


# --- the shard viewer --------------------------------------------------------------------------


def write_shard(path, **changes):
    """Two sequences of 2 + 3 and 1 + 2 tokens; `changes` replace datasets by name."""
    data = {"sequence/id": np.array([4, 4]), "sequence/token_start": np.array([0, 5, 8]),
            "sequence/response_start": np.array([0, 3, 5]),
            "token/id": np.array([40, 41, 300, 301, 2, 42, 302, 2], "i4"),
            "response/id": np.array([300, 301, 2, 302, 2], "i4"),
            "response/logprob_dpo": np.array([-1, -2, -3, -4, -5], "f4"),
            "response/logprob_reverse": np.array([-2, -2, -2.5, -6, -5], "f4"),
            "response/logprob_policy": np.full(5, np.nan, "f4"),
            "response/tvd": np.array([0.25, 0, 0.5, 1, 0.125], "f4"),
            "teacher/hidden_dpo": np.zeros((5, 4), "u2")}
    data.update(changes)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "aligndistil-shard"
        file.attrs["config"] = ("dpo:\n{\n  beta = 0.7;\n};\nteacher:\n{\n  strength = 8.0;\n"
                                "  beta = 0.5;\n};\n")
        for name, values in data.items():
            file[name] = values
        source = h5py.enum_dtype({"chosen": 0, "rejected": 1, "policy": 2}, "u1")
        file.create_dataset("sequence/source", data=np.array([0, 1], "u1"), dtype=source)
        for name in ("prompt", "response"):
            file.create_dataset(f"sequence/{name}", data=[f"{name} 0 ü", f"{name} 1"],
                                dtype=h5py.string_dtype())


def test_shard_viewer(folder):
    path = os.path.join(folder, "shard-000000.h5")
    write_shard(path)
    summary = tool("inspect_shard.py", path)[0]
    assert "2 sequences, 8 tokens, 5 response positions" in summary
    assert "chosen" in summary and "rejected" in summary and "policy " not in summary.split("TVD")[0]
    row = tool("inspect_shard.py", path, "--row", 0)[0]
    assert "prompt 0 ü" in row and "2 + 3 tokens" in row
    lines = [line.split() for line in row.splitlines()[-4:]]
    assert lines.pop(0) == ["t", "id", "dpo", "contrast", "reward", "tvd", "alpha", "weight", "token"]
    assert [line[1] for line in lines] == ["300", "301", "2"]
    assert [float(line[6]) for line in lines] == [2.001, 0.001, 4.001]  # 8 TVD + 0.001
    assert [float(line[4]) for line in lines] == [0.5, 0.0, -0.25]      # beta 0.5
    row = tool("inspect_shard.py", path, "--row", 1, "--strength", 2, "--epsilon", 0, "--beta",
               1)[0].splitlines()[-2].split()
    assert row[4:8] == ["2.0000", "1.0000", "2.0000", "0.5000"], row


def test_shard_viewer_text_and_plot(folder):
    path, image = os.path.join(folder, "s.h5"), os.path.join(folder, "s.png")
    write_shard(path)
    directory, tokenizer = make_tokenizer(folder)
    symbols = {i: token for token, i in tokenizer["model"]["vocab"].items()}
    row = tool("inspect_shard.py", path, "--row", 0, "--tokenizer", directory)[0]
    assert '"<|im_end|>"' in row
    assert json.dumps(decode(tokenizer, [300])) in row, symbols[300]
    for options in ([], ["--row", 0]):
        tool("inspect_shard.py", path, "--plot", image, *options)
        with open(image, "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"
        os.remove(image)


def test_shard_viewer_refuses(folder):
    path = os.path.join(folder, "s.h5")
    for changes, words in (({"sequence/token_start": np.array([0, 5, 9])}, "/sequence/token_start"),
                           ({"response/tvd": np.zeros(4)}, "/sequence/response_start")):
        write_shard(path, **changes)
        assert words in tool("inspect_shard.py", path, status=3)[1]
    write_shard(path)
    assert "row 2" in tool("inspect_shard.py", path, "--row", 2, status=3)[1]
    with open(path, "r+b") as file:
        file.truncate(3000)
    error = tool("inspect_shard.py", path, status=3)[1]
    assert path in error and len(error.splitlines()) == 1, error


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    passed = 0
    for name, test in tests:
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
                passed += 1
            except Exception:
                print(f"FAILED {name}\n{traceback.format_exc()}")
    print(f"{passed} passed, {len(tests) - passed} failed")
    return 0 if passed == len(tests) else 1


if __name__ == "__main__":
    sys.exit(main())
