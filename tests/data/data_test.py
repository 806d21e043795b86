#!/usr/bin/python3
"""Data files: every layout against expectations written by hand, real files against a short Python
reading, what is left out and why, what is damaged, and the same rows on any number of ranks."""
import gzip
import os
import re
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

import data_rows  # noqa: E402 (harness knows where the tools are)
import render_chat as renderer  # noqa: E402

INPUT = 3
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def user(text):
    return {"role": "user", "content": text}


def bot(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


# --- what the program reads: prompts and answers, skips by reason -------------------------------

CHATML = """{% for m in messages %}<|im_start|>{{ m.role ~ '\n' ~ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"""


def prepare(folder):
    make_tokenizer(f"{folder}/bytes", ["<|im_start|>", "<|im_end|>"])


def masks(model, path, *words):
    """(rows of {"ids", "mask"}, the line about rows read and used)."""
    done = run("tokenize", model, path, "--mask", *words)
    line, = [line for line in done.err.splitlines() if " rows, " in line]
    return [json.loads(line) for line in done.out.splitlines()], line


def counts_of(line):
    """(rows, used, {reason: (count, first)}) of that line."""
    rows, used = re.search(r": (\d+) rows, (\d+) used", line).groups()
    skips = re.findall(r"(\d+) ([a-z' ]+) \(first: (?:line|item) (\d+)\)", line)
    return int(rows), int(used), {why: (int(n), int(first)) for n, why, first in skips}


def decoded(model, lists):
    lines = "".join(json.dumps({"ids": ids}) + "\n" for ids in lists).encode()
    out = run("tokenize", model, "--decode", stdin=lines).out
    return [json.loads(line)["text"] for line in out.splitlines()]


def texts(model, path, *words):
    """[(prompt, answer)] as text, and the counts."""
    rows, line = masks(model, path, "--chat-format", "chatml", *words)
    parts = [[i for i, m in zip(row["ids"], row["mask"]) if m == part]
             for row in rows for part in (0, 1)]
    flat = decoded(model, parts)
    return list(zip(flat[::2], flat[1::2])), counts_of(line)


def chatml(messages):
    return renderer.make_environment().from_string(CHATML).render(messages=messages,
                                                                  add_generation_prompt=True)


def expected(rows, answer):
    """As `texts` has them, of rows (prompt messages, chosen, rejected)."""
    return [(chatml(row[0]), row[answer] + "<|im_end|>") for row in rows]


# --- the layouts ---------------------------------------------------------------------------------

TEA = [user("Tea?")]
BRIEF = system("Be brief.")
LONG = [BRIEF, user("Tea?"), bot("Yes."), user("Milk?")]
PAIR = {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}


def gpt(text):
    return {"from": "gpt", "value": text}


def human(text):
    return {"from": "human", "value": text}


def hh(*turns):
    names = ("\n\nHuman:", "\n\nAssistant:")
    return "".join(names[i % 2] + " " + turn for i, turn in enumerate(turns))


# layout: (rows, [(prompt, chosen, rejected)], {reason: (count, index of the first)})
LAYOUTS = {
    "pairs": (
        [PAIR, {**PAIR, "chosen": "", "rejected": ""},
         {"prompt": LONG, "chosen": [bot("Some")], "rejected": [*LONG, bot("None")], "id": "x"},
         {"prompt": [], "chosen": "a", "rejected": "b"},
         {"prompt": TEA, "chosen": [user("a"), bot("b")], "rejected": [user("a"), bot("c")]},
         {"prompt": TEA, "chosen": [user("a")], "rejected": [user("a")]},
         {**PAIR, "chosen": "Same", "rejected": "Same"},
         {**PAIR, "system": "Be brief."},
         {"prompt": LONG, "chosen": [bot("a")], "rejected": [bot("b")], "system": "Be long."},
         {"prompt": TEA, "system": "Be brief.", "chosen": [*TEA, bot("a")], "rejected": "b"},
         {"prompt": [*TEA, bot("Ye")], "chosen": "s.", "rejected": "t."},
         {**PAIR, "response": "Perhaps.", "system": ""}],
        [(TEA, "Yes.", "No."), (LONG, "Some", "None"), (TEA, "Same", "Same"),
         ([BRIEF, *TEA], "Yes.", "No."), (LONG, "a", "b"), ([BRIEF, *TEA], "a", "b"),
         (TEA, "Yes.", "No.")],
        {"empty answer": (1, 1), "empty prompt": (1, 3), "prompts that differ": (1, 4),
         "no assistant turn at the end": (1, 5), "an answer that the prompt begins": (1, 10)}),
    "implicit": (
        [{"chosen": [*LONG, bot("Some")], "rejected": [*LONG, bot("None")]},
         {"chosen": [*TEA, bot("Same")], "rejected": [*TEA, bot("Same")], "score_chosen": 1.0},
         {"chosen": [*TEA, bot("a"), user("b")], "rejected": [*TEA, bot("a"), user("c")]},
         {"chosen": [*TEA, bot("a"), user("b"), bot("c")], "rejected": [*TEA, bot("d")]},
         {"chosen": [*TEA, bot("a")], "rejected": [user("Coffee?"), bot("b")]},
         {"chosen": [bot("a")], "rejected": [bot("b")]},
         {"chosen": [], "rejected": [*TEA, bot("b")]}],
        [(LONG, "Some", "None"), (TEA, "Same", "Same")],
        {"no assistant turn at the end": (2, 2), "prompts that differ": (2, 3),
         "empty prompt": (1, 5)}),
    "hh": (
        [{"chosen": "", "rejected": ""},
         {"chosen": hh("Tea?", "Yes."), "rejected": hh("Tea?", "No.\n\nNever.")},
         {"chosen": hh("Tea?", "Yes.", "\u00a0 Milk? \n", "Some"),
          "rejected": hh("Tea?", "Yes.", "Milk?", " None ")},
         {"chosen": hh("Tea?", "Yes."), "rejected": hh("Tea?", "")},
         {"chosen": hh("Tea?", "Yes."), "rejected": hh("Tea?", "Yes. ")},
         {"chosen": hh("Tea?", "Yes."), "rejected": hh("Coffee?", "Yes.")},
         {"chosen": hh("Tea?", "Yes."), "rejected": hh("Tea?", "Yes.", "Milk?", "No.")},
         {"chosen": hh("Tea?", "Yes.", "Milk?"), "rejected": hh("Tea?", "Yes.", "Sugar?")},
         {"chosen": hh("Tea?", "Yes.") + "\n\nAssistant: Milk?", "rejected": hh("Tea?", "No.")},
         {"chosen": hh("Tea?", "Yes."), "rejected": "Well" + hh("Tea?", "No.")},
         {"chosen": hh("Tea?", "Yes."), "rejected": ""}],
        [(TEA, "Yes.", "No.\n\nNever."),
         ([*TEA, bot("Yes."), user("Milk?")], "Some", "None")],
        {"empty answer": (1, 3), "same answers": (1, 4), "prompts that differ": (2, 5),
         "no assistant turn at the end": (3, 0), "roles that don't alternate": (2, 8)}),
    "ultrafeedback": (
        [{"prompt": "Tea?", "chosen": [*TEA, bot("Yes.")], "rejected": [*TEA, bot("No.")],
          "messages": [*TEA, bot("Yes.")], "score_chosen": 7.5, "score_rejected": 7.5},
         {"prompt": "Tea?", "chosen": [*TEA, bot("")], "rejected": [*TEA, bot("")],
          "score_chosen": 7, "score_rejected": 6.0},
         {"prompt": "Tea?", "chosen": [user("Tea"), bot("a")], "rejected": [user("Tea"), bot("b")]},
         {"prompt": "Milk?", "chosen": [*LONG, bot("Some")], "rejected": [*LONG, bot("None")]},
         {"prompt": "Tea?", "chosen": [BRIEF, *TEA, bot("a")], "rejected": [BRIEF, *TEA, bot("b")],
          "system": "Be brief."},
         {"prompt": "Tea?", "chosen": "c", "rejected": [BRIEF, *TEA, bot("d")]}],
        [(TEA, "Yes.", "No."), (LONG, "Some", "None"), ([BRIEF, *TEA], "a", "b"),
         ([BRIEF, *TEA], "c", "d")],
        {"empty answer": (1, 1), "prompts that differ": (1, 2)}),
    "sharegpt": (
        [{"conversations": [human("Tea?")], "chosen": gpt("Yes."), "rejected": gpt("No.")},
         {"conversations": [human("Tea?"), gpt("Yes."), human("Milk?")], "chosen": gpt("Some"),
          "rejected": gpt("None"), "system": "Be brief."},
         {"conversations": [{"from": "system", "value": "Be brief."}, human("Tea?")],
          "chosen": gpt(" Yes "), "rejected": gpt("No")},
         {"conversations": [human("Tea?"), human("Tea?")], "chosen": gpt("a"), "rejected": gpt("b")},
         {"conversations": [human("Tea?"), gpt("Yes.")], "chosen": gpt("a"), "rejected": gpt("b")},
         {"conversations": [{"from": "observation", "value": "Tea?"}], "chosen": gpt("a"),
          "rejected": gpt("b")},
         {"conversations": [human("Tea?")], "chosen": human("a"), "rejected": human("b")},
         {"conversations": [], "chosen": gpt("a"), "rejected": gpt("b")},
         {"conversations": [human("Tea?")], "chosen": gpt(""), "rejected": gpt("")},
         {"conversations": [{"from": "system", "value": "Be brief."}, human("Tea?")],
          "system": "Be long.", "chosen": gpt("a"), "rejected": gpt("b")}],
        [(TEA, "Yes.", "No."), (LONG, "Some", "None"), ([BRIEF, *TEA], " Yes ", "No"),
         ([BRIEF, *TEA], "a", "b")],
        {"roles that don't alternate": (3, 3), "no assistant turn at the end": (1, 6),
         "empty prompt": (1, 7), "empty answer": (1, 8)}),
    "alpaca": (
        [{"instruction": "Tea?", "input": "", "chosen": "Yes.", "rejected": "No."},
         {"instruction": "Add", "input": "1 and 2", "output": ["3", "4"]},
         {"instruction": "Milk?", "system": "Be brief.", "history": [["Tea?", "Yes."]],
          "chosen": "Some", "rejected": "None"},
         {"instruction": "Tea?", "output": ["", ""]}],
        [(TEA, "Yes.", "No."), ([user("Add\n1 and 2")], "3", "4"), (LONG, "Some", "None")],
        {"empty answer": (1, 3)}),
    "messages": (
        [{"messages": [*TEA], "chosen": "Yes.", "rejected": "No."},
         {"messages": LONG, "chosen": "Some", "rejected": "None", "system": "Be long."},
         {"messages": [], "chosen": "a", "rejected": "b"}],
        [(TEA, "Yes.", "No."), (LONG, "Some", "None")], {"empty prompt": (1, 2)}),
}
# layout: the same without second answers
SINGLE = {
    "messages": (
        [{"messages": [*TEA, bot("Yes.")]},
         {"messages": [*LONG, bot("Some")], "prompt": "Tea?", "prompt_id": "x"},
         {"messages": [*TEA, bot("Yes.")], "system": "Be brief."},
         {"messages": TEA}, {"messages": [bot("a")]}, {"messages": [*TEA, bot("")]}],
        [(TEA, "Yes."), (LONG, "Some"), ([BRIEF, *TEA], "Yes.")],
        {"no assistant turn at the end": (1, 3), "empty prompt": (1, 4), "empty answer": (1, 5)}),
    "completion": (
        [{"prompt": "Tea?", "completion": "Yes."}, {"prompt": LONG, "completion": [bot("Some")]},
         {"prompt": "Tea?", "completion": "Yes.", "label": True, "system": "Be brief."},
         {"prompt": "Tea?", "completion": "No.", "label": False}],
        [(TEA, "Yes."), (LONG, "Some"), ([BRIEF, *TEA], "Yes.")],
        {"labelled as not wanted": (1, 3)}),
    "sharegpt": ([{"conversations": [human("Tea?"), gpt("Yes.")]}], [(TEA, "Yes.")], {}),
    "alpaca": (
        [{"instruction": "Tea?", "input": "", "output": "Yes."},
         {"instruction": "Tea?", "response": "Yes.", "context": ""}],
        [(TEA, "Yes."), (TEA, "Yes.")], {}),
    "pairs": ([{"prompt": "Tea?", "response": "Yes."}], [(TEA, "Yes.")], {}),
}


def write_as(path, rows, form):
    text = json.dumps(rows, indent=1) if "array" in form else \
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data = text.encode()
    data = b"\xef\xbb\xbf" + data if "mark" in form else data
    if "gzip" in form: # two members, as tools that work in parallel write them
        data = gzip.compress(data[:100]) + gzip.compress(data[100:])
    return write(path, data)


FORMS = ("jsonl", "array", "jsonl gzip", "array gzip", "jsonl mark", "array mark gzip")


@test
def layouts(folder):
    for name, (rows, good, skips) in LAYOUTS.items():
        for form in FORMS:
            path = write_as(f"{folder}/rows", rows, form)
            wanted = {why: (n, first + ("array" not in form)) for why, (n, first) in skips.items()}
            ways = ((1, ()), (2, ("--rejected",)), (1, ("--layout", name)))
            for answer, words in ways if form == FORMS[0] else ways[:1]:
                found, counts = texts(f"{folder}/bytes", path, *words)
                where = f"{name} as {form} {words}: {counts}\n{found}"
                assert found == expected(good, answer), where
                assert counts == (len(rows), len(good), wanted), where


@test
def an_answer_that_nobody_needs_may_be_empty(folder):
    rows = [PAIR, {**PAIR, "chosen": ""}, {**PAIR, "rejected": ""}, {**PAIR, "rejected": ""}]
    path = write_rows(f"{folder}/empty.jsonl", rows)
    assert texts(f"{folder}/bytes", path)[1] == (4, 3, {"empty answer": (1, 2)})
    assert texts(f"{folder}/bytes", path, "--rejected")[1] == (4, 2, {"empty answer": (2, 3)})
    done = run("dpo", *on_ranks(folder), "--set", "data.train=empty.jsonl")
    assert "4 rows, 1 used; skipped 3 empty answer (first: line 2)" in done.err, done


@test
def one_conversation_each(folder):
    """What sft reads without a second answer."""
    for name, (rows, good, skips) in SINGLE.items():
        path = write_rows(f"{folder}/one.jsonl", rows)
        wanted = len(rows), len(good), {why: (n, first + 1) for why, (n, first) in skips.items()}
        for words in ((), ("--layout", name)):
            found, counts = texts(f"{folder}/bytes", path, *words)
            assert (found, counts) == (expected(good, 1), wanted), (name, found, counts)
        done = run("tokenize", f"{folder}/bytes", path, "--mask", "--rejected", code=INPUT)
        assert "one.jsonl:1: \"rejected\" is missing" in done.errors[0], done


UNREAD = (  # rows, what is said of them, what isn't
    ([PAIR, {**PAIR, "response": "x"}, {**PAIR, "response": "y", "context": "z"}],
     ["\"response\" isn't read in layout pairs (2 of 3", "\"context\" isn't read in layout pairs (1"],
     ["\"chosen\"", "\"prompt\""]),
    ([{**PAIR, "system": "x", "input": "", "tools": None, "messages": []}], [], ["isn't read"]),
    ([{"prompt": LONG, "chosen": "a", "rejected": "b", "system": "Be brief."}], [], ["isn't read"]),
    ([{"prompt": LONG, "chosen": "a", "rejected": "b", "system": "Be long."}],
     ["\"system\" isn't read in layout pairs (1 of 1"], []),
    ([{"prompt_text": "a", "chosen_text": "b", "rejected_text": "c", "system": "d"}],
     ["\"system\" isn't read in layout pairs"], []),
    ([{**PAIR, "text": "x"}, {"text": "y"}], ["\"text\" isn't read in layout pairs (1 of 2"], []),
    ([{"messages": [*TEA, bot("a")], "tools": [{"name": "f"}]}],
     ["\"tools\" isn't read in layout messages"], []),
    ([{"prompt": "Tea?", "chosen": [*TEA, bot("a")], "rejected": [*TEA, bot("b")],
       "messages": [*TEA, bot("a")]}], [], ["isn't read"]),
)


@test
def members_that_are_not_read_are_named(folder):
    for rows, said, silent in UNREAD:
        path = write_rows(f"{folder}/members.jsonl", rows)
        done = run("tokenize", f"{folder}/bytes", path, "--mask", "--chat-format", "chatml")
        assert all(done.err.count(text) == 1 for text in said), (rows, done.err)
        assert not any(text in done.err for text in silent), (rows, done.err)
    base = on_ranks(folder)
    write_rows(f"{folder}/members.jsonl", [{**PAIR, "response": "x"}] * 5)
    for ranks in (1, 3):
        done = run("sft", *base, "--set", "data.train=members.jsonl", ranks=ranks)
        assert done.err.count("\"response\" isn't read in layout pairs (5 of 5") == 1, done.err


@test
def a_response_beside_a_pair_is_not_scored(folder):
    base = on_ranks(folder)
    found = []
    for rows in ([{**PAIR, "response": "Perhaps."}, PAIR], [PAIR, PAIR],
                 [{"prompt": "Tea?", "response": "Perhaps."}]):
        write_rows(f"{folder}/beside.jsonl", rows)
        shutil.rmtree(f"{folder}/out", ignore_errors=True)
        run("score", *base, "--set", "data.train=beside.jsonl", "--set", "data.responses=both")
        found.append(shard_content(f"{folder}/out/shards"))
    assert len(found[0]) == 4 and found[0] == found[1], [list(one) for one in found]
    assert len(found[2]) == 1, list(found[2])
    for rows in ([PAIR, {"prompt": "Tea?", "response": "x"}], [{"prompt": "Tea?", "response": "x"}, PAIR]):
        write_rows(f"{folder}/beside.jsonl", rows)
        for ranks in (1, 2):
            done = run("score", *base, "--set", "data.train=beside.jsonl", ranks=ranks, code=INPUT)
            assert "beside.jsonl: line 2 has" in done.errors[0] and len(done.errors) == 1, done


@test
def rows_that_the_format_refuses(folder):
    """Mistral's template wants roles that alternate."""
    rows = [PAIR, {**PAIR, "prompt": [user("Tea?"), user("Well?")]}]
    _, line = masks(f"{folder}/bytes", write_rows(f"{folder}/refused.jsonl", rows),
                    "--chat-format", "mistral")
    assert counts_of(line) == (2, 1, {"refused by the chat format": (1, 2)}), line


# --- real files ------------------------------------------------------------------------------------


def hh_turns(text):
    """Messages of an HH text, or None where Human and Assistant don't alternate."""
    _, *parts = re.split(r"\n\n(Human|Assistant):", text)
    if parts[::2] != ["Human", "Assistant"] * (len(parts) // 4):
        return None
    return [(user, bot)[i % 2](text.strip()) for i, text in enumerate(parts[1::2])]


def read_hh(row):
    """(messages, chosen, rejected), or a reason."""
    talks = [hh_turns(row[key]) for key in ("chosen", "rejected")]
    if None in talks:
        return "roles that don't alternate"
    (*prompt, chosen), (*other, rejected) = talks
    if prompt != other:
        return "prompts that differ"
    if not chosen["content"] or not rejected["content"]:
        return "empty answer"
    return (prompt, chosen["content"], rejected["content"]) if chosen != rejected else \
        "same answers"


def read_messages(row):
    return row["prompt"], row["chosen"][0]["content"], row["rejected"][0]["content"]


def read_sharegpt(row):
    makers = {"system": system, "human": user, "gpt": bot}
    spoken = [t["from"] for t in row["conversations"] if t["from"] != "system"]
    assert spoken == ["human", "gpt"] * (len(spoken) // 2) + ["human"]
    return ([makers[t["from"]](t["value"]) for t in row["conversations"]],
            row["chosen"]["value"], row["rejected"]["value"])


def encoded(model, lines):
    rows = "".join(json.dumps({"text": text}) + "\n" for text in lines).encode()
    out = run("tokenize", model, "--jsonl", stdin=rows).out
    return [json.loads(line)["ids"] for line in out.splitlines()]


def through_jinja(model, rows, answer, end):
    """[{"ids", "mask"}] of rows (messages, chosen, rejected) by the model's own template."""
    template = renderer.make_environment().from_string(
        read_json(f"{model}/tokenizer_config.json")["chat_template"])
    starts = [template.render(messages=r[0], add_generation_prompt=True) for r in rows]
    wholes = [template.render(messages=[*r[0], bot(r[answer])]) for r in rows]
    assert all(whole.startswith(start) for whole, start in zip(wholes, starts))
    out = []
    for start, whole in zip(encoded(model, starts), encoded(model, wholes)):
        assert whole[:len(start)] == start
        whole = whole[:len(whole) - whole[::-1].index(end)]
        out.append({"ids": whole, "mask": [0] * len(start) + [1] * (len(whole) - len(start))})
    return out


@test
def published_files(folder):
    """Counts, reasons and token sequences of real files."""
    model = os.path.join(SHARED, "tokenizers", "smollm2-135m-instruct")
    if not os.path.isdir(model):
        raise Skip(f"there is no {model}")
    end = encoded(model, ["<|im_end|>"])[0][0]
    for name, reader in (("hh_helpful_base.train.jsonl", read_hh),
                         ("hh_helpful_base.train.messages.jsonl", read_messages),
                         ("dpo_en_demo.json", read_sharegpt)):
        path = os.path.join(SHARED, "pairs", name)
        rows = read_json(path) if name.endswith(".json") else read_rows(path)
        made = [reader(row) for row in rows]
        reasons = [row for row in made if isinstance(row, str)]
        skips = {why: (reasons.count(why), made.index(why) + (not name.endswith(".json")))
                 for why in set(reasons)}
        good = [row for row in made if not isinstance(row, str)]
        assert ("hh" in name and "messages" not in name) == bool(skips), skips
        for answer, words in ((1, ()), (2, ("--rejected",))):
            found, line = masks(model, path, *words)
            assert counts_of(line) == (len(rows), len(good), skips), (line, skips)
            assert found == through_jinja(model, good, answer, end), name
    assert read_json(path)[0]["conversations"], path


@test
def published_prompts(folder):
    """Benchmark questions, as `generate` has them in its lines."""
    if not os.path.isdir(SHARED):
        raise Skip(f"there is no {SHARED}")
    for name, layout in (("mt_bench.jsonl", "mt-bench"), ("arena_hard_v0.1.jsonl", "arena-hard")):
        path = os.path.join(SHARED, "prompts", name)
        rows = read_rows(path)
        done = run("generate", *on_ranks(folder), *settings_of(
            f"data.train={path}", "data.chat_format=none", "sampling.max_new_tokens=1"))
        assert f"{len(rows)} rows, {len(rows)} used\n" in done.err and f"layout {layout}," in done.err
        found = [row["prompt"] for row in read_rows(f"{folder}/out/generations.jsonl")
                 if "turn" not in row]
        assert found == [row.get("prompt") or row["turns"][0] for row in rows], name


# --- the tools -------------------------------------------------------------------------------------


@test
def the_tools_read_the_same(folder):
    for name in ("implicit", "hh", "sharegpt", "alpaca", "messages"):
        rows, good, skips = LAYOUTS[name]
        for form in FORMS:
            read = data_rows.read_rows(write_as(f"{folder}/rows", rows, form))
            assert read == [(i + ("array" not in form), row) for i, row in enumerate(rows)], form
        assert data_rows.file_layout(read) == name
        made, reasons = [], []
        for _, row in read:
            try:
                plain = data_rows.plain(row, name)
                made.append(tuple(plain[key] for key in ("prompt", "chosen", "rejected")))
            except data_rows.Unusable as why:
                reasons.append(str(why))
        empty = [row for row in made if not row[1]] # which these layouts leave to the program
        assert [row for row in made if row[1]] == good, (name, made)
        reasons += ["empty answer"] * len(empty)
        assert {why: reasons.count(why) for why in reasons} == \
            {why: n for why, (n, _) in skips.items()}, (name, reasons)


@test
def rendered_by_the_tool(folder):
    """The tokens of a file that tools/render_chat.py rendered are those of the file itself."""
    model = make_tokenizer(f"{folder}/templated", ["<|im_start|>", "<|im_end|>"], CHATML)
    cases = {name: LAYOUTS[name] for name in ("hh", "sharegpt", "alpaca", "implicit")}
    cases["sft"] = SINGLE["messages"][0][:3], SINGLE["messages"][1], {}
    cases["whole"] = LAYOUTS["ultrafeedback"][0][3:], LAYOUTS["ultrafeedback"][1][1:], {}
    for name, (rows, good, _) in cases.items():
        path = write_as(f"{folder}/rows.gz", rows, "array gzip")
        tool("render_chat.py", model, path, f"{folder}/rendered.jsonl")
        for words in ((), ("--rejected",))[:1 + (name != "sft")]:
            direct, counts = masks(model, path, "--chat-format", "chatml", *words)
            assert len(direct) == len(good), counts
            assert masks(model, f"{folder}/rendered.jsonl", *words)[0] == direct, name


# --- what is damaged -------------------------------------------------------------------------------

HH_ROW = {"chosen": hh("Tea?", "Yes."), "rejected": hh("Tea?", "No.")}
GPT_ROW = LAYOUTS["sharegpt"][0][0]
GOOD = (json.dumps(PAIR) + "\n").encode()
ZIPPED = gzip.compress(GOOD * 100)
DAMAGED = (
    (json.dumps(HH_ROW) + "\n\n" + json.dumps(GPT_ROW), ["rows:3: ", "\"sharegpt\"", "\"hh\""]),
    (json.dumps([GPT_ROW, PAIR]), ["rows: item 1: ", "\"pairs\"", "\"sharegpt\""]),
    (json.dumps([GPT_ROW])[:-1], ["rows:1:", "JSON"]),
    (json.dumps([GPT_ROW, PAIR], indent=1).replace("\"No.\"", "No"), ["rows:", "JSON"]),
    ("[" + json.dumps(PAIR) + ",]", ["rows:1:", "JSON"]),
    ("[" + json.dumps(PAIR) + "] x", ["rows:1:", "JSON"]),
    (json.dumps({"question": "Tea?", "answer": "Yes."}),
     ["rows:1: \"prompt\" is missing", "messages|completion", "src/data/README.md"]),
    (json.dumps({"messages": [{"from": "human", "value": "a"}]}),
     ["rows:1: \"messages\"", "message 0", "\"role\""]),
    (json.dumps({**PAIR, "system": ["a"]}), ["rows:1: \"system\": expected a string"]),
    ("[]", ["rows: no rows"]),
    (ZIPPED[:-20], ["rows: the gzip file is cut"]),
    (ZIPPED[:5], ["rows: the gzip file is cut"]),
    (ZIPPED[:-6] + b"\0" + ZIPPED[-5:], ["rows: the gzip file is damaged", "check"]),
    (ZIPPED[:20] + b"\xff" * 20 + ZIPPED[40:], ["rows: the gzip file is damaged"]),
    (ZIPPED + GOOD, ["rows: the gzip file is damaged: something else follows"]),
    (gzip.compress(b""), ["rows: no rows"]),
    (gzip.compress(GOOD + b"{"), ["rows:2: ", "JSON"]),
    ("[1]".encode("utf-16"), ["rows: is text in UTF-16"]),
    (b"PAR1" + b"\0" * 50, ["rows: is a Parquet file"]),
    (b"\x28\xb5\x2f\xfd" + b"\0" * 50, ["rows: is compressed by zstd"]),
    (json.dumps({**HH_ROW, "rejected": 3}), ["rows:1: \"rejected\" isn't a string", "Human:"]),
    (json.dumps({"chosen": [*TEA, {"role": "assistant"}], "rejected": [*TEA]}),
     ["rows:1: \"chosen\"", "message 1", "\"content\": expected a string"]),
    (json.dumps({**GPT_ROW, "chosen": "Yes."}), ["rows:1: \"chosen\"", "{\"from\", \"value\"}"]),
    (json.dumps({**GPT_ROW, "conversations": [{"from": "human"}]}),
     ["rows:1: \"conversations\"", "{\"from\", \"value\"}"]),
    (json.dumps({**GPT_ROW, "conversations": "Tea?"}), ["rows:1: \"conversations\": expected a list"]),
    (json.dumps({**GPT_ROW, "system": 1}), ["rows:1: \"system\": expected a string"]),
    (json.dumps({"instruction": 1, "output": ["a", "b"]}), ["rows:1: \"instruction\""]),
    (json.dumps({"instruction": "a", "input": 1, "output": ["a", "b"]}), ["rows:1: \"input\""]),
    (json.dumps({"instruction": "a", "output": ["a", "b", "c"]}), ["rows:1: \"output\"", "found 3"]),
    (json.dumps({"instruction": "a", "output": ["a", 2]}), ["rows:1: \"rejected\""]),
    (json.dumps({"instruction": "a", "history": [["b"]], "output": ["a", "b"]}),
     ["rows:1: \"history\"[0]"]),
    (json.dumps({"turns": ["a", 2]}), ["rows:1: \"turns\"[1]: expected a string"]),
    (json.dumps({"turns": [{"text": "a"}]}), ["rows:1: \"turns\"", "{\"content\"}"]),
)
LONG_ROW = b'{"text": "' + b"a" * (33 << 20) + b'"}'
DAMAGED += ((LONG_ROW, ["rows:1: a row of 34603020 bytes; expected at most 33554432"]),
            (b"[" + GOOD + b", " + LONG_ROW + b"]", ["rows: item 1: a row of 34603020 bytes"]))
FORCED = (("implicit", PAIR, ["\"chosen\": expected a list of messages"]),
          ("hh", GPT_ROW, ["\"chosen\" isn't a string", "Human:"]),
          ("sharegpt", PAIR, ["\"conversations\": expected a list"]),
          ("alpaca", PAIR, ["\"instruction\": expected a string, found nothing"]),
          ("mt-bench", PAIR, ["\"turns\": expected a list of strings"]),
          ("pairs", HH_ROW, ["\"prompt\" is missing"]))


@test
def damaged_files(folder):
    for text, words in DAMAGED:
        path = write(f"{folder}/rows", text)
        done = run("tokenize", f"{folder}/bytes", path, "--mask", "--rejected", "--chat-format",
                   "chatml", code=INPUT)
        assert len(done.errors) == 1 and all(w in done.errors[0] for w in words), (text[:500], done)
    for layout, row, words in FORCED:
        path = write_rows(f"{folder}/rows", [row])
        done = run("tokenize", f"{folder}/bytes", path, "--mask", "--rejected", "--layout", layout,
                   "--chat-format", "chatml", code=INPUT)
        assert all(w in done.errors[0] for w in ["rows:1: ", *words]), (layout, done)
    done = run("tokenize", f"{folder}/bytes", path, "--mask", "--layout", "csv", code=2)
    assert "--layout csv" in done.errors[0], done


# --- the tokens around a text ------------------------------------------------------------------------


def front(*names):
    """A post-processor that puts these tokens before a text, as Llama's and Mistral's do."""
    pieces = [{"SpecialToken": {"id": name, "type_id": 0}} for name in names]
    return {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing", "single": [*pieces, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [], "special_tokens": {name: {"id": name, "ids": [IDS[name]], "tokens": [name]}
                                        for name in names}}]}


