#!/usr/bin/python3
"""The audit of data: planted defects of every kind, found where they were planted and nowhere else, with the
same bytes on 1, 2 and 3 ranks; a real file against a short Python reading; what it refuses."""
import gzip
import itertools
import os
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
import make_defects  # noqa: E402

TESTS = []
FILES = ("audit.json", "audit.html", "clean.jsonl", "removed.jsonl")


def test(function):
    TESTS.append(function)
    return function


def audit(folder, data, *more, **keywords):
    """Audits a file into FOLDER; the report and the finished run."""
    config = write(f"{folder}/audit.cfg", f'output = "."; data: {{ train = "{data}"; }};')
    done = run("audit", "-c", config, *more, **keywords)
    path = f"{folder}/audit/audit.json"
    return read_json(path) if os.path.exists(path) else None, done


def lines_of(folder):
    """{reason: lines} of all rows, from removed.jsonl, of a run in which every reason removes."""
    found = {}
    for row in read_rows(f"{folder}/audit/removed.jsonl"):
        for reason in row["reasons"]:
            found.setdefault(reason, []).append(row["line"])
    return found


@test
def planted_defects_are_found_and_nothing_else(folder):
    """1,800 rows, on 1, 2 and 3 ranks and 3 threads: which lines have which reason."""
    place = f"{folder}/planted"
    rows, planted = make_defects.rows_with_defects(1800, every=50)
    data = write(f"{place}/data.jsonl",
                 "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert len(planted) == len(make_defects.DEFECTS), sorted(planted)
    every = "audit.remove=" + ",".join(planted)
    for ranks, threads in ((1, 1), (2, 1), (3, 1), (1, 3)):
        report, _ = audit(f"{place}/{ranks}-{threads}", data, "--set", every, ranks=ranks,
                          env={"OMP_NUM_THREADS": str(threads)})
        assert lines_of(f"{place}/{ranks}-{threads}") == planted
        assert {r: v["rows"] for r, v in report["reasons"].items() if v["rows"]} == \
            {r: len(lines) for r, lines in planted.items()}
        for name in FILES:
            assert read_bytes(f"{place}/{ranks}-{threads}/audit/{name}") == \
                read_bytes(f"{place}/1-1/audit/{name}"), (ranks, name)


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


@test
def clean_rows_are_the_bytes_of_the_file(folder):
    """Odd spaces, a carriage return, escapes and no newline at the end stay as they were."""
    place = f"{folder}/bytes"
    lines = [b'{"prompt":"a",  "chosen": "b\\u00e9", "rejected": "c"}\r\n', b"\n",
             b'{"prompt": "a", "chosen": "x", "rejected": "x"}\n',
             b'{"prompt": "d", "chosen": "e", "rejected": "f", "n": 1.0}']
    data = write(f"{place}/data.jsonl", b"".join(lines))
    _, done = audit(place, data)
    assert read_bytes(f"{place}/audit/clean.jsonl") == lines[0] + lines[3] + b"\n"
    (removed,) = read_rows(f"{place}/audit/removed.jsonl")
    assert removed == {"line": 3, "reasons": ["same-answers"], "also": ["duplicate-prompt"],
                       "others": {"duplicate-prompt": 1}, "row": json.loads(lines[2])}, removed
    assert read_bytes(data) == b"".join(lines)
    assert "2 rows clean, 1 removed" in done.out, done


@test
def layouts_and_forms_give_the_same(folder):
    """The same conversations as strings, lists of messages, HH's texts and a JSON array, gzipped."""
    turns = [(f"Question {i}?", f"Yes, {i} times.", f"No, {i + 1}.") for i in range(8)]
    turns += [turns[2], (turns[5][0], turns[5][2], turns[5][1])]

    def user(text):
        return [{"role": "user", "content": text}]

    def bot(text):
        return [{"role": "assistant", "content": text}]
    forms = {
        "pairs": [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in turns],
        "messages": [{"prompt": user(p), "chosen": bot(c), "rejected": bot(r)} for p, c, r in turns],
        "implicit": [{"chosen": user(p) + bot(c), "rejected": user(p) + bot(r)} for p, c, r in turns],
        "hh": [{"chosen": f"\n\nHuman: {p}\n\nAssistant: {c}", "rejected": f"\n\nHuman: {p}\n\nAssistant: {r}"}
               for p, c, r in turns],
        "alpaca": [{"instruction": p, "input": "", "output": [c, r]} for p, c, r in turns]}
    for name, rows in forms.items():
        place = f"{folder}/forms-{name}"
        text = json.dumps(rows, indent=1).encode()
        forms_of = [("lines", write_rows(f"{place}/data.jsonl", rows))]
        if name == "hh":
            forms_of += [("array", write(f"{place}/data.json", text)),
                         ("gzip", write(f"{place}/data.json.gz", gzip.compress(text)))]
        for form, data in forms_of:
            report, _ = audit(f"{place}/{form}", data)
            found = {r: v["rows"] for r, v in report["reasons"].items() if v["rows"]}
            assert found["duplicate-pair"] == 1 and found["contradiction"] == 2 and \
                found["duplicate-prompt"] == 2 and report["pairs"] == 10, (name, form, found)
            kept = read_rows(f"{place}/{form}/audit/clean.jsonl")
            assert kept == [row for i, row in enumerate(rows) if i not in (5, 8, 9)], (name, form)
            (item,) = [row for row in read_rows(f"{place}/{form}/audit/removed.jsonl")
                       if "duplicate-pair" in row["reasons"]]
            assert item["line" if form == "lines" else "item"] == (9 if form == "lines" else 8), item


@test
def prompts_of_the_evaluation_are_found(folder):
    place = f"{folder}/overlap"
    words = [f"w{i}" for i in range(40)]
    held_out = write_rows(f"{place}/eval.jsonl", [{"prompt": " ".join(words[:20])}, {"prompt": "Tea?"}])
    prompts = {"eval-prompt": ["Tea?", " ".join(words[:20])],
               "eval-13-gram": ["a b c " + " ".join(words[4:17]) + " d", " ".join(words[:20])],
               "eval-8-gram": [" ".join(words[10:18]).upper() + "!", " ".join(words[13:20]) + " and",
                               " ".join(words[8:16])]}
    rows = [{"prompt": p, "chosen": "x", "rejected": "y"} for p in itertools.chain(*prompts.values())]
    data = write_rows(f"{place}/data.jsonl", rows)
    report, _ = audit(place, data, "--set", f"data.eval={held_out}",
                      "--set", "audit.remove=eval-prompt,eval-13-gram,eval-8-gram")
    assert lines_of(place) == {"eval-prompt": [1, 2, 4], "eval-13-gram": [2, 3, 4],
                               "eval-8-gram": [2, 3, 4, 5, 7]}, lines_of(place)


@test
def every_turn_of_an_evaluation_is_a_prompt(folder):
    place = f"{folder}/turns"
    second = "Now rewrite your whole answer so that every sentence of it begins with the letter A"
    turns = write_rows(f"{place}/questions.jsonl", [{"question_id": 81, "category": "writing",
                                                     "turns": ["Compose a travel post about a trip.", second]}])
    data = write_rows(f"{place}/data.jsonl", [{"prompt": p, "chosen": "a", "rejected": "b"} for p in
                                              (second, "other", f"Well: {second}, please", "Compose a travel post about a trip.")])
    audit(place, data, "--set", f"data.eval={turns}", "--set", "audit.remove=eval-prompt,eval-8-gram")
    assert lines_of(place) == {"eval-prompt": [1, 4], "eval-8-gram": [1, 3]}, lines_of(place)


@test
def lists_of_terms_and_refusals_are_the_users(folder):
    place = f"{folder}/lists"
    rows = [{"prompt": "Is 12 more than 4,5?", "chosen": c, "rejected": "No"}
            for c in ("Nein, danke, 12.", "I cannot help with it.", "Our Rival is better than 13.",
                      "Rivals are 4.", "Yes, 12 and 4,5.")]
    data = write_rows(f"{place}/data.jsonl", rows)
    terms = write(f"{place}/terms.txt", "rival\n\n other  \n")
    refusals = write(f"{place}/refusals.txt", "nein, danke\n")
    audit(place, data, "--set", f"audit.terms={terms}", "--set", f"audit.refusals={refusals}",
          "--set", "audit.figures=true", "--set", "audit.remove=refusal,forbidden-term,figures")
    assert lines_of(place) == {"refusal": [1], "forbidden-term": [3], "figures": [3, 4]}, lines_of(place)


@test
def near_duplicates_of_any_script_by_exact_similarity(folder):
    """Texts without spaces are compared by characters; and what is below the similarity isn't taken."""
    place = f"{folder}/near"
    chinese = "人工智能的发展改变了我们的生活方式也带来了许多新的问题需要大家一起认真思考和讨论才能解决"
    thai = "ภาษาไทยเขียนติดกันโดยไม่มีช่องว่างระหว่างคำจึงต้องใช้ตัวอักษรแทนคำในการเปรียบเทียบข้อความ"
    english = " ".join(f"word{i}" for i in range(60))
    rows = []
    for text in (chinese, thai, english):
        rows += [text, text[:-1] + ("x" if text is english else "大")]
    rows += [" ".join(f"other{i}" for i in range(60)), " ".join(f"other{i}" for i in range(30, 90))]
    data = write_rows(f"{place}/data.jsonl", [{"prompt": text} for text in rows])
    expected = [i + 1 for i, text in enumerate(rows) if
                max((jaccard(text, other) for other in rows[:i]), default=0) >= 0.8]
    report, _ = audit(place, data, "--set", "audit.remove=near-duplicate-prompt")
    assert lines_of(place) == {"near-duplicate-prompt": expected} and expected == [2, 4, 6], \
        (lines_of(place), expected)
    curve = {p["similarity"]: p["compared"] for p in report["near"]["probability"]}
    assert abs(curve[0.8] - 0.924) < 0.001, curve


# --- a real file against a short reading in Python ----------------------------------------------


UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"
                      "\u0f00-\u0fff\uf900-\ufaff]")


