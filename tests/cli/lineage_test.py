#!/usr/bin/python3
"""Where a model came from: records, lineages and their check, model cards, the ledger."""
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import yaml

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

CONFIG = """optimizer: { batch_size = 4; epochs = 2; max_steps = 4; };
checkpoint: { every_steps = 1; };
sft: { model = "policy"; };
dpo: { policy = "sft"; reference = "sft"; };
teacher: { dpo = "dpo"; reverse = "reverse"; };
distill: { policy = "dpo"; mode = "off-policy"; };
generate: { model = "aligned"; };
eval: { model = "aligned"; dpo = "dpo"; contrast = "reverse"; reference = "sft"; };
sampling: { max_new_tokens = 6; };
"""
ROUTE = """seed = 1;
output = ".";
data: { train = "desk/train.jsonl"; eval = "desk/eval.jsonl"; };
"""
STAGES = (("sft",), ("dpo",), ("dpo", "dpo.reverse=true", "dpo.output=reverse"), ("score",), ("distill",), ("eval",), ("generate",))


def command(folder, stage, *settings, options=(), **more):
    return harness.run(stage, "-c", f"{folder}/run.cfg", *options, *(w for s in settings for w in ("--set", s)), **more)


def prepare(folder):
    place = f"{folder}/first"
    os.mkdir(place)
    harness.make_desk(place)
    harness.make_model(place, "policy", 1)
    harness.write(f"{place}/run.cfg", ROUTE + CONFIG)
    for stage, *settings in STAGES:
        command(place, stage, *settings, ranks=2 if stage == "dpo" else 1, options=("--ledger", f"{place}/ledger.jsonl"))


def lineage(path, *options, code=0):
    done = harness.run("inspect", "--lineage", path, *options, code=code)
    return done.out + done.err


def copy_of(folder, name):
    return harness.copy(f"{folder}/first", f"{folder}/{name}")


def sha256(path):
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def records_say_what_was_made_from_what(folder):
    place = f"{folder}/first"
    for name, stage, roles in (("sft", "sft", {"sft.model", "data.train"}), ("dpo", "dpo", {"dpo.policy", "dpo.reference", "data.train"}),
                               ("reverse", "reverse", {"dpo.policy", "dpo.reference", "data.train"}),
                               ("shards", "score", {"teacher.dpo", "teacher.reverse", "data.train"}),
                               ("aligned", "distill", {"distill.policy", "shards.directory"}),
                               ("eval", "eval", {"eval.model", "eval.dpo", "eval.contrast", "eval.reference", "data.eval"}),
                               ("generations.jsonl", "generate", {"generate.model", "data.train"})):
        path = f"{place}/{name}"
        run = harness.read_json(f"{path}.run.json" if name in ("shards", "generations.jsonl") else f"{path}/run.json")
        assert run["format"] == "aligndistil-run" and run["stage"] == stage, run
        assert {one["role"] for one in run["inputs"]} == roles, run["inputs"]
        for one in run["inputs"]:
            there = os.path.normpath(os.path.join(os.path.dirname(path) if name in ("shards", "generations.jsonl") else path, one["path"]))
            if one["kind"] == "file":
                assert one["sha256"] == sha256(there)
            elif one["kind"] == "model":
                assert one["sha256"] == sha256(f"{there}/model.safetensors")
                assert one["files"]["tokenizer.json"] == sha256(f"{there}/tokenizer.json")
        assert run["ranks"] == (2 if stage in ("dpo", "reverse") else 1) and run["restarts"] == 0
        assert {"version", "commit", "compiler", "kernel", "libraries"} <= run["program"].keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", run["ended"]) and run["began"] <= run["ended"]
        assert run["settings"]["seed" if stage != "score" else "data.layout"]


def a_lineage_is_verified(folder):
    text = lineage(f"{folder}/first/eval", "--verify")
    assert "changed" not in text and text.count("verified") == 9, text
    assert text.count("taken as it is: no run.json") == 3, text  # policy, train.jsonl, eval.jsonl
    tree = json.loads(harness.run("inspect", "--lineage", f"{folder}/first/aligned", "--json").out)
    assert {one["role"] for one in tree["inputs"]} == {"distill.policy", "shards.directory"} and not tree.get("problems")


