"""What the tests on a real Slurm share: the sandbox, and chains of jobs that submit.sh makes in it."""
import atexit
import contextlib
import copy
import glob
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import harness

PROGRAMS = ["slurmctld", "slurmd", "munged", "sbatch", "unshare"]
SCRIPT = os.path.abspath(__file__ + "/../slurm_sandbox.sh")
SUBMIT = os.path.join(harness.ROOT, "jobs", "submit.sh")
STAGES = ["sft", "dpo", "reverse", "score", "distill", "eval"]
ROUTE = (("sft",), ("dpo",), ("dpo", "dpo.reverse=true", "dpo.output=reverse"), ("score",), ("distill",),
         *(("eval", f"eval.model=out/{m}", f"eval.output=eval/{m}") for m in ("sft", "dpo", "aligned")))
MARKS = {**{stage: f"{stage}/done.json" for stage in ("sft", "dpo", "reverse")}, "score": "shards/manifest.json",
         "distill": "aligned/done.json", "eval": "eval/aligned/done.json"}
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
SITE = {"ALIGNDISTIL": harness.BINARY, "LAUNCH": "auto", "SBATCH_OPTIONS": "--time=5",
        "SFT_SIZE": "--nodes=2 --ntasks-per-node=1", "DPO_SIZE": "--nodes=1 --ntasks-per-node=1",
        "SCORE_SIZE": "--nodes=1 --ntasks-per-node=1", "SCORE_TASKS": "3",
        "DISTILL_SIZE": "--nodes=2 --ntasks-per-node=2", "EVAL_SIZE": "--nodes=1 --ntasks-per-node=1",
        "SIGNAL_SECONDS": "20", "FOLLOW_UPS": "1", "SEEN_SECONDS": "0"}
# Ranks on nodes that are none, with fewer cores than ranks.
EXPORTS = """export OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive
export OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo
"""
CONFIG = """
seed = 1;
output = "out";
data: {{ train = "desk/train.jsonl"; eval = "desk/eval.jsonl"; max_rows = {rows};
        max_prompt_tokens = 96; max_response_tokens = 64; }};
optimizer: {{ lr = 1e-3; batch_size = 8; max_steps = {steps}; epochs = 1000; }};
runtime: {{ threads = 1; }};
sft: {{ model = "fresh"; }};
dpo: {{ policy = "out/sft"; reference = "out/sft"; }};
teacher: {{ dpo = "out/dpo"; reverse = "out/reverse"; }};
shards: {{ sequences_per_shard = 5; }};
distill: {{ policy = "out/dpo"; mode = "off-policy"; }};
eval: {{ dpo = "out/dpo"; contrast = "out/reverse"; reference = "out/sft"; max_rows = {held_out}; }};
sampling: {{ max_new_tokens = 12; }};
checkpoint: {{ every_steps = {every}; }};
"""
SHORT = {"rows": 20, "steps": 3, "held_out": 6, "every": 50}


