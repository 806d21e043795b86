#!/usr/bin/python3
"""inspect and tokenize: one screen for each file of ours, and what --help promises."""
import gzip
import inspect
import itertools
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

CONFIG = """distill: { policy = "policy"; };
generate: { model = "policy"; samples = 2; };
sampling: { max_new_tokens = 8; };
shards: { sequences_per_shard = 8; };
optimizer: { lr = 1e-3; batch_size = 5; };
checkpoint: { every_steps = 2; };
"""
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def prepare(folder):
    prepare_route(folder, CONFIG)
    for command in ("sft", "dpo", "score", "generate"):
        run(command, "-c", f"{folder}/run.cfg")
    run("distill", "-c", f"{folder}/run.cfg", "--set", "shards.directory=on")
    write_rows(f"{folder}/texts.jsonl", [{"text": "Tea, please."}, {"text": "No."}])


# --- inspect -----------------------------------------------------------------------------------


def inspected(path, *words):
    done = run("inspect", path, *words)
    assert done.out.count("\n") <= 40, f"{path}: {done.out.count(chr(10))} lines"
    return done.out


def fields_of(path):
    report = json.loads(run("inspect", path, "--json").out)
    text = inspected(path)
    for key in report:
        if key != "path":
            assert f"  {key} " in text, f"{path}: {key} is not in\n{text}"
    return report


@test
def every_kind_fits_a_screen(folder):
    out = f"{folder}/out"
    model = fields_of(f"{folder}/policy")
    assert (model["kind"], model["vocabulary"], model["dtype"]) == ("model", 384, "F32"), model
    assert fields_of(f"{out}/sft")["kind"] == "model"
    state = fields_of(f"{out}/sft/checkpoints/step-000002")
    assert state["kind"] == "checkpoint" and "2" in json.dumps(state), state
    shard = fields_of(f"{out}/shards/shard-000000.h5")
    assert (shard["kind"], shard["sequences"], shard["encoding"]) == ("shard", 8, "hidden"), shard
    shards = fields_of(f"{out}/shards")
    assert (shards["kind"], shards["shards"], shards["sequences"]) == ("shards", 3, 20), shards
    assert fields_of(f"{out}/on")["sources"]["policy"] == 20
    lines, series = (fields_of(f"{out}/aligned/metrics.{end}") for end in ("jsonl", "h5"))
    assert lines["kind"] == "metrics" and lines["steps"] == 4 and lines["last_step"] == 4, lines
    path = lines.pop("path"), series.pop("path")
    assert lines == series, path
    made = fields_of(f"{out}/generations.jsonl")
    assert (made["kind"], made["rows"], made["samples"]) == ("generations", 40, 2), made
    assert made["response_tokens"]["max"] <= 8
    pairs = fields_of(f"{folder}/desk/train.jsonl")
    assert pairs["kind"] == "pairs" and pairs["rows_with"]["rejected"] == 20, pairs
    with open(f"{folder}/desk/train.jsonl", "rb") as file:
        lines = file.read()
    write(f"{folder}/array.json", "[" + ",".join(lines.decode().splitlines()) + "]")
    with gzip.open(f"{folder}/train.jsonl.gz", "wb") as file:
        file.write(lines)
    for other in ("array.json", "train.jsonl.gz"):
        assert {**fields_of(f"{folder}/{other}"), "path": pairs["path"]} == pairs, other
    assert fields_of(f"{folder}/texts.jsonl")["kind"] == "texts"


@test
def long_metrics_fit_too(folder):
    rows = [{"step": i + 1, "loss": 1 / (i + 1)} for i in range(5000)]
    write_rows(f"{folder}/long/metrics.jsonl", rows)
    text = inspected(f"{folder}/long/metrics.jsonl")
    assert max(map(len, text.splitlines())) <= 160, text
    assert fields_of(f"{folder}/long")["last_step"] == 5000


@test
def a_row_token_by_token(folder):
    path = f"{folder}/out/shards/shard-000001.h5"
    text = run("inspect", path, "--row", 3, "--tokenizer", f"{folder}/policy").out
    with h5py.File(path) as file:
        at = file["sequence/response_start"][:]
        ids = file["response/id"][at[3]:at[4]]
    assert "confirm" in text and len(text.splitlines()) > len(ids), text
    done = run("inspect", path, "--row", 8, code=3)
    assert len(done.errors) == 1 and "8" in done.errors[0], done
    assert run("inspect", path, "--row", "x", code=2).errors