IDS = {"<s>": 256, "</s>": 257, "<|im_start|>": 258, "<|im_end|>": 259}


def changed(folder, processor=None, **config):
    """A tokenizer with another post-processor and other members in tokenizer_config.json (None: not
    there)."""
    model = make_tokenizer(f"{folder}/changed", list(IDS))
    tokenizer = read_json(f"{model}/tokenizer.json")
    write(f"{model}/tokenizer.json", json.dumps({**tokenizer, "post_processor": processor}))
    config = {**read_json(f"{model}/tokenizer_config.json"), **config}
    write(f"{model}/tokenizer_config.json",
          json.dumps({key: value for key, value in config.items() if value is not None}))
    for name in ("special_tokens_map.json", "generation_config.json", "config.json"):
        if os.path.exists(f"{model}/{name}"):
            os.remove(f"{model}/{name}")
    return model


@test
def tokens_before_a_text(folder):
    """What the post-processor puts there, under "none" and for {"text"}, nowhere else."""
    rows = [{"prompt": "Q", "chosen": "A", "rejected": "B"}, {"text": "QA"},
            {"prompt": "<s>Q", "chosen": "A", "rejected": "B"},
            {"prompt_text": "Q", "chosen_text": "A", "rejected_text": "B"},
            {"prompt": "", "chosen": "A", "rejected": "B"}]
    path = write_rows(f"{folder}/front.jsonl", rows)
    a, q = (i["ids"][0] for i in [json.loads(line) for line in run(
        "tokenize", f"{folder}/bytes", "--jsonl",
        stdin=b'{"text": "A"}\n{"text": "Q"}\n').out.splitlines()])
    for names, config, before in (
            (("<s>",), {}, [256]), (("<s>", "<|im_start|>"), {}, [256, 258]), ((), {}, []),
            (("<s>",), {"add_bos_token": False}, []), (("<s>",), {"add_bos_token": True}, [256])):
        model = changed(folder, front(*names), **config)
        found, line = masks(model, path, "--chat-format", "none")
        ids = [(row["ids"], row["ids"][:row["mask"].index(1)]) for row in found]
        assert counts_of(line)[2] == {"empty prompt": (1, 5)}, line
        twice = before if before != [256] else []
        assert ids == [([*before, q, a, 257], [*before, q]),
                       ([*before, q, a, 257], (before or [q])[:1]),
                       ([*twice, 256, q, a, 257], [*twice, 256, q]),
                       ([q, a], [q])], (names, config, ids)
        found, _ = masks(model, path, "--chat-format", "chatml")
        assert 256 not in found[0]["ids"], found
    done = run("tokenize", changed(folder, {**front("<s>")["processors"][1], "special_tokens": {
        "<s>": {"ids": [999]}}}), path, "--mask", code=INPUT)
    assert "post_processor" in done.errors[0] and "<s>" in done.errors[0], done


