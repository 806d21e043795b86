#!/usr/bin/python3
"""Every number that is shown of a token, by `eval --show`, `inspect --row` and the Python tool, against the
twins; and that text, lines and page say the same."""
import json
import os
import re
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402
from reference import losses, model  # noqa: E402

NAMES = ("policy", "dpo", "contrast", "reference")
COLUMNS = ("policy", "teacher", "dpo", "contrast", "reference", "reward", "tvd", "alpha", "weight", "expected",
           "kl_teacher", "kl_dpo", "entropy", "entropy_teacher", "entropy_dpo")
# Texts whose characters the small tokenizer spreads over several tokens.
ROWS = [{"prompt": "Two teas", "chosen": "Of course:\n\ttwo teas 😀", "rejected": "No <b>tea</b> & no ☕."},
        {"prompt": "שלום", "chosen": "שלום, תודה", "rejected": "مرحبا"},
        {"prompt": "ご注文", "chosen": "お茶です。", "rejected": "</script><!--"}]


class Setting:
    pass


def prepare(folder):
    harness.make_desk(folder)
    Setting.models = {name: harness.make_model(folder, name, seed) for seed, name in enumerate(NAMES, 1)}
    Setting.twins = {name: model.Model.load(path) for name, path in Setting.models.items()}
    Setting.data = harness.write_rows(f"{folder}/rows.jsonl", ROWS)
    for encoding in ("full", "hidden32", "topk", "sampled"):
        score(folder, encoding)


def score(folder, encoding, directory=None, **options):
    values = {"data__train": Setting.data, "teacher__dpo": Setting.models["dpo"],
              "teacher__reverse": Setting.models["contrast"], "data__responses": "both",
              "shards__directory": directory or encoding, "shards__encoding": encoding, "shards__top_k": 40,
              "teacher__temperature": 1.3, **options}
    training.stage("score", folder, **values)


def shown(folder, rows, form, *words, **options):
    values = {"output": folder, "data__eval": Setting.data, "eval__model": Setting.models["policy"],
              **{f"eval__{name}": Setting.models[name] for name in NAMES[1:]}, **options}
    path = harness.write(f"{folder}/empty.cfg", "")
    return harness.run("eval", "-c", path, *training.settings(values), "--show", rows, "--format", form, *words).out


def lines_of(text):
    """{(row, response): its tokens}"""
    found = {}
    for line in map(json.loads, text.splitlines()):
        found.setdefault((line["row"], line["response"]), []).append(line)
    return found


def prompt_of(folder, row):
    text = f"<|im_start|>user\n{ROWS[row]['prompt']}<|im_end|>\n<|im_start|>assistant\n"
    listed = subprocess.run([harness.BINARY, "tokenize", f"{folder}/tok"], input=text.encode(),
                            capture_output=True, check=True, env=harness.environment())
    return [int(i) for i in listed.stdout.split()]


def twin_columns(prompt, ids, teacher):
    """({column: [R]}, {voice: log-probabilities [R, V]}) in double precision."""
    z = {name: losses.log_softmax(twin.response_logits(prompt, ids)) for name, twin in Setting.twins.items()}
    _, parts = losses.distill(teacher, z["policy"], z["dpo"], z["contrast"])
    q = teacher.log_distribution(z["dpo"], z["contrast"], parts["alpha"])
    at = np.arange(len(ids)), ids
    columns = {"teacher": q[at], **{name: z[name][at] for name in NAMES}}
    columns.update(tvd=parts["tvd"], alpha=parts["alpha"], weight=parts["weight"], expected=parts["reward/token"],
                   kl_teacher=parts["kl/teacher"], kl_dpo=parts["kl/dpo"])
    columns["reward"] = teacher.beta * (columns["dpo"] - columns["contrast"])
    for name, rows in (("entropy", z["policy"]), ("entropy_teacher", q), ("entropy_dpo", z["dpo"])):
        columns[name] = -(np.exp(rows) * rows).sum(axis=1)
    return columns, {"teacher": q, "policy": z["policy"], "dpo": z["dpo"]}


