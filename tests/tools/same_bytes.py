#!/usr/bin/python3
"""same_bytes.py OLD_BINARY NEW_BINARY: that a reorganisation changed no bytes.

One set of small inputs, some hundred small runs with either binary on 1 and on 3 ranks, in folders of
the same relative layout; then every file that they made, and what they printed, is compared byte by
byte. Exit code 1, and the first differing files with what differs in them, where anything does.

Not part of the suite, which has no older binary. It says nothing of whether the bytes are right, and
nothing of what these runs don't reach: `bench`, progress and memory in the log, rows of a vocabulary
that is cut over several chunks, several threads, signals, damaged files.

What is left out, each found by comparing a binary with itself:
  * the members of metrics.jsonl and metrics.h5 that are times (TIMES), there and where `inspect`
    prints them;
  * the closing line of stderr with wall time and memory (the rest of stderr under --quiet, which is
    warnings and errors, is compared);
  * notes of digests beside weights (.NAME.sha256), which hold times and inode numbers.
The time in a shard is that of its inputs, whose copies keep theirs.
With 3 ranks nothing more is left out: what depends on which rank comes first is in the times alone."""
import argparse
import concurrent.futures
import os
import re
import shlex
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403
import harness  # noqa: E402
from training import KINDS as SHAPES  # noqa: E402

TIMES = harness.TIMES.encode()
RANKS = (1, 3)
STAGES = ("sft", "dpo", "score", "distill", "generate", "eval")
CONFIG = """seed = 1;
output = "out";
data: { train = "desk/train.jsonl"; eval = "desk/eval.jsonl"; };
sft: { model = "policy"; };
dpo: { policy = "policy"; reference = "dpo"; };
teacher: { dpo = "dpo"; reverse = "rev"; reference = "policy"; };
shards: { sequences_per_shard = 6; top_k = 8; };
distill: { policy = "start"; mode = "off-policy"; };
generate: { model = "dpo"; };
eval: { model = "dpo"; dpo = "dpo"; contrast = "rev"; reference = "policy"; };
sampling: { max_new_tokens = 10; };
optimizer: { lr = 1e-3; batch_size = 6; micro_batch_tokens = 200; };
checkpoint: { every_steps = 0; };
"""
KINDS = ("qwen2 windows", "qwen3 yarn", "llama llama3", "olmo2")
WIDE = "teacher.dpo=wide_dpo teacher.reverse=wide_rev"
LLAMA = "teacher.dpo=llama_dpo teacher.reverse=llama_rev distill.policy=llama"
SWEEP = """at_once = 3;
runs: ( { name = "plain"; teacher: { extrapolation = "none"; }; distill: {
                   token_weight = "uniform"; }; },
        { name = "seed2"; seed = 2; optimizer: { betas = [0.8, 0.9]; lr = 2e-3; }; },
        { name = "short"; optimizer: { max_steps = 1; batch_size = 5; }; } );
grid: { teacher: { strength = [5.0, 40.0]; };
        distill: { divergence = ["reverse", "forward"]; granularity = ["sequence"]; }; };
"""
TURNS = [{"question_id": 81 + i, "category": "x", "turns": turns} for i, turns in enumerate(
    (["Tea?", "Milk?"], ["Tea only?"], ["One?", "Two?", "Three?"]))]
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea\u2615?"},
        {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Milk?"},
        {"role": "assistant", "content": " No. "}]