@test
def where_the_end_token_is_looked_for(folder):
    """Each file alone, and which of two goes first; then the log of a run without any."""
    path = write_rows(f"{folder}/end.jsonl", [{"text": "QA"}])
    decoder = {"added_tokens_decoder": {}}
    for config, files, end in (
            ({}, {}, 257), ({"eos_token": None}, {}, None),
            ({"eos_token": {"content": "<|im_end|>"}}, {}, 259),
            ({"eos_token": None}, {"special_tokens_map": {"eos_token": "<|im_end|>"}}, 259),
            ({}, {"special_tokens_map": {"eos_token": {"content": "<|im_end|>"}}}, 259),
            (decoder, {"special_tokens_map": {"eos_token": "<|im_end|>"}}, 257),
            ({"eos_token": None, **decoder}, {"special_tokens_map": {"eos_token": "<|im_end|>"}}, 259),
            ({"eos_token": None}, {"generation_config": {"eos_token_id": [259, 257]}}, 259),
            ({"eos_token": None}, {"generation_config": {"eos_token_id": 259},
                                   "config": {"eos_token_id": 257}}, 259),
            ({"eos_token": None}, {"generation_config": {}, "config": {"eos_token_id": 257}}, 257),
            ({"eos_token": None}, {"config": {"eos_token_id": 9999}}, None),
            ({}, {"config": {"eos_token_id": 259}}, 257)):
        model = changed(folder, **config)
        for name, content in files.items():
            write(f"{model}/{name}.json", json.dumps(content))
        ids = masks(model, path, "--chat-format", "none")[0][0]["ids"]
        assert (ids[2:] or [None]) == [end], (config, files, ids)


