#!/usr/bin/python3
"""The jobs of jobs/, submitted by submit.sh to a real Slurm controller with two nodes."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import h5py

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

PROGRAMS = ["slurmctld", "slurmd", "munged", "sbatch", "unshare"]
SITE = """
ALIGNDISTIL={binary}
LAUNCH="srun --mpi=pmix"
SBATCH_OPTIONS="--time=5"
SFT_SIZE="--nodes=2 --ntasks-per-node=1"
DPO_SIZE="--nodes=1 --ntasks-per-node=1"
SCORE_SIZE="--nodes=1 --ntasks-per-node=1"
SCORE_TASKS=3
DISTILL_SIZE="--nodes=2 --ntasks-per-node=2"
DISTILL_ROLES="{roles}"
EVAL_SIZE="--nodes=1 --ntasks-per-node=1"
export OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive
export OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo
"""
CONFIG = """
seed = 1;
output = "out";
data: {{ train = "{desk}/train.jsonl"; eval = "{desk}/eval.jsonl";
        max_prompt_tokens = 96; max_response_tokens = 64; }};
optimizer: {{ lr = 1e-3; batch_size = 8; max_steps = 3; }};
sft: {{ model = "{model}"; }};
dpo: {{ policy = "out/sft"; reference = "out/sft"; }};
teacher: {{ dpo = "out/dpo"; reverse = "out/reverse"; }};
shards: {{ sequences_per_shard = 5; }};
distill: {{ policy = "out/dpo"; mode = "off-policy"; }};
eval: {{ dpo = "out/dpo"; contrast = "out/reverse"; reference = "out/sft"; }};
sampling: {{ max_new_tokens = 12; }};
"""


ON_POLICY = ("distill.mode=on-policy distill.output=on-policy shards.directory=rounds "
             "roles.trainers=2 roles.scorers=1 roles.generators=1")


class Sandbox:
    """A Slurm of its own for the length of a `with` block."""

    def __enter__(self):
        missing = [p for p in PROGRAMS if shutil.which(p) is None]
        if missing:
            raise harness.Skip(f"{', '.join(missing)}: not installed (tools/setup.sh --test)")
        if os.getuid() != 0:
            raise harness.Skip("two nodes on one machine need root (unshare -u)")
        if not os.path.ismount("/sys/fs/cgroup"):
            raise harness.Skip("slurmd needs the control groups, and /sys/fs/cgroup isn't mounted")
        self.folder = tempfile.mkdtemp(prefix="ald-sl-", dir="/tmp")
        self.script = os.path.abspath(__file__ + "/../slurm_sandbox.sh")
        started = subprocess.run([self.script, "start", self.folder], capture_output=True, text=True)
        if started.returncode != 0:
            why = started.stderr + logs_of(os.path.join(self.folder, "log"))
            self.clean()
            raise AssertionError(why)
        self.env = harness.environment({"SLURM_CONF": os.path.join(self.folder, "slurm.conf")})
        for name in ("OMPI_MCA_pml", "OMPI_MCA_btl", "OMPI_MCA_ess_singleton_isolated"):
            self.env.pop(name, None)  # more than one node
        return self

    def __exit__(self, *_):
        subprocess.run(["scancel", "--user=root"], env=self.env, capture_output=True)
        self.clean()

    def clean(self):
        subprocess.run([self.script, "stop", self.folder], capture_output=True)
        time.sleep(0.5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def output(self, *command):
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def wait(self, job, timeout):
        """The job's state once it has ended."""
        for _ in range(timeout * 4):
            text = self.output("scontrol", "show", "job", job)
            state = text.split("JobState=")[1].split()[0]
            if state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"):
                return state
            time.sleep(0.25)
        raise AssertionError(f"job {job} is {state} after {timeout} s")


def logs_of(folder):
    texts = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), errors="replace") as file:
            texts.append(f"--- {name}\n{file.read()[-1500:]}")
    return "\n".join(texts)


def write_site(folder, name, roles=""):
    return harness.write(os.path.join(folder, name), SITE.format(binary=harness.BINARY, roles=roles))