class Sandbox:
    """A Slurm of its own until `close`."""

    account = ()

    def __init__(self, nodes):
        missing = [p for p in PROGRAMS if shutil.which(p) is None]
        if missing:
            raise harness.Skip(f"{', '.join(missing)}: not installed (tools/setup.sh --test)")
        if os.getuid() != 0:
            raise harness.Skip("several nodes on one machine need root (unshare -u)")
        if not os.path.ismount("/sys/fs/cgroup"):
            raise harness.Skip("slurmd needs the control groups, and /sys/fs/cgroup isn't mounted")
        self.folder = tempfile.mkdtemp(prefix="ald-sl-", dir="/tmp")
        atexit.register(self.close)
        self.port = {"ALD_SLURM_PORT": str(free_ports(nodes + 1))}
        started = subprocess.run([SCRIPT, "start", self.folder, str(nodes)], capture_output=True, text=True,
                                 env={**os.environ, **self.port})
        assert started.returncode == 0, started.stderr + texts_of(os.path.join(self.folder, "log"))
        self.env = harness.environment({"SLURM_CONF": os.path.join(self.folder, "slurm.conf")})
        for name in ("OMPI_MCA_pml", "OMPI_MCA_btl", "OMPI_MCA_odls_base_sigkill_timeout", "PMIX_MCA_gds",
                     "OMPI_MCA_orte_tmpdir_base", "OMP_NUM_THREADS"):
            self.env.pop(name, None)  # more than one node

    def close(self):
        if not os.path.isdir(self.folder):
            return
        env = {**os.environ, "SLURM_CONF": os.path.join(self.folder, "slurm.conf")}
        subprocess.run(["scancel", "--user=root"], env=env, capture_output=True)
        time.sleep(0.3)
        subprocess.run([SCRIPT, "stop", self.folder], capture_output=True)
        time.sleep(0.5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart_node(self, number):
        subprocess.run([SCRIPT, "node", self.folder, str(number)], check=True, capture_output=True,
                       env={**os.environ, **self.port, "SLURM_CONF": self.env["SLURM_CONF"]})

    def output(self, *command, env=None, code=0):
        done = subprocess.run(command, env={**self.env, **(env or {})}, capture_output=True, text=True)
        assert done.returncode == code, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def show(self, job, field="JobState"):
        """A field of a job or task ("12_3"), of the last one that scontrol shows."""
        return re.findall(rf"\b{field}=(\S*)", self.output("scontrol", "show", "job", str(job)))[-1]

    def wait(self, job, timeout=60, states=ENDED):
        """The job's state once it has one of these; requeued jobs needn't serve their time."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            state = self.show(job)
            if state in states:
                return state
            self.hasten(job)
            time.sleep(0.1)
        raise AssertionError(f"job {job} is {state} after {timeout} s")

    def hasten(self, job):
        """Starts a job that was requeued, and waits for Slurm's credentials to be too old, now."""
        if "BeginTime" in self.output("squeue", "-h", "-j", str(job), "-o", "%T %r", code=0):
            self.output("scontrol", "update", f"jobid={job}", "starttime=now")

    def of_account(self, account):
        """The same Slurm for one thread: jobs are of this account, and `queue` and `empty` are of its jobs."""
        view = copy.copy(self)
        view.account = ("--account", account)
        view.env = {**self.env, "SBATCH_ACCOUNT": account}
        return view

    def queue(self):
        return self.output("squeue", "-h", *self.account, "-o", "%i %j %T %r")

    def empty(self, timeout=20):
        """Waits until no job is left."""
        until(lambda: self.queue() == "", f"jobs are left: {self.queue}", timeout)


def free_ports(count):
    """The first of so many ports that nobody listens at."""
    for first in random.sample(range(21000, 29000, 10), 100):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("", port))
            return first
    raise AssertionError("no free ports")


def until(condition, what, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what() if callable(what) else what}: not after {timeout} s"
        time.sleep(0.02)


def texts_of(folder):
    texts = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), errors="replace") as file:
            texts.append(f"--- {name}\n{file.read()[-2500:]}")
    return "\n".join(texts)


def place_of(folder, name):
    """FOLDER/NAME, for a chain of its own with the folder's data and model."""
    place = f"{folder}/{name}"
    os.makedirs(place)
    for link in ("desk", "fresh", "tok"):
        os.symlink(f"{folder}/{link}", f"{place}/{link}")
    return place