@test
def a_tokenizer_without_an_end_token_is_named(folder):
    base = on_ranks(folder)
    config = f"{folder}/policy/tokenizer_config.json"
    kept = read_json(config)
    for ranks, eos in ((1, False), (2, False), (1, True)):
        write(config, json.dumps({k: v for k, v in kept.items() if eos or k != "eos_token"}))
        for name in ("generation_config", "config"):
            path = f"{folder}/policy/{name}.json"
            content = read_json(path)
            content.pop("eos_token_id", None)
            write(path, json.dumps(content))
        write_rows(f"{folder}/noend.jsonl", [{"text": "Tea"}] * 3)
        done = run("sft", *base, "--set", "data.train=noend.jsonl", "--set", "data.chat_format=none",
                   ranks=ranks)
        assert done.err.count("the tokenizer has no end token") == (not eos), done.err
    write(config, json.dumps(kept))


# --- ranks -------------------------------------------------------------------------------------------

RUN = """shards: { sequences_per_shard = 8; encoding = "full"; };
generate: { model = "policy"; };
sampling: { max_new_tokens = 4; };
optimizer: { lr = 1e-3; batch_size = 4; max_steps = 1; };
checkpoint: { resume = false; };
"""


def settings_of(*settings):
    return [word for setting in settings for word in ("--set", setting)]