def check_columns(tokens, columns, bound=2e-4):
    for name, wanted in columns.items():
        got = np.array([token[name] for token in tokens])
        worst = (np.abs(got - wanted) / np.maximum(1, np.abs(wanted))).max()
        assert worst <= bound, f"{name}: off by {worst}: {got}, expected {wanted}"


def check_voices(tokens, voices, bound=1e-3):
    """The five likeliest, up to the order of those that float32 can't tell apart."""
    for name, rows in voices.items():
        for token, row in zip(tokens, rows):
            listed = token["alternatives"][name]
            best = np.sort(row)[::-1][:5]
            assert np.allclose([one["logprob"] for one in listed], best, rtol=bound, atol=bound), (name, listed, best)
            assert np.allclose(row[[one["id"] for one in listed]], best, rtol=bound, atol=bound), (name, listed)
            assert len({one["id"] for one in listed}) == 5


def columns_are_the_twins(folder):
    for options, teacher in (
            ({}, losses.Teacher()),
            ({"distill__granularity": "sequence", "teacher__temperature": 1.7, "teacher__plausibility": 0.05},
             losses.Teacher(granularity="response", temperature=1.7, plausibility=0.05)),
            ({"teacher__contrast": "reference", "distill__token_weight": "uniform", "teacher__strength": 3.0},
             losses.Teacher(contrast="reference", token_weight="uniform", strength=3.0))):
        found = lines_of(shown(folder, "0:2", "jsonl", **options))
        assert list(found) == [(row, kind) for row in range(3) for kind in ("chosen", "rejected")]
        for (row, kind), tokens in found.items():
            ids = [token["id"] for token in tokens]
            assert [token["position"] for token in tokens] == list(range(len(ids)))
            columns, voices = twin_columns(prompt_of(folder, row), ids, teacher)
            assert tuple(name for name in tokens[0] if name in COLUMNS) == COLUMNS, tokens[0]
            check_columns(tokens, columns)
            check_voices(tokens, voices)
            whole = b"".join(bytes.fromhex(t["bytes"]) if "bytes" in t else t["token"].encode() for t in tokens)
            assert whole.decode() == ROWS[row][kind] + "<|im_end|>", whole
    assert any("bytes" in token for tokens in found.values() for token in tokens)


def what_is_not_set_is_not_there(folder):
    token = lines_of(shown(folder, "1", "jsonl", eval__model="", eval__reference=""))[1, "chosen"][0]
    gone = {"policy", "reference", "expected", "kl_teacher", "kl_dpo", "entropy"}
    assert gone.isdisjoint(token) and "entropy_teacher" in token, token
    assert list(token["alternatives"]) == ["teacher", "dpo"], token


def page_table(page):
    """The table in a page, and what is around it."""
    before, text, after = re.fullmatch(r'(.*<script type="application/json" id="table">)(.*?)(</script>.*)', page,
                                       re.S).groups()
    return json.loads(text), text, before + after


def forms_say_the_same(folder):
    found = lines_of(shown(folder, "0,2", "jsonl"))
    assert shown(folder, "2", "html", "--out", f"{folder}/page.html") == ""
    with open(f"{folder}/page.html", encoding="utf-8") as file:
        table, text, around = page_table(file.read())
    assert not set("<>&") & set(text) and "//" not in re.sub("/[*].*?[*]/", "", around, flags=re.S) and table["rows"][0]["row"] == 2
    for response in table["rows"][0]["responses"]:
        tokens = found[2, response["name"]]
        assert response["ids"] == [token["id"] for token in tokens]
        for name, values in response["values"].items():
            assert np.allclose(values, [token[name] for token in tokens], rtol=1e-5), name
        for voice, flat in response["alternatives"].items():
            assert flat[::2] == [one["id"] for token in tokens for one in token["alternatives"][voice]], voice
        for token in tokens:
            key = str(token["id"])
            assert (table["bytes"][key] == token["bytes"]) if "bytes" in token else \
                table["texts"][key] == token["token"], token
    for row, text in ((0, shown(folder, "0", "text")), (2, shown(folder, "2", "text"))):
        for kind, part in zip(("chosen", "rejected"), re.split(r"^chosen\n|^rejected\n", text, flags=re.M)[1:]):
            names = part.split("\n")[0].split()[3:]
            for line, token in zip(part.splitlines()[1:], found[row, kind]):
                numbers = re.search(r'"(?:[^"\\]|\\.)*"\s+(.*?)(?:  \w+: |$)', line)[1].split()
                assert np.allclose([float(n) for n in numbers], [token[n] for n in names], atol=6e-5), (line, token)


