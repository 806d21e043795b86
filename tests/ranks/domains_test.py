#!/usr/bin/python3
"""Frozen models on a node of several memory domains (NUMA): what is said, a copy in each domain, the same
bits, memory as planned. The domains are a made-up folder in place of /sys/devices/system/node, which gives
each of two CPUs one of its own; the ranks' CPUs are real."""
import glob
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

CPUS = sorted(os.sched_getaffinity(0))[:2]
STAGES = {"score": "shards/shard-000000.h5", "dpo": "dpo/model.safetensors",  # those with frozen models
          "distill": "aligned/model.safetensors", "generate": "generations.jsonl", "eval": "eval/eval.json"}


def prepare(folder):
    if len(CPUS) < 2:
        return
    harness.prepare_route(folder, """
distill: { policy = "policy"; };
generate: { model = "policy"; };
eval: { model = "policy"; dpo = "dpo"; contrast = "rev"; };
optimizer: { batch_size = 10; max_steps = 2; };
sampling: { max_new_tokens = 8; };
""")
    with open(f"{folder}/run.cfg") as file:
        text = file.read().replace('train = "desk/train.jsonl";', 'train = "desk/train.jsonl"; '
                                   'eval = "desk/eval.jsonl";')
    harness.write(f"{folder}/run.cfg", text)
    harness.write(f"{folder}/sys/online", "0-1\n")
    for node, cpu in enumerate(CPUS):
        harness.write(f"{folder}/sys/node{node}/cpulist", f"{cpu}\n")