def on_ranks(folder):
    if not os.path.exists(f"{folder}/run.cfg"):
        prepare_route(folder, RUN)
    return ["-c", f"{folder}/run.cfg"]


def many_hh(count):
    """Rows of many lengths, every fifth of them unusable."""
    return [{"chosen": hh("Tea? " * (i % 7 + 1), "Yes." if i % 5 else ""),
             "rejected": hh("Tea? " * (i % 7 + 1), "No. " * (i % 3 + 1))} for i in range(count)]


@test
def the_same_on_any_number_of_ranks(folder):
    base = on_ranks(folder)
    write_as(f"{folder}/many.gz", many_hh(23), "jsonl gzip")
    first = None
    for n in (1, 2, 3, 4, 7) if ALL_TRIALS else (1, 3, 7):
        shutil.rmtree(f"{folder}/out", ignore_errors=True)
        done = run("score", *base, "--set", "data.train=many.gz", "--set", "data.responses=both",
                   ranks=n)
        assert "many.gz: 23 rows, 18 used; skipped 5 empty answer (first: line 1)" in done.err, done
        content = shard_content(f"{folder}/out/shards")
        assert sorted({row for _, row, _ in content}) == [i for i in range(23) if i % 5], n
        first = first or content
        assert content == first, n
        run("sft", *base, "--set", "data.train=many.gz", ranks=n)
        metrics = read_rows(f"{folder}/out/sft/metrics.jsonl")[0]
        assert (metrics["data/rows"], metrics["data/skipped"]) == (18, 5), metrics


