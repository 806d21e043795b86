#!/usr/bin/python3
"""Writes pairs of made-up text with planted defects, for the audit's test and its measurement:

    tests/data/make_defects.py OUTPUT.jsonl ROWS [--seed N] [--eval EVAL.jsonl]

Rows are of random words, so that nothing repeats by chance; every 50th has a defect, in turn of the list
DEFECTS. `rows_with_defects` gives the rows and, for each reason, the lines that were planted."""
import argparse
import json
import random

SYLLABLES = ["ba", "ce", "di", "fo", "gu", "ha", "ke", "li", "mo", "nu", "pa", "re", "si", "to", "vu", "wa",
             "xe", "yi", "zo", "bra", "cle", "dri", "flo", "gru"]


def word(random_):
    return "".join(random_.choice(SYLLABLES) for _ in range(random_.randint(2, 4)))


def sentence(random_, words):
    return " ".join(word(random_) for _ in range(words)).capitalize() + "."


def plain(random_):
    return {"prompt": sentence(random_, random_.randint(15, 30)),
            "chosen": " ".join(sentence(random_, 12) for _ in range(random_.randint(2, 6))),
            "rejected": " ".join(sentence(random_, 12) for _ in range(random_.randint(2, 6)))}


def changed(text, random_):
    """A text of 120 words with one replaced: 5 of its 5-grams are others."""
    words = text.split(" ")
    words[len(words) // 2] = word(random_) + "q"
    return " ".join(words)


def long_row(random_):
    return {"prompt": sentence(random_, 40), "chosen": sentence(random_, 40), "rejected": sentence(random_, 40)}


# Each gives rows of a defect, and the reasons that they have: {reason: places among these rows}.

def duplicate_pair(random_):
    row = plain(random_)
    return [row, dict(row)], {"duplicate-pair": [1], "duplicate-prompt": [1]}


def near_duplicate(random_):
    row = long_row(random_)
    other = {**row, "prompt": changed(row["prompt"], random_)}
    return [row, other], {"near-duplicate": [1]}


def duplicate_prompt(random_):
    row = plain(random_)
    return [row, {**plain(random_), "prompt": row["prompt"]}], {"duplicate-prompt": [1]}


def contradiction(random_):
    row = plain(random_)
    return [row, {**row, "chosen": row["rejected"], "rejected": row["chosen"]}], \
        {"contradiction": [0, 1], "duplicate-prompt": [1], "near-duplicate": [1]}


def same_answers(random_):
    row = plain(random_)
    return [{**row, "rejected": row["chosen"]}], {"same-answers": [0]}


def empty(random_):
    return [{**plain(random_), "rejected": " \n"}], {"empty": [0]}


def wrong_roles(random_):
    turns = [{"role": "user", "content": sentence(random_, 20)} for _ in range(2)]
    return [{**plain(random_), "prompt": turns}], {"wrong-roles": [0]}


def unfinished(random_):
    row = plain(random_)
    return [{**row, "chosen": row["chosen"][:-1] + " and then"}], {"unfinished": [0]}


def repeated(random_):
    return [{**plain(random_), "chosen": sentence(random_, 6) * 1 + (" " + sentence(random_, 8)) * 1 +
             " so it goes on and on and on." * 12}], {"repeated-text": [0]}


def scripts(random_):
    return [{**plain(random_), "rejected": "Это совсем другой язык, и его никто не просил."}], \
        {"scripts-differ": [0]}


def refusal(random_):
    row = plain(random_)
    return [{**row, "chosen": "I’m sorry, but that is not for me. " + row["chosen"]}], {"refusal": [0]}


def forbidden(random_):
    row = plain(random_)
    return [{**row, "chosen": row["chosen"] + " Dear customer.", "forbidden": ["dear Customer"]}], \
        {"forbidden-term": [0]}


def figures(random_):
    return [{**plain(random_), "required": ["17", "4.60"]}], {"figures": [0]}


def email(random_):
    row = plain(random_)
    return [{**row, "prompt": row["prompt"] + " Write to jo.doe@mail.example.org."}], {"email": [0]}


def phone(random_):
    row = plain(random_)
    return [{**row, "rejected": row["rejected"] + " Call +49 30 901820 or so."}], {"phone": [0]}


def card(random_):
    row = plain(random_)
    return [{**row, "chosen": row["chosen"] + " Pay by 4111-1111-1111-1111."}], {"card": [0]}


def iban(random_):
    row = plain(random_)
    return [{**row, "chosen": row["chosen"] + " Send it to GB82 WEST 1234 5698 7654 32 NOW."}], {"iban": [0]}


DEFECTS = [duplicate_pair, near_duplicate, duplicate_prompt, contradiction, same_answers, empty, wrong_roles,
           unfinished, repeated, scripts, refusal, forbidden, figures, email, phone, card, iban]


def rows_with_defects(count, seed=1, every=50):
    """(iterator over `count` rows or one more, {reason: lines from 1}), which is full at the end."""
    planted = {}

    def make():
        random_ = random.Random(seed)
        done = turn = 0
        while done < count:
            rows = [plain(random_)]
            if done // every > turn:
                rows, reasons = DEFECTS[turn % len(DEFECTS)](random_)
                turn += 1
                for reason, places in reasons.items():
                    planted.setdefault(reason, []).extend(done + 1 + place for place in places)
            yield from rows
            done += len(rows)
    return make(), planted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("rows", type=int)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rows, planted = rows_with_defects(arguments.rows, arguments.seed)
    with open(arguments.output, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    for reason, lines in sorted(planted.items()):
        print(reason, len(lines))


if __name__ == "__main__":
    main()