USER, YES, NO = TALK[1], TALK[2], TALK[4]
LAYOUTS = {
    "implicit": [{"chosen": [USER, YES], "rejected": [USER, NO]}],
    "hh": [{"chosen": "\n\nHuman: Tea?\n\nAssistant: Yes.", "rejected":
            "\n\nHuman: Tea?\n\nAssistant: No.\n\nNever."}, {"chosen": "", "rejected": ""}],
    "ultrafeedback": [{"prompt": USER["content"], "chosen": [USER, YES], "rejected": [USER, NO],
                       "score_chosen": 7.5, "score_rejected": 7.5}],
    "sharegpt": [{"conversations": [{"from": "human", "value": "Tea?"}], "system": "Be brief.",
                  "chosen": {"from": "gpt", "value": "Yes."},
                  "rejected": {"from": "gpt", "value": "No."}}],
    "alpaca": [{"instruction": "Add", "input": "1 and 2", "output": ["3", "4"]},
               {"instruction": "Milk?", "history": [["Tea?", "Yes."]], "chosen": "Some",
                "rejected": "None"}]}


# --- the runs ----------------------------------------------------------------------------------

# Teacher settings that a trainer chooses over one scoring, and the scorings themselves.
FACTORS = {
    "shards": ("full", "f16", "gzip", "hidden", "hidden32", "topk"),
    "distill.divergence": ("reverse", "forward", "jsd"),
    "teacher.extrapolation": ("adaptive", "constant", "none"),
    "distill.token_weight": ("beta", "uniform"), "distill.granularity": ("token", "sequence"),
    "teacher.contrast": ("reverse", "reference"), "distill.length_normalize": ("true", "false"),
    "teacher.temperature": ("1.0", "1.5")}


def pairwise(factors):
    """Few rows in which every two values of two factors occur together; the same ones every time."""
    names = list(factors)
    open_ = {((a, x), (b, y)) for i, a in enumerate(names) for b in names[i + 1:]
             for x in factors[a] for y in factors[b]}

    def closes(row):
        return {pair for pair in open_ if all(row.get(name) == value for name, value in pair)}
    while open_:
        row = dict(min(open_, key=str))
        for name in names:
            if name not in row:
                row[name] = max(factors[name], key=lambda value: len(closes({**row, name: value})))
        open_ -= closes(row)
        yield row