@test
def rows_keep_their_numbers(folder):
    """`--show` names a row as the file counts, whatever was left out before it."""
    base = on_ranks(folder)
    write_rows(f"{folder}/shown.jsonl", many_hh(4))
    words = settings_of("data.eval=shown.jsonl", f"eval.dpo={folder}/dpo",
                        f"eval.contrast={folder}/rev")
    assert run("eval", *base, *words, "--show", 1).out.startswith("row 1\n")
    done = run("eval", *base, *words, "--show", 0, code=2)
    assert "--show 0: that row of" in done.errors[0], done


@test
def fewer_rows_than_ranks(folder):
    base = on_ranks(folder)
    write_rows(f"{folder}/few.jsonl", many_hh(2))
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    done = run("score", *base, "--set", "data.train=few.jsonl", ranks=4)
    assert "2 rows, 1 used; skipped 1 empty answer" in done.err, done
    write_rows(f"{folder}/none.jsonl", many_hh(1))
    for n in (1, 3):
        done = run("score", *base, "--set", "data.train=none.jsonl", ranks=n, code=INPUT)
        assert len(done.errors) == 1 and "none.jsonl: none of its 1 rows can be used; the first: " \
            in done.errors[0] and "none.jsonl:1: \"chosen\": the answer is empty" in done.errors[0]


