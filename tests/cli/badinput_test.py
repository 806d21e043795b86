#!/usr/bin/python3
"""Commands on bad input, on 1 rank and on 3: one line that names file, place and expectation, the
contract's exit code, an end within 10 s, nothing half-written under its final name.

Each case is a row of CASES; ROUTE and CONFIG are a configuration under which every command works."""
import contextlib
import glob
import gzip
import itertools
import os
import resource
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

USAGE, INPUT, RESOURCE, INTERNAL = 2, 3, 4, 5
RANKS = (1, 3)
# Of the cases every third is on 3 ranks, which take five times as long to start; with --all-trials every second.
TURNS = itertools.cycle(RANKS if ALL_TRIALS else (1, 3, 1))
CONFIG = """shards: { sequences_per_shard = 4; };
distill: { policy = "policy"; mode = "off-policy"; };
generate: { model = "policy"; };
sampling: { max_new_tokens = 12; };
optimizer: { lr = 1e-3; batch_size = 5; micro_batch_tokens = 200; };
"""
ON_POLICY = ["distill.mode=on-policy", "shards.directory=on"]
STAGES = ("sft", "dpo", "score", "generate", "distill")
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def prepare(folder):
    prepare_route(folder, CONFIG)
    run("score", "-c", f"{folder}/run.cfg", "--set", "output=scored")
    copy(f"{folder}/scored/shards", f"{folder}/shards")


def settings_of(settings):
    return [word for setting in settings for word in ("--set", setting)]


def refused(folder, arguments, code, words, ranks=None, timeout=30, **options):
    """The command ends so on each number of ranks, or on one of RANKS in turn, leaves no result and nothing
    damaged."""
    for n in ranks or (next(TURNS),):
        shutil.rmtree(f"{folder}/out", ignore_errors=True)
        done = run(*arguments, ranks=n, timeout=timeout, code=None, **options)
        where = f"{' '.join(map(str, arguments))} on {n}: "
        assert done.code == code, where + f"expected code {code}: {done}"
        assert len(done.errors) == 1, where + f"expected one error line: {done}"
        for word in words:
            assert word in done.errors[0], where + f"\"{word}\" is not in: {done.errors[0]}"
        for line in done.err.splitlines():
            assert "HDF5-DIAG" not in line and "MPI_ABORT" not in line, where + line
        if os.path.exists(f"{folder}/out"):
            check_files(f"{folder}/out")
            assert not glob.glob(f"{folder}/out/**/done.json", recursive=True), where + "done"


def stage(folder, command, settings, code, words, config="run.cfg", **options):
    refused(folder, [command, "-c", f"{folder}/{config}", *settings_of(settings)], code, words,
            **options)


# --- the command line and the configuration ----------------------------------------------------


@test
def command_line_errors(folder):
    refused(folder, ["frobnicate"], USAGE, ["frobnicate", "--help"])
    for command in STAGES:
        refused(folder, [command], USAGE, [command, "-c FILE.cfg"], ranks=(1,))
        refused(folder, [command, "-c", f"{folder}/run.cfg", "--fast"], USAGE,
                ["--fast", f"{command} --help"], ranks=(1,))
    refused(folder, ["sft", "-c"], USAGE, ["-c", "expected"])
    refused(folder, ["sft", "-c", f"{folder}/run.cfg", "--set"], USAGE, ["--set", "expected"])
    refused(folder, ["sft", "-c", f"{folder}/run.cfg", "--part", "0/2"], USAGE, ["--part"])
    refused(folder, ["score", "-c", f"{folder}/run.cfg", "--part", "2/2"], USAGE,
            ["--part 2/2", "0 <= I < N"])
    refused(folder, ["inspect"], USAGE, ["inspect", "file or folder"])
    refused(folder, ["inspect", "--frob", folder], USAGE, ["--frob"])
    refused(folder, ["tokenize"], USAGE, ["MODEL_DIR"])
    refused(folder, ["tokenize", f"{folder}/policy", "--frob"], USAGE, ["--frob"])


@test
def help_and_version(folder):
    whole = run("--help").out
    for command in (*STAGES, "inspect", "tokenize"):
        assert f"\n  {command} " in whole, command
        text = run(command, "--help").out
        assert text.startswith(f"usage: aligndistil {command} "), text[:80]
        assert ("optimizer.batch_size" in text) == (command in STAGES), command
    assert "exit codes" in whole
    version = run("--version").out
    assert version.startswith("aligndistil ") and version.count("\n") == 1, version
    assert run(code=USAGE).out == whole
    assert run("--version", ranks=2).out == version * 2


@test
def configuration_errors(folder):
    for command in STAGES:
        refused(folder, [command, "-c", f"{folder}/none.cfg"], USAGE,
                ["none.cfg", "No such file"], ranks=RANKS if command == "sft" else (1,))
    cases = (
        ("seed = 1;\noutput = ;\n", ["bad.cfg:2", "syntax error"]),
        ("seed = 1;\noptimizer: { lr = 1e-3;\n  batchsize = 4; };\n",
         ["bad.cfg:3", "optimizer.batchsize", "unknown key", "optimizer.batch_size"]),
        ("optimiser: { lr = 1e-3; };\n", ["bad.cfg:1", "optimiser", "optimizer"]),
        ("optimizer: {\n  batch_size = 0; };\n",
         ["bad.cfg:2", "optimizer.batch_size", "0 is out of range", "expected 1 to"]),
        ("\noptimizer: { lr = \"fast\"; };\n",
         ["bad.cfg:2", "optimizer.lr", "expected a number", "found a string"]),
        ("distill: { mode = \"sideways\"; };\n",
         ["bad.cfg:1", "distill.mode", "sideways", "on-policy|off-policy|mixed"]),
        ("data = 3;\n", ["bad.cfg:1", "data", "expected a group"]),
        (b"\x00\x01\x02", ["bad.cfg", "NUL"]),
    )
    for text, words in cases:
        write(f"{folder}/bad.cfg", text)
        stage(folder, "sft", [], USAGE, words, config="bad.cfg")
    stage(folder, "sft", ["optimizer.lrr=1"], USAGE, ["--set", "optimizer.lrr", "optimizer.lr?"])
    stage(folder, "sft", ["optimizer.lr=fast"], USAGE, ["--set", "optimizer.lr", "a number"])
    stage(folder, "sft", ["optimizer.lr"], USAGE, ["--set optimizer.lr", "path=value"])
    refused(folder, ["sft", "-c", folder], USAGE, [folder, "regular file"])