def all_runs():
    """name -> its commands, in order; a name that ends in @N is a run on N ranks only. Words with a =
    are settings; what a run reads of another is ../OTHER or out/OTHER."""
    runs = {
        "sft": ["sft optimizer.epochs=2 optimizer.micro_batch_tokens=100 "
                "checkpoint.every_steps=3 checkpoint.keep_last=0"],
        "sft-texts": 2 * ["sft data.train=texts.jsonl optimizer.schedule=linear optimizer.epochs=3 "
                      "optimizer.weight_decay=0.1 optimizer.max_grad_norm=0 optimizer.batch_size=2"],
        "sft-none": ["sft data.chat_format=none data.max_prompt_tokens=9 "
                     "data.max_response_tokens=12 runtime.dtype=F16"],
        "sft-lists": ["sft data.train=lists.jsonl data.chat_format=chatml data.max_rows=2 "
                      "data.shuffle=true seed=3"],
        "sft-llama": ["sft sft.model=llama data.train=desk/few.jsonl runtime.dtype=BF16 "
                      "runtime.max_shard_size=20KB checkpoint.every_steps=1"],
        "sft-resume": stopped("sft", "optimizer.epochs=2"),
        "dpo": ["dpo optimizer.epochs=2 optimizer.micro_batch_tokens=100 dpo.label_smoothing=0.1"],
        "dpo-start": ["dpo dpo.reference="],
        "dpo-reverse": ["dpo dpo.reverse=true dpo.reference= dpo.beta=0.3 "
                        "optimizer.schedule=constant optimizer.warmup_ratio=0.5"],
        "dpo-reverse-reference": ["dpo dpo.reverse=true dpo.label_smoothing=0.2 "
                                  "data.chat_format=none optimizer.batch_size=7"],
        "dpo-llama": ["dpo dpo.policy=llama dpo.reference=llama_dpo data.train=desk/few.jsonl "
                      "checkpoint.every_steps=1"],
        "dpo-resume": stopped("dpo", "optimizer.epochs=2 dpo.reference="),
    }
    third = "data.responses=both shards.with_reference=true"
    scorings = {
        "full": f"shards.encoding=full {third}", "hidden": third,
        "f16": f"shards.encoding=full shards.full_dtype=f16 {third}",
        "gzip": "shards.encoding=full shards.compression=gzip shards.with_reference=true",
        "hidden32": f"shards.encoding=hidden32 {third}",
        "topk": f"shards.encoding=topk {third}",
        "f16-gzip": "shards.encoding=full shards.full_dtype=f16 shards.compression=gzip",
        "topk-all": "shards.encoding=topk shards.top_k=384 data.responses=rejected",
        "topk-gzip": "shards.encoding=topk shards.compression=gzip teacher.contrast=reference",
        "sampled": "shards.encoding=sampled data.responses=both distill.divergence=forward",
        "sampled-other": "shards.encoding=sampled teacher.contrast=reference teacher.strength=2 "
                         "teacher.extrapolation=constant teacher.temperature=1.5 "
                         "shards.compression=gzip distill.divergence=forward",
        "sampled-sequence": "shards.encoding=sampled distill.granularity=sequence",
        "reference": "teacher.contrast=reference teacher.reverse= shards.encoding=hidden32",
        "chosen": "", "rejected": "data.responses=rejected",
        "none": "data.chat_format=none shards.encoding=full",
        "texts-cut": "data.max_prompt_tokens=9 data.max_response_tokens=12",
        "generations": "data.train=generations.jsonl shards.encoding=topk",
        **{f"wide-{name}": f"{WIDE} shards.encoding={name} data.train=desk/few.jsonl"
           for name in ("full", "topk", "hidden", "sampled")},
        "llama": f"{LLAMA} data.train=desk/few.jsonl shards.encoding=topk data.responses=both",
    }
    runs |= {f"score-{name}": [f"score {settings}"] for name, settings in scorings.items()}
    runs["score-parts"] = [f"score shards.encoding=topk --part {i}/3" for i in range(2)]
    runs["score-parts"].append("score shards.encoding=topk")
    runs |= {f"sft-{kind.replace(' ', '-')}": [
        f"sft sft.model={kind.replace(' ', '-')} data.train=desk/few.jsonl"] for kind in KINDS}
    for i, row in enumerate(pairwise(FACTORS)):
        settings = " ".join(f"{key}={value}" for key, value in row.items() if key != "shards")
        runs[f"distill-{row['shards']}-{i}"] = [off_policy(row["shards"], settings)]
    forward = "distill.divergence=forward"
    other = (f"{forward} teacher.contrast=reference teacher.strength=2 "
             "teacher.extrapolation=constant teacher.temperature=1.5")
    runs |= {
        "distill-sampled": [off_policy("sampled", f"{forward} optimizer.micro_batch_tokens=100")],
        "distill-sampled-uniform": [off_policy("sampled", f"{forward} distill.token_weight=uniform "
                                               "distill.length_normalize=false")],
        "distill-sampled-other": [off_policy("sampled-other", other)],
        "distill-sampled-sequence": [off_policy(
            "sampled-sequence", f"{forward} distill.granularity=sequence")],
        "distill-topk-all": [off_policy("topk-all", "distill.max_teacher_error=0.9")],
        "distill-reference": [off_policy("reference", "teacher.contrast=reference")],
        "distill-generations": [off_policy("generations", "")],
        **{f"distill-wide-{name}": [off_policy(f"wide-{name}", f"{WIDE} {forward}")]
           for name in ("full", "topk", "hidden", "sampled")},
        "distill-none": ["distill data.chat_format=none optimizer.max_steps=2"],
        "distill-llama": [off_policy("llama", LLAMA)],
        "distill-scores-too": ["distill optimizer.epochs=2 optimizer.micro_batch_tokens=100"],
        "distill-resume": stopped("distill", "data.train= shards.directory=../score-hidden/shards"),
        "distill-roles@3": ["distill roles.trainers=2 roles.scorers=1"],
        "mix": ["distill data.train= shards.sources=../score-chosen/shards:2,"
                "../score-rejected/shards optimizer.epochs=2"],
        "mix-sweep": ["distill data.train= shards.sources=../score-chosen/shards:1,"
                      "../score-rejected/shards:3 --sweep sweep.cfg"],
        "sweep": ["distill data.train= shards.directory=../score-topk/shards --sweep sweep.cfg"],
        "sweep-full": 2 * ["distill data.train= shards.directory=../score-full/shards "
                       "optimizer.max_steps=2 checkpoint.every_steps=1 --sweep sweep.cfg"],
        "generate": ["generate generate.samples=2 sampling.top_p=0.9 sampling.top_k=50"],
        "generate-greedy": ["generate sampling.temperature=0 data.train=prompts.jsonl "
                            "data.chat_format=none generate.model=llama"],
        "generate-turns": ["generate data.train=turns.jsonl generate.samples=2"],
        "eval": ["eval eval.generate=2", "eval --show 1"],
        "eval-model": ["eval eval.dpo= eval.contrast= eval.reference= data.chat_format=none"],
        "eval-pair": ["eval eval.model= eval.generate=0 eval.max_rows=3"],
        "eval-turns": ["eval data.eval=turns.jsonl eval.generate=2 eval.name=me"],
        "eval-arena": ["eval data.eval=arena.jsonl"],
        "eval-alpaca": ["eval data.eval=alpaca.jsonl"],
    }
    return runs | on_policy_runs() | readers()


