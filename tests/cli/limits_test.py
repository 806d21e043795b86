#!/usr/bin/python3
"""Limits of the surroundings: threads that aren't given, memory that isn't there, ranks that don't
answer. Every run ends in time, with the same result or with one line and its exit code."""
import os
import resource
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

RESOURCE, INTERNAL = 4, 5
CONFIG = """optimizer: { batch_size = 4; max_steps = 2; epochs = 2; };
distill: { policy = "policy"; };
data: { train = "desk/train.jsonl"; max_rows = 8; };
sampling: { max_new_tokens = 8; };
shards: { encoding = "topk"; top_k = 8; };
generate: { model = "policy"; };
checkpoint: { every_steps = 1; };
"""
ROUTE = harness.ROUTE.replace('data: { train = "desk/train.jsonl"; };\n', "")


def prepare(folder):
    harness.make_desk(folder)
    # Of a size at which products go to all threads.
    for seed, name in enumerate(("policy", "dpo", "rev"), 1):
        harness.make_model(folder, name, seed, "--hidden", "64", "--intermediate", "256")
    harness.write(f"{folder}/run.cfg", ROUTE + CONFIG)


# Each with the threads of the run on two cores or more; None: however many there are.
THREADS = {
    "thread limit": ({"OMP_THREAD_LIMIT": "1"}, 1),
    "dynamic": ({"OMP_DYNAMIC": "true"}, None),
    "no levels": ({"OMP_MAX_ACTIVE_LEVELS": "0"}, 1),
    "nested": ({"OMP_NESTED": "true", "OMP_MAX_ACTIVE_LEVELS": "3"}, None),
    "limit below the number": ({"OMP_THREAD_LIMIT": "2", "OMP_NUM_THREADS": "5"}, 2),
    "far too many": ({"OMP_NUM_THREADS": "99999"}, None),
    "more than an int": ({"OMP_NUM_THREADS": "99999999999"}, None),
    "none": ({"OMP_NUM_THREADS": "0"}, None),
    "negative": ({"OMP_NUM_THREADS": "-1"}, None),
    "a list": ({"OMP_NUM_THREADS": "2,3"}, 2),
    "no number": ({"OMP_NUM_THREADS": "many"}, None),
    "OpenBLAS's own": ({"OPENBLAS_NUM_THREADS": "99999", "OMP_NUM_THREADS": "2"}, 2),
    "OpenBLAS's one": ({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "3"}, 3),
}


def threads_are_those_that_are_given(folder):
    for name, (env, threads) in THREADS.items():
        done = harness.run("sft", "-c", f"{folder}/run.cfg", "--set", f"output={folder}/threads",
                           env={"OMP_NUM_THREADS": "", **env}, timeout=60)
        assert threads is None or f"1 ranks, {threads} threads each" in done.err, f"{name}: {done}"
        assert os.path.exists(f"{folder}/threads/sft/done.json"), name
        harness.shutil.rmtree(f"{folder}/threads")


def the_key_takes_thousands(folder):
    done = harness.run("sft", "-c", f"{folder}/run.cfg", "--set", "runtime.threads=4096",
                       "--set", f"output={folder}/many", timeout=90)
    assert "4096 threads were asked for" in done.err, done


def other_commands_take_any_number(folder):
    for words in (["inspect", f"{folder}/policy"], ["tokenize", f"{folder}/policy", "--text", "a"]):
        harness.run(*words, env={"OMP_NUM_THREADS": "99999"}, code=None, timeout=30)


def run_limited(folder, amount, threads, ranks):
    """With a limit of the address space, of the ranks alone: mpirun needs its own."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (amount, amount))
    words = ["sft", "-c", f"{folder}/run.cfg", "--set", f"output={folder}/limited",
             "--set", f"runtime.threads={threads}"]
    line = harness.command_line(words, ranks)
    if ranks > 1:
        line = line[:4] + ["prlimit", f"--as={amount}"] + line[4:]
    harness.shutil.rmtree(f"{folder}/limited", ignore_errors=True)
    p = subprocess.Popen(line, env=harness.environment(), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         start_new_session=True, preexec_fn=limit if ranks == 1 else None)
    return harness.finish(p, 60)


def address_space_is_tried(folder):
    """From none at all to enough: never a hang, and what ends says so in one line."""
    codes = {}
    for ranks, threads, mib in ((1, 1, 100), (1, 1, 250), (1, 1, 480), (1, 1, 4000), (1, 2, 480),
                                (1, 2, 700), (1, 4, 1000), (1, 4, 1300), (3, 2, 250), (3, 2, 700),
                                (3, 2, 4000)):
        done = run_limited(folder, mib << 20, threads, ranks)
        codes[ranks, threads, mib] = done.code
        assert done.code in (0, 127) or done.code == RESOURCE and len(done.errors) == 1, \
            f"{ranks} ranks, {threads} threads, {mib} MiB: {done}"  # 127: the loader's own
    assert codes[1, 1, 4000] == codes[3, 2, 4000] == 0, codes
    assert codes[1, 2, 480] == codes[1, 4, 1000] == codes[3, 2, 700] == RESOURCE, codes


def hang(site, rank, time=1):
    return ["--set", f"debug.fail={site}:{rank}:{time}:hang", "--set", "runtime.deadline=1"]


# Stages, and sites that a rank never leaves.
HANGS = {
    "sft": ["model_read", "train_step", "checkpoint_write"], "dpo": ["reference"],
    "score": ["shard_write"], "generate": ["generate", "output_write"],
    "distill": ["shard_commit", "shard_read", "message_send", "message_receive"],
}


def a_rank_that_hangs_ends_the_job(folder):
    for stage, sites in HANGS.items():
        for site in sites:
            for rank in (0, 2):
                done = harness.run(stage, "-c", f"{folder}/run.cfg", *hang(site, rank),
                                   "--set", f"output={folder}/hang", ranks=3, code=None, timeout=60)
                harness.shutil.rmtree(f"{folder}/hang", ignore_errors=True)
                if done.code == 0:  # that rank doesn't come there
                    continue
                assert done.code == INTERNAL and len(done.errors) == 1, f"{stage} {site} {rank}: {done}"
                assert "waited 1 s for " in done.errors[0] and "runtime.deadline" in done.errors[0], \
                    f"{stage} {site} {rank}: {done}"


def a_deadline_is_in_range(folder):
    for value in ("0", "-1", "1e10", "nan"):
        done = harness.run("sft", "-c", f"{folder}/run.cfg", "--set", f"runtime.deadline={value}", code=2)
        assert "runtime.deadline" in done.errors[0], done


if __name__ == "__main__":
    harness.main([threads_are_those_that_are_given, the_key_takes_thousands,
                  other_commands_take_any_number, address_space_is_tried,
                  a_rank_that_hangs_ends_the_job, a_deadline_is_in_range], prepare)