@test
def the_smallest_line_is_named(folder):
    """Whichever ranks and threads come across the damage."""
    base = on_ranks(folder)
    for i, bad in enumerate(([39, 21, 11], [30], [5, 6, 7, 38], [0, 39])):
        rows = many_hh(40)
        for i in bad:
            rows[i]["rejected"] = i
        write_rows(f"{folder}/bad.jsonl", rows)
        for n in (1, 2, 3, 4) if ALL_TRIALS else (1 + i % 2, 3 + i % 2):
            done = run("dpo", *base, "--set", "data.train=bad.jsonl", ranks=n, code=INPUT)
            assert len(done.errors) == 1, done
            assert f"bad.jsonl:{min(bad) + 1}: \"rejected\" isn't a string" in done.errors[0], done


@test
def how_many_rows(folder):
    """data.max_rows takes the first, or with data.shuffle as many at random, in the file's order."""
    base = on_ranks(folder)
    write_rows(f"{folder}/forty.jsonl", [{**PAIR, "prompt": f"Tea {i}?"} for i in range(40)])

    def ids(ranks, *settings):
        shutil.rmtree(f"{folder}/out", ignore_errors=True)
        run("generate", *base, *settings_of("data.train=forty.jsonl", *settings), ranks=ranks)
        return [row["id"] for row in read_rows(f"{folder}/out/generations.jsonl")]
    assert ids(1, "data.max_rows=10") == list(range(10))
    assert ids(1, "data.max_rows=100") == ids(1, "data.shuffle=true") == list(range(40))
    taken = ids(1, "data.max_rows=10", "data.shuffle=true")
    assert taken == sorted(set(taken)) and len(taken) == 10 and taken != list(range(10)), taken
    assert ids(3, "data.max_rows=10", "data.shuffle=true") == taken
    other = ids(1, "data.max_rows=10", "data.shuffle=true", "seed=2")
    assert len(other) == 10 and other != taken, other


@test
def prompts_of_every_layout(folder):
    """`generate` takes the prompts of whatever there is."""
    base = on_ranks(folder)
    run_rows = {name: (rows, [row[0] for row in good]) for name, (rows, good, _) in LAYOUTS.items()
                if name not in ("pairs", "ultrafeedback", "messages")}
    run_rows["sharegpt"] = (LAYOUTS["sharegpt"][0][:3], run_rows["sharegpt"][1][:3])
    run_rows["messages"] = ([{"messages": TEA}, {"messages": [*LONG, bot("Some")]}], [TEA, LONG])
    run_rows["completion"] = ([{"prompt": "Tea?", "completion": "x"}], [TEA])
    run_rows["alpaca"] = (LAYOUTS["alpaca"][0][:3], run_rows["alpaca"][1])
    run_rows["prompts"] = ([{"prompt": "Tea?"}, {"prompt": LONG}], [TEA, LONG])
    run_rows["mt-bench"] = ([{"question_id": 1, "turns": ["Tea?", "Milk?"]}], [TEA])
    run_rows["arena-hard"] = ([{"question_id": "a", "turns": [{"content": "Tea?"}]}], [TEA])
    run_rows["arena-hard by uid"] = ([{"uid": "a", "category": "b", "prompt": "Tea?"}], [TEA])
    run_rows["alpaca-eval"] = ([
        {"instruction": "Tea?", "output": "x", "generator": "y", "dataset": "z"},
        {"instruction": "Add", "input": "1 and 2", "dataset": "z"}], [TEA, [user("Add\n1 and 2")]])
    for name, (rows, prompts) in run_rows.items():
        write_rows(f"{folder}/prompts.jsonl", rows)
        done = run("generate", *base, "--set", "data.train=prompts.jsonl", "--set",
                   "data.chat_format=none")
        found = [row["prompt"] for row in read_rows(f"{folder}/out/generations.jsonl")
                 if "turn" not in row]
        wanted = [[m["content"] for m in prompt] for prompt in prompts]
        assert [text.removesuffix("\n\n").split("\n\n") for text in found] == wanted, (name, found)
        assert f"layout {name.split()[0]}," in done.err, done