class Chain:
    """A configuration, a site, and what submit.sh makes of them."""

    def __init__(self, sandbox, folder, size=None, site=None):
        self.sandbox, self.folder = sandbox, folder
        self.out = os.path.join(folder, "out")
        self.config = harness.write(f"{folder}/align.cfg", CONFIG.format(**{**SHORT, **(size or {})}))
        lines = [f'{key}="{value}"' for key, value in {**SITE, **(site or {})}.items() if key != "lines"]
        self.site = harness.write(f"{folder}/site.sh", "\n".join([*lines, EXPORTS, (site or {}).get("lines", "")]))
        self.jobs = {}

    def call(self, *words, code=0, config=None):
        """submit.sh with these words; (stdout, stderr)."""
        done = subprocess.run([SUBMIT, config or self.config, *words], env={**self.sandbox.env, "ALD_SITE": self.site},
                              capture_output=True, text=True)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def submit(self, *words):
        """{stage: its job's number}, as the first line says; also in self.jobs."""
        said, _ = self.call(*words)
        line = said.splitlines()[0].removeprefix("submitted: ")
        self.jobs = {} if line.startswith("nothing") else dict(word.split() for word in line.split(", "))
        return said

    def status(self):
        """{stage: what --status says}."""
        return {line.split()[0]: line.split(None, 1)[1] for line in self.call("--status")[0].splitlines()}

    def log(self, stage=""):
        """All logs of a stage, or of all stages."""
        paths = sorted(glob.glob(f"{self.out}/logs/{stage}{'-' if stage else ''}*.log"))
        return "\n".join(open(path, errors="replace").read() for path in paths)

    def finish(self, stage="eval", timeout=120):
        """Waits until a stage is finished, whatever job finishes it."""
        end = time.monotonic() + timeout
        while not os.path.exists(os.path.join(self.out, MARKS[stage])):
            queue = self.sandbox.queue()
            assert queue and time.monotonic() < end, f"{stage}: not after {timeout} s\n{queue}\n{self.log()}"
            for line in queue.splitlines():
                if "BeginTime" in line:
                    self.sandbox.hasten(line.split()[0])
            time.sleep(0.1)

    def sbatch(self, stage, *options, **env):
        """A stage's job by hand; its number."""
        os.makedirs(f"{self.out}/logs", exist_ok=True)
        environment = {"ALD_ROOT": harness.ROOT, "ALD_CONFIG": self.config, "ALD_SITE": self.site, **env}
        log = f"{self.out}/logs/{stage}-%A_%a.log" if any(o.startswith("--array") for o in options) else \
            f"{self.out}/logs/{stage}-%j.log"
        return self.sandbox.output("sbatch", "--parsable", "--open-mode=append", "--output", log, "--time=5", *options,
                                   f"{harness.ROOT}/jobs/{stage}.sh", env=environment).strip()

    def restarts(self, stage):
        """How often jobs of the stage have gone on."""
        return self.log(stage).count("; restart ")

    def at_work(self, stage, timeout=60):
        """Waits until a stage has done something that it can't keep in a moment."""
        folder = os.path.dirname(os.path.join(self.out, MARKS[stage]))
        def busy():
            if stage == "score":
                return len(glob.glob(f"{folder}/shard-*.h5")) >= 2
            if stage == "eval":
                return any(os.path.getsize(path) > 0 for path in glob.glob(f"{self.out}/eval/*/*.progress"))
            with contextlib.suppress(FileNotFoundError):
                return open(f"{folder}/metrics.jsonl").read().count("\n") > 60
            return False
        until(busy, lambda: f"{stage} isn't at work\n{self.sandbox.queue()}\n{self.log(stage)}", timeout)


def without_clients(folder, *names):
    """Lines of a site whose jobs lack these programs."""
    bin_folder = os.path.join(folder, "bin-without-" + "-".join(names))
    if not os.path.isdir(bin_folder):
        os.mkdir(bin_folder)
        for name in os.listdir("/usr/bin"):
            if name not in names:
                os.symlink(f"/usr/bin/{name}", f"{bin_folder}/{name}")
    return f'[ -z "${{SLURM_JOB_ID-}}" ] || PATH={bin_folder}'


def results(out):
    """What a chain leaves that depends on no time: {name: content}."""
    found = {"shards": harness.shard_content(f"{out}/shards")} if os.path.isdir(f"{out}/shards") else {}
    for path in glob.glob(f"{out}/*/model.safetensors") + glob.glob(f"{out}/eval/*/eval.json") + \
            glob.glob(f"{out}/eval/*/answers.jsonl"):
        with open(path, "rb") as file:
            found[os.path.relpath(path, out)] = file.read()
    return found


def differences(a, b):
    return [name for name in {*a, *b} if a.get(name) != b.get(name)]


def processes(sandbox, word):
    """Pids of the program in the sandbox's jobs whose command line has the word."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            line = open(f"/proc/{name}/cmdline", "rb").read().decode(errors="replace").split("\0")
            if line[0] != harness.BINARY or word not in line:
                continue
            variables = open(f"/proc/{name}/environ", "rb").read().decode(errors="replace").split("\0")
            if f"SLURM_CONF={sandbox.env['SLURM_CONF']}" in variables:
                found.append((int(name), dict(v.split("=", 1) for v in variables if "=" in v)))
    return found


def kill_task(sandbox, word, **variables):
    """KILL to the program's processes of which the environment has these."""
    for pid, env in processes(sandbox, word):
        if all(env.get(key) == value for key, value in variables.items()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