@test
def keys_that_are_needed(folder):
    for command, key in (("sft", "sft.model"), ("dpo", "dpo.policy"), ("score", "teacher.dpo"),
                         ("score", "teacher.reverse"), ("generate", "generate.model"),
                         ("distill", "distill.policy"), ("distill", "teacher.dpo")):
        stage(folder, command, [f"{key}="], USAGE, [f"{key}: not set", "model directory"])
    stage(folder, "score", ["teacher.contrast=reference"], USAGE, ["teacher.reference: not set"])
    for command in STAGES:
        off = ["shards.directory=none"] if command == "distill" else []
        code, words = (INPUT, ["none"]) if off else (USAGE, ["data.train: not set", "JSONL"])
        stage(folder, command, ["data.train="] + off, code, words)
    stage(folder, "distill", ON_POLICY + ["data.train="], USAGE, ["data.train: not set"])


@test
def settings_that_a_loss_of_pairs_lacks(folder):
    """By name: each key with a loss that isn't a function of it, and values that a loss can't have."""
    losses = ("sigmoid", "ipo", "hinge", "simpo", "cdpo", "tdpo1", "tdpo2")
    keys = {"dpo.label_smoothing=0.1": ("sigmoid", "cdpo"), "dpo.gamma=1": ("simpo",),
            "dpo.tdpo_alpha=0.2": ("tdpo2",)}
    for (setting, users), loss in itertools.product(keys.items(), losses):
        if loss not in users:
            words = [setting.split("=")[0], f'dpo.loss = "{loss}"', "doesn't use it"]
            stage(folder, "dpo", [f"dpo.loss={loss}", "dpo.reference=", setting], USAGE, words,
                  ranks=RANKS if loss == "ipo" else (1,))
    stage(folder, "dpo", ["dpo.loss=simpo", "dpo.reference=policy"], USAGE,
          ["dpo.reference", 'dpo.loss = "simpo"', "doesn't use it"])
    for value in ("0", "0.5"):
        stage(folder, "dpo", ["dpo.loss=cdpo", f"dpo.label_smoothing={value}"], USAGE,
              [f"dpo.label_smoothing: {value}", "cdpo", "above 0 and below 0.5"])
    stage(folder, "dpo", ["dpo.loss=orpo"], USAGE, ["sigmoid|ipo|hinge|simpo|cdpo|tdpo1|tdpo2"])
    # A loss of the reference's distribution maps it itself.
    stage(folder, "dpo", ["dpo.loss=tdpo1", "dpo.reference=none"], INPUT, ["none"])


@test
def settings_that_a_signal_lacks(folder):
    for signal in ("token", "sequence"):
        on = [*ON_POLICY, f"distill.signal={signal}"]
        for setting in ("distill.divergence=forward", "distill.token_weight=uniform",
                        "distill.granularity=sequence", "distill.max_teacher_error=0.1"):
            stage(folder, "distill", [*on, setting], USAGE,
                  [setting.split("=")[0], f'distill.signal = "{signal}"', "doesn't use it"])
        for setting in ("sampling.temperature=0.7", "sampling.top_p=0.9", "sampling.top_k=5"):
            stage(folder, "distill", [*on, setting], USAGE,
                  ["distill.signal", signal, "the policy's own distribution", "sampling.top_p = 1.0"],
                  ranks=RANKS if "top_p" in setting else (1,))
        for mode in ("off-policy", "mixed"):
            stage(folder, "distill", [f"distill.signal={signal}", f"distill.mode={mode}"], USAGE,
                  ["distill.signal", signal, f'distill.mode = "{mode}"', '"on-policy"'], ranks=RANKS)
    stage(folder, "distill", [*ON_POLICY, "distill.penalty=beta"], USAGE,
          ["distill.penalty", "distribution", "doesn't use it"])
    write(f"{folder}/signals.cfg", 'grid: { distill: { signal = ["token"]; }; };\n')
    refused(folder, ["distill", "-c", f"{folder}/run.cfg", "--sweep", f"{folder}/signals.cfg"], USAGE,
            ["run signal-token", "distill.signal", "on-policy"])


@test
def more_roles_than_ranks(folder):
    for n in RANKS:
        stage(folder, "distill", ON_POLICY + ["roles.trainers=2", "roles.scorers=1",
                                              "roles.generators=1"], USAGE,
              ["2 trainers, 1 scorers and 1 generators", "4 ranks", f"there are {n}"], ranks=(n,))