def each_broken_link_is_named(folder):
    def flip(path, at):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))

    def tokenizer(place):
        path = f"{place}/policy/tokenizer.json"
        harness.write(path, open(path).read() + "\n")

    for name, damage, told in (
            ("data", lambda p: flip(f"{p}/desk/train.jsonl", 3), "data.train"),
            ("weights", lambda p: flip(f"{p}/sft/model.safetensors", 5000), "dpo.policy"),
            ("base", lambda p: flip(f"{p}/policy/model.safetensors", 5000), "sft.model"),
            ("tokenizer", tokenizer, "sft.model"),
            ("shard", lambda p: flip(f"{p}/shards/shard-000000.h5", 6000), "shards.directory"),
            ("result", lambda p: flip(f"{p}/aligned/model.safetensors", 5000), "result"),
            ("shape", lambda p: flip(f"{p}/dpo/config.json", 5), "distill.policy")):
        place = copy_of(folder, name)
        damage(place)
        text = lineage(f"{place}/aligned", "--verify", code=3)
        changed = [line for line in text.splitlines() if line.startswith("changed: ")]
        assert changed and any(line.startswith(f"changed: {told} ") for line in changed), (name, text)
        shutil.rmtree(place)
    place = copy_of(folder, "gone")
    os.remove(f"{place}/dpo/run.json")
    text = lineage(f"{place}/aligned", "--verify", code=3)
    assert "changed: distill.policy " in text and "run.json" in text, text
    shutil.rmtree(f"{place}/shards")
    assert "not here" in lineage(f"{place}/aligned", code=3)
    assert "run.json" in lineage(f"{place}/desk", code=3)
    shutil.rmtree(place)
    # made anew with other settings: what it was is no longer there
    place = copy_of(folder, "again")
    command(place, "sft", "optimizer.lr=1e-3", options=("--force",))
    text = lineage(f"{place}/aligned", "--verify", code=3)
    assert "changed: dpo.policy " in text, text


def a_moved_folder_keeps_its_lineage(folder):
    place = copy_of(folder, "moved")
    os.rename(f"{folder}/first", f"{folder}/away")
    try:
        text = lineage(f"{place}/aligned", "--verify")
        assert "verified" in text and "changed" not in text and f"{folder}/moved/sft" in text, text
    finally:
        os.rename(f"{folder}/away", f"{folder}/first")


def what_is_made_otherwise_is_named(folder):
    """`inspect --made`: by settings and by content, wherever the folder and its inputs lie."""
    place = copy_of(folder, "made")
    def made(stage, *settings, config=f"{place}/run.cfg", **more):
        return harness.run("inspect", config, "--made", stage, *(w for s in settings for w in ("--set", s)), **more).out.rstrip("\n")
    stages = ("sft", "dpo", "score", "distill", "eval")
    assert [made(stage) for stage in stages] == ["yes"] * 5
    assert made("dpo", "dpo.reverse=true", "dpo.output=reverse") == "yes"
    assert [made(stage, "output=none") for stage in ("sft", "score", "eval")] == ["no"] * 3
    faster = "optimizer.lr=0.5"
    assert [made(stage, faster).startswith("otherwise: optimizer.lr was ") for stage in stages] == [True, True, False, True, False]
    assert made("score", "teacher.strength=3", "distill.divergence=forward", "shards.keep=3") == "yes"
    assert made("distill", "teacher.strength=3").startswith("otherwise: teacher.strength was ")
    assert made("score", "shards.encoding=full") == 'otherwise: shards.encoding was "hidden", is "full"'
    assert made("sft", "sft.model=dpo") == f"otherwise: sft.model ({place}/dpo) is another"
    assert made("dpo", "dpo.reverse=true").startswith("otherwise: dpo.reverse was false, is true")
    # What was only touched or copied is what it was; what was changed isn't, though its time and size are the old ones.
    for name in ("desk/train.jsonl", "sft/model.safetensors"):
        os.utime(f"{place}/{name}")
    harness.copy(f"{place}/desk", f"{place}/desk2")
    assert made("sft", f"data.train={place}/desk2/train.jsonl") == "yes" and made("dpo") == "yes"
    path = f"{place}/sft/tokenizer.json"
    was = os.stat(path)
    text = open(path, "rb").read()
    with open(path, "wb") as file:
        file.write(text[:-1] + b" ")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert made("dpo") == f"otherwise: dpo.policy ({place}/sft) is another; dpo.reference ({place}/sft) is another", made("dpo")
    shutil.rmtree(f"{place}/sft")
    assert made("dpo") == "yes"  # inputs that are gone are taken as they were
    os.remove(f"{place}/shards/manifest.json")
    assert made("score") == "no"
    done = harness.run("inspect", f"{place}/run.cfg", "--made", "training", code=2)
    assert len(done.errors) == 1 and done.errors[0].endswith("--made training: expected sft, dpo, score, distill or eval"), done


