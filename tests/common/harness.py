"""What the test programs share: running the binary on ranks, small models and data, a closing line.

ALD_BUILD names the build folder (REPO/build/release without it)."""
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

import h5py
import numpy as np

ROOT = os.path.abspath(__file__ + "/../../..")
TOOLS = os.path.join(ROOT, "tools")
BUILD = os.environ.get("ALD_BUILD", os.path.join(ROOT, "build", "release"))
BINARY = os.path.join(BUILD, "aligndistil")
PYTHON = "/usr/bin/python3"
ALL_TRIALS = "ALD_ALL_TRIALS" in os.environ
# Real material to try the program on, where there is any.
SHARED = os.environ.get("ALD_SHARED", os.path.join(os.path.dirname(ROOT), "shared", "data"))
sys.path.append(TOOLS)
from train_tokenizer import SYMBOLS  # noqa: E402
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
       "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
       "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1",
       # Most of what a test program takes are starts of processes. So: shared memory alone, no search for
       # fast networks, none for graphics cards, no store in shared memory of what mpirun tells its ranks; and
       # mpirun doesn't sleep two seconds when a rank has ended with a code, though nobody is left to be ended.
       "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader", "OMPI_MCA_odls_base_sigkill_timeout": "0",
       "PMIX_MCA_gds": "hash", "HWLOC_PLUGINS_PATH": "/nonexistent", "HWLOC_COMPONENTS": "-pci,-linuxio,-x86"}


# Names of the numbers of a step that are times, or follow from them: no two runs have the same.
TIMES = r"(?:seconds|tokens_per_second|(?:wait|work|throughput)/\w+|queue/batches)"


class Run:
    """A finished command: code, out, err, seconds; `errors` are the program's own error lines."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds
        assert "still held" not in err, f"memory was not given back:\n{err[-1500:]}"
        self.errors = [line[len("aligndistil: error: "):] for line in err.splitlines()
                       if line.startswith("aligndistil: error: ")]

    def __repr__(self):
        return f"code {self.code} after {self.seconds:.1f} s\n{self.out[-800:]}\n{self.err[-1500:]}"


def command_line(arguments, ranks=1, program=None):
    """Of the binary, or of another program. One rank runs without mpirun; -q keeps mpirun's own banner
    out of stderr."""
    launcher = [] if ranks == 1 else ["mpirun", "-q", "-n", str(ranks)]
    return launcher + [program or BINARY, *map(str, arguments)]


def environment(extra=None):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    return {**kept, **MPI, **(extra or {})}


def start(arguments, ranks=1, env=None, cwd=None, program=None):
    return subprocess.Popen(command_line(arguments, ranks, program), cwd=cwd,
                            env=environment(env),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, errors="replace",
                            start_new_session=True)


def members(process):
    """Pids of a started command's session: mpirun and its ranks, which have groups of their own."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", errors="replace") as file:
                state, _, _, session = file.read().rsplit(")", 1)[1].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == process.pid and state not in "ZX":
            found.append(int(name))
    return found


def is_program(pid):
    """Whether the process is the binary, and no longer the one that started it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) == os.path.basename(BINARY)
    return False


def heed(pid):
    """Whether SIGUSR1 waits until it has a handler in the process, "SigBlk", or has one, "SigCgt"."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(("SigBlk:", "SigCgt:")) and \
                        int(line.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1 == 1:
                    return line[:6]
    return None


def kill(process):
    """KILL to mpirun and all ranks at one instant, and waits until they are gone; False where the
    command had ended."""
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGSTOP)  # mpirun starts no rank from here on
    deadline = time.monotonic() + 20
    while pids := members(process):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < deadline, f"processes outlived their kill: {pids}"
        time.sleep(0.002)
    return True


def waits(process):
    """A line for each thread of a command that hangs: its name, and where in the kernel it is."""
    lines = []
    for pid in members(process):
        for thread in sorted(os.listdir(f"/proc/{pid}/task")):
            at = f"/proc/{pid}/task/{thread}"
            with contextlib.suppress(OSError):
                name, place, call = (open(f"{at}/{file}").read().strip() for file in ("comm", "wchan", "syscall"))
                lines.append(f"{pid} {thread} {name}: {place}, system call {call}")
    return "\n".join(lines)


def finish(process, timeout=60):
    """Waits for a started command; one that hangs is killed, and is a failure."""
    begun = time.monotonic()
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        where = waits(process)
        kill(process)
        out, err = process.communicate()
        raise AssertionError(f"hung: {process.args} was killed after {timeout} s\n{err[-1500:]}\n{where}")
    return Run(process.returncode, out, err, time.monotonic() - begun)


