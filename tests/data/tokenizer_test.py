#!/usr/bin/python3
"""Tokenizer components: small tokenizers of ours, ids and decoded text as Hugging Face's library
(npm tokenizers 0.23.2, see tokenizer_reference.js) has them; limits, large and broken input."""
import os
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

import random
import unicodedata

import tokenizer_cases as cases  # noqa: E402

sys.path.insert(0, TOOLS)
from train_tokenizer import SYMBOLS  # noqa: E402

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def lines(model, rows, *words):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    out = run("tokenize", model, *words, stdin=text).out
    return [json.loads(line) for line in out.split("\n") if line]


def directory(folder, tokenizer):
    write(f"{folder}/tokenizer.json", json.dumps(tokenizer))
    return folder


@test
def components_against_the_reference(folder):
    expected = read_json(os.path.abspath(__file__ + "/../tokenizer_expected.json"))
    assert list(expected) == list(cases.ALL)
    wrong = []
    for number, (name, tokenizer) in enumerate(cases.ALL.items()):
        model = directory(f"{folder}/{number}", tokenizer)
        assert len(expected[name]) == len(cases.TEXTS)
        ids = [row["ids"] for row in lines(model, [{"text": t} for t in cases.TEXTS], "--jsonl")]
        texts = [row["text"] for row in lines(model, [{"ids": i} for i in ids], "--decode")]
        for text, mine, back, theirs in zip(cases.TEXTS, ids, texts, expected[name]):
            if [mine, back] != theirs:
                wrong.append(f"{name}: {text!r}:\n  {mine} {back!r}\n  {theirs}")
    assert not wrong, "\n".join([f"{len(wrong)} differ", *wrong[:40]])


# --- long input --------------------------------------------------------------------------------


def byte_level(normalizer=None, merges=(("a", "a"), ("aa", "aa"))):
    """Every byte has its symbol."""
    level = {**cases.LEVEL, "add_prefix_space": False, "use_regex": False}
    return cases.make(normalizer, level, level, letters=cases.LETTERS + SYMBOLS, merges=merges)