def restarts_are_counted(folder):
    place = f"{folder}/stopped"
    os.mkdir(place)
    for name in ("desk", "policy", "tok"):
        if os.path.isdir(f"{folder}/first/{name}"):
            os.symlink(f"{folder}/first/{name}", f"{place}/{name}")
    harness.write(f"{place}/run.cfg", ROUTE + CONFIG)
    for _ in range(2):
        command(place, "sft", "runtime.time_limit=0.01", code=75)
    command(place, "sft")
    run = harness.read_json(f"{place}/sft/run.json")
    assert run["restarts"] == 2 and run["steps"] == 4 and not os.path.exists(f"{place}/sft/.run.json"), run
    before = open(f"{place}/sft/run.json").read()
    command(place, "sft")  # finished: nothing to record
    assert open(f"{place}/sft/run.json").read() == before
    assert open(f"{place}/sft/model.safetensors", "rb").read() == open(f"{folder}/first/sft/model.safetensors", "rb").read()


def the_ledger_has_a_line_for_each(folder):
    place = f"{folder}/first"
    lines = harness.read_rows(f"{place}/ledger.jsonl")
    assert [line["stage"] for line in lines] == ["sft", "dpo", "reverse", "score", "distill", "eval", "generate"], lines
    assert lines[0]["sha256"] == sha256(f"{place}/sft/model.safetensors")
    many = f"{folder}/many.jsonl"
    running = [harness.start(["sft", "-c", f"{place}/run.cfg", "--ledger", many, "--set", f"sft.output=sft{k}", "--set", "optimizer.max_steps=1"])
               for k in range(8)]
    for process in running:
        assert harness.finish(process).code == 0
    rows = harness.read_rows(many)
    assert len(rows) == 8 and len({row["record"] for row in rows}) == 8
    with open(many, "a", encoding="utf-8") as file:
        file.write('{"cut')  # another writer's death
    command(place, "sft", "sft.output=sft8", "optimizer.max_steps=1", options=("--ledger", many))
    assert json.loads(open(many).read().splitlines()[-1])["stage"] == "sft"
    done = command(place, "sft", "sft.output=sft9", options=("--ledger", f"{folder}/none/here/ledger"), code=3, ranks=2)
    assert "ledger" in done.err and not os.path.exists(f"{place}/sft9/model.safetensors"), done.err


def an_audit_is_a_link(folder):
    """From a model to the rows that an audit has left of a file; its ledger is named by the configuration."""
    place = copy_of(folder, "audited")
    command(place, "audit", "audit.models=length", "runtime.ledger=own.jsonl")
    command(place, "sft", "data.train=audit/clean.jsonl", "sft.output=cleaned", "optimizer.max_steps=1", "runtime.ledger=own.jsonl")
    assert [row["stage"] for row in harness.read_rows(f"{place}/own.jsonl")] == ["audit", "sft"]
    run = harness.read_json(f"{place}/audit/run.json")
    for name in ("clean.jsonl", "removed.jsonl", "labels.jsonl", "audit.json", "audit.html"):
        assert run["result"]["files"][name] == sha256(f"{place}/audit/{name}"), name
    assert run["settings"]["audit.models"] == '"length"', run["settings"]
    tree = lineage(f"{place}/cleaned", "--verify")
    assert "made by audit" in tree and "desk/train.jsonl" in tree and "changed" not in tree, tree
    with open(f"{place}/audit/clean.jsonl", "a", encoding="utf-8") as file:
        file.write("{}\n")
    assert "clean.jsonl changed" in lineage(f"{place}/cleaned", "--verify", code=3)
    command(place, "generate", "generate.output=more.jsonl", options=("--ledger", "here.jsonl"), cwd=f"{place}/desk")
    assert [row["stage"] for row in harness.read_rows(f"{place}/desk/here.jsonl")] == ["generate"]


