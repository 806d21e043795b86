#!/usr/bin/python3
"""Tokenizer components: small tokenizers of ours, ids and decoded text as the reference library
(npm tokenizers 0.23.2, see tokenizer_reference.js) has them; limits, large and broken input."""
from harness import *  # noqa: F403

import tokenizer_cases as cases

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def lines(model, rows, *words):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return [json.loads(line) for line in run("tokenize", model, *words, stdin=text).out.splitlines()]


def directory(folder, tokenizer):
    write(f"{folder}/tokenizer.json", json.dumps(tokenizer))
    return folder


@test
def components_against_the_reference(folder):
    expected = read_json(os.path.join(HERE, "tokenizer_expected.json"))
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


if __name__ == "__main__":
    main(TESTS)