def tool(*words):
    done = subprocess.run([harness.PYTHON, f"{harness.TOOLS}/inspect_shard.py", *map(str, words)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(one, other, place):
    """Lines of two programs, their numbers to 1e-5."""
    assert list(one) == list(other), (place, one, other)
    for name, value in one.items():
        if isinstance(value, float):
            assert abs(value - other[name]) <= 2e-5 * max(1, abs(value)), (place, name, value, other[name])
        elif isinstance(value, dict):
            same(value, other[name], place)
        elif isinstance(value, list):
            assert len(value) == len(other[name]), (place, value, other[name])
            for a, b in zip(value, other[name]):
                same(a, b, place)
        elif name != "token" or "bytes" not in one:  # both show such bytes with replacements
            assert value == other[name], (place, name, value, other[name])


def shards_say_what_they_hold(folder):
    """Of each encoding; `full` against the twins, all against the Python tool."""
    words = ("--tokenizer", f"{folder}/tok")
    teacher = losses.Teacher(temperature=1.3)
    for encoding, there in (("full", {"teacher", "entropy_teacher", "entropy_dpo"}), ("hidden32", set()),
                            ("topk", {"teacher"}), ("sampled", set())):
        path = f"{folder}/{encoding}/shard-000000.h5"
        found = lines_of(harness.run("inspect", path, "--row", "0:3,5", "--format", "jsonl", *words).out)
        assert [row for row, _ in found] == [0, 1, 2, 3, 5]
        for (row, kind), tokens in found.items():
            ids = [token["id"] for token in tokens]
            columns, voices = twin_columns(prompt_of(folder, tokens[0]["dataset_row"]), ids, teacher)
            basic = {"dpo", "contrast", "tvd", "alpha", "weight", "reward"}
            assert {n for t in tokens for n in t if n in COLUMNS} == basic | there, (encoding, tokens[0])
            check_columns(tokens, {name: columns[name] for name in basic})
            if encoding == "full":
                check_columns(tokens, {name: columns[name] for name in there})
                check_voices(tokens, {name: voices[name] for name in ("teacher", "dpo")})
            if row not in (1, 5):  # a start of Python takes longer than all of the rest
                continue
            others = [json.loads(line) for line in tool(path, "--row", row, "--json", *words).splitlines()]
            assert len(others) == len(tokens)
            for token, other in zip(tokens, others):
                same(token, other, (encoding, row))
        assert "alternatives" not in tokens[0] if encoding == "hidden32" else tokens[0]["alternatives"], tokens[0]
    report = json.loads(harness.run("inspect", path, "--row", 5, "--json", *words).out)
    assert report["tokens"] == [{k: v for k, v in token.items() if k not in ("row", "dataset_row", "response")}
                                for token in found[5, "rejected"]]
    heads = tool(f"{folder}/hidden32/shard-000000.h5", "--row", 5, "--json", *words, "--heads",
                 Setting.models["dpo"], Setting.models["contrast"])
    check_columns(list(map(json.loads, heads.splitlines())), {
        name: values for name, values in twin_columns(prompt_of(folder, 2), [t["id"] for t in tokens], teacher)[0].items()
        if name in ("teacher", "entropy_teacher", "entropy_dpo")})


def agree(folder, path, directory, rows):
    """Both programs say the same of a shard's rows, of which the tokens are returned."""
    words = ("--tokenizer", directory)
    all_tokens = {}
    for row in rows:
        out = harness.run("inspect", path, "--row", row, "--format", "jsonl", *words).out
        all_tokens[row] = tokens = [json.loads(line) for line in out.splitlines()]
        others = [json.loads(line) for line in tool(path, "--row", row, "--json", *words).splitlines()]
        assert len(others) == len(tokens) > 0
        for token, other in zip(tokens, others):
            same(token, other, (path, row))
    return all_tokens


def draws_weigh_as_training_takes_them(folder):
    """They were made at each token's own distance; alpha of the response changes what they weigh."""
    for granularity in ("response", "auto"):
        score(folder, "sampled", granularity, distill__granularity=granularity, teacher__temperature=1.0)
        found = agree(folder, f"{folder}/{granularity}/shard-000000.h5", f"{folder}/tok", (0, 1))
        odd = [one["logprob"] for tokens in found.values() for token in tokens
               for one in token["alternatives"]["teacher"]]
        shares = 40 * np.exp(odd)
        if granularity == "response":
            assert np.abs(shares - np.round(shares)).max() > 0.01, shares


META = "\u2581"


def make_sentencepiece(folder):
    """A tokenizer with the decoder of Llama 2 and Mistral, and models of it."""
    harness.make_tokenizer(f"{folder}/sp")
    special = ["<unk>", "<s>", "</s>"]
    names = [*special, *(f"<0x{b:02X}>" for b in range(256)), META, *map(chr, range(33, 127)), META + "t", "ea",
             META + "tea", "é", "茶"]
    said = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": name == "</s>", "special": True} for i, name in enumerate(special)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": META},
            {"type": "Replace", "pattern": {"String": " "}, "content": META}]},
        "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": META}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {name: i for i, name in enumerate(names)}, "merges": [META + " t", "e a", META + "t ea"]}}
    harness.write(f"{folder}/sp/tokenizer.json", json.dumps(said))
    harness.write(f"{folder}/sp/tokenizer_config.json", json.dumps(
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}))
    return [harness.make_model(folder, f"sp-{name}", seed, "--type", "llama", "--untied", tokenizer="sp")
            for seed, name in enumerate(NAMES[1:3], 1)]