def shards_of_an_on_policy_run(folder):
    """They have no manifest: each is in the record, and in that of the run that takes them as its source."""
    place = copy_of(folder, "kept")
    command(place, "distill", "distill.mode=on-policy", "distill.output=on", "shards.directory=rounds", ranks=2)
    names = sorted(os.listdir(f"{place}/rounds"))
    shards = [name for name in names if name.startswith("shard-")]
    assert shards and "manifest.json" not in names, names
    result = harness.read_json(f"{place}/rounds.run.json")["result"]
    assert result["files"] == {name: sha256(f"{place}/rounds/{name}") for name in shards}, result
    lines = "".join(f"{result['files'][name]}  {name}\n" for name in shards)
    assert result["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    command(place, "distill", "shards.sources=rounds:1", "distill.output=again")
    tree = lineage(f"{place}/again", "--verify")
    assert f"shards {place}/rounds {result['sha256'][:16]}  verified" in tree and "made by distill" in tree, tree
    with open(f"{place}/rounds/{shards[-1]}", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    assert f"{shards[-1]} changed" in lineage(f"{place}/again", "--verify", code=3)
    os.remove(f"{place}/rounds/{shards[0]}")
    assert f"{shards[0]} is not there any more" in lineage(f"{place}/again", "--verify", code=3)


def cards_say_what_records_say(folder):
    place = copy_of(folder, "cards")
    card = open(f"{place}/aligned/README.md").read()
    _, block, text = card.split("---\n", 2)
    head = yaml.safe_load(block)
    assert head["library_name"] == "transformers" and head["pipeline_tag"] == "text-generation" and "aligndistil" in head["tags"], head
    assert "license" not in head and head["base_model"] == "policy", head
    run = harness.read_json(f"{place}/aligned/run.json")
    for one in run["inputs"]:
        assert one["sha256"] in text
    for key, value in run["settings"].items():
        assert f"`{key}` | `{value}`" in text or len(value) == 64, key
    metrics = harness.read_json(f"{place}/eval/eval.json")["metrics"]
    for name, value in metrics.items():
        assert f"| `{name}` | {value['value']:.4g} | {value['low']:.4g} | {value['high']:.4g} | {value['count']} |" in text, name
    command(place, "eval", "eval.output=eval2", "eval.max_rows=3")
    again = open(f"{place}/aligned/README.md").read()
    assert "on 3 rows of" in again and "on 6 rows of" not in again and again.count("## Evaluations") == 1
    harness.write(f"{place}/aligned/README.md", "mine\n")
    command(place, "eval", "eval.output=eval3", "eval.max_rows=2")
    assert open(f"{place}/aligned/README.md").read() == "mine\n"
    harness.write(f"{place}/policy/README.md", "---\nlicense: apache-2.0\n---\nbase\n")
    command(place, "sft", "sft.output=licensed", "optimizer.max_steps=1")
    assert yaml.safe_load(open(f"{place}/licensed/README.md").read().split("---\n", 2)[1])["license"] == "apache-2.0"


def a_locked_ledger_holds_nothing_up(folder):
    place = copy_of(folder, "locked")
    with open(f"{place}/held.jsonl", "w", encoding="utf-8") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        done = command(place, "sft", "sft.output=lk", "optimizer.max_steps=1", options=("--ledger", f"{place}/held.jsonl"))
    assert "held its lock" in done.err and '"stage": "sft"' in done.err, done.err
    assert os.path.getsize(f"{place}/held.jsonl") == 0 and os.path.exists(f"{place}/lk/README.md")


def what_a_kill_has_left_out_is_written(folder):
    place = copy_of(folder, "killed")
    ledger = f"{place}/killed.jsonl"
    for name, stage, record in (("sft", "sft", "sft/run.json"), ("eval", "eval", "eval/run.json"), ("shards", "score", "shards.run.json"),
                                ("generations.jsonl", "generate", "generations.jsonl.run.json")):
        os.remove(f"{place}/{record}")
        if stage == "sft":
            os.remove(f"{place}/sft/README.md")
        for _ in range(2):
            command(place, stage, options=("--ledger", ledger))
        assert harness.read_json(f"{place}/{record}")["stage"] == stage
        assert [row["stage"] for row in harness.read_rows(ledger)].count(stage) == 1, name
    assert "base_model" in open(f"{place}/sft/README.md").read()
    # killed behind the record, before card and ledger; then behind the line of the ledger
    harness.write(f"{place}/sft/.run.json", '{"runs": 1, "seconds": 1}')
    os.remove(f"{place}/sft/README.md")
    command(place, "sft", options=("--ledger", f"{place}/other.jsonl"))
    assert len(harness.read_rows(f"{place}/other.jsonl")) == 1 and os.path.exists(f"{place}/sft/README.md")
    assert not os.path.exists(f"{place}/sft/.run.json")
    harness.write(f"{place}/sft/.run.json", '{"runs": 1, "seconds": 1}')
    command(place, "sft", options=("--ledger", f"{place}/other.jsonl"))
    assert len(harness.read_rows(f"{place}/other.jsonl")) == 1


def an_audit_that_fails_is_recorded(folder):
    place = copy_of(folder, "limits")
    row = open(f"{place}/desk/train.jsonl").readline()
    with open(f"{place}/desk/train.jsonl", "a", encoding="utf-8") as file:
        file.write(row)
    command(place, "audit", options=("--ledger", f"{place}/l.jsonl", "--fail-on", "duplicate-pair=0"), code=3)
    run = harness.read_json(f"{place}/audit/run.json")
    assert run["result"]["files"]["clean.jsonl"] == sha256(f"{place}/audit/clean.jsonl")
    assert [line["stage"] for line in harness.read_rows(f"{place}/l.jsonl")] == ["audit"]
    assert any(one["role"] == "sft.model" and one["sha256"] == sha256(f"{place}/policy/tokenizer.json") for one in run["inputs"]), run["inputs"]
    assert "verified" in lineage(f"{place}/audit", "--verify")
    command(place, "audit", "audit.models=crossfit", "audit.folds=2", "audit.output=cross", "runtime.time_limit=0.01", code=75)
    command(place, "audit", "audit.models=crossfit", "audit.folds=2", "audit.output=cross")
    run = harness.read_json(f"{place}/cross/run.json")
    assert run["restarts"] == 1 and not os.path.exists(f"{place}/cross/.run.json"), run
    assert {"seed", "dpo.beta", "optimizer.lr", "runtime.precision"} <= run["settings"].keys(), run["settings"]


def one_file_is_verified_alone(folder):
    place = copy_of(folder, "alone")
    for name in ("aligned/model.safetensors", "eval/eval.json", "generations.jsonl"):
        text = lineage(f"{place}/{name}", "--verify")
        assert text.splitlines()[0].endswith("verified"), text
    with open(f"{place}/aligned/config.json", "a", encoding="utf-8") as file:
        file.write(" ")
    lineage(f"{place}/aligned/model.safetensors", "--verify")
    assert "config.json changed" in lineage(f"{place}/aligned/config.json", "--verify", code=3)
    harness.write(f"{place}/sft/chat_template.jinja", "{{ messages }}")
    assert "chat_template.jinja was added" in lineage(f"{place}/sft", "--verify", code=3)
    for text in ("{}", "[]", '{"format": "aligndistil-run"}'):
        harness.write(f"{place}/sft/run.json", text)
        told = lineage(f"{place}/sft", code=3)
        assert "no record" in told and "(null)" not in told, told


def links_lead_to_records(folder):
    place = copy_of(folder, "links")
    command(place, "audit", "audit.output=audit")
    os.rename(f"{place}/shards", f"{place}/real")
    os.rename(f"{place}/shards.run.json", f"{place}/real.run.json")
    os.symlink("real", f"{place}/shards")
    os.symlink("../audit/clean.jsonl", f"{place}/desk/rows.jsonl")
    os.symlink("generations.jsonl", f"{place}/answers")
    for name in ("shards", "answers"):
        assert "verified" in lineage(f"{place}/{name}", "--verify")
    command(place, "sft", "data.train=desk/rows.jsonl", "sft.output=linked", "optimizer.max_steps=1")
    command(place, "distill", "distill.output=by-link", "optimizer.max_steps=1")
    for name, record in (("linked", "audit/run.json"), ("by-link", "real.run.json")):
        inputs = harness.read_json(f"{place}/{name}/run.json")["inputs"]
        assert sha256(f"{place}/{record}") in [one.get("sha256_run") for one in inputs], inputs
        lineage(f"{place}/{name}", "--verify")
    harness.copy(f"{place}/real", f"{place}/twin")
    command(place, "distill", "distill.output=two", "shards.sources=real:1,twin:1", options=("--ledger", f"{place}/l.jsonl"))
    assert len(harness.read_rows(f"{place}/l.jsonl")[0]["inputs"]["shards.sources"]) == 2


def block_of(card):
    return yaml.safe_load(open(card, encoding="utf-8").read().split("---\n", 2)[1])


def cards_hold_whatever_names_and_origins_have(folder):
    place = copy_of(folder, "origins")
    values = (("license: mit", "mit"), ("license: mit  # as said", "mit"), ('"license": mit', "mit"), ("license : 'mit'", "mit"),
              ('license: "apache-2.0"', "apache-2.0"), ("license:\n- mit", None), ("license: |\n  mit", None),
              ("license: [mit,\n  apache]", None), ("license: mit\n  more", None), ("license: a: b", None), ("license: 'a", None),
              ("license: &x mit", None), ('license: "a\\x41"', None), ("license: null", None))
    for i, (text, licence) in enumerate(values):
        form = ("{}", "\ufeff{}", "crlf")[i % 3]
        card = f"---\nlanguage: en\n{text}\ntags:\n- x\n---\nbase\n"
        card = card.replace("\n", "\r\n") if form == "crlf" else form.format(card)
        harness.write(f"{place}/policy/README.md", card.encode())
        command(place, "sft", "sft.output=licensed", "optimizer.max_steps=1", options=("--force",))
        assert block_of(f"{place}/licensed/README.md").get("license") == licence, (text, form)
    cards = []
    for path in ("policy", "policy/", "./policy//", "policy/."):
        command(place, "sft", f"sft.model={path}", "sft.output=named", "optimizer.max_steps=1", options=("--force",))
        cards.append(open(f"{place}/named/README.md", encoding="utf-8").read())
        assert block_of(f"{place}/named/README.md")["base_model"] == "policy"
    assert len(set(cards)) == 1
    odd = "a`b|c\nd.jsonl"
    shutil.copy(f"{place}/desk/train.jsonl", f"{place}/desk/{odd}")
    command(place, "sft", f"data.train=desk/{odd}", "sft.output=odd", "optimizer.max_steps=1")
    text = open(f"{place}/odd/README.md", encoding="utf-8").read()
    assert "| `` a`b\\|c?d.jsonl `` |" in text and "a`b|c?d.jsonl" in text.split("## Lineage")[1], text
    command(place, "eval", "eval.output=one", "eval.max_rows=1")
    metrics = harness.read_json(f"{place}/one/eval.json")["metrics"]
    text = open(f"{place}/aligned/README.md", encoding="utf-8").read()
    assert any(value["low"] is None for value in metrics.values())
    for name, value in metrics.items():
        if value["low"] is None:
            assert re.search(rf"\| `{re.escape(name)}` \| [^|]+ \| - \| - \| ", text), (name, text)


if __name__ == "__main__":
    harness.main([records_say_what_was_made_from_what, a_lineage_is_verified, each_broken_link_is_named, a_moved_folder_keeps_its_lineage,
                  restarts_are_counted, what_is_made_otherwise_is_named, the_ledger_has_a_line_for_each, an_audit_is_a_link, shards_of_an_on_policy_run, cards_say_what_records_say,
                  a_locked_ledger_holds_nothing_up, what_a_kill_has_left_out_is_written, an_audit_that_fails_is_recorded, one_file_is_verified_alone,
                  links_lead_to_records, cards_hold_whatever_names_and_origins_have], prepare)