def run(*arguments, ranks=1, timeout=60, env=None, cwd=None, code=0, stdin=None):
    """Runs the binary, which must end with `code` (None: any)."""
    if stdin is None:
        done = finish(start(arguments, ranks, env, cwd), timeout)
    else:
        begun = time.monotonic()
        p = subprocess.run(command_line(arguments, ranks), env=environment(env), cwd=cwd,
                           input=stdin, capture_output=True, timeout=timeout)
        done = Run(p.returncode, p.stdout.decode(errors="replace"),
                   p.stderr.decode(errors="replace"), time.monotonic() - begun)
    assert code is None or done.code == code, f"{' '.join(map(str, arguments))} on {ranks}: {done}"
    return done


def tool(name, *arguments):
    """Runs a tool in a copy of this process, as most of what it takes is the start of Python and NumPy."""
    path = os.path.join(TOOLS, name)
    with tempfile.TemporaryFile() as said:
        def run_it():
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.argv = [path, *map(str, arguments)]
            runpy.run_path(path, run_name="__main__")
        process = multiprocessing.get_context("fork").Process(target=run_it)
        process.start()
        process.join()
        said.seek(0)
        assert process.exitcode == 0, f"{name}: {said.read().decode(errors='replace')}"


def some(trials, every):
    """Of trials of one kind the first of each `every`; all of them with tests/run.sh --all-trials."""
    trials = list(trials)
    return trials if ALL_TRIALS else trials[::every]


# --- small models and data ---------------------------------------------------------------------


def make_desk(folder, pairs=20, held_out=6):
    """FOLDER/desk with train.jsonl, eval.jsonl, sft.jsonl, and its tokenizer in FOLDER/tok."""
    desk = os.path.join(folder, "desk")
    tool("make_orderdesk.py", "--output", desk, "--errors", "figures", "--hardness", 0,
         "--pairs", pairs, "--eval", held_out)
    tool("train_tokenizer.py", "--text", os.path.join(desk, "train.jsonl"), "--vocab-size", 384,
         "--output", os.path.join(folder, "tok"))
    return desk


def make_model(folder, name, seed=1, *options, tokenizer="tok"):
    path = os.path.join(folder, name)
    tool("make_model.py", "--tokenizer", os.path.join(folder, tokenizer), "--output", path,
         "--hidden", 16, "--layers", 2, "--heads", 2, "--kv-heads", 1, "--intermediate", 32,
         "--seed", seed, "--init-std", 0.2, *options)
    return path


def make_tokenizer(folder, special=(), template=None, eos="</s>", words=()):
    """A model directory's tokenizer: 256 byte symbols, `words`, and special tokens behind."""
    vocabulary = {symbol: i for i, symbol in enumerate([*SYMBOLS, *words])}
    names = list(dict.fromkeys(["<s>", "</s>", *special]))
    added = [{"id": len(vocabulary) + i, "content": name, "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False, "special": True}
             for i, name in enumerate(names)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
             "use_regex": True}
    write(f"{folder}/tokenizer.json", json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}))
    config = {"bos_token": "<s>", "eos_token": eos}
    if template is not None:
        config["chat_template"] = template
    write(f"{folder}/tokenizer_config.json", json.dumps(config))
    return folder


ROUTE = """seed = 1;
output = "out";
data: { train = "desk/train.jsonl"; };
sft: { model = "policy"; };
dpo: { policy = "policy"; reference = "dpo"; };
teacher: { dpo = "dpo"; reverse = "rev"; };
"""


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(text, bytes) else "w") as file:
        file.write(text)
    return path