# --- answers for the judges of benchmarks ------------------------------------------------------------


def evaluated(folder, rows, ranks=1, *settings):
    """The folder of an evaluation on these rows."""
    base = on_ranks(folder)
    write_rows(f"{folder}/questions.jsonl", rows)
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    run("eval", *base, *settings_of("data.eval=questions.jsonl", f"eval.model={folder}/policy",
                                    *settings), ranks=ranks)
    return f"{folder}/out/eval"


def content(path):
    with open(path, "rb") as file:
        return file.read()


def generated(folder, prompts, *settings):
    """The responses that `generate` samples greedily."""
    write_rows(f"{folder}/prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    run("generate", *on_ranks(folder), *settings_of("data.train=prompts.jsonl",
                                                    "sampling.temperature=0", *settings))
    return [row["response"] for row in read_rows(f"{folder}/out/generations.jsonl")]


QUESTIONS = [{"question_id": 81 + i, "category": "x", "turns": turns} for i, turns in enumerate(
    (["Tea?", "Milk?"], ["Tea only?"], ["One?", "Two?", "Three?"], ["Four?", "Five?"]))]


@test
def mt_bench_answers(folder):
    """Every turn in its order, the earlier answers in the conversation."""
    found = None
    for ranks in (1, 3):
        path = f"{evaluated(folder, QUESTIONS, ranks, 'sampling.temperature=0')}/mt_bench.jsonl"
        assert found in (None, content(path)), ranks
        found = content(path)
        rows = read_rows(path)
    talks = [[] for _ in QUESTIONS]
    for turn in range(3):
        asked = [i for i, q in enumerate(QUESTIONS) if len(q["turns"]) > turn]
        for i in asked:
            talks[i].append(user(QUESTIONS[i]["turns"][turn]))
        for i, answer in zip(asked, generated(folder, [talks[i] for i in asked])):
            talks[i].append(bot(answer))
    assert any(talk[1]["content"] for talk in talks), talks
    for question, talk, row in zip(QUESTIONS, talks, rows, strict=True):
        assert set(row) == {"question_id", "answer_id", "model_id", "choices", "tstamp"}, row
        assert (row["question_id"], row["model_id"]) == (question["question_id"], "policy"), row
        assert row["choices"] == [{"index": 0, "turns": [m["content"] for m in talk[1::2]]}], row
    assert len({row["answer_id"] for row in rows}) == len(rows)


@test
def mt_bench_samples(folder):
    """Several samples, each with later turns of its own; `generate` writes a line per turn."""
    path = f"{evaluated(folder, QUESTIONS, 1, 'eval.generate=3', 'eval.name=me')}/mt_bench.jsonl"
    for question, row in zip(QUESTIONS, read_rows(path)):
        assert [c["index"] for c in row["choices"]] == [0, 1, 2] and row["model_id"] == "me"
        assert all(len(c["turns"]) == len(question["turns"]) for c in row["choices"])
    found = None
    for ranks in (1, 2):
        run("generate", *on_ranks(folder), "--set", "data.train=questions.jsonl", "--set",
            "generate.samples=2", ranks=ranks)
        lines = read_rows(f"{folder}/out/generations.jsonl")
        assert found in (None, lines), ranks
        found = lines
    assert [(r["id"], r["sample"], r.get("turn", 1)) for r in found] == \
        [(i, s, t + 1) for i, q in enumerate(QUESTIONS) for s in (0, 1)
         for t in range(len(q["turns"]))], found
    assert all(r["response"] in lines[k + 1]["prompt"] for k, r in enumerate(lines[:-1])
               if lines[k + 1].get("turn", 1) > 1)
    seconds = [r["response_ids"] for r in found if r.get("turn") == 2]
    assert len({str(ids) for ids in seconds}) == len(seconds), seconds


def style(answer, length):
    """What Arena-Hard counts in an answer without code."""
    assert "```" not in answer

    def count(pattern):
        return len(re.findall(pattern, answer, re.M))
    return {"token_len": length,
            "header_count": {f"h{n}": count(r"^#{%d}\s" % n) for n in range(1, 7)},
            "list_count": {"ordered": count(r"^\s*\d+\.\s"), "unordered": count(r"^\s*[-*+]\s")},
            "bold_count": {"**": count(r"\*\*[^*\n]+\*\*"), "__": count(r"__[^_\n]+__")}}


@test
def arena_hard_answers(folder):
    old = [{"question_id": f"q{i}", "cluster": "c", "turns": [{"content": f"Tea {i}?"}]}
           for i in range(3)]
    new = [{"uid": f"u{i}", "category": "c", "prompt": f"Tea {i}?"} for i in range(3)]
    answers = None
    for rows in (old, new):
        place = evaluated(folder, rows, 2, "sampling.temperature=0")
        lines = read_rows(f"{place}/arena_hard.jsonl")
        lengths = [row["tokens"] - row["finished"] for row in read_rows(f"{place}/answers.jsonl")]
        answers = answers or generated(folder, [f"Tea {i}?" for i in range(3)])
        for row, line, answer, length in zip(rows, lines, answers, lengths, strict=True):
            if rows is old:
                assert line == {
                    "question_id": row["question_id"], "answer_id": line["answer_id"],
                    "model_id": "policy", "tstamp": 0, "choices": [
                        {"index": 0, "turns": [{"content": answer, "token_len": length}]}],
                    "conv_metadata": style(answer, length)}, line
            else:
                assert line == {
                    "uid": row["uid"], "ans_id": line["ans_id"], "model": "policy", "tstamp": 0,
                    "messages": [user(row["prompt"]), bot({"answer": answer})],
                    "metadata": style(answer, length)}, line


@test
def alpaca_eval_answers(folder):
    rows = [{"instruction": f"Tea {i}?", "output": "x", "generator": "y", "dataset": "z"}
            for i in range(3)]
    place = evaluated(folder, rows, 1, "sampling.temperature=0", "eval.generate=2")
    answers = generated(folder, [row["instruction"] for row in rows])
    assert read_json(f"{place}/alpaca_eval.json") == [
        {**row, "output": answer, "generator": "policy"} for row, answer in zip(rows, answers)]
    assert not os.path.exists(f"{place}/mt_bench.jsonl")
    evaluated(folder, rows, 1, "eval.generate=0")
    assert not os.path.exists(f"{place}/alpaca_eval.json")


if __name__ == "__main__":
    main(TESTS, prepare)