def grams(text, n=5):
    words = re.findall(r"\w+", UNSPACED.sub(lambda m: f" {m[0]} ", text.lower()))
    return {tuple(words[i:i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def jaccard(a, b):
    a, b = grams(a), grams(b)
    return len(a & b) / len(a | b) if a | b else 0.0


def read_sharegpt(row):
    return ("\n".join(t["value"] for t in row["conversations"]), row["chosen"]["value"], row["rejected"]["value"])


@test
def a_real_file_has_the_numbers_of_a_short_reading(folder):
    path = os.path.join(SHARED, "pairs", "dpo_en_demo.json")
    if not os.path.exists(path):
        raise Skip(f"{path} isn't there")
    rows = [read_sharegpt(row) for row in read_json(path)]
    place = f"{folder}/real"
    report, _ = audit(place, path)
    first = {row: i for i, row in reversed(list(enumerate(rows)))}
    unique = [i for i, row in enumerate(rows) if first[row] == i]
    assert report["rows"] == report["pairs"] == len(rows)
    assert report["reasons"]["duplicate-pair"]["rows"] == len(rows) - len(unique) > 0
    assert report["reasons"]["same-answers"]["rows"] == sum(c == r for _, c, r in rows)
    assert report["reasons"]["duplicate-prompt"]["rows"] == len(rows) - len({p for p, _, _ in rows})
    longer, shorter = (sum(len(a) > len(b) for a, b in pairs) for pairs in
                       ([(c, r) for _, c, r in rows], [(r, c) for _, c, r in rows]))
    for name, share in (("chosen_longer", longer / len(rows)),
                        ("longer_is_better_accuracy", longer / (longer + shorter))):
        assert abs(report["length"][name]["value"] - share) < 1e-8, (name, report["length"], share)


@test
def near_duplicates_of_a_real_file_are_those_of_every_comparison(folder):
    """The prompts of HH: all pairs by exact Jaccard, against what MinHash found and compared. A pair at a
    similarity s is found with a probability; those of 0.9 and more with more than 0.999."""
    path = os.path.join(SHARED, "pairs", "hh_helpful_base.test.messages.jsonl")
    if not os.path.exists(path):
        raise Skip(f"{path} isn't there")
    place = f"{folder}/hh"
    audit(place, path, "--set", "audit.remove=near-duplicate-prompt,duplicate-prompt")
    found = {row["line"] - 1 for row in read_rows(f"{place}/audit/removed.jsonl")}
    sets = []
    for row in read_rows(path):
        chosen = row["chosen"] if isinstance(row["chosen"], list) else [row["chosen"]]
        prompt = row.get("prompt", chosen[:-1])
        prompt = prompt if isinstance(prompt, str) else "\n".join(m["content"] for m in prompt)
        sets.append(grams(prompt))
    index, sure, possible = {}, set(), set()
    for i, mine in enumerate(sets):
        for j in {j for gram in mine for j in index.get(gram, ())}:
            similarity = len(mine & sets[j]) / len(mine | sets[j])
            if similarity >= 0.8:
                possible.add(i)
            if similarity >= 0.9:
                sure.add(i)
        for gram in mine:
            index.setdefault(gram, []).append(i)
    assert sure <= found <= possible and sure, (sorted(sure), sorted(found), sorted(possible))


# --- with a tokenizer ---------------------------------------------------------------------------


@test
def tokens_are_those_that_the_stages_train_on(folder):
    """What is cut, what is the same once it is cut, and what a tokenizer doesn't give back."""
    place = f"{folder}/tokens"
    make_tokenizer(f"{place}/model")
    rows = [{"prompt": "p" * 30, "chosen": "a", "rejected": "b"},
            {"prompt": "p", "chosen": "a" * 9 + "x", "rejected": "a" * 9 + "y"},
            {"prompt": "p", "chosen": "a" * 20 + "x", "rejected": "a" * 20 + "y"},
            {"prompt": "p", "chosen": "same", "rejected": "same"},
            {"prompt": "é", "chosen": "日本", "rejected": "n"}]
    data = write_rows(f"{place}/data.jsonl", rows)
    options = ["--set", f"sft.model={place}/model", "--set", "data.max_prompt_tokens=16", "--set",
               "data.max_response_tokens=12", "--set", "data.chat_format=none", "--set",
               "audit.remove=prompt-too-long,answer-too-long,same-after-cut,lossy-tokens,same-answers"]
    report, done = audit(place, data, *options[:-1], "audit.remove=standard,prompt-too-long")
    assert lines_of(place) == {"prompt-too-long": [1], "same-after-cut": [3], "same-answers": [4]}
    report, done = audit(place, data, *options)
    assert lines_of(place) == {"prompt-too-long": [1], "answer-too-long": [3], "same-after-cut": [3],
                               "same-answers": [4]}, lines_of(place)
    assert "nothing about tokens" not in done.out and "sha256_tokenizer" in report
    tokenizer = read_json(f"{place}/model/tokenizer.json")
    tokenizer["normalizer"] = {"type": "NFC"}
    write(f"{place}/model/tokenizer.json", json.dumps(tokenizer))
    write_rows(data, [rows[1], {**rows[4], "chosen": "e\u0301"}])
    audit(place, data, *options)
    assert lines_of(place) == {"lossy-tokens": [2]}, lines_of(place)


# --- what it refuses, and what it shows ---------------------------------------------------------


@test
def shares_above_a_limit_end_with_3(folder):
    place = f"{folder}/limits"
    rows = [{"prompt": f"p{i}", "chosen": "a" if i < 3 else "b", "rejected": "b"} for i in range(10)]
    data = write_rows(f"{place}/data.jsonl", rows)
    for ranks, share, code in ((1, "0.7", 0), (1, "0.69", 3), (1, "1", 0), (3, "0", 3)):
        _, done = audit(place, data, "--fail-on", f"same-answers={share}", "--fail-on", "empty=0",
                        code=code, ranks=ranks)
        assert len(done.errors) == (code == 3), done
        if code:
            assert "7 of 10 rows have the reason same-answers" in done.errors[0], done.errors
        assert os.path.exists(f"{place}/audit/clean.jsonl")


@test
def limits_are_counted_in_rows(folder):
    """29 of 100 are no more than a share of 0.29, whose product with 100 is rounded; and nothing that wasn't
    looked for passes."""
    place = f"{folder}/shares"
    rows = [{"prompt": f"p{i}", "chosen": "a" if i < 29 else "b", "rejected": "a"} for i in range(100)]
    data = write_rows(f"{place}/data.jsonl", rows)
    audit(place, data, "--fail-on", "same-answers=0.29")
    audit(place, data, "--fail-on", "same-answers=0.28", code=3)
    for reason, missing in (("same-after-cut", "tokenizer"), ("lossy-tokens", "tokenizer"), ("eval-prompt", "data.eval"),
                            ("eval-8-gram", "data.eval")):
        _, done = audit(place, data, "--fail-on", f"{reason}=0", code=2, ranks=2)
        assert len(done.errors) == 1 and missing in done.errors[0] and reason in done.errors[0], done


@test
def figures_are_whole_numbers(folder):
    """And a group that matched nothing, or an empty text, is no term."""
    place = f"{folder}/whole"
    required = {"the total is 1,000,000 EUR": "1,000", "4.60 each": "4", "12.50": "12", "at 1.60": "60", "so 4, and 5.": "4",
                "4.60.": "4.60", "a4": "4", "3,4": "3", "any": ""}
    rows = [{"prompt": f"p{i}", "chosen": text, "rejected": "r", "required": [figure], "forbidden": [""]}
            for i, (text, figure) in enumerate(required.items())]
    data = write_rows(f"{place}/data.jsonl", rows)
    audit(place, data, "--set", "audit.remove=figures,forbidden-term")
    assert lines_of(place) == {"figures": [1, 2, 3, 4, 7, 8]}, lines_of(place)
    many = " ".join(map(str, range(40000)))
    data = write_rows(f"{place}/many.jsonl", [{"prompt": many, "chosen": many, "rejected": "r"},
                                              {"prompt": many, "chosen": many + " 40000", "rejected": "r"}])
    audit(place, data, "--set", "audit.figures=true", "--set", "audit.remove=figures", timeout=10)
    assert lines_of(place) == {"figures": [2]}, lines_of(place)


@test
def rows_that_no_stage_reads_are_searched_too(folder):
    place = f"{folder}/left-out"
    rows = [{"prompt": "joe@example.org", "completion": "X", "label": False}, {"prompt": "joe@example.org", "completion": "X"},
            {"prompt": "p", "completion": "X", "label": False, "meta": [{"by": "GB82 WEST 1234 5698 7654 32"}]}]
    data = write_rows(f"{place}/data.jsonl", rows)
    audit(place, data, "--set", "audit.remove=email,iban")
    assert lines_of(place) == {"email": [1, 2], "iban": [3]}, lines_of(place)


@test
def removed_rows_are_lines(folder):
    """Of a file with carriage returns, and of an array over several lines, whose numbers keep their digits."""
    place = f"{folder}/lines"
    data = write(f"{place}/data.jsonl", b'{"prompt":"s",\r"chosen":"b","rejected":"b"} \r\n{"prompt":"t","chosen":"b","rejected":"c"}\r\n')
    audit(place, data)
    assert len(read_bytes(f"{place}/audit/removed.jsonl").splitlines()) == 1
    (removed,) = read_rows(f"{place}/audit/removed.jsonl")
    assert removed["row"] == {"prompt": "s", "chosen": "b", "rejected": "b"}, removed
    data = write(f"{place}/array.json", '[{"prompt":"a",\n"chosen":"b","rejected":"c","n":12345678901234567890,"v":0.30000000000000004}]')
    audit(place, data)
    assert "12345678901234567890" in read_bytes(f"{place}/audit/clean.jsonl").decode()
    assert read_rows(f"{place}/audit/clean.jsonl")[0]["v"] == 0.30000000000000004


@test
def inputs_are_never_overwritten(folder):
    place = f"{folder}/inputs"
    row = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    for name, key in (("audit.json", "data.train"), ("audit.html", "data.train"), ("run.json", "data.train"),
                      ("flipped.jsonl", "audit.terms"), ("labels.jsonl", "audit.refusals")):
        path = write_rows(f"{place}/audit/{name}", row)
        before = read_bytes(path)
        data = path if key == "data.train" else write_rows(f"{place}/data.jsonl", row)
        _, done = audit(place, data, *(() if key == "data.train" else ("--set", f"{key}={path}")), code=2)
        assert key in done.errors[0] and name in done.errors[0] and read_bytes(path) == before, done
        os.remove(path)


@test
def bad_input_is_one_line(folder):
    place = f"{folder}/bad"
    data = write_rows(f"{place}/data.jsonl", [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"}
                                              for i in range(6)])
    broken = write(f"{place}/broken.jsonl", read_bytes(data) + b'{"prompt": 3, "chosen": "a"}\n{"prompt\n')
    cases = [
        (data, ["--fail-on", "empty"], 2, ["--fail-on empty", "REASON=SHARE"]),
        (data, ["--fail-on", "empty=2"], 2, ["0 to 1"]),
        (data, ["--fail-on", "emty=0.5"], 2, ['"emty"', "duplicate-pair"]),
        (data, ["--set", "audit.remove=empty,nothing"], 2, ["audit.remove", '"nothing"', "same-answers"]),
        (data, ["--set", "audit.bands=200"], 2, ["audit.bands", "1600", "1024"]),
        (data, ["--set", f"audit.terms={place}/gone.txt"], 3, ["gone.txt"]),
        (data, ["--set", f"data.eval={broken}"], 3, ["broken.jsonl:7", '"prompt"']),
        (broken, [], 3, ["broken.jsonl:7", '"prompt"', "an integer"]),
        (f"{place}/gone.jsonl", [], 3, ["gone.jsonl"]),
        ("", [], 2, ["data.train"]),
    ]
    for number, (train, more, code, words) in enumerate(cases):
        _, done = audit(place, train, *more, code=code, ranks=3 if number in (2, 7) else 1)
        (error,) = done.errors
        assert all(word in error for word in words), error
    left = os.listdir(f"{place}/audit") if os.path.exists(f"{place}/audit") else []
    assert not set(left) & set(FILES) and not any(".tmp" in name for name in left), left
    audit(place, data)
    _, done = audit(place, f"{place}/audit/clean.jsonl", code=2)
    assert "would be overwritten" in done.errors[0], done


@test
def texts_are_never_markup(folder):
    """A page without network or scripts, in which what rows say is text."""
    place = f"{folder}/page"
    rows = [{"prompt": "<script>alert(1)</script>\u202e & \x1b[31m", "chosen": "x", "rejected": "x"}]
    _, done = audit(place, write_rows(f"{place}/data.jsonl", rows))
    page = read_bytes(f"{place}/audit/audit.html").decode()
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page and "\x1b" not in page and "http" not in page and "src=" not in page
    assert "color-scheme:light dark" in page and "\x1b" not in done.out


if __name__ == "__main__":
    main(TESTS)