def stopped(command, settings):
    """Seven or eight steps: a checkpoint of each, a failure in the fifth, of those that are then left
    none, and the end in another process."""
    settings = f"{settings} checkpoint.every_steps=1 debug.fail=metrics_write:0:5"
    return [f"{command} {settings} # 5", f"{command} {settings}"]


def off_policy(shards, settings):
    return ("distill data.train= optimizer.max_steps=2 "
            f"shards.directory=../score-{shards}/shards {settings}")


def on_policy_runs():
    """Roles that take turns on all ranks, and (on 3) a rank each; what is kept, who samples."""
    base = "distill distill.mode=on-policy optimizer.batch_size=5 optimizer.max_steps=2"
    mixed = f"{base} distill.mode=mixed distill.on_policy_fraction=0.5 data.responses=both"
    roles = "roles.trainers=1 roles.scorers=1 roles.generators=1"
    forward = "shards.encoding=sampled distill.divergence=forward"
    return {
        "on-hidden": [f"{base} optimizer.micro_batch_tokens=100"],
        "on-hidden-roles@3": [f"{base} optimizer.micro_batch_tokens=100 {roles}"],
        "on-full-none": [f"{base} shards.encoding=full shards.keep=none distill.divergence=jsd"],
        "on-full-none-roles@3": [f"{base} shards.encoding=full shards.keep=none {roles}"],
        "on-topk": [f"{base} shards.encoding=topk distill.token_weight=uniform "
                    "teacher.contrast=reference"],
        "on-topk-roles@3": [f"{base} shards.encoding=topk {roles}"],
        "on-sampled": [f"{base} {forward} shards.keep=none"],
        "on-sampled-roles@3": [f"{base} {forward} {roles}"],
        "on-hidden32-stale": [f"{base} shards.encoding=hidden32 distill.max_staleness=1 "
                              "optimizer.max_steps=4 sampling.top_p=0.9"],
        "on-stale-roles@3": [f"{base} distill.max_staleness=1 optimizer.max_steps=4 {roles}"],
        "on-sequence": [f"{base} distill.granularity=sequence teacher.extrapolation=constant "
                        "distill.length_normalize=false data.train=prompts.jsonl"],
        "on-none": [f"{base} data.chat_format=none sampling.temperature=0.7 sampling.top_k=9"],
        "on-llama": [f"{base} {LLAMA} data.train=desk/few.jsonl"],
        "on-resume": stopped(f"{base} optimizer.max_steps=8", "optimizer.epochs=2 shards.keep=none"),
        "mixed": [f"{mixed} optimizer.max_steps=3"],
        "mixed-roles@3": [f"{mixed} optimizer.max_steps=3 {roles} shards.encoding=full"],
        "mixed-topk-none": [f"{mixed} shards.encoding=topk shards.keep=none"],
        "mixed-resume": stopped(f"{mixed} optimizer.max_steps=8", "optimizer.epochs=2 "
                                "distill.max_staleness=1"),
    }