def write_rows(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def copy(source, target):
    """A copy of a folder in the place of `target`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def prepare_route(folder, config):
    """Data, a policy and two teachers, and FOLDER/run.cfg, which names them as in ROUTE."""
    make_desk(folder)
    for seed, name in enumerate(("policy", "dpo", "rev"), 1):
        make_model(folder, name, seed)
    write(f"{folder}/run.cfg", ROUTE + config)


# --- reading results ---------------------------------------------------------------------------


def safetensors_header(path):
    """(header, bytes of data) of a safetensors file."""
    with open(path, "rb") as file:
        blob = file.read()
    length, = struct.unpack("<Q", blob[:8])
    return json.loads(blob[8:8 + length]), blob[8 + length:]


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    write(path, struct.pack("<Q", len(text)) + text + data)


def weights(folder):
    """name -> float32 array of a model directory with F32 weights in one file."""
    header, data = safetensors_header(os.path.join(folder, "model.safetensors"))
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4")
            for name, entry in header.items()}


def shard_content(folder):
    """All datasets of the shards of a folder, by step, row and source, however they are cut."""
    sequences = {}
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".h5")):
        with h5py.File(os.path.join(folder, name)) as file:
            step = int(file.attrs["policy_step"])
            data = {f"{group}/{d}": file[group][d][:] for group in sorted(file) for d in sorted(file[group])}
            starts = {"token": data.pop("sequence/token_start"), "response": data.pop("sequence/response_start")}
            starts["teacher"] = starts["response"]
            for i, row in enumerate(data["sequence/id"]):
                body = []
                for path, values in data.items():
                    at = starts.get(path.split("/")[0])
                    part = values[i:i + 1] if at is None else values[at[i]:at[i + 1]]
                    body.append((path, part[0] if part.dtype == object else part.tobytes()))
                sequences.setdefault((step, int(row), int(data["sequence/source"][i])), []).append(body)
    return {key: sorted(value) for key, value in sequences.items()}


def metrics(path):
    """The rows of a metrics.jsonl without their times."""
    return [{k: v for k, v in row.items() if not re.fullmatch(TIMES, k)} for row in read_rows(path)]


def check_files(folder):
    """Nothing under `folder` is temporary, and every file that carries a final name is whole."""
    for place, folders, names in os.walk(folder):
        for name in folders + names:
            assert ".tmp" not in name and ".old-" not in name, f"left behind: {place}/{name}"
        for name in names:
            path = os.path.join(place, name)
            try:
                if name.endswith(".json"):
                    read_json(path)
                elif name.endswith(".jsonl"):
                    read_rows(path)
                elif name.endswith(".safetensors"):
                    header, data = safetensors_header(path)
                    ends = [e["data_offsets"][1] for k, e in header.items() if k[0] != "_"]
                    assert max(ends) == len(data)
                elif name.endswith(".h5"):
                    with h5py.File(path) as file:
                        file.visititems(lambda _, d: d[()] if isinstance(d, h5py.Dataset) else None)
            except Exception as error:
                raise AssertionError(f"{path}: damaged under its final name: {error}") from error


# --- a test program ----------------------------------------------------------------------------


class Skip(Exception):
    """Raised by a test that this machine can't run; the text says why."""


def run_case(test, folder):
    """Runs a test, and prints what went wrong; "passed", "failed" or "skipped"."""
    name = getattr(test, "label", test.__name__)
    begun = time.monotonic()
    how = "failed"
    try:
        test(folder)
        how = "passed"
    except Skip as why:
        print(f"{name}: skipped: {why}")
        how = "skipped"
    except AssertionError as error:
        print(f"{name}: FAILED: {str(error) or traceback.format_exc()}")
    except Exception:
        print(f"{name}: FAILED: {traceback.format_exc()}")
    if "ALD_TIMES" in os.environ:
        print(f"{name}: {time.monotonic() - begun:.1f} s")
    return how


def main(tests, prepare=None, beside=()):
    """Runs tests(folder, ...) in order: prints failures, then the closing line. With arguments only
    the tests whose names contain one of them; with ALD_TIMES set also each one's seconds. `beside`:
    tests that run at the same time as those, in order too, in a thread and a folder of their own that
    `prepare` has prepared."""
    if not os.path.exists(BINARY):
        print(f"{BINARY} is missing: build first")
        sys.exit(1)
    with tempfile.TemporaryDirectory(prefix="ald-test-") as folder, \
            tempfile.TemporaryDirectory(prefix="ald-mpi-") as session:
        # What a killed job leaves stops a later process of the same number.
        MPI["OMPI_MCA_orte_tmpdir_base"] = session

        def run_all(some, place):
            return [run_case(test, place) for test in some]

        tests, beside = ([test for test in some if not sys.argv[1:] or
                          any(word in getattr(test, "label", test.__name__) for word in sys.argv[1:])]
                         for some in (tests, beside))
        second = f"{folder}/beside"
        if beside:
            os.mkdir(second)
        for some, place in ((tests, folder), (beside, second)):
            if some and prepare is not None:
                prepare(place)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            others = pool.submit(run_all, beside, second)
            ends = run_all(tests, folder) + others.result()
    passed, failed, skipped = map(ends.count, ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)