@test
def bad_files_are_refused(folder):
    copy(f"{folder}/policy", f"{folder}/bad")
    os.truncate(f"{folder}/bad/model.safetensors", 500)
    write(f"{folder}/cut.h5", open(f"{folder}/out/shards/shard-000000.h5", "rb").read()[:3000])
    write(f"{folder}/word.txt", "hello")
    write(f"{folder}/broken.jsonl", '{"prompt": "a"}\n{"prom\n')
    write(f"{folder}/broken/metrics.jsonl", '{"step": 1, "loss": 2}\n{"step": 2, "lo\n{}\n')
    write(f"{folder}/empty.jsonl", "")
    write(f"{folder}/bad/metrics.h5", "hello")
    os.makedirs(f"{folder}/nothing", exist_ok=True)
    for path, words in (("bad", ["model.safetensors"]), ("cut.h5", ["cut.h5", "cut short"]),
                        ("word.txt", ["word.txt", "expected"]), ("none", ["none", "no such"]),
                        ("broken.jsonl", ["broken.jsonl:2", "JSON"]),
                        ("broken/metrics.jsonl", ["metrics.jsonl:2", "JSON"]),
                        ("empty.jsonl", ["empty.jsonl", "no rows"]),
                        ("bad/metrics.h5", ["metrics.h5"]), ("nothing", ["nothing", "shard"])):
        for n in (1, 3):
            done = run("inspect", f"{folder}/{path}", ranks=n, code=3)
            assert len(done.errors) == 1, done
            for word in words:
                assert word in done.errors[0], (word, done.errors)


# --- tokenize ----------------------------------------------------------------------------------

TEXT = "Tea for 3, please.\nGr\u00fc\u00dfe \u2615 <|im_start|>user"


def lines_of(done):
    return [json.loads(line) for line in done.out.splitlines()]


@test
def text_to_ids_and_back(folder):
    model = f"{folder}/policy"
    ids = [int(word) for word in run("tokenize", model, stdin=TEXT.encode()).out.split()]
    assert len(ids) > 10
    write(f"{folder}/text.txt", TEXT)
    for n in (1, 3):
        assert run("tokenize", model, f"{folder}/text.txt", ranks=n).out.split() == \
            [str(i) for i in ids]
    assert run("tokenize", model, "--count", stdin=TEXT.encode()).out == f"{len(ids)}\n"
    rows = (json.dumps({"text": TEXT}) + "\n\n" + json.dumps({"text": ""}) + "\n").encode()
    assert lines_of(run("tokenize", model, "--jsonl", stdin=rows)) == [{"ids": ids}, {"ids": []}]
    assert lines_of(run("tokenize", model, "--jsonl", "--count", stdin=rows)) == \
        [{"count": len(ids)}, {"count": 0}]
    back = (json.dumps({"ids": ids}) + "\n").encode()
    assert lines_of(run("tokenize", model, "--decode", stdin=back)) == [{"text": TEXT}]


@test
def conversations(folder):
    model = f"{folder}/policy"
    talk = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}]
    rows = (json.dumps({"messages": talk}) + "\n").encode()
    whole = "<|im_start|>user\nTea?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    text, = lines_of(run("tokenize", model, "--render", stdin=rows))
    assert text["text"].endswith(whole), text
    asked = (json.dumps({"messages": talk[:1]}) + "\n").encode()
    text, = lines_of(run("tokenize", model, "--render", "--add-generation-prompt", stdin=asked))
    assert text["text"].endswith("<|im_end|>\n<|im_start|>assistant\n"), text
    plain, = lines_of(run("tokenize", model, "--render", "--chat-format", "none", stdin=rows))
    assert "im_start" not in plain["text"] and "Tea?" in plain["text"], plain
    wrong = (json.dumps({"messages": [{"role": "user"}]}) + "\n").encode()
    answer, = lines_of(run("tokenize", model, "--render", stdin=wrong))
    assert "content" in answer["error"], answer
    direct, = lines_of(run("tokenize", model, "--jsonl", stdin=rows))
    render = json.dumps({"text": lines_of(run("tokenize", model, "--render", stdin=rows))[0]["text"]})
    assert lines_of(run("tokenize", model, "--jsonl", stdin=render.encode())) == [direct]