def readers():
    """inspect and tokenize, whose results are what they print; on one rank."""
    encodings = ("full", "f16-gzip", "hidden", "topk", "sampled", "reference", "generations",
                 "llama", "chosen")
    views, rows, folders, diffs = [], [], [], []
    for name in encodings:
        shards = f"out/score-{name}/shards"
        views += [f"inspect {shards}/shard-000000.h5{end}" for end in ("", " --json")]
        rows.append(f"inspect {shards}/shard-000000.h5 --row 1 --tokenizer tok")
        folders += [f"inspect {shards}{end}" for end in ("", " --json")]
    rows.append("inspect out/score-topk/shards/shard-000001.h5 --row 0 --json")
    folders += [f"inspect --verify out/score-{name}/shards{end}" for name in ("topk", "sampled")
                for end in ("", " --json")]
    folders += ["inspect --verify out/on-hidden/shards # 3"]
    folders += [f"inspect --index out/score-{name}/shards" for name in ("gzip", "parts", "sampled")]
    for other in ("rejected", "hidden", "topk-gzip", "parts", "reference"):
        diffs += [f"inspect --diff out/score-chosen/shards out/score-{other}/shards{end} # any"
                  for end in ("", " --json")]
    paths = ("out/sft/sft/metrics.jsonl", "out/distill-topk-all/aligned/metrics.h5", "policy",
             "llama", "out/sft-llama/sft", "out/sft/sft/checkpoints/step-000003",
             "out/generate/generations.jsonl", "out/eval/eval/answers.jsonl", "desk/train.jsonl",
             "prompts.jsonl", "texts.jsonl", "talks.jsonl", "turns.jsonl")
    files = [f"inspect {path}{end}" for path in paths for end in ("", " --json")]
    tokens = ["tokenize tok text.txt", "tokenize tok text.txt --count",
              "tokenize tok texts.jsonl --jsonl", "tokenize tok ids.jsonl --decode",
              "tokenize tok talks.jsonl --render", "tokenize tok talks.jsonl --jsonl",
              "tokenize tok talks.jsonl --render --add-generation-prompt",
              "tokenize tok desk/train.jsonl --mask --rejected --layout pairs"]
    tokens += [f"tokenize tok talks.jsonl --render --chat-format {name}"
               for name in ("none", "chatml", "llama2", "mistral", "zephyr")]
    tokens += [f"tokenize tok desk/few.jsonl --mask --chat-format {name}"
               for name in ("none", "chatml", "llama2", "mistral", "zephyr")]
    tokens += [f"tokenize tok layouts/{layout}.json --mask{end}" for layout in LAYOUTS
               for end in ("", " --rejected")]
    return {"inspect-shards@1": views, "inspect-rows@1": rows, "inspect-folders@1": folders,
            "inspect-diff@1": diffs, "inspect-files@1": files, "tokenize@1": tokens}


# --- running them ------------------------------------------------------------------------------


def needed(runs, name):
    """Runs that make what `name` reads, and theirs, then itself."""
    found = []
    for other in re.findall(r"(?:\.\.|out)/([\w-]+)", " ".join(runs[name])):
        found += needed(runs, other)
    return list(dict.fromkeys([*found, name]))


def chosen(runs, only):
    if missing := [name for name in only if name not in runs]:
        sys.exit(f"no run is called {missing[0]}; there are: {' '.join(runs)}")
    return list(dict.fromkeys(other for name in only or runs for other in needed(runs, name)))