@test
def ranks_with_other_configurations(folder):
    """Ranks that read different files (here: relative to their own folders) don't begin."""
    done = subprocess.run(
        ["mpirun", "-q", "-n", "1", BINARY, "sft", "-c", f"{folder}/run.cfg", ":",
         "-n", "1", BINARY, "sft", "-c", f"{folder}/run.cfg", "--set", "seed=2"],
        env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == USAGE, done
    assert done.stderr.count("error: ") == 1 and "the configuration differs" in done.stderr, done


# --- model directories -------------------------------------------------------------------------

SLOTS = {"sft.model": "sft", "dpo.policy": "dpo", "dpo.reference": "dpo", "teacher.dpo": "score",
         "teacher.reverse": "score", "generate.model": "generate", "distill.policy": "distill"}


def change_json(path, change):
    value = read_json(path)
    change(value)
    write(path, json.dumps(value))


def without(*keys):
    def change(value):
        for key in keys[:-1]:
            value = value[key]
        del value[keys[-1]]
    return change


def config_key(key, value):
    return lambda path: change_json(f"{path}/config.json", lambda c: c.update({key: value}))


def tensors(change):
    """Changes (header, data) of the weights; `change` returns new data or None."""
    def apply(path):
        header, data = safetensors_header(f"{path}/model.safetensors")
        data = change(header, data) or data
        write_safetensors(f"{path}/model.safetensors", header, data)
    return apply


def shift(header, _):
    header["model.norm.weight"]["data_offsets"] = [8, 8 + 64]


def outside(header, data):
    header["model.norm.weight"]["data_offsets"] = [len(data), len(data) + 64]


def reshape(header, _):
    header["model.layers.0.self_attn.q_proj.weight"]["shape"] = [8, 32]


def drop_last(header, data):
    name = max((k for k in header if k[0] != "_"), key=lambda k: header[k]["data_offsets"])
    assert name == "model.norm.weight"
    return data[:header.pop(name)["data_offsets"][0]]


def short(path, bytes_off=100):
    size = os.path.getsize(path)
    os.truncate(path, size - bytes_off if bytes_off > 0 else -bytes_off)


def tokenizer_part(*keys, value):
    def apply(path):
        def change(t):
            for key in keys[:-1]:
                t = t[key]
            t[keys[-1]] = value
        change_json(f"{path}/tokenizer.json", change)
    return apply


MODEL_FAULTS = (
    (shutil.rmtree, ["bad", "no such model directory"]),
    (lambda p: os.remove(f"{p}/config.json"), ["bad/config.json", "No such file"]),
    (lambda p: write(f"{p}/config.json", "{\"a\": 1,"), ["bad/config.json:1", "JSON"]),
    (lambda p: write(f"{p}/config.json", "[]"), ["bad/config.json", "object"]),
    (lambda p: change_json(f"{p}/config.json", without("hidden_size")),
     ["bad/config.json", "hidden_size"]),
    (config_key("hidden_size", "wide"), ["bad/config.json", "hidden_size", "integer"]),
    (config_key("hidden_size", -4), ["bad/config.json", "hidden_size"]),
    (config_key("num_attention_heads", 3), ["bad/config.json", "num_attention_heads"]),
    (config_key("model_type", "gpt_oss"), ["bad/config.json", "model_type", "gpt_oss", "qwen2"]),
    (config_key("hidden_act", "gelu"), ["bad/config.json", "hidden_act", "gelu", "silu"]),
    (config_key("num_hidden_layers", 3), ["bad", "model.layers.2."]),
    (config_key("num_hidden_layers", 1), ["bad/model.safetensors", "model.layers.1."]),
    (lambda p: os.remove(f"{p}/model.safetensors"), ["bad", "model.safetensors"]),
    (lambda p: short(f"{p}/model.safetensors"), ["bad/model.safetensors", "bytes"]),
    (lambda p: short(f"{p}/model.safetensors", -300), ["bad/model.safetensors", "header"]),
    (lambda p: short(f"{p}/model.safetensors", -5), ["bad/model.safetensors"]),
    (lambda p: write(f"{p}/model.safetensors", b"\xff" * 64), ["bad/model.safetensors", "header"]),
    (tensors(shift), ["bad/model.safetensors", "overlap"]),
    (tensors(outside), ["bad/model.safetensors", "model.norm.weight"]),
    (tensors(drop_last), ["bad", "model.norm.weight"]),
    (tensors(reshape), ["bad/model.safetensors", "self_attn.q_proj.weight", "[16, 16]", "[8, 32]"]),
    (tensors(lambda h, d: h["model.norm.weight"].update(dtype="Q7")),
     ["bad/model.safetensors", "model.norm.weight", "Q7", "F32"]),
    (lambda p: write(f"{p}/tokenizer.json", "not JSON"), ["bad/tokenizer.json:1", "JSON"]),
    (lambda p: os.remove(f"{p}/tokenizer.json"), ["bad/tokenizer.json", "No such file"]),
    (tokenizer_part("model", "type", value="Unigram"), ["bad/tokenizer.json", "Unigram", "BPE"]),
    (tokenizer_part("normalizer", value={"type": "Nmt"}),
     ["bad/tokenizer.json", "normalizer", "Nmt"]),
    (tokenizer_part("pre_tokenizer", value={"type": "UnicodeScripts"}),
     ["bad/tokenizer.json", "pre_tokenizer", "UnicodeScripts"]),
    (tokenizer_part("decoder", value={"type": "WordPiece"}),
     ["bad/tokenizer.json", "decoder", "WordPiece"]),
    (lambda p: change_json(f"{p}/tokenizer_config.json",
                           lambda c: c.update(chat_template="{% strange %}")),
     ["bad", "chat"]),
)


@test
def broken_models(folder):
    for fault, words in MODEL_FAULTS:
        fault(copy(f"{folder}/policy", f"{folder}/bad"))
        stage(folder, "sft", ["sft.model=bad"], INPUT, words)


@test
def broken_models_in_every_place(folder):
    """A missing folder, cut weights, and a tokenizer that the weights have no room for."""
    for key, command in SLOTS.items():
        modes = ([], ON_POLICY) if command == "distill" else ([],)
        for mode in modes:
            stage(folder, command, [f"{key}=nowhere", *mode], INPUT, ["nowhere", "no such model directory"])
            copy(f"{folder}/policy", f"{folder}/bad")
            short(f"{folder}/bad/model.safetensors")
            stage(folder, command, [f"{key}=bad", *mode], INPUT, ["bad/model.safetensors", "bytes"])
    for key in ("teacher.dpo", "teacher.reverse"):
        for mode in ([], ON_POLICY):
            stage(folder, "distill", [f"{key}=bad", *mode], INPUT, ["bad/model.safetensors"])


@test
def models_that_do_not_fit(folder):
    tool("train_tokenizer.py", "--text", f"{folder}/desk/train.jsonl", "--vocab-size", 320,
         "--output", f"{folder}/tok2")
    make_model(folder, "other", 7, "--vocab-size", 384, tokenizer="tok2")
    make_model(folder, "narrow", 9, tokenizer="tok2")
    shutil.copy(f"{folder}/tok/tokenizer.json", f"{folder}/narrow/tokenizer.json")
    for command in ("score", "distill"):
        stage(folder, command, ["teacher.reverse=other"], INPUT,
              ["other/tokenizer.json", "dpo", "same tokenizer"])
        stage(folder, command, ["teacher.reverse=narrow"], INPUT,
              ["narrow", "vocab_size 320", "dpo has 384", "384 ids"])
    for mode in ([], ON_POLICY):
        stage(folder, "distill", ["teacher.dpo=other", "teacher.reverse=other", *mode], INPUT,
              ["other/tokenizer.json", "policy", "same tokenizer"])
        stage(folder, "distill", ["teacher.dpo=narrow", "teacher.reverse=narrow", *mode], INPUT,
              ["narrow", "vocab_size 320", "policy has 384", "384 ids"])
    stage(folder, "dpo", ["dpo.reference=narrow"], INPUT,
          ["narrow", "vocab_size 320", "policy has 384", "384 ids"])
    stage(folder, "eval", ["eval.model=policy", "eval.dpo=narrow", "eval.contrast=rev",
                           "data.eval=desk/eval.jsonl"], INPUT,
          ["narrow", "vocab_size 320", "policy has 384", "384 ids"])
    stage(folder, "dpo", ["dpo.reference=other"], INPUT,
          ["other/tokenizer.json", "policy", "same tokenizer"])
    for key, command in (("sft.model", "sft"), ("generate.model", "generate")):
        stage(folder, command, [f"{key}=narrow"], INPUT, ["narrow/tokenizer.json", "384 ids", "vocab_size 320"])


@test
def sequences_beyond_a_dynamic_rotation(folder):
    """Sequences up to max_position_embeddings are fine, longer ones are refused."""
    for limit in (200, 30):
        keys = {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": limit}
        make_model(folder, "dynamic", 7, "--config", json.dumps(keys))
        for command, setting in (("sft", "sft.model"), ("score", "teacher.dpo"),
                                 ("generate", "generate.model")):
            settings = [f"{setting}=dynamic", "shards.directory=new", "output=out"]
            if limit == 200:
                run(command, "-c", f"{folder}/run.cfg", *settings_of(settings))
            else:
                stage(folder, command, settings, INPUT,
                      ["more than 30 tokens", "max_position_embeddings", "\"dynamic\"",
                       "data.max_prompt_tokens"])


# --- data --------------------------------------------------------------------------------------


def row(**changes):
    kept = {"prompt": "Tea?", "chosen": "Yes, tea.", "rejected": "No.", **changes}
    return {key: value for key, value in kept.items() if value is not None}


GOOD = json.dumps(row()) + "\n"
DATA_FAULTS = (
    (GOOD * 2 + '{"prompt": "Tea?", "cho\n', ["bad.jsonl:3", "JSON"]),
    (gzip.compress(GOOD.encode())[:-9], ["bad.jsonl: the gzip file is cut"]),
    (GOOD + json.dumps({"turns": ["Tea?"]}), ["bad.jsonl:2", "\"mt-bench\"", "\"pairs\""]),
    (GOOD + json.dumps(row(prompt=None)) + "\n", ["bad.jsonl:2", "\"prompt\" is missing"]),
    (GOOD + "\n" + json.dumps(row(prompt=5)), ["bad.jsonl:3", "\"prompt\"", "string"]),
    (GOOD + "[1]\n", ["bad.jsonl:2", "object"]),
    (GOOD.encode() + b'{"prompt": "T\xff", "chosen": "a", "rejected": "b"}\n',
     ["bad.jsonl:2", "UTF-8"]),
    ("", ["bad.jsonl", "no rows"]),
    ("\n\n", ["bad.jsonl", "no rows"]),
    (None, ["bad.jsonl", "No such file"]),
)
RESPONSE_FAULTS = (
    (GOOD + json.dumps(row(chosen=None)) + "\n", ["bad.jsonl:2", "\"chosen\" is missing"]),
    (json.dumps(row(chosen="")) + "\n" * 2,
     ["bad.jsonl: none of its 1 rows can be used", "bad.jsonl:1", "\"chosen\" is empty"]),
    (GOOD + json.dumps(row(chosen=7)) + "\n", ["bad.jsonl:2", "\"chosen\"", "string"]),
    ("\n" + json.dumps(row(chosen=[{"role": "user", "content": "x"}])) + "\n",
     ["bad.jsonl: none", "bad.jsonl:2", "\"chosen\"", "assistant"]),
)


@test
def broken_data(folder):
    def each(command, settings, faults, ranks=None):
        for text, words in faults:
            path = f"{folder}/bad.jsonl"
            if text is None:
                os.remove(path)
            else:
                write(path, text)
            stage(folder, command, ["data.train=bad.jsonl", *settings], INPUT, words, ranks=ranks)
    each("dpo", [], DATA_FAULTS + RESPONSE_FAULTS)
    each("sft", [], DATA_FAULTS[:1] + RESPONSE_FAULTS[:2])
    each("score", [], DATA_FAULTS[-4:] + RESPONSE_FAULTS[:2])
    each("generate", [], DATA_FAULTS[-4:])
    each("distill", [], DATA_FAULTS[-4:] + RESPONSE_FAULTS[:2])
    each("distill", ON_POLICY, DATA_FAULTS[-4:])
    each("distill", ["distill.mode=mixed", "shards.directory=on"], RESPONSE_FAULTS[:2])
    each("dpo", [], ((GOOD + json.dumps(row(rejected=None)), ["bad.jsonl:2", "\"rejected\""]),))


@test
def long_rows_are_cut_and_counted(folder):
    rows = [row(prompt="Tea? " * (40 if i < 3 else 1), chosen="Yes. " * (40 if i < 2 else 1))
            for i in range(8)]
    rows[7]["rejected"] = rows[7]["chosen"]
    write_rows(f"{folder}/long.jsonl", rows)
    for command, output, cuts in (("sft", "sft", 2), ("dpo", "dpo", 2), ("score", None, 2),
                                  ("generate", None, 0), ("distill", "aligned", 2),
                                  ("distill on", "aligned", 0)):
        mode = ON_POLICY if command.endswith(" on") else []
        for n in RANKS:
            shutil.rmtree(f"{folder}/out", ignore_errors=True)
            done = run(command.split()[0], "-c", f"{folder}/run.cfg",
                       *settings_of(["data.train=long.jsonl", "data.max_prompt_tokens=30",
                                     "data.max_response_tokens=20", *mode]), ranks=n)
            assert f"cut: 3 prompts, {cuts} responses" in done.err, (command, done)
            if output is None:
                continue
            first = read_rows(f"{folder}/out/{output}/metrics.jsonl")[0]
            counts = [first.get(f"data/{k}") for k in ("rows", "prompts_cut", "responses_cut")]
            assert counts == [8, 3, cuts], (command, n, first)


# --- shards ------------------------------------------------------------------------------------


@contextlib.contextmanager
def changed_shards(folder):
    """A folder of good shards, which a test may spoil; without their manifest, which would tell."""
    copy(f"{folder}/shards", f"{folder}/spoiled")
    os.remove(f"{folder}/spoiled/manifest.json")
    yield f"{folder}/spoiled/shard-000001.h5"


def flip_byte(path, dataset):
    with h5py.File(path) as file:
        found = file[dataset]
        at = found.id.get_chunk_info(0).byte_offset if found.chunks else found.id.get_offset()
    with open(path, "r+b") as raw:
        raw.seek(at + 3)
        byte = raw.read(1)[0]
        raw.seek(at + 3)
        raw.write(bytes([byte ^ 0x40]))


def attribute(name, value):
    def apply(path):
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value
    return apply


def rows(change, *names):
    """Datasets anew with other rows or columns; what they say of themselves stays."""
    def apply(path):
        with h5py.File(path, "r+") as file:
            for name in names:
                old, said = file[name][...], dict(file[name].attrs)
                del file[name]
                new = change(old)
                data = file.create_dataset(name, data=new, chunks=new.shape, fletcher32=True)
                data.attrs.update(said)
    return apply


def every(*changes):
    def apply(path):
        for change in changes:
            change(path)
    return apply


def less(values):
    return values[:-1]


def wider(values):
    return np.hstack([values, values])


HIDDEN = ("teacher/hidden_dpo", "teacher/hidden_reverse")
RESPONSE = ("response/id", "response/logprob_dpo", "response/logprob_reverse",
            "response/logprob_policy", "response/tvd")
WIDER = every(attribute("hidden_size", 32), rows(wider, *HIDDEN))

# Sizes that lie: in the attributes, in the row counts, in both alike.
LIES = (
    (attribute("hidden_size", 15), ["shard-000001.h5", "/teacher/hidden_dpo", "15 columns, found 16"]),
    (attribute("hidden_size", 1 << 40), ["shard-000001.h5", 'attribute "hidden_size"']),
    (attribute("hidden_size", -16), ["shard-000001.h5", 'attribute "hidden_size"']),
    (rows(wider, HIDDEN[0]), ["shard-000001.h5", "/teacher/hidden_dpo", "16 columns, found 32"]),
    (rows(wider, HIDDEN[1]), ["shard-000001.h5", "/teacher/hidden_reverse", "16 columns, found 32"]),
    (WIDER, ["shard-000001.h5", "hidden_size 32", "shard-000000.h5 has 16"]),
    (rows(less, HIDDEN[1]), ["shard-000001.h5", "/teacher/hidden_reverse", "rows, found"]),
    (rows(less, "response/tvd"), ["shard-000001.h5", "/response/tvd", "rows, found"]),
    (rows(less, "response/id"), ["shard-000001.h5", "rows, found"]),
    (rows(less, "token/id"), ["shard-000001.h5", "/sequence/token_start"]),
    (rows(less, "sequence/token_start"), ["shard-000001.h5", "/sequence/token_start", "rows, found"]),
    (rows(less, *RESPONSE, *HIDDEN), ["shard-000001.h5", "/sequence/response_start"]),
    (every(rows(less, *RESPONSE, *HIDDEN),
           rows(lambda starts: starts.clip(0, starts[-1] - 1), "sequence/response_start")),
     ["shard-000001.h5", "/response/id"]),
)

SHARD_FAULTS = (
    (lambda p: short(p, 2000), ["shard-000001.h5", "cut short"]),
    (lambda p: short(p, -100), ["shard-000001.h5"]),
    (lambda p: write(p, ""), ["shard-000001.h5", "HDF5"]),
    (lambda p: write(p, "hello"), ["shard-000001.h5", "HDF5"]),
    (attribute("schema_version", 99), ["shard-000001.h5", "schema version 99", "up to version 2"]),
    (attribute("format", "other"), ["shard-000001.h5", "format", "aligndistil-shard"]),
    (lambda p: flip_byte(p, "teacher/hidden_dpo"), ["shard-000001.h5", "hidden_dpo", "Fletcher"]),
    (attribute("vocab_size", 7), ["shard-000001.h5"]),
)


@test
def broken_shards_alone(folder):
    """Shards without a data file: nobody can make them anew, so they are an error."""
    for fault, words in SHARD_FAULTS:
        with changed_shards(folder) as path:
            fault(path)
            stage(folder, "distill", ["data.train=", f"shards.directory={folder}/spoiled"], INPUT,
                  words)
    for fault, words in SHARD_FAULTS[:-1]:
        with changed_shards(folder) as path:
            fault(path)
            if "Fletcher" not in words:
                refused(folder, ["inspect", path], INPUT, words)
    shutil.rmtree(f"{folder}/spoiled")
    os.makedirs(f"{folder}/spoiled")
    stage(folder, "distill", ["data.train=", f"shards.directory={folder}/spoiled"], INPUT,
          ["spoiled", "shard-NNNNNN.h5"])


@test
def shards_that_lie_about_sizes(folder):
    """Before any step, or when the sequence is read; the first shard's lie is no measure for others."""
    spoiled = ["data.train=", f"shards.directory={folder}/spoiled"]
    for fault, words in LIES:
        with changed_shards(folder) as path:
            fault(path)
            stage(folder, "distill", spoiled, INPUT, words)
    with changed_shards(folder) as path:
        attribute("chat_format", "llama3")(path)
        WIDER(path.replace("000001", "000002"))
        stage(folder, "distill", spoiled, INPUT, ["shard-000002.h5", "hidden_size 32"])
        said = run("inspect", "--verify", f"{folder}/spoiled", code=INPUT).out
        for text in ("000001.h5: chat_format llama3, but ", "000002.h5: hidden_size 32, but "):
            assert text in said, said
        os.remove(path.replace("000001", "000002"))
        stage(folder, "distill", spoiled, INPUT, ["shard-000001.h5: chat_format llama3, but "])
    with changed_shards(folder) as path:
        WIDER(path.replace("000001", "000000"))
        stage(folder, "distill", spoiled, INPUT,
              ["shard-000001.h5", "hidden_size 16", "shard-000000.h5 has 32"])
        for name in sorted(os.listdir(f"{folder}/spoiled"))[1:]:
            WIDER(f"{folder}/spoiled/{name}")
        stage(folder, "distill", spoiled, INPUT,
              ["shard-000000.h5", "/teacher/hidden_dpo", "hidden states of 32", f"{folder}/dpo"])


@test
def shards_of_different_top_k(folder):
    """Of one folder and of two sources: both files and both values, whichever comes first."""
    for K in (5, 8):
        run("score", "-c", f"{folder}/run.cfg", *settings_of(
            ["shards.encoding=topk", f"shards.top_k={K}", f"shards.directory={folder}/k{K}"]))
    words = ["shard-000002.h5", "top_k 8", "shard-000000.h5 has 5"]
    copy(f"{folder}/k5", f"{folder}/ks")
    os.remove(f"{folder}/ks/manifest.json")
    shutil.copy(f"{folder}/k8/shard-000002.h5", f"{folder}/ks/shard-000002.h5")
    stage(folder, "distill", ["data.train=", f"shards.directory={folder}/ks"], INPUT,
          [f"{folder}/ks/", *words])
    refused(folder, ["inspect", "--index", f"{folder}/ks"], INPUT, words, ranks=(1,))
    said = run("inspect", "--verify", f"{folder}/ks", code=INPUT).out
    assert all(word in said for word in words), said
    stage(folder, "distill", ["data.train=", f"shards.sources={folder}/k8,{folder}/k5"], INPUT,
          [f"{folder}/k5/shard-000000.h5: top_k 5", f"{folder}/k8/shard-000000.h5 has 8"])


@test
def shards_of_other_makers(folder):
    place = f"shards.directory={folder}/shards"
    write_rows(f"{folder}/less.jsonl", read_rows(f"{folder}/desk/train.jsonl")[:19])
    for command in ("score", "distill"):
        stage(folder, command, ["teacher.dpo=policy", place], INPUT,
              ["shard-000000.h5", "sha256_dpo", "this configuration's is"])
        stage(folder, command, ["teacher.reverse=policy", place], INPUT,
              ["shard-000000.h5", "sha256_reverse"])
        stage(folder, command, ["data.train=less.jsonl", place], INPUT,
              ["shard-000000.h5", "sha256_data"])
        stage(folder, command, ["data.chat_format=none", place], INPUT,
              ["shard-000000.h5", "chat_format"])
        stage(folder, command, ["teacher.contrast=reference", "teacher.reference=rev", place], INPUT,
              ["shard-000000.h5", "contrast", "reference"])
    stage(folder, "distill", ["data.train=", "teacher.dpo=policy", place], INPUT,
          ["shard-000000.h5", "sha256_dpo"])
    stage(folder, "distill", ["distill.mode=on-policy", place], USAGE,
          ["shard-000000.h5", "shards.directory"])
    assert len(os.listdir(f"{folder}/shards")) == 6


@test
def newer_shards_are_kept(folder):
    """A newer schema is no damage: score must not write over it."""
    with changed_shards(folder) as path:
        attribute("schema_version", 99)(path)
        for command in ("score", "distill"):
            stage(folder, command, [f"shards.directory={folder}/spoiled"], INPUT,
                  ["shard-000001.h5", "schema version 99"])
        with h5py.File(path) as file:
            assert file.attrs["schema_version"] == 99


# --- output ------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder, size):
    os.makedirs(f"{folder}/disk", exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none",
                              f"{folder}/disk"], capture_output=True)
    if mounted.returncode != 0:
        raise Skip("a tmpfs can't be mounted here")
    try:
        yield f"{folder}/disk"
    finally:
        subprocess.run(["umount", f"{folder}/disk"], check=True)


def checkpointed(settings):
    return [*settings, "checkpoint.every_steps=1"]


@test
def full_disk(folder):
    """From no room at all to almost enough: always RESOURCE, and what is there is whole."""
    reached = set()
    for command, mode in (("sft", []), ("sft", checkpointed([])), ("dpo", []), ("score", []),
                          ("generate", []), ("distill", []), ("distill", ON_POLICY),
                          ("distill", checkpointed(ON_POLICY))):
        for pages in (0, 4, 12, 17, *some((24, 30), 2)):
            n = RANKS[pages % 8 // 4]
            with small_disk(folder, f"{max(pages, 1) * 4}k") as disk:
                if pages == 0:
                    write(f"{disk}/filler", b"x" * 4096)
                done = run(command, "-c", f"{folder}/run.cfg", ranks=n, timeout=30, code=None,
                           *settings_of([*mode, f"output={disk}/out"]))
                where = f"{command} {mode} with {pages} pages on {n}: "
                assert done.code in (0, RESOURCE), where + str(done)
                if done.code == 0:
                    continue
                assert len(done.errors) == 1 and disk in done.errors[0], where + str(done)
                assert "No space" in done.errors[0], where + str(done)
                reached.add((command, pages))
                for lines in glob.glob(f"{disk}/out/**/metrics.jsonl", recursive=True):
                    read_rows(lines)
                check_files(disk)
    for command in STAGES:
        assert (command, 0) in reached, (command, reached)
    assert {pages for _, pages in reached} >= {0, 4, 12, 17}, reached


@test
def small_shared_memory(folder):
    """Ranks of a node share frozen weights by mapping the files: no room in /dev/shm is needed."""
    words = [BINARY, "score", "-c", f"{folder}/run.cfg"]
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", "mount -t tmpfs -o size=32k none /dev/shm || exit 99; "
         "exec mpirun -q -n 3 \"$@\"", "-", *words], capture_output=True, text=True, timeout=30,
        env=environment({"OMPI_MCA_btl_vader_backing_directory": folder}))
    if done.returncode in (1, 99):
        raise Skip("a tmpfs can't be mounted here")
    done = Run(done.returncode, done.stdout, done.stderr, 0.0)
    assert done.code == 0 and not done.errors, done