@test
def masks(folder):
    """What sft trains on: the response and its end token, neither prompt nor markup after it."""
    model = f"{folder}/policy"
    write_rows(f"{folder}/pairs.jsonl", [{"prompt": "Tea?", "chosen": "Yes, tea."},
                                         {"text": "Tea, please."}])
    pair, text = lines_of(run("tokenize", model, f"{folder}/pairs.jsonl", "--mask"))
    assert text["mask"] == [0] + [1] * (len(text["ids"]) - 1), text

    def decoded(row, part):
        ids = [i for i, m in zip(row["ids"], row["mask"]) if m == part]
        back = (json.dumps({"ids": ids}) + "\n").encode()
        return lines_of(run("tokenize", model, "--decode", stdin=back))[0]["text"]
    assert decoded(pair, 1) == "Yes, tea.<|im_end|>", pair
    assert decoded(pair, 0).endswith("Tea?<|im_end|>\n<|im_start|>assistant\n"), pair
    assert pair["mask"] == sorted(pair["mask"])
    counts = lines_of(run("tokenize", model, f"{folder}/pairs.jsonl", "--mask", "--count"))
    assert counts == [{"count": len(pair["ids"])}, {"count": len(text["ids"])}]
    assert "FILE is missing" in run("tokenize", model, "--mask", code=2).errors[0]


@test
def what_tokenize_refuses(folder):
    model = f"{folder}/policy"
    for words, stdin, expected in (
            ((), b"a\xffb", ["byte 1"]), (("--jsonl",), b"{}\n{\n", ["input:1"]),
            (("--jsonl",), b'{"text": "a"}\n{\n', ["input:2", "JSON"]),
            (("--decode",), b'{"ids": [1, 99999]}\n', ["input:1", "\"ids\"[1]", "0 to 383"]),
            (("--decode",), b'{"ids": 3}\n', ["input:1", "list"])):
        done = run("tokenize", model, *words, stdin=stdin, code=3)
        assert len(done.errors) == 1, done
        for word in expected:
            assert word in done.errors[0], (word, done.errors)
    done = run("tokenize", f"{folder}/nowhere", stdin=b"a", code=3)
    assert len(done.errors) == 1 and "nowhere" in done.errors[0], done
    done = run("tokenize", model, f"{folder}/none.txt", code=3)
    assert "none.txt" in done.errors[0], done


# --- what a shard says of its teacher ----------------------------------------------------------

# A folder's name that looks like settings, which it isn't.
DECOY = "teacher: { strength = 7.0; extrapolation = \"none\"; } #"
SETTINGS = {"none": {"extrapolation": "none"}, "constant": {"extrapolation": "constant", "strength": 3.5},
            "adaptive": {"strength": 6.0, "epsilon": 0.25, "beta": 0.5}, "usual": {}}


def alphas(path, granularity="token", extrapolation="adaptive", strength=20.0, epsilon=1e-3, beta=0.1):
    """(alpha, reward) [R] by the formulas, from a file that h5py reads, and where sequences begin."""
    with h5py.File(path) as file:
        at, tvd = file["sequence/response_start"][:], file["response/tvd"][:].astype(float)
        ratio = file["response/logprob_dpo"][:].astype(float) - file["response/logprob_reverse"][:]
    if granularity == "sequence":
        tvd = np.concatenate([np.full(b - a, tvd[a:b].mean()) for a, b in zip(at, at[1:])])
    alpha = {"adaptive": strength * tvd + epsilon, "constant": np.full_like(tvd, strength),
             "none": np.ones_like(tvd)}[extrapolation]
    return alpha, beta * ratio, at


def shown(path):
    return json.loads(run("inspect", path, "--json").out)