def prepare(folder, old):
    """The inputs; the teachers are the policy, trained both ways by the old binary, so that they are
    near each other as real ones are."""
    harness.BINARY = old
    desk = make_desk(folder, held_out=4)
    for seed, name in enumerate(("policy", "start"), 1):
        make_model(folder, name, seed)
    for seed, kind in enumerate(KINDS):
        make_model(folder, kind.replace(" ", "-"), seed, "--heads", 4, "--kv-heads", 2,
                   *SHAPES[kind])
    for seed, name in enumerate(("wide_dpo", "wide_rev"), 7):
        make_model(folder, name, seed, "--vocab-size", 400, "--dtype", "BF16")
    for seed, name in enumerate(("llama", "llama_dpo", "llama_rev"), 3):
        make_model(folder, name, seed, "--type", "llama", "--untied")
    write(f"{folder}/run.cfg", CONFIG)
    for name, reverse in (("dpo", "false"), ("rev", "true")):
        run("dpo", "-c", f"{folder}/run.cfg", *sets(
            f"dpo.output={folder}/{name}", "dpo.reference=", f"dpo.reverse={reverse}",
            "optimizer.lr=0.02", "optimizer.epochs=2"))
    run("generate", "-c", f"{folder}/run.cfg", *sets(f"generate.output={folder}/generations.jsonl"))
    rows = read_rows(f"{desk}/train.jsonl")
    write_rows(f"{desk}/few.jsonl", rows[:7])
    write_rows(f"{folder}/prompts.jsonl", [{"prompt": row["prompt"]} for row in rows[:8]])
    write_rows(f"{folder}/texts.jsonl", [{"text": row["chosen"]} for row in rows[:5]])
    write_rows(f"{folder}/talks.jsonl", [{"messages": TALK[:3]}, {"messages": TALK},
                                         {"messages": TALK[1:3]}])
    write_rows(f"{folder}/lists.jsonl", [{"prompt": TALK[:n], "chosen": TALK[n:n + 1]}
                                         for n in (2, 4)] + rows[:3])
    for layout, found in LAYOUTS.items():
        write(f"{folder}/layouts/{layout}.json", json.dumps(found))
    write_rows(f"{folder}/turns.jsonl", TURNS)
    write_rows(f"{folder}/arena.jsonl", [{"uid": f"u{i}", "category": "c", "prompt": f"Tea {i}?"}
                                         for i in range(3)])
    write_rows(f"{folder}/alpaca.jsonl", [
        {"instruction": f"Tea {i}?", "output": "x", "generator": "y", "dataset": "z"}
        for i in range(3)])
    write_rows(f"{folder}/ids.jsonl", [{"ids": [5, 80, 200, 300, 383]}, {"ids": []}])
    write(f"{folder}/text.txt", "Tea for 3, please.\nGr\u00fc\u00dfe \u2615 <|im_start|>user")
    write(f"{folder}/sweep.cfg", SWEEP)


def sets(*settings):
    return [word for setting in settings for word in ("--set", setting)]


def arguments(command, name):
    """(words, the exit code that is expected): "sft a.b=1 # 5"."""
    command, _, code = command.partition(" # ")
    first, *words = shlex.split(command)
    if first not in STAGES:
        return [first, *words], code or "0"
    settings = [word for word in words if "=" in word]
    return [first, "-c", "run.cfg", "--quiet", *sets(f"output=out/{name}", *settings),
            *[word for word in words if "=" not in word]], code or "0"