@test
def file_size_limit(folder):
    for command, mode in (("sft", []), ("dpo", checkpointed([])), ("score", []), ("generate", []),
                          ("distill", []), ("distill", ON_POLICY)):
        for kibibytes in (2, 30, 70):
            shutil.rmtree(f"{folder}/out", ignore_errors=True)
            done = subprocess.run(
                ["bash", "-c", f"ulimit -f {kibibytes}; exec \"$@\"", "-", BINARY, command, "-c",
                 f"{folder}/run.cfg", *settings_of(mode)], env=environment(), timeout=30,
                capture_output=True, text=True)
            done = Run(done.returncode, done.stdout, done.stderr, 0.0)
            where = f"{command} {mode} with files of {kibibytes} KiB: "
            assert done.code in ((0, RESOURCE) if kibibytes > 2 else (RESOURCE,)), where + str(done)
            if done.code == RESOURCE:
                assert len(done.errors) == 1, where + str(done)
                assert "out/" in done.errors[0] and "File too large" in done.errors[0], done
            check_files(f"{folder}/out")


@test
def output_that_cannot_be_written(folder):
    """A file stands where a folder must be made, and a folder where a file must be."""
    write(f"{folder}/way", "a file")
    for command in STAGES:
        stage(folder, command, [f"output={folder}/way"], INPUT, [f"{folder}/way"])
        stage(folder, command, [f"output={folder}/way/deeper"], INPUT, [f"{folder}/way"])
    stage(folder, "sft", [f"sft.output={folder}/way"], INPUT, [f"{folder}/way", "folder"])
    stage(folder, "score", [f"shards.directory={folder}/way"], INPUT, [f"{folder}/way", "folder"])
    stage(folder, "distill", ON_POLICY[:1] + [f"shards.directory={folder}/way"], INPUT,
          [f"{folder}/way", "folder"])
    os.makedirs(f"{folder}/dir/x", exist_ok=True)
    stage(folder, "generate", [f"generate.output={folder}/dir"], INPUT, [f"{folder}/dir"])
    with small_disk(folder, "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for command in STAGES:
            stage(folder, command, [f"output={disk}/out"], INPUT, [disk, "Read-only file system"],
                  ranks=(3,))


@test
def failure_keeps_what_was_there(folder):
    """A run that fails after a good one leaves the good one's model."""
    run("sft", "-c", f"{folder}/run.cfg", "--set", f"output={folder}/kept")
    before = weights(f"{folder}/kept/sft")
    write(f"{folder}/bad.jsonl", "{}")
    for settings in (["data.train=bad.jsonl"], ["sft.model=nowhere"], ["debug.fail=model_save:0:1", "checkpoint.resume=false"]):
        run("sft", "-c", f"{folder}/run.cfg", code=None,
            *settings_of([f"output={folder}/kept", *settings]))
        after = weights(f"{folder}/kept/sft")
        assert all(np.array_equal(before[k], after[k]) for k in before)
        check_files(f"{folder}/kept")


# --- faults from within ------------------------------------------------------------------------

SITES = (
    ("sft", ["train_step", "model_save"], []),
    ("sft", ["checkpoint_write"], ["checkpoint.every_steps=1"]),
    ("dpo", ["reference", "train_step", "model_save"], []),
    ("score", ["model_read", "shard_write", "shard_commit"], []),
    ("generate", ["generate", "token", "output_write"], []),
    ("eval", ["data_open", "measure", "token"], ['data.eval="desk/eval.jsonl"', "eval.model=policy",
                                                 "optimizer.micro_batch_tokens=100"]),
    ("distill", ["shard_write", "shard_read", "train_step"], []),
    ("distill", ["generate", "shard_write", "shard_commit", "shard_read", "train_step",
                 "message_send", "message_receive", "metrics_write"],
     [*ON_POLICY, "checkpoint.every_steps=1"]),
    ("distill", ["generate", "shard_write", "shard_read", "message_send", "message_receive",
                 "checkpoint_write"],
     [*ON_POLICY, "checkpoint.every_steps=1", "roles.trainers=1", "roles.scorers=1",
      "roles.generators=1"]),
    ("distill", ["generate", "shard_commit", "shard_read", "message_receive"],
     [*ON_POLICY, "distill.max_staleness=2", "roles.trainers=1", "roles.scorers=1",
      "roles.generators=1"]),
)


ROOT_ONLY = ("model_save", "checkpoint_write", "metrics_write", "output_write")


@test
def faults_on_every_rank(folder):
    """debug.fail at each site, on ranks of 3 in turn until one comes by, and with --all-trials on each: code 5
    and one line when the rank comes by that site, success when it doesn't, a hang never."""
    fired = {}
    for command, sites, settings in SITES:
        for i, site in enumerate(sites):
            for rank in (0, 2) if site in ROOT_ONLY else ((2, 1, 0), (0, 2, 1), (1, 0, 2))[i % 3]:
                if (command, site, *settings) in fired and not ALL_TRIALS:
                    break
                for time in some((1, 3) if site == "shard_read" else (1,), 2):
                    shutil.rmtree(f"{folder}/out", ignore_errors=True)
                    done = run(command, "-c", f"{folder}/run.cfg", ranks=3, timeout=30, code=None,
                               *settings_of([*settings, f"debug.fail={site}:{rank}:{time}"]))
                    where = f"{command} {settings}, {site}:{rank}:{time}: {done}"
                    assert done.code in (0, INTERNAL), where
                    assert len(done.errors) == (done.code != 0), where
                    if done.code:
                        assert f"debug.fail: {site}, time {time}" in done.errors[0], where
                        assert not glob.glob(f"{folder}/out/**/done.json", recursive=True), where
                        fired.setdefault((command, site, *settings), set()).add(rank)
                    if "message" not in site: # which end by MPI_Abort, in the middle of a write
                        check_files(f"{folder}/out")
    for command, sites, settings in SITES:
        for site in sites:
            assert (command, site, *settings) in fired, f"{command} {settings}: no rank came by {site}"
    assert set().union(*fired.values()) == {0, 1, 2}, fired


@test
def shards_of_different_encodings(folder):
    """Beside one another: both files are named. Under a configuration of another encoding: both
    sides are, and what is there stays."""
    kinds = {"topk": ["shards.encoding=topk"], "full": ["shards.encoding=full"],
             "halves": ["shards.encoding=full", "shards.full_dtype=f16"]}
    for name, settings in kinds.items():
        run("score", "-c", f"{folder}/run.cfg",
            *settings_of([*settings, f"shards.directory={folder}/{name}"]))
    for one, other, words in (
            ("topk", "full", ['encoding "full"', 'shard-000000.h5 has "topk"']),
            ("full", "halves", ["full_dtype f16", "shard-000000.h5 has f32"])):
        place = copy(f"{folder}/{one}", f"{folder}/mixed")
        os.remove(f"{place}/manifest.json")
        shutil.copy(f"{folder}/{other}/shard-000001.h5", f"{place}/shard-000001.h5")
        words = [f"{place}/shard-000001.h5: ", f"{place}/", *words]
        stage(folder, "distill", ["data.train=", f"shards.directory={place}"], INPUT, words)
        refused(folder, ["inspect", place], INPUT, words, ranks=(1,))
        said = run("inspect", "--verify", place, code=INPUT).out
        assert all(word in said for word in words), said
    for there, wanted, words in (
            ("topk", [], ["attribute encoding is topk", "this configuration's is hidden"]),
            ("full", kinds["halves"], ["attribute full_dtype is f32", "is f16"])):
        before = shard_content(f"{folder}/{there}")
        for command in ("score", "distill"):
            stage(folder, command, [*wanted, f"shards.directory={folder}/{there}"], INPUT,
                  ["shard-000000.h5", *words])
        assert shard_content(f"{folder}/{there}") == before


if __name__ == "__main__":
    main(TESTS, prepare)