def begin(folder, command, *settings, cpus=CPUS, wrap=(), config="run.cfg"):
    """A started command with a rank for each entry of `cpus`, which it is bound to; None: to none. `wrap`
    stands before the last rank's program."""
    if len(CPUS) < 2:
        raise harness.Skip("needs two CPUs")
    words = [harness.BINARY, command, "-c", f"{folder}/{config}", "--verbose", "--set",
             f"debug.domains={folder}/sys"]
    for setting in settings:
        words += ["--set", setting]
    line = ["mpirun", "-q"]
    for rank, cpu in enumerate(cpus):
        bound = ["taskset", "-c", str(cpu)] if cpu is not None else []
        line += [":"] * (rank > 0) + ["-n", "1", *bound, *(wrap if rank == len(cpus) - 1 else ()), *words]
    return subprocess.Popen(line, env=harness.environment(), stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def run(*arguments, code=0, **options):
    done = harness.finish(begin(*arguments, **options))
    assert done.code == code, done
    return done


def domains_are_said(folder):
    """Once, with the ranks of each and where frozen models are; nothing on a node of one domain."""
    said = r"^node \S+: (.*) \(runtime.frozen_copies\)$"
    a, b = CPUS
    for cpus, copies, expected in (
            ((a, b, b), "node", "2 NUMA domains with 1, 2 ranks; frozen models are shared by all"),
            ((a, b), "domain", "2 NUMA domains with 1, 1 ranks; frozen models are copied into each"),
            ((None, b), "node", "2 NUMA domains with 1, 1 ranks, 1 of them with CPUs of several, which count to "
                                "their first; frozen models are shared by all")):
        done = run(folder, "score", f"runtime.frozen_copies={copies}", "shards.directory=said", cpus=cpus)
        assert re.findall(said, done.err, re.M) == [expected], done.err
    os.makedirs(f"{folder}/none", exist_ok=True)
    done = run(folder, "score", f"debug.domains={folder}/none", "runtime.frozen_copies=domain",
               "shards.directory=said")
    assert "NUMA" not in done.err, done.err


def bits_are_those_of_one_copy(folder):
    """Every stage with frozen models, from one copy of the node and from two: the same bytes."""
    for command, made in STAGES.items():
        found = []
        for copies in ("node", "domain"):
            done = run(folder, command, f"runtime.frozen_copies={copies}", f'output="{folder}/{copies}"', f"shards.directory="
                       f"{'sampled' if command == 'distill' else 'shards'}")
            assert ("a copy of" in done.err) == (copies == "domain"), done.err
            with open(f"{folder}/{copies}/{made}", "rb") as file:
                found.append(file.read())
        assert found[0] == found[1] and found[0], command


def maps(process):
    """{pid: (inodes of copies, frozen weight files)} of the ranks' mappings."""
    out = {}
    for pid in filter(harness.is_program, harness.members(process)):
        with open(f"/proc/{pid}/maps") as file:
            lines = [line.split() for line in file]
        out[pid] = ({line[4] for line in lines if "memfd:aligndistil-weights" in " ".join(line[5:])},
                    {line[5] for line in lines if line[-1].endswith("model.safetensors")})
    return out


def each_domain_has_its_copy(folder):
    """Seen in the mappings of four ranks, two in each domain; a kill leaves nothing."""
    before = set(os.listdir("/dev/shm"))
    for copies, count in (("node", 0), ("domain", 2)):
        process = begin(folder, "score", f"runtime.frozen_copies={copies}", "debug.fail=shard_write:0:1:hang",
                        f"shards.directory=seen-{copies}", cpus=(CPUS[0], CPUS[0], CPUS[1], CPUS[1]))
        deadline = time.monotonic() + 30
        try:
            while True:  # until the last model's files have been exchanged
                seen = maps(process)
                inodes = sorted(tuple(sorted(copied)) for copied, _ in seen.values())
                files = [file for _, some in seen.values() for file in some]
                if len(seen) == 4 and (all(len(some) == 2 for some in inodes) and not files if count else
                                       len(files) == 8):
                    break
                assert process.poll() is None and time.monotonic() < deadline, (seen, process.poll())
                time.sleep(0.01)
        finally:
            harness.kill(process)
            process.communicate()
        if count:
            assert inodes[0] == inodes[1] and inodes[2] == inodes[3] and \
                not set(inodes[1]) & set(inodes[2]), inodes
    left = {name for name in set(os.listdir("/dev/shm")) - before if "aligndistil" in name}
    assert not left, left


def memory_is_as_planned(folder):
    """With copies, too, the plan is what rank 0 takes, and it is the same plan."""
    for seed, name in enumerate(("large", "other"), 1):
        harness.make_model(folder, name, seed, "--hidden", 192, "--heads", 4, "--kv-heads", 2,
                           "--intermediate", 768, "--layers", 5)
    for command, settings in (("score", ("teacher.dpo=large", "teacher.reverse=other")),
                              ("eval", ("eval.model=large", "eval.dpo=large", "eval.contrast=other"))):
        promised = []
        for copies in ("node", "domain"):
            done = run(folder, command, f"runtime.frozen_copies={copies}", f'output="{folder}/large-{copies}"',
                       *settings)
            peak = float(re.search(r"peak memory ([\d.]+) MiB on rank 0", done.err).group(1))
            promised.append(float(re.findall(rf"^{command}: memory at most ([\d.]+) MiB", done.err, re.M)[-1]))
            assert abs(promised[-1] / peak - 1) < 0.10, (command, copies, promised, peak)
        assert abs(promised[0] / promised[1] - 1) < 0.05, promised


def no_memory_for_a_copy_is_one_line(folder):
    """Files of one rank may have 8 MiB: its copy fails, and all ranks end with one line."""
    limited = ("bash", "-c", 'ulimit -f 8192; exec "$@"', "limited")
    for settings in ((), ("teacher.dpo=dpo", "teacher.reverse=large")):
        done = run(folder, "score", "teacher.dpo=large", "teacher.reverse=other", *settings,
                   "runtime.frozen_copies=domain", "shards.directory=failed", wrap=limited, code=4)
        assert len(done.errors) == 1 and "/large: copy for a NUMA domain: File too large after" in \
            done.errors[0] and 'runtime.frozen_copies = "node" needs none' in done.errors[0], done
        assert not glob.glob(f"{folder}/out/failed/*.h5")
    run(folder, "score", "teacher.dpo=large", "teacher.reverse=other", "shards.directory=shared", wrap=limited)


if __name__ == "__main__":
    harness.main([domains_are_said, bits_are_those_of_one_copy, each_domain_has_its_copy, memory_is_as_planned,
                  no_memory_for_a_copy_is_one_line], prepare)