def submit(sandbox, folder):
    """Runs submit.sh; {stage: job number}."""
    site = write_site(folder, "site.sh")
    config = os.path.join(folder, "align.cfg")
    done = subprocess.run([os.path.join(harness.ROOT, "jobs", "submit.sh"), config],
                          env={**sandbox.env, "ALD_SITE": site}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[0].removeprefix("submitted: ")
    return dict(word.split() for word in line.split(", "))


def distill_on_policy(sandbox, folder):
    """The distill job alone, by hand, with roles: what it printed."""
    out = os.path.join(folder, "out")
    log = os.path.join(out, "logs", "on-policy.log")
    env = {**sandbox.env, "ALD_ROOT": harness.ROOT, "ALD_OUTPUT": out,
           "ALD_CONFIG": os.path.join(folder, "align.cfg"),
           "ALD_SITE": write_site(folder, "roles.sh", ON_POLICY)}
    done = subprocess.run(["sbatch", "--wait", "--output", log, "--nodes=2", "--ntasks-per-node=2",
                           os.path.join(harness.ROOT, "jobs", "distill.sh")], env=env,
                          capture_output=True, text=True, timeout=100)
    with open(log, errors="replace") as file:
        text = file.read()
    assert done.returncode == 0, text
    return text


def time_left(sandbox, folder):
    """What --time-left prints in a job of five minutes, and what by the controller alone."""
    log = os.path.join(folder, "left.log")
    ask = f"{harness.BINARY} --time-left"
    sandbox.output("sbatch", "--wait", "--time=5", "--output", log, "--wrap",
                   f"{ask}; env -u SLURM_JOB_END_TIME {ask}")
    with open(log) as file:
        return [int(line) for line in file.read().split()]


def prepare(folder):
    desk = harness.make_desk(folder)
    model = harness.make_model(folder, "fresh")
    harness.write(os.path.join(folder, "align.cfg"), CONFIG.format(desk=desk, model=model))


def test_whole_route(folder):
    out = os.path.join(folder, "out")
    with Sandbox() as sandbox:
        left = time_left(sandbox, folder)
        assert len(left) == 2 and all(200 < seconds <= 300 for seconds in left), left
        jobs = submit(sandbox, folder)
        assert list(jobs) == ["sft", "dpo", "reverse", "score", "distill", "eval"]
        state = sandbox.wait(jobs["eval"], 120)
        assert state == "COMPLETED", f"{state}\n{logs_of(os.path.join(out, 'logs'))}"
        log = distill_on_policy(sandbox, folder)
    assert "on-policy, 2 trainers, 1 scorers, 1 generators" in log, log
    for stage in ("sft", "dpo", "reverse", "aligned", "on-policy"):
        assert harness.read_json(os.path.join(out, stage, "done.json"))["steps"] == 3
    shards = sorted(os.listdir(os.path.join(out, "shards")))
    assert shards == ["manifest.json", *(f"shard-{k:06d}.h5" for k in range(4))], shards
    ids = []
    for name in shards[1:]:
        with h5py.File(os.path.join(out, "shards", name)) as file:
            ids += file["sequence/id"][:].tolist()
    assert ids == list(range(20))
    logs = os.listdir(os.path.join(out, "logs"))
    assert sum(name.startswith("score-") for name in logs) == 3, logs
    for model in ("sft", "dpo", "aligned"):
        metrics = harness.read_json(os.path.join(out, "eval", model, "eval.json"))["metrics"]
        assert metrics["exact"]["count"] == 6
    harness.check_files(out)


def test_failure_stops_the_chain(folder):
    """A stage that fails takes those behind it with it, and says why in its log."""
    out = os.path.join(folder, "out")
    shutil.rmtree(out, ignore_errors=True)
    config = os.path.join(folder, "align.cfg")
    with open(config) as file:
        good = file.read()
    harness.write(config, good.replace('policy = "out/sft"', 'policy = "out/nowhere"'))
    with Sandbox() as sandbox:
        jobs = submit(sandbox, folder)
        assert sandbox.wait(jobs["sft"], 60) == "COMPLETED"
        assert sandbox.wait(jobs["dpo"], 60) == "FAILED"
        assert sandbox.wait(jobs["eval"], 60) == "CANCELLED"
    log = logs_of(os.path.join(out, "logs"))
    assert "out/nowhere" in log and "aligndistil: error:" in log, log
    harness.write(config, good)


if __name__ == "__main__":
    harness.main([test_whole_route, test_failure_stops_the_chain], prepare)