def run_lane(binary, lane, ranks, names, runs):
    """All runs with one binary on so many ranks, in `lane`; returns what failed."""
    failed = []
    session = tempfile.mkdtemp(prefix="lane-", dir=MPI["OMPI_MCA_orte_tmpdir_base"])
    env = environment({"OMPI_MCA_orte_tmpdir_base": session})  # Open MPI takes turns badly in one
    for name in names:
        if "@" in name and not name.endswith(f"@{ranks}"):
            continue
        os.makedirs(f"{lane}/out/{name}")
        for k, command in enumerate(runs[name]):
            words, code = arguments(command, name)
            launcher = [] if ranks == 1 else ["mpirun", "-q", "-n", str(ranks)]
            done = subprocess.run([*launcher, binary, *words], cwd=lane, env=env,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
            write(f"{lane}/out/{name}/{k}.stdout", done.stdout)
            write(f"{lane}/out/{name}/{k}.stderr", done.stderr)
            if code not in ("any", str(done.returncode)):
                failed.append(f"{lane}/out/{name}: {' '.join(words)}: code {done.returncode}, "
                              f"expected {code}\n{done.stderr.decode(errors='replace')[-600:]}")
    return failed


# --- comparing ---------------------------------------------------------------------------------


def files_of(folder):
    return sorted(os.path.relpath(os.path.join(place, name), folder)
                  for place, _, names in os.walk(folder) for name in names
                  if not (name.startswith(".") and name.endswith(".sha256")))


def h5_members(path, but=rb"$^", gone=()):
    """name -> what is in the datasets and attributes of a file."""
    found = {}

    def take(name, item):
        for key, value in item.attrs.items():
            value = without(value.encode(), gone) if isinstance(value, str) else value
            found[f"{name}@{key}"] = (str(item.attrs.get_id(key).dtype), np.asarray(value).tobytes())
        if isinstance(item, h5py.Dataset) and not re.fullmatch(but, name.encode()):
            values = item[()]
            values = values.tobytes() if values.dtype != object else values.tolist()
            found[name] = (str(item.dtype), item.shape, item.chunks, item.compression, values)
    with h5py.File(path) as file:
        take("", file)
        file.visititems(take)
    return found


def without(text, keys):
    """A configuration's text, plain or in a JSON string, without these keys."""
    for key in keys:
        if "/" not in key:
            group, name = key.encode().split(b".")
            text = re.sub(rb"((?:^|\\n|\n)%s: \{(?:(?!\};).)*?)  %s = [^;]*;(?:\\n|\n)" % (group, name),
                          rb"\1", text, flags=re.DOTALL)
    return text


class Rules:
    """What of a file has to be equal. `gone` are keys of the configuration and metrics that the newer
    binary doesn't have any more: they are passed over, and so are, then, the sizes and digests of
    shards in what tells them; the shards are compared by what is in them."""

    def __init__(self, gone):
        self.gone = gone
        self.metrics = b"|".join([TIMES, *[re.escape(key).encode() for key in gone if "/" in key]])
        self.keys = [key for key in gone if "/" not in key]

    def drop(self, text, names):
        text = re.sub(rb',?\s*"(?:%s)": (?:\{[^}]*\}|[^,}\n]*)' % names, b"", text)
        return re.sub(rb"(?m)^  (?:%s) .*\n" % names, b"", text)

    def compared(self, path):
        """Bytes, or members by their names."""
        name = os.path.basename(path)
        if name == "metrics.h5" or (self.keys and name.endswith(".h5")):
            return h5_members(path, self.metrics, self.keys)
        with open(path, "rb") as file:
            data = file.read()
        if name == "metrics.jsonl" or name.endswith(".stdout") or self.gone:
            data = self.drop(data, self.metrics)
        if name.endswith(".stderr"):
            data = re.sub(rb"(?m)^wall .*\n", b"", data)
        if self.keys and (name == "manifest.json" or name.endswith(".stdout")):
            data = self.drop(data, rb"bytes|bytes_per_position|sha256")
        return without(data, self.keys) if self.keys else data


def flat(value, name=""):
    """The leaves of a JSON value by their paths."""
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, part in pairs for k, v in flat(part, f"{name}/{key}").items()}
    return {name: value}