@test
def normal_forms_of_long_runs(folder):
    """The same as Python's, however many marks are in a row, and in no quadratic time."""
    chance = random.Random(5)
    marks = "\u0301\u0327\u0344\u0345\u0f73\u0f71\u0f72\u093c\u0323\u030a"
    rows = ["a" + "".join(chance.choice(marks) for _ in range(n)) + "b\u00c5\u0323" +
            "".join(chance.choice(marks) for _ in range(n // 2)) for n in (1, 3, 60, 70, 500)]
    rows += ["\u0301" * 200, "a" + marks * 30 + "\uac00\u11a8", "\u00e9" + marks * 20]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        model = directory(f"{folder}/{form}", byte_level({"type": form}))
        ids = lines(model, [{"text": row} for row in rows], "--jsonl")
        texts = [row["text"] for row in lines(model, ids, "--decode")]
        for row, text in zip(rows, texts):
            assert text == unicodedata.normalize(form, row), (form, row[:40], len(row))
        long = write(f"{folder}/marks.txt", "a" + "\u0301\u0327\u0f73" * 100000)
        run("tokenize", model, long, "--count", timeout=20)


@test
def a_megabyte_of_one_letter(folder):
    for name, tokenizer in (("bytes", byte_level()), ("fallback", cases.ALL["llama2"]),
                            ("metaspace", cases.ALL["metaspace"])):
        model = directory(f"{folder}/long {name}", tokenizer)
        for letter in "a! \n":
            text = write(f"{folder}/long.txt", letter * 2000000)
            count = int(run("tokenize", model, text, "--count", timeout=20).out)
            assert 0 < count <= 2000001, (name, letter, count)
            if letter == "a":
                assert count - 500000 in (0, 1), (name, count)


@test
def patterns_that_blow_up_are_stopped(folder):
    wild = {"Regex": "(x+x+)+(y|z)"}
    for name, tokenizer in (("split", cases.make(None, cases.split(wild, "Isolated"))),
                            ("replace", cases.make(cases.replace(wild, "")))):
        model = directory(f"{folder}/wild {name}", tokenizer)
        for n in (40, 400000):
            done = run("tokenize", model, stdin=b"x" * n, code=3, timeout=20)
            assert len(done.errors) == 1 and "match limit exceeded" in done.errors[0], done
        assert lines(model, [{"text": "xxxy"}], "--jsonl")


@test
def pieces_of_characters(folder):
    """A character's bytes one at a time: nothing whole, and all of it together."""
    text = "\u65e5\U0001f469"
    for name, tokenizer in (("level", byte_level()), ("fallback", cases.ALL["nfc"])):
        tokenizer = {**tokenizer, "decoder": tokenizer["decoder"] if name == "level" else
                     cases.FALLBACK}
        model = directory(f"{folder}/part {name}", tokenizer)
        ids = lines(model, [{"text": "\U0001f469"}], "--jsonl")[0]["ids"]
        assert len(ids) == 4
        for n in (1, 2, 3):
            part = lines(model, [{"ids": ids[:n]}], "--decode")[0]["text"]
            assert part == "\ufffd" * n, (name, part)
        ids = lines(model, [{"text": text}], "--jsonl")
        assert lines(model, ids, "--decode") == [{"text": text}]


# --- what is refused ---------------------------------------------------------------------------


def nested(by, times, decoder=False):
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": by}
    return {"type": "Sequence", "decoders" if decoder else "normalizers": [step] * times}


@test
def replacing_is_bounded(folder):
    """A few bytes that would become gigabytes are refused, whoever multiplies them."""
    tokenizer = dict(cases.ALL["unknown"])
    for key, component, code in (("normalizer", nested("a" * 50, 4), 3),
                                 ("normalizer", nested("a" * 1000000, 16), 3),
                                 ("normalizer", nested("aa", 5), 0),
                                 ("decoder", nested("a" * 50, 8, True), 3),
                                 ("decoder", nested("aa", 5, True), 0)):
        model = directory(f"{folder}/wide", {**tokenizer, key: component})
        words = ["--decode"] if key == "decoder" else []
        ids = json.loads(run("tokenize", directory(f"{folder}/plain", tokenizer), "--jsonl",
                             stdin=b'{"text": "a"}').out)["ids"]
        stdin = json.dumps({"ids": ids}).encode() if words else b"aaaaa"
        done = run("tokenize", model, *words, stdin=stdin, code=code)
        assert code == 0 or "a Replace of the tokenizer makes more than" in done.errors[0], done




@test
def unsupported_components_are_named(folder):
    pair = [{"type": "NFC"}]
    for changes, words in (
            ({"normalizer": {"type": "BertNormalizer"}}, ["normalizer.type", "BertNormalizer"]),
            ({"normalizer": {"type": "Prepend"}}, ["normalizer.prepend"]),
            ({"normalizer": {"type": "Replace", "pattern": {}, "content": ""}},
             ["normalizer.pattern"]),
            ({"normalizer": {"type": "NFC", "more": 1}}, ["normalizer.more"]),
            ({"normalizer": {"type": "Sequence", "normalizers": pair * 17}}, ["more than 16"]),
            ({"pre_tokenizer": {"type": "UnicodeScripts"}}, ["pre_tokenizer.type"]),
            ({"pre_tokenizer": {"type": "Metaspace", "replacement": "ab"}}, ["replacement"]),
            ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_",
                                "prepend_scheme": "last"}}, ["prepend_scheme", "last"]),
            ({"pre_tokenizer": {"type": "Punctuation", "behavior": "Gone"}}, ["behavior", "Gone"]),
            ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "invert": False,
                                "behavior": "Isolated"}}, ["pre_tokenizer.pattern"]),
            ({"decoder": {"type": "WordPiece"}}, ["decoder.type", "WordPiece"]),
            ({"decoder": {"type": "Strip", "content": "ab", "start": 1, "stop": 0}}, ["Strip"]),
            ({"post_processor": {"type": "BertProcessing"}}, ["post_processor.type"]),
            ({"model": {"type": "WordPiece"}}, ["model.type", "WordPiece"]),
            ({"model": {"dropout": 0.1}}, ["model.dropout 0.1"]),
            ({"model": {"unk_token": "<none>"}}, ["model.unk_token", "<none>"]),
            ({"model": {"end_of_word_suffix": "</w>"}}, ["end_of_word_suffix", "</w>"]),
            ({"model": {"merges": [["h", "z\u00e7"]]}}, ["model.merges[0]"])):
        tokenizer = dict(cases.ALL["unknown"])
        for key, value in changes.items():
            tokenizer[key] = {**tokenizer["model"], **value} if key == "model" else value
        done = run("tokenize", directory(f"{folder}/bad", tokenizer), stdin=b"hello", code=3)
        assert len(done.errors) == 1 and "tokenizer.json" in done.errors[0], done
        for word in words:
            assert word in done.errors[0], (word, done.errors)


if __name__ == "__main__":
    main(TESTS)