def viewed(*words):
    done = subprocess.run([PYTHON, f"{TOOLS}/inspect_shard.py", *map(str, words)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@test
def alpha_is_the_trainers(folder):
    """What inspect and the viewer print is what the formulas give, and what distill trains with."""
    copy(f"{folder}/desk", f"{folder}/{DECOY}/desk")
    copy(f"{folder}/dpo", f"{folder}/{DECOY}/dpo")
    for name, granularity in ((n, g) for n in SETTINGS for g in ("token", "sequence")):
        place = f"{folder}/{name}-{granularity}"
        words = [w for key, value in SETTINGS[name].items() for w in ("--set", f"teacher.{key}={value}")]
        words += ["--set", f"data.train={DECOY}/desk/train.jsonl", "--set", f"teacher.dpo={DECOY}/dpo",
                  "--set", f"distill.granularity={granularity}", "--set", f"shards.directory={place}"]
        run("score", "-c", f"{folder}/run.cfg", *words)
        path = f"{place}/shard-000001.h5"
        alpha, reward, at = alphas(path, granularity, **SETTINGS[name])
        report = shown(path)
        for key, values in (("alpha", alpha), ("reward", reward)):
            for figure in ("mean", "min", "max"):
                found = report[key][figure]
                assert np.isclose(found, getattr(values, figure)(), rtol=1e-5), (place, key, figure)
        found = json.loads(run("inspect", path, "--row", 2, "--json").out)
        row = found["tokens"]
        tvd = np.array([token["tvd"] for token in row])
        assert np.isclose(found["tvd_spread"], tvd.sum() ** 2 / (len(tvd) * (tvd ** 2).sum()), rtol=1e-5)
        assert np.allclose([t["alpha"] for t in row], alpha[at[2]:at[3]]), (place, row)
        table = [line.split() for line in viewed(path, "--row", 2).splitlines()[-len(row) - 1:]]
        alphas_at = table.pop(0).index("alpha")
        assert np.allclose([float(line[alphas_at]) for line in table], alpha[at[2]:at[3]], atol=6e-5), place
        assert f"mean {alpha.mean():9.4g}" in viewed(path).split("alpha")[-1].split("\n")[0], place
        run("distill", "-c", f"{folder}/run.cfg", *words, "--set", "distill.mode=off-policy", "--set",
            "optimizer.batch_size=20", "--set", "optimizer.max_steps=1", "--set", "output=one",
            "--set", "checkpoint.resume=false")
        trained, = read_rows(f"{folder}/one/aligned/metrics.jsonl")
        assert np.isclose(trained["alpha/mean"], shown(place)["alpha"]["mean"], rtol=1e-6), place


@test
def auto_says_what_it_chose(folder):
    """A line for each sequence of each step, with --verbose, whichever rank had it."""
    place = f"{folder}/{next(iter(SETTINGS))}-token"
    spread = {}
    for path in (f"{place}/{name}" for name in os.listdir(place) if name.startswith("shard-")):
        with h5py.File(path) as file:
            at, tvd = file["sequence/response_start"][:], file["response/tvd"][:].astype(float)
            for row, begin, end in zip(file["sequence/id"][:], at, at[1:]):
                t = tvd[begin:end]
                spread[row] = t.sum() ** 2 / (len(t) * (t ** 2).sum())
    for ranks in (1, 2):
        done = run("distill", "-c", f"{folder}/run.cfg", "--verbose", "--set", "output=auto",
                   "--set", "distill.granularity=auto", "--set", f"shards.directory={place}",
                   "--set", "distill.mode=off-policy", "--set", "optimizer.batch_size=10",
                   "--set", "optimizer.max_steps=2", "--set", "checkpoint.resume=false", ranks=ranks)
        lines = re.findall(r"step (\d): row (\d+): TVD spread ([\d.]+), (an alpha for each token|one"
                           r" alpha for the response)\n", done.err)
        assert [step for step, *_ in lines] == ["1"] * 10 + ["2"] * 10, done.err
        for _, row, found, choice in lines:
            assert abs(float(found) - spread[int(row)]) < 6e-4, (row, found, spread[int(row)])
            assert (spread[int(row)] < 0.5) == (choice == "an alpha for each token"), (row, choice)


@test
def settings_of_other_versions(folder):
    """Keys that aren't known are passed over, values that aren't are said, damage is refused."""
    path = f"{folder}/other.h5"
    shutil.copy(f"{folder}/out/shards/shard-000000.h5", path)

    def inspected_as(change, code=0):
        with h5py.File(path, "r+") as file:
            file.attrs["config"] = change
        return run("inspect", path, "--json", code=code)
    with h5py.File(path) as file:
        whole = file.attrs["config"]
    for text, settings in (
            (whole.replace("teacher: {", 'later: { x = [1, 2]; };\nteacher: {\n rule = "new";'), {}),
            ("teacher: { strength = 5; };", {"strength": 5.0}), ("", {})):
        done = inspected_as(text)
        alpha, _, _ = alphas(path, **settings)
        assert np.isclose(json.loads(done.out)["alpha"]["mean"], alpha.mean(), rtol=1e-6), text
        assert "default" not in done.err, done
        assert f"mean {alpha.mean():9.4g}" in viewed(path), text
    done = inspected_as(whole.replace('"adaptive"', '"quadratic"'))
    for word in (f"{path}: attribute config:", "teacher.extrapolation", "quadratic", "default is taken"):
        assert word in done.err, (word, done)
    assert json.loads(done.out)["settings"].startswith("adaptive, r 20")
    for text, words in (("teacher: { strength = ; };", [f"{path}: attribute config:1: "]),
                        ("seed = 1;\n @include \"/etc/hostname\"\n", [path, "@include"])):
        done = inspected_as(text, code=3)
        assert len(done.errors) == 1 and all(word in done.errors[0] for word in words), done


@test
def python_has_the_programs_defaults(folder):
    """The viewer's and the reader's, of the keys that they know."""
    lines = [line.split() for line in run("distill", "--help").out.splitlines()]
    table = {line[0]: line[2].strip('"') for line in lines if len(line) > 2 and "." in line[0]}
    sys.path.append(TOOLS)
    import aligndistil_shards
    import inspect_shard
    keys = {parameter: f"{group}.{parameter}" for group, names in (
        ("teacher", ("strength", "epsilon", "extrapolation", "temperature")),
        ("distill", ("granularity",))) for parameter in names}
    for function in (aligndistil_shards.Sequence.teacher, aligndistil_shards.Sequence.alpha,
                     aligndistil_shards.Sequence.error):
        for name, parameter in inspect.signature(function).parameters.items():
            if name in keys:
                kind = type(parameter.default)
                assert kind(table[keys[name]]) == parameter.default, (function, name)
    for key, value in inspect_shard.DEFAULTS.items():
        assert table[key] == value or float(table[key]) == float(value), key


# --- terminals ---------------------------------------------------------------------------------

# A title, a colour, a bell, DEL, C1, an override and an isolate of direction, a carriage return.
EVIL = "e\x1b]0;t\x07\x1b[31m\x7f\u009b2J\u202e\u2066\rvil\n"
COMMANDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\udc80-\udcff]")


def harmless(*arguments, code=0, program=BINARY, word="\\x1b]0;t\\x07"):
    """What is printed, which holds EVIL spelled out, and nothing that a terminal obeys; a failure is
    one line."""
    done = subprocess.run([*program.split(), *map(str, arguments)], env=environment(), capture_output=True)
    out, err = (b.decode("utf-8", "surrogateescape") for b in (done.stdout, done.stderr))
    assert done.returncode == code, (arguments, done)
    found = COMMANDING.search(out + err)
    assert found is None, (arguments, found, out, err)
    assert word in out + err, (arguments, out, err)
    if code:
        wrong = [line for line in err.splitlines() if word in line]
        assert len(wrong) == 1, (arguments, err)
    return out


@test
def files_command_no_terminal(folder):
    """Text of each kind of file, in failures, on screens and as JSON."""
    place, config = f"{folder}/evil", ["-c", f"{folder}/run.cfg"]
    tea = {"prompt": "Tea? " + EVIL, "chosen": "Yes " + EVIL, "rejected": "No."}
    rows = write_rows(f"{place}/{EVIL}.jsonl", [tea])

    def model(name, file, change):
        copy(f"{folder}/policy", f"{place}/{name}")
        content = read_json(f"{place}/{name}/{file}")
        change(content)
        write(f"{place}/{name}/{file}", json.dumps(content))
        return f"{place}/{name}"

    # Failures: of the configuration, its paths, a model's parts, a row.
    harmless("sft", *config, "--set", f"data.layout={EVIL}", code=2)
    harmless("sft", *config, "--set", f"data.train={EVIL}", code=3)
    quoted = json.dumps(EVIL, ensure_ascii=False).replace("\\u00", "\\x")
    write(f"{folder}/evil.cfg", ROUTE.replace('"desk/train.jsonl"', quoted))
    harmless("sft", "-c", f"{folder}/evil.cfg", code=3)
    write(f"{folder}/evil.cfg", f'sft: {{ model = "policy"; }}; data: {{ layout = {quoted}; }};')
    harmless("sft", "-c", f"{folder}/evil.cfg", code=2)
    harmless("inspect", model("type", "config.json", lambda c: c.update(model_type=EVIL)), code=3,
             word="\\u001B]0;t")
    harmless("inspect", model("key", "config.json", lambda c: c.update({EVIL: 1})), code=3)
    harmless("tokenize", model("part", "tokenizer.json", lambda c: c.update(
        normalizer={"type": EVIL})), f"{folder}/texts.jsonl", code=3)
    header, data = safetensors_header(f"{folder}/policy/model.safetensors")
    header[EVIL] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    write_safetensors(f"{copy(f'{folder}/policy', f'{place}/name')}/model.safetensors", header, data)
    harmless("generate", *config, "--set", f"generate.model={place}/name", code=3)
    write(f"{place}/broken.jsonl", '{"prompt": "Tea", "Tea\u202e": 1, "Tea\u202e": 2}')
    harmless("sft", *config, "--set", f"data.train={place}/broken.jsonl", code=3, word="\\u202e")

    # Screens: rows, shards, metrics.
    harmless("inspect", rows)
    harmless("eval", *config, "--set", f"data.eval={rows}", "--set", "eval.model=policy", "--set",
             "eval.dpo=dpo", "--set", "eval.contrast=rev", "--set", "eval.generate=0", "--show", 0)
    run("score", *config, "--set", f"data.train={rows}", "--set", f"shards.directory={place}/shards")
    shard, short = f"{place}/shards/shard-000000.h5", EVIL[:7] + "\u202e"
    with h5py.File(shard, "r+") as file:
        file.attrs["tool_version"] = short
    viewer, words = f"{PYTHON} {TOOLS}/inspect_shard.py", (shard, "--row", 0, "--tokenizer", f"{folder}/tok")
    harmless("inspect", shard)
    harmless("inspect", *words)
    harmless(shard, program=viewer)
    harmless(*words, program=viewer)
    write_rows(f"{place}/metrics.jsonl", [{"step": 1, "loss": 2.0, EVIL: 3.0}])
    harmless("inspect", f"{place}/metrics.jsonl", word="step")

    # JSON says the same in its own way.
    report = json.loads(harmless("inspect", *words, "--json", word="\\u001B]0;t\\u0007"))
    assert report["response"] == tea["chosen"] and report["prompt"].endswith(tea["prompt"] + "<|im_end|>\n"
                                                                             "<|im_start|>assistant\n"), report
    assert json.loads(harmless("inspect", shard, "--json", word="\\u202e"))["tool_version"] == short
    write(f"{place}/raw.txt", EVIL.encode())
    ids = run("tokenize", f"{folder}/policy", f"{place}/raw.txt").out.split()
    write(f"{place}/ids.jsonl", json.dumps({"ids": list(map(int, ids))}))
    line = harmless("tokenize", f"{folder}/policy", "--decode", f"{place}/ids.jsonl", word="\\u202e")
    assert json.loads(line)["text"] == EVIL, line

    harmless("--pairs", EVIL, "--output", place, program=f"{PYTHON} {TOOLS}/split_pairs.py", code=1)


# --- options -----------------------------------------------------------------------------------


@test
def options_that_exclude_each_other(folder):
    """Both are named, in any order, and nothing is read or made."""
    model, config = f"{folder}/nowhere", ["-c", f"{folder}/nowhere.cfg"]
    groups = (["tokenize", model], [["--jsonl"], ["--decode"], ["--render"], ["--mask"]]), \
        (["inspect", model], [["--verify"], ["--index"], ["--row", 1], ["--diff"]]), \
        (["bench"], [["--store", model], ["--model", model], ["--config", model]]), \
        (["bench"], [["--store", model], ["--text", model], ["--only", "train"]]), \
        (["sft", *config], [["--quiet"], ["--verbose"]]), \
        (["distill", *config], [["--verbose"], ["--quiet"]])
    for words, options in groups:
        for one, other in itertools.permutations(options, 2):
            done = run(*words, *one, *other, code=2)
            assert len(done.errors) == 1, done
            for word in (words[0], one[0], other[0], "exclude each other"):
                assert word in done.errors[0], (word, done.errors)
    twice = run("tokenize", model, "--jsonl", "--jsonl", stdin=b"", code=3)
    assert "nowhere" in twice.errors[0], twice
    done = run("tokenize", model, "--jsonl", "--decode", ranks=3, code=2)
    assert len(done.errors) == 1, done
    assert not os.path.exists(model)


# What help calls a value: one that is taken. Others are paths to nowhere.
VALUES = {"N": 1, "ROWS": 0, "FORM": "html", "I/N": "0/2", "path=value": "seed=2", "LAYOUT": "pairs", "FORMAT": "chatml",
          "PHASES": "train", "SIZE": "4GB", "H": 1}
COMMANDS = ("audit", "sft", "dpo", "score", "generate", "distill", "eval", "plan", "inspect", "tokenize", "bench")


def options_of(command):
    """{name: (argument or None, what it needs one of)} by the list in a command's help."""
    rows = re.findall(r"^  (-[\w-]+)(?: (\S+))?  +(?:with (\S+): )?", run(command, "--help").out, re.M)
    assert len(rows) >= 2, command
    return {name: (argument or None, needs.split("|") if needs else []) for name, argument, needs in rows}


def required_of(folder, command):
    """{name: words} of what a command can't do without; nothing that they name is there."""
    if command == "bench":
        return {"--config": ["--config", f"{folder}/nowhere"]}
    return {"inspect": {"PATH": [f"{folder}/nowhere"]}, "tokenize": {"MODEL_DIR": [f"{folder}/nowhere"]}}.get(
        command, {"-c": ["-c", f"{folder}/nowhere"]})


def words_of(folder, options, name):
    argument = options[name][0]
    return [name] if argument is None else [name, VALUES.get(argument, f"{folder}/nowhere")]


def alternatives_of(command):
    """Lists of options that the usage line has between bars."""
    usage = " ".join(run(command, "--help").out.split("\n\n")[0].split())
    groups = re.findall(r"[\[(]([^][()]*)[\])]", re.sub(r"\[[^][|]*\]", "", usage))
    return [[part.split()[0] for part in group.split(" | ")] for group in groups]


def refused_words(*words, expected):
    done = run(*words, code=2)
    assert len(done.errors) == 1 and done.out == "", done
    for word in expected:
        assert word in done.errors[0], (word, words, done.errors)


@test
def every_option_in_help_is_taken(folder):
    """With what it needs, on a path that isn't there: only that is complained of. --kernels needs none."""
    for command in COMMANDS:
        options = options_of(command)
        for name, (_, needs) in options.items():
            if name == "--kernels":
                continue
            words = {**required_of(folder, command)}
            if {name, *needs} & {"--model", "--store"}:
                words = {}  # in place of --config
            for one in needs[:1] + [name]:
                words[one] = words_of(folder, options, one)
            if "--store" in words:
                words["--store"][1] = f"{folder}/texts.jsonl/nowhere"
            if {"--diff", "--mask"} & words.keys():
                words["FILE"] = [f"{folder}/nowhere"]
            done = run(command, *itertools.chain(*words.values()), code=None)
            assert done.code == (2 if command in COMMANDS[:8] else 3), done
            assert len(done.errors) == 1 and "nowhere" in done.errors[0], (words, done)


@test
def every_exclusive_pair(folder):
    """Those that the usage lines show, and those that it has no room for."""
    pairs = []
    for command in COMMANDS:
        groups = alternatives_of(command)
        assert ["--quiet", "--verbose"] in groups, (command, groups)
        pairs += [(command, *pair) for group in groups for pair in itertools.combinations(group, 2)]
    assert ("tokenize", "--render", "--mask") in pairs and ("bench", "--config", "--store") in pairs
    assert ("inspect", "--row", "--diff") in pairs, pairs
    pairs += [("tokenize", "--count", other) for other in ("--decode", "--render")]
    pairs += [("bench", "--store", other) for other in ("--text", "--only", "--sequences", "--tokens", "--threads")]
    pairs += [("bench", "--kernels", other) for other in ("--only", "--sequences", "--tokens", "--threads")]
    pairs += [("bench", "--text", other) for other in ("--only", "--sequences", "--tokens")]
    for command, one, other in pairs:
        options = options_of(command)
        words = words_of(folder, options, one) + words_of(folder, options, other)
        refused_words(command, *words, expected=[f"{command}: {one} and {other} exclude each other"])
    assert not os.path.exists(f"{folder}/nowhere")


@test
def dependent_options(folder):
    """An option that would say nothing without another names it."""
    seen = []
    for command in COMMANDS:
        options = options_of(command)
        for name, (_, needs) in options.items():
            if needs:
                words = itertools.chain(*required_of(folder, command).values())
                words = [] if needs == ["--config"] else words
                refused_words(command, *words, *words_of(folder, options, name),
                              expected=[f"{command}: {name}: only with {'|'.join(needs)}"])
                seen.append(name)
    assert sorted(seen) == ["--add-generation-prompt", "--chat-format", *2 * ["--format"], "--layers", "--layout",
                            "--megabytes", *2 * ["--out"], "--rejected", "--task-hours", "--tasks", "--text", "--tokenizer"], seen
    model = f"{folder}/policy"
    refused_words("tokenize", model, "--decode", "--chat-format", "auto", expected=["--jsonl|--render|--mask"])
    refused_words("bench", "--model", model, "--megabytes", 300, expected=["--megabytes", "--store"])


@test
def values_that_are_missing_or_wrong(folder):
    for command in COMMANDS:
        options = options_of(command)
        for name, (argument, _) in options.items():
            if argument is None:
                continue
            for words in ([name], [name, ""]):
                refused_words(command, *words, expected=[f"{name}: expected a value", argument])
            if argument in ("N", "ROWS"):
                refused_words(command, name, "-1", expected=[f"{name} -1: expected a whole number from "])
    for value in ("x", "1.5", "2x", "9" * 20):
        refused_words("inspect", "--row", value, expected=[f"--row {value}: expected a whole number from 0"])
    for name, value, most in (("--layers", 10001, 10000), ("--repeat", 0, 1000), ("--threads", 4097, 4096)):
        refused_words("bench", name, value, expected=[f"{name} {value}", f"from 1 to {most}"])
    for name, value, some in (("--layout", "csv", "auto|pairs|"), ("--chat-format", "Llama3", "|llama3|")):
        refused_words("tokenize", name, value, expected=[f"{name} {value}: expected one of", some])


@test
def words_that_a_command_has_not(folder):
    """Among them the options of other commands; and what each can't do without."""
    known = {command: options_of(command) for command in COMMANDS}
    needed = {"inspect": "PATH (file or folder)", "tokenize": "MODEL_DIR",
              "bench": "--model DIR or --config FILE or --store DIR or --kernels"}
    for command, options in known.items():
        others = [name for other in COMMANDS for name in known[other] if name not in options]
        for word in ("--fast", "--", others[0], others[-1]):
            refused_words(command, word, expected=[f"{word}: unknown option; see aligndistil {command} --help"])
        refused_words(command, expected=[f"{command}: expected {needed.get(command, '-c FILE.cfg')}"])
        if command not in ("inspect", "tokenize"):
            refused_words(command, "word", expected=["word: unknown argument", f"{command} --help"])
    refused_words("tokenize", "a", "b", "third", expected=["third: unknown argument", "tokenize --help"])


@test
def every_command_talks_as_asked(folder):
    model, text = f"{folder}/policy", f"{folder}/texts.jsonl"
    for words in (["tokenize", model, text], ["inspect", model], ["sft", "-c", f"{folder}/run.cfg"],
                  ["bench", "--model", model, "--text", text, "--repeat", 1]):
        assert run(*words, "--quiet").err == ""
        assert "peak memory" in run(*words).err and "peak memory" in run(*words, "--verbose").err


if __name__ == "__main__":
    main(TESTS, prepare)