def a_token_keeps_its_space(folder):
    """A Strip of the decoder is of a text's beginning, not of each token's."""
    dpo, contrast = make_sentencepiece(folder)
    rows = [{"prompt": "Say", "chosen": "a 😀😀 tea now", "rejected": "no tea 茶 é\t😀"}]
    data = harness.write_rows(f"{folder}/sp.jsonl", rows)
    models = {"teacher__dpo": dpo, "teacher__reverse": contrast}
    training.stage("score", folder, data__train=data, data__responses="both", data__chat_format="none",
                   shards__directory="sp-shards", shards__encoding="topk", shards__top_k=8, **models)
    path = f"{folder}/sp-shards/shard-000000.h5"
    found = agree(folder, path, f"{folder}/sp", (0, 1))
    for tokens, wanted in zip(found.values(), (rows[0]["chosen"], rows[0]["rejected"])):
        whole = b"".join(bytes.fromhex(t["bytes"]) if "bytes" in t else t["token"].encode() for t in tokens).decode()
        assert whole.lstrip(" ").removesuffix("</s>").rstrip(" ") == wanted, (whole, wanted)
        assert " tea" in [t["token"] for t in tokens] and any("bytes" in t for t in tokens), tokens
    page = shown(folder, "0", "html", data__eval=data, data__chat_format="none", eval__model="", eval__reference="",
                 eval__dpo=dpo, eval__contrast=contrast)
    assert " tea" in page_table(page)[0]["texts"].values()


def a_tokenizer_must_be_the_shards(folder):
    path, other = f"{folder}/full/shard-000000.h5", f"{folder}/other"
    harness.copy(f"{folder}/tok", other)
    with open(f"{other}/tokenizer.json", "a", encoding="utf-8") as file:
        file.write("\n")
    done = harness.run("inspect", path, "--row", 0, "--tokenizer", other, code=3)
    assert len(done.errors) == 1 and path in done.errors[0] and other in done.errors[0] and done.out == "", done
    done = subprocess.run([harness.PYTHON, f"{harness.TOOLS}/inspect_shard.py", path, "--row", "0", "--tokenizer",
                           other], capture_output=True, text=True)
    assert done.returncode == 3 and path in done.stderr and other in done.stderr and done.stdout == "", done
    assert done.stderr.count("\n") == 1 and "sha256" in done.stderr, done