def members(path):
    """What a file holds by names, to say what differs in it."""
    if path.endswith(".h5"):
        return h5_members(path)
    if path.endswith(".safetensors"):
        header, data = safetensors_header(path)
        entries = {k: v for k, v in header.items() if k != "__metadata__"}
        return {k: (v, data[slice(*v["data_offsets"])]) for k, v in entries.items()}
    with contextlib.suppress(ValueError):
        if path.endswith(".json"):
            return flat(read_json(path))
        if path.endswith(".jsonl"):
            return {f"line {i + 1}{k}": v for i, row in enumerate(read_rows(path))
                    for k, v in flat(row).items()}
    with open(path, encoding="utf-8", errors="replace") as file:
        return {f"line {i + 1}": line for i, line in enumerate(file)}


def difference(rules, old, new):
    """What differs in two files in words, or None."""
    a, b = rules.compared(old), rules.compared(new)
    if a == b:
        return None
    if isinstance(a, bytes):
        a, b = members(old), members(new)
    names = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)
             and not re.search(rb"(?:^|/)(?:%s)$" % rules.metrics, name.encode())]
    if not names:
        return "the same members in other bytes"
    return ", ".join(both(name, a.get(name), b.get(name)) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def both(name, one, two):
    """A member and its two values, where they can be read; of long ones what begins to differ."""
    if isinstance(one, tuple) and isinstance(two, tuple):
        return name
    texts = ["nothing" if value is None else "there" if isinstance(value, tuple) else repr(value)
             for value in (one, two)]
    start = max(len(os.path.commonprefix(texts)) - 20, 0)
    return f"{name} ({' | '.join(text if len(text) < 50 else text[start:][:50] for text in texts)})"


def compare(rules, old, new):
    """(files compared, differences) of what two binaries made of a run."""
    first, second = files_of(old), files_of(new)
    found = [f"{new}/{name}: not made" for name in first if name not in second]
    found += [f"{new}/{name}: made by the newer one alone" for name in second if name not in first]
    for name in first:
        if name in second and (words := difference(rules, f"{old}/{name}", f"{new}/{name}")):
            found.append(f"{new}/{name}: {words}")
    return len(first), found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--only", metavar="RUN", action="append", default=[],
                        help="this run, and those that make what it reads (may be repeated)")
    parser.add_argument("--keep", metavar="DIR", help="leave inputs and results in this folder")
    parser.add_argument("--gone", metavar="KEY", action="append", default=[],
                        help="a key of the configuration, or a metric, that NEW no longer has")
    options = parser.parse_args()
    runs = all_runs()
    names = chosen(runs, options.only)
    with contextlib.ExitStack() as stack:
        place = options.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="ald-same-"))
        MPI["OMPI_MCA_orte_tmpdir_base"] = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ald-mpi-"))
        code = check(options, os.path.abspath(place), runs, names)
    sys.exit(code)


def check(options, place, runs, names):
    begun = time.monotonic()
    inputs = f"{place}/inputs"
    if os.path.exists(inputs):
        sys.exit(f"{inputs} is there already: expected a folder of its own")
    prepare(inputs, os.path.abspath(options.old))
    lanes = [(os.path.abspath(getattr(options, side)), copy(inputs, f"{place}/{side}-{ranks}"), ranks)
             for ranks in RANKS for side in ("old", "new")]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        problems = [line for failed in pool.map(lambda lane: run_lane(*lane, names, runs), lanes)
                    for line in failed]
    rules, files, equal = Rules(options.gone), 0, 0
    for ranks in RANKS:
        for name in names:
            old, new = (f"{place}/{side}-{ranks}/out/{name}" for side in ("old", "new"))
            if os.path.isdir(old):
                count, found = compare(rules, old, new)
                files, equal = files + count, equal + 1
                problems += found
    for line in problems[:400]:
        print(line.replace(f"{place}/", ""))
    if problems:
        print(f"{len(problems)} differences in {files} files of {equal} runs")
        return 1
    print(f"{files} files of {equal} runs equal, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    main()
