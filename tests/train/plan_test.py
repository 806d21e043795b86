#!/usr/bin/python3
"""`plan`: what it promises, held to what stages then take; without weights, data and ranks; what it says
of nodes that are too small."""
import json
import math
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

MEMORY, STORAGE = 0.10, 0.02
QWEN = {"model_type": "qwen2", "num_hidden_layers": 28, "max_position_embeddings": 32768, "hidden_act": "silu",
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "torch_dtype": "bfloat16"}
SHAPES = {
    "1.5B": {**QWEN, "hidden_size": 1536, "num_attention_heads": 12, "num_key_value_heads": 2,
             "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True},
    "7B": {**QWEN, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
           "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False},
}
ROWS = ["--rows", 61135, "--prompt-tokens", 190, "--response-tokens", 349]
NAMES = ["SFT_SIZE", "DPO_SIZE", "SCORE_SIZE", "SCORE_TASKS", "DISTILL_SIZE", "DISTILL_ROLES", "EVAL_SIZE"]
SIZE = r"--nodes=\d+ --ntasks-per-node=\d+ --cpus-per-task=\d+ --mem=\d+G --time=\d\d+:\d\d:00"


def prepare(folder):
    desk = harness.make_desk(folder, pairs=160, held_out=30)
    harness.make_model(folder, "base", 1, "--hidden", 128, "--heads", 4, "--kv-heads", 2, "--intermediate", 512,
                       "--layers", 5)
    harness.write(os.path.join(folder, "run.cfg"), f"""
output = "out";
data: {{ train = "{desk}/train.jsonl"; eval = "{desk}/eval.jsonl"; responses = "both"; }};
optimizer: {{ batch_size = 40; micro_batch_tokens = 3500; }};
sft: {{ model = "base"; }};
dpo: {{ policy = "out/sft"; reference = "out/sft"; }};
teacher: {{ dpo = "out/dpo"; reverse = "out/reverse"; }};
distill: {{ policy = "out/dpo"; mode = "off-policy"; }};
eval: {{ model = "out/aligned"; dpo = "out/dpo"; contrast = "out/reverse"; reference = "out/sft"; }};
sampling: {{ max_new_tokens = 40; }};
checkpoint: {{ every_steps = 1; }};
""")
    harness.write(os.path.join(folder, "empty.cfg"), """
output = "none";
data: { train = "none.jsonl"; };
sft: { model = "nowhere"; };
dpo: { policy = "none/sft"; };
teacher: { dpo = "none/dpo"; reverse = "none/reverse"; };
distill: { policy = "none/dpo"; mode = "off-policy"; };
eval: { dpo = "none/dpo"; contrast = "none/reverse"; reference = "none/sft"; };
""")
    for name, shape in SHAPES.items():
        harness.write(os.path.join(folder, f"{name}.json"), json.dumps(shape))


def plan(folder, *words, config="run.cfg", code=0):
    return harness.run("plan", "-c", os.path.join(folder, config), *words, code=code, timeout=120)


def read(folder, *words, config="run.cfg"):
    return json.loads(plan(folder, "--json", *words, config=config).out)


def run(folder, command, *words, ranks=1):
    return harness.run(command, "-c", os.path.join(folder, "run.cfg"), *words, ranks=ranks, timeout=120)


def near(found, stage, quantity, room):
    pair = found[stage][quantity]
    assert pair["measured"] > 0 and abs(pair["ratio"] - 1) <= room, f"{stage} {quantity}: {pair}"


def the_route_keeps_what_was_promised(folder):
    before = read(folder)["stages"]
    assert list(before) == ["sft", "dpo", "reverse", "score", "distill", "eval"], before
    for words in (["sft"], ["dpo"], ["dpo", "--set", "dpo.reverse=true", "--set", "dpo.output=reverse"], ["score"],
                  ["distill"], ["eval"]):
        run(folder, *words)
    found = json.loads(plan(folder, "--compare", os.path.join(folder, "out"), "--json").out)
    assert list(found) == list(before), found
    for stage in found:
        near(found, stage, "memory", MEMORY)
        near(found, stage, "files", 0)
        if stage != "eval":  # whose answers have the lengths that the model gives them
            near(found, stage, "storage", STORAGE)
            promised = found[stage]["storage"]["promised"]
            assert abs(before[stage]["bytes"] / promised - 1) < 1e-3, "it depends on models that are there"
        assert found[stage]["seconds"]["measured"] > 0, found[stage]
    text = plan(folder, "--compare", os.path.join(folder, "out")).out
    assert re.search(r"^score +memory .*\n +storage .* 1\.0\d\d$|0\.99\d$", text, re.M), text


def ranks_and_roles(folder):
    """Two trainers, and roles apart: the largest rank of all."""
    out = os.path.join(folder, "out")
    idle = [line for line in plan(folder, "--nodes", 40).out.splitlines() if line.startswith("! ")]
    assert len(idle) == 4 and "for 40 trainers; a smaller optimizer.micro_batch_tokens" in idle[0], idle
    assert "micro-batches" not in plan(folder).out
    run(folder, "sft", "--set", "sft.output=two", ranks=2)
    found = json.loads(plan(folder, "--compare", out, "--json", "--set", "sft.output=two").out)
    near(found, "sft", "memory", MEMORY)
    near(found, "sft", "storage", STORAGE)
    words = [word for setting in ("distill.policy=base", "teacher.dpo=base", "teacher.reverse=base",
                                  "distill.mode=on-policy", "distill.output=sampled", "shards.directory=rounds",
                                  "optimizer.max_steps=2", "distill.max_staleness=1", "roles.trainers=1",
                                  "roles.scorers=1", "roles.generators=1") for word in ("--set", setting)]
    run(folder, "distill", *words, ranks=3)
    found = json.loads(plan(folder, "--compare", out, "--json", *words).out)
    near(found, "distill", "memory", MEMORY)
    near(found, "distill", "files", 0)
    roles = read(folder, *words)["stages"]["distill"]["memory"]
    assert sorted(roles) == ["generator", "scorer", "trainer"], roles
    measured = harness.read_json(os.path.join(out, "measured", "sampled.json"))["roles"]
    assert measured["trainer"]["peak_bytes"] > measured["scorer"]["peak_bytes"], measured


def more_ranks_than_work(folder):
    """Steps of one block of items: one scorer writes, and all ranks have all roles, as the run had them, not as the
    plan would split them."""
    words = [word for setting in ("distill.policy=base", "teacher.dpo=base", "teacher.reverse=base",
                                  "distill.mode=on-policy", "distill.output=few", "shards.directory=few-rounds",
                                  "optimizer.max_steps=3", "optimizer.batch_size=4") for word in ("--set", setting)]
    run(folder, "distill", *words, ranks=5)
    found = json.loads(plan(folder, "--compare", os.path.join(folder, "out"), "--json", *words).out)
    near(found, "distill", "files", 0)
    near(found, "distill", "storage", STORAGE)
    near(found, "distill", "memory", MEMORY)
    assert len([name for name in os.listdir(os.path.join(folder, "out", "few-rounds")) if name.endswith(".h5")]) == 3
    stage = read(folder, *words, "--nodes", 10000)["stages"]["distill"]
    assert stage["files"] < 100, stage


def a_stop_adds_up(folder):
    """Seconds and work are those of all runs of a stage; a finished one leaves them as they are."""
    path = os.path.join(folder, "out", "measured", "parts.json")
    words = ["sft", "-c", os.path.join(folder, "run.cfg"), "--set", "sft.output=parts", "--set",
             "optimizer.batch_size=8"]
    harness.run(*words, "--deadline", 0.1, code=75, timeout=60)
    first = harness.read_json(path)
    assert not first["finished"] and 0 < first["steps"] < 20 and first["runs"] == 1, first
    compare = ("--compare", os.path.join(folder, "out"), "--set", "sft.output=parts", "--set", "optimizer.batch_size=8")
    found = json.loads(plan(folder, *compare, "--json").out)
    assert found["sft"]["finished"] is False and found["dpo"]["finished"] is True, found
    assert re.search(r"^sft +isn't finished", plan(folder, *compare).out, re.M)
    harness.run(*words, timeout=60)
    both = harness.read_json(path)
    assert both["finished"] and both["steps"] == 20 and both["sequences"] == 160 and both["runs"] == 2, both
    assert both["seconds"] > first["seconds"], (first, both)
    harness.run(*words, timeout=60)
    assert harness.read_json(path) == both


def without_weights_and_data(folder):
    """The paper's setting from config.json alone: hidden states, and the two dense rows beside them."""
    for name, shape in SHAPES.items():
        words = ["--model-config", os.path.join(folder, f"{name}.json"), *ROWS, "--nodes", 16, "--cores", 64]
        hidden = read(folder, *words, config="empty.cfg")
        dense = read(folder, *words, "--set", "shards.encoding=full", "--set", "shards.full_dtype=f16",
                     config="empty.cfg")
        positions = 61135 * 349
        for found, position in ((hidden, 4 * shape["hidden_size"]), (dense, 4 * shape["vocab_size"])):
            score = found["stages"]["score"]
            assert score["extrapolated"] and score["seconds_extrapolated"], score
            ratio = score["bytes"] / (positions * position)
            assert 1.0 <= ratio < 1.05, (name, position, ratio)
        trainer = hidden["stages"]["sft"]["memory"]["trainer"]
        assert trainer["ranks"] == 16 and trainer["peak_bytes"] > 12.5 * hidden["parameters"], trainer
        assert list(hidden["stages"]) == ["sft", "dpo", "reverse", "score", "distill", "eval"]
    assert 1.5e9 < read(folder, "--model-config", os.path.join(folder, "1.5B.json"), *ROWS,
                        config="empty.cfg")["parameters"] < 1.6e9
    text = plan(folder, "--model-config", os.path.join(folder, "7B.json"), *ROWS, config="empty.cfg").out
    assert "~ time is assumed" in text and "~ lengths are the given means" in text and "~199 GB" in text, text


def lengths_and_compression(folder):
    """Means above the limits are cut as the stages cut; compressed shards are promised as if they weren't, and say so."""
    words = ["--model-config", os.path.join(folder, "1.5B.json"), "--rows", 1000]
    longer = read(folder, *words, "--prompt-tokens", 5000, "--response-tokens", 5000, config="empty.cfg")
    most = read(folder, *words, "--prompt-tokens", 1024, "--response-tokens", 1024, config="empty.cfg")
    assert longer["rows"] == most["rows"] and longer["stages"]["score"]["bytes"] == most["stages"]["score"]["bytes"], longer
    assert longer["rows"]["longest_chosen"] == 1024 and isinstance(longer["rows"]["count"], int), longer["rows"]
    stages = read(folder, "--set", "shards.compression=gzip")["stages"]
    assert stages["score"]["extrapolated"] and not stages["sft"]["extrapolated"], stages
    assert "~ shards are promised as if they weren't compressed" in plan(folder, "--set", "shards.compression=gzip").out
    assert not read(folder)["stages"]["score"]["extrapolated"]


def sizes_of_jobs(folder):
    words = ["--model-config", os.path.join(folder, "1.5B.json"), *ROWS, "--nodes", 4, "--cores", 32]
    text = plan(folder, *words, "--memory", "256GB", "--sbatch", config="empty.cfg").out
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line.split("=")[0] for line in lines] == NAMES, text
    values = subprocess.run(["sh", "-eu", "-c", text + "\n" + "\n".join(f'echo "${name}"' for name in NAMES)],
                            capture_output=True, text=True, check=True).stdout.split("\n")
    for name, value in zip(NAMES, values):
        assert name in ("SCORE_TASKS", "DISTILL_ROLES") or re.fullmatch(SIZE, value), (name, value)
    assert int(values[3]) >= 1 and values[4].startswith("--nodes=4 ") and "--nodes=1 " in values[2], values
    alone = [line for line in lines if line.startswith(("EVAL_SIZE", "SCORE_"))]
    for nodes in (1, 1000):  # jobs on one node don't depend on the others
        other = plan(folder, *words[:-4], "--nodes", nodes, "--cores", 32, "--memory", "256GB", "--sbatch", config="empty.cfg").out
        assert all(line in other for line in alone), (alone, other)
    roles = plan(folder, *words, "--memory", "256GB", "--sbatch", "--set", "distill.mode=on-policy", "--set",
                 "distill.max_staleness=1", config="empty.cfg").out
    assert re.search(r'^DISTILL_ROLES="\$\{DISTILL_ROLES-\}( roles.trainers=\d roles.scorers=\d roles.generators=\d)?"$', roles, re.M), roles
    done = plan(folder, *words, "--memory", "16GB", "--sbatch", config="empty.cfg", code=4)
    assert len(done.errors) == 1 and "sft takes" in done.errors[0] and "16.0 GB" in done.errors[0], done
    assert re.search(r"nodes of [\d.]+ GB would do$", done.errors[0]) and done.out == "", done
    done = plan(folder, *words, "--memory", "59GB", "--sbatch", "--set", "optimizer.micro_batch_tokens=8192",
                config="empty.cfg", code=4)
    assert re.search(r"or runtime.recompute=true on \d+ such nodes would do$", done.errors[0]), done


def tasks_of_the_array(folder):
    """By the seconds of a task that was measured, where there is one."""
    def tasks(*words):
        models = [word for key in ("dpo.policy", "teacher.dpo", "teacher.reverse", "distill.policy", "eval.model")
                  for word in ("--set", f"{key}=base")]
        text = plan(folder, "--sbatch", "--set", "output=array", "--set", "shards.sequences_per_shard=8", *models,
                    *words).out
        return int(re.search(r"^SCORE_TASKS=(\d+)$", text, re.M).group(1)), "measured/score" in text
    assert tasks() == (1, False)
    harness.write(os.path.join(folder, "array", "measured", "score-0.json"), json.dumps(
        {"stage": "score", "finished": True, "seconds": 900.0, "sequences": 40, "ranks": 1, "nodes": 1, "threads": 1,
         "roles": {"scorer": {"ranks": 1, "peak_bytes": 1}}}))
    assert tasks() == (2, True)  # 320 sequences of 22.5 s are two hours
    assert tasks("--task-hours", 0.25) == (8, True)
    assert tasks("--task-hours", 0.01) == (40, True)  # no more than there are shards


def forced_tasks(folder):
    """An array that the user has chosen: the time is that of one of its tasks."""
    def of(*words):
        text = plan(folder, "--model-config", os.path.join(folder, "1.5B.json"), *ROWS, "--nodes", 4, "--cores", 32, "--memory", "256GB",
                    "--sbatch", *words, config="empty.cfg").out
        hours, minutes = map(int, re.search(r"^SCORE_SIZE=.*--time=(\d+):(\d\d):00", text, re.M).groups())
        return int(re.search(r"^SCORE_TASKS=(\d+)$", text, re.M).group(1)), 60 * hours + minutes, text
    one, four = of("--tasks", 1), of("--tasks", 4)
    assert (one[0], four[0]) == (1, 4) and abs(one[1] / four[1] - 4) < 0.05, (one, four)
    assert "nothing to do" not in four[2]
    many = of("--tasks", 1000)
    assert many[0] == 1000 and "# SCORE_TASKS: 761 tasks find nothing to do, as there are 239 shards" in many[2], many
    assert len(plan(folder, "--tasks", 3, code=2).errors) == 1


def a_calibration(folder):
    """It is short, and its rates are finite and in order."""
    done = plan(folder, "--json", "--calibrate", "--cores", 1)
    assert done.seconds < 60, done.seconds
    found = json.loads(done.out)
    rates = found["rates"]
    decode = [rates["decode_step_seconds"][count] for count in ("1", "4", "16", "48")]
    numbers = [value for key, value in rates.items() if key.endswith(("_seconds", "_second"))
               and not isinstance(value, dict)]
    assert len(numbers) == 8 and all(math.isfinite(x) and x > 0 for x in numbers + decode), rates
    assert decode[0] < decode[3] < 48 * decode[0], decode
    assert rates["train_token_seconds"] > rates["prompt_token_seconds"] and rates["source"] == "measured", rates
    for stage in found["stages"].values():
        assert 0 < stage["seconds"] < 1e5 and not stage["extrapolated"], stage
    large = read(folder, "--calibrate", "--cores", 1, "--model-config", os.path.join(folder, "7B.json"), *ROWS,
                 config="empty.cfg")
    assert large["rates"]["source"] == "extrapolated", large["rates"]
    assert large["rates"]["train_token_seconds"] > 100 * rates["train_token_seconds"], large["rates"]


def answers_of_a_model_that_is_there(folder):
    """A calibration samples some, so that what an evaluation writes is known before."""
    found = read(folder)
    assert "answers" not in found and found["stages"]["eval"]["extrapolated"] and not found["stages"]["sft"]["extrapolated"], found
    rows = [json.loads(line) for line in open(os.path.join(folder, "out", "eval", "answers.jsonl"))]
    found = read(folder, "--calibrate", "--cores", 1)
    answers = found["answers"]
    assert answers["model"].endswith("out/aligned") and answers["count"] == len(rows) == 30, answers
    assert abs(answers["tokens"] - sum(row["tokens"] for row in rows) / 30) < 1e-6, answers  # the rows and numbers are eval's
    assert abs(answers["bytes"] - sum(len(row["response"].encode()) for row in rows) / 30) < 1e-6, answers
    promised = found["stages"]["eval"]["bytes"]
    measured = harness.read_json(os.path.join(folder, "out", "measured", "eval.json"))["bytes"]
    assert abs(promised / measured - 1) <= STORAGE, (promised, measured)
    text = plan(folder, "--calibrate", "--cores", 1, "--set", "eval.model=out/none", "--set", "distill.policy=base").out
    assert re.search(r"^samples have \d+\.\d tokens on average, as the first 30 answers of distill.policy, .*base$", text, re.M), text
    assert "~ samples are assumed" in plan(folder).out


def bad_input(folder):
    shape = {**SHAPES["1.5B"], "mystery_scaling": 3}
    harness.write(os.path.join(folder, "odd.json"), json.dumps(shape))
    for words, code, text in (
            ((), 3, "--model-config"), (("--model-config", "none.json"), 3, "none.json"),
            (("--model-config", os.path.join(folder, "odd.json")), 3, "mystery_scaling"),
            (("--nodes", 0), 2, "--nodes 0"), (("--cores", "x"), 2, "--cores x"), (("--rows", 0), 2, "--rows 0"),
            (("--memory", "lots"), 2, "--memory lots"), (("--sbatch", "--task-hours", "soon"), 2, "--task-hours soon"),
            (("--cores", 2, "--ranks", 3), 2, "--ranks 3"), (("--sbatch", "--json"), 2, "exclude"),
            (("--set", "sft.modle=x"), 2, "sft.model"),
            (("--model-config", os.path.join(folder, "1.5B.json"), "--compare", folder), 3, "measured")):
        done = plan(folder, *words, config="empty.cfg", code=code)
        assert len(done.errors) == 1 and text in done.errors[0], done


if __name__ == "__main__":
    harness.main([the_route_keeps_what_was_promised, ranks_and_roles, more_ranks_than_work, a_stop_adds_up, without_weights_and_data,
                  lengths_and_compression, sizes_of_jobs, tasks_of_the_array, forced_tasks, a_calibration, answers_of_a_model_that_is_there, bad_input], prepare)