def rows_that_are_not_there(folder):
    for rows, word in (("9", "rows 0 to 2"), ("1:9", "rows 0 to 2")):
        done = harness.run("eval", "-c", f"{folder}/empty.cfg", *training.settings(
            {"output": folder, "data__eval": Setting.data, "eval__dpo": Setting.models["dpo"],
             "eval__contrast": Setting.models["contrast"]}), "--show", rows, "--out", f"{folder}/none.html", code=2)
        assert len(done.errors) == 1 and word in done.errors[0] and done.out == "", done
    assert not os.path.exists(f"{folder}/none.html")
    path = f"{folder}/full/shard-000000.h5"
    for rows, code in (("6", 3), ("0:6", 3), ("3:1", 2), ("1,,2", 2), ("1:", 2), ("-1", 2)):
        done = harness.run("inspect", path, "--row", rows, code=code)
        assert len(done.errors) == 1 and done.out == "", done


def an_input_is_no_output(folder):
    """By whatever path: the file itself, a link to it, a hard link, one in a model's folder."""
    shard, config = f"{folder}/full/shard-000000.h5", harness.write(f"{folder}/show.cfg", "")
    weights = f"{Setting.models['dpo']}/model.safetensors"
    os.symlink(shard, f"{folder}/soft.html")
    os.link(weights, f"{folder}/hard.html")
    eval_words = ("eval", "-c", config, *training.settings(
        {"output": folder, "data__eval": Setting.data, "eval__dpo": Setting.models["dpo"],
         "eval__contrast": Setting.models["contrast"]}), "--show", "0")
    inspect_words = ("inspect", shard, "--row", "0", "--tokenizer", f"{folder}/tok")
    before = {path: open(path, "rb").read() for path in (shard, config, weights, Setting.data, f"{folder}/tok/tokenizer.json")}
    for words, out, named in ((inspect_words, f"{folder}/full/../full/shard-000000.h5", "the shard"),
                              (inspect_words, f"{folder}/soft.html", "the shard"),
                              (inspect_words, f"{folder}/tok/tokenizer.json", "--tokenizer"),
                              (eval_words, Setting.data, "data.eval"), (eval_words, config, "-c"),
                              (eval_words, weights, "eval.dpo"), (eval_words, f"{folder}/hard.html", "eval.dpo"),
                              (eval_words, shard, "shards.directory")):
        options = ("--set", f'shards.directory="{folder}/full"') if named == "shards.directory" else ()
        done = harness.run(*words, *options, "--out", out, code=2)
        assert len(done.errors) == 1 and out in done.errors[0] and named in done.errors[0], done
    assert before == {path: open(path, "rb").read() for path in before}
    os.remove(f"{folder}/hard.html")
    for _ in range(2):  # an output that is there from before is no input
        harness.run(*inspect_words, "--out", f"{folder}/full/page.html")


def one_shard_at_a_time(folder):
    """Rows of several shards would be two documents in one output."""
    paths = [f"{folder}/{encoding}/shard-000000.h5" for encoding in ("full", "topk")]
    for words in ((), ("--json",), ("--format", "html"), ("--format", "jsonl", "--out", f"{folder}/two.jsonl")):
        done = harness.run("inspect", *paths, "--row", 0, *words, code=2)
        assert len(done.errors) == 1 and "one PATH" in done.errors[0] and done.out == "", done
    assert not os.path.exists(f"{folder}/two.jsonl")


if __name__ == "__main__":
    harness.main([columns_are_the_twins, what_is_not_set_is_not_there, forms_say_the_same, shards_say_what_they_hold,
                  draws_weigh_as_training_takes_them, a_token_keeps_its_space, a_tokenizer_must_be_the_shards,
                  rows_that_are_not_there, an_input_is_no_output, one_shard_at_a_time], prepare)
