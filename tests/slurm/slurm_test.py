#!/usr/bin/python3
"""The jobs of jobs/, submitted by submit.sh to a real Slurm controller with three nodes: the whole chain,
stops, kills, arrays, failures, launchers, heterogeneous jobs, and what submit.sh refuses."""
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import chain  # noqa: E402

LONG = {"rows": 300, "steps": 250, "held_out": 100, "every": 1000}
state = {"lock": threading.Lock()}
mine = threading.local()


def prepare(folder):
    harness.make_desk(folder, 300, 100)
    harness.make_model(folder, "fresh")


def sandbox():
    """One Slurm; each thread sees its own jobs."""
    with state["lock"]:
        if "sandbox" not in state:
            state["sandbox"] = chain.Sandbox(3)
    if not hasattr(mine, "sandbox"):
        mine.sandbox = state["sandbox"].of_account(threading.current_thread().name)
    return mine.sandbox


def new_chain(folder, trained=False, name=None, **options):
    """A chain on an empty output, of its own by `name`; `trained`: with the models of a short one."""
    place = chain.place_of(folder, name) if name else folder
    made = chain.Chain(sandbox(), place, **options)
    if trained and not os.path.exists(f"{folder}/trained"):
        by_hand(made, chain.ROUTE[:3])
        os.rename(made.out, f"{folder}/trained")
    shutil.rmtree(made.out, ignore_errors=True)
    if trained:
        shutil.copytree(f"{folder}/trained", made.out)
    return made


def by_hand(made, route):
    """The same stages without Slurm; what they leave."""
    shutil.rmtree(made.out, ignore_errors=True)
    for command, *settings in route:
        harness.run(command, "-c", made.config, *(word for s in settings for word in ("--set", s)))
    return chain.results(made.out)


# --- the chain -----------------------------------------------------------------------------------


def the_whole_route(folder):
    made = new_chain(folder)
    said = made.submit()
    assert list(made.jobs) == chain.STAGES, said
    made.finish()
    sandbox().empty()
    for stage in chain.STAGES:
        log = made.log(stage)
        assert "ald: job " in log and "srun --mpi=pmix (Open MPI's protocol, which srun has): " in log, log
        assert "s are left before the end of its job" in log and f"ald: {stage}: finished" in log, log
    assert "follow-up" not in made.log(), made.log()
    assert len(glob.glob(f"{made.out}/logs/score-*.log")) == 3
    check_shards(made, 4)
    for model in ("sft", "dpo", "aligned"):
        assert harness.read_json(f"{made.out}/eval/{model}/eval.json")["metrics"]["exact"]["count"] == 6
    found = chain.results(made.out)
    assert len(found) == 1 + 4 + 6 and not chain.differences(found, by_hand_again(made)), sorted(found)
    harness.check_files(made.out)


def by_hand_again(made):
    """What the route makes without Slurm; the chain's output is in its place again afterwards."""
    os.rename(made.out, made.out + "-kept")
    found = by_hand(made, chain.ROUTE)
    shutil.rmtree(made.out)
    os.rename(made.out + "-kept", made.out)
    return found


def a_second_submission_leaves_out_what_is_finished(folder):
    made = chain.Chain(sandbox(), folder)
    if not os.path.exists(f"{made.out}/eval/aligned/done.json"):
        the_whole_route(folder)
    said = made.submit()
    lines = said.splitlines()
    assert lines[0] == "submitted: nothing, as all is finished" and not made.jobs, said
    for stage, line in zip(chain.STAGES, lines[1:]):
        assert line.startswith(f"{stage}: finished 2") and line.endswith("), left out"), line
        assert f"({made.out}/{chain.MARKS[stage]})" in line, line
    assert sandbox().queue() == ""
    assert all(text.startswith("done 2") for text in made.status().values()), made.status()
    shutil.rmtree(f"{made.out}/eval")
    assert list(made_jobs(made)) == ["eval"]
    made.finish()
    sandbox().empty()


def made_jobs(made, *words):
    made.submit(*words)
    return made.jobs


def check_shards(made, count):
    """Each row once, the set complete, and whole by its own account."""
    files = sorted(os.listdir(f"{made.out}/shards"))
    assert files == ["manifest.json", *(f"shard-{k:06d}.h5" for k in range(count))], files
    rows = [(key[1], len(value)) for key, value in harness.shard_content(f"{made.out}/shards").items()]
    assert sorted(rows) == [(k, 1) for k in range(5 * count)], rows
    harness.run("inspect", "--verify", f"{made.out}/shards")


def stops_in_every_stage_change_nothing(folder):
    """A stop signal to the job's shell in the middle of each stage's work: requeued, gone on, same bytes."""
    made = new_chain(folder, size=LONG, site={"SCORE_TASKS": "2", "DISTILL_SIZE": chain.SITE["SFT_SIZE"]})
    whole = by_hand(made, chain.ROUTE)
    shutil.rmtree(made.out)
    made.submit()
    for stage in ("sft", "dpo", "score", "distill", "eval"):
        job = made.jobs[stage] + ("_0" if stage == "score" else "")
        made.at_work(stage)
        sandbox().output("scancel", "--signal=USR2", "--batch", job)
        chain.until(lambda: made.restarts(stage) == 1, lambda: f"{stage} isn't requeued\n{made.log(stage)}")
        made.finish(stage)
        log = made.log(stage)
        assert f"{stage}: USR2: keeps what it has" in log and "restart 1 of at most 20" in log, log
        assert log.count("ald: ") >= 4 and made.restarts(stage) == 1, log
    sandbox().empty()
    assert "follow-up" not in made.log(), made.log()
    assert "restart 1 of at most 20" not in made.log("reverse")
    for stage in ("sft", "dpo", "distill"):
        assert "kept: step-" in made.log(stage), made.log(stage)
    found = chain.results(made.out)
    assert not chain.differences(found, whole), chain.differences(found, whole)
    left = [name for name in os.listdir(f"{made.out}/jobs") if name.endswith((".at", ".restarts", ".failed"))]
    assert not left, left


def a_cancelled_chain_goes_on_when_submitted_again(folder):
    made = new_chain(folder, size={**LONG, "steps": 2000})
    made.submit()
    made.at_work("sft")
    status = made.status()
    assert re.match(r"running on node\d, since 20", status["sft"]) and f"job {made.jobs['sft']}" in status["sft"] and ", step " in status["sft"], status
    assert status["eval"].startswith("queued: ") and "Dependency" in status["eval"], status
    said, _ = made.call("--cancel")
    assert said.startswith("cancelled: ") and len(said.split()) == 1 + 2 * len(chain.STAGES), said
    sandbox().empty()
    status = made.status()
    assert status["sft"].startswith("stopped: ") and "submit again to go on" in status["sft"], status
    assert status["dpo"] == "not begun" and status["eval"] == "not begun", status
    assert made.call("--cancel")[0] == "cancelled: nothing, as the chain has no job in the queue\n"
    made.submit("--only", "sft")
    kept = status["sft"].split()[1].rstrip(";")
    chain.until(lambda: f"sft: going on from {made.out}/sft/checkpoints/{kept}" in made.log("sft"), lambda: made.log("sft"))
    made.call("--cancel")
    sandbox().empty()
    assert "ended by TERM: cancelled, preempted, or a node was lost" in made.log("sft"), made.log("sft")


# --- arrays --------------------------------------------------------------------------------------


def arrays_of_any_form_make_each_row_once(folder):
    """Gaps, steps, limits, one task: every set is whole; the same set, twice and late."""
    chains = [new_chain(folder, trained=True, name=f"array-{k}", site={"SCORE_ARRAY": form, "FOLLOW_UPS": "0"})
              for k, form in enumerate(("0,3,7", "1-9:2", "0-2%1", "5"))]
    for made in chains:
        made.submit("--only", "score")
    for made in chains:
        made.finish("score")
    sandbox().empty()
    for made, parts in zip(chains, (3, 5, 3, 1)):
        check_shards(made, 4)
        log = made.log("score")
        assert "4 of 4" in log and log.count("ald: job ") == parts, log
    late = made.sbatch("score", "--array=3")
    twice = [made.sbatch("score", "--array=1"), made.sbatch("score", "--array=1")]
    for job in (late, *twice):
        assert sandbox().wait(job) == "COMPLETED", made.log("score")
    check_shards(made, 4)
    shutil.rmtree(f"{made.out}/shards")
    twice = [made.sbatch("score", "--array=1"), made.sbatch("score", "--array=1")]
    for job in twice:
        assert sandbox().wait(job) == "COMPLETED", made.log("score")
    sandbox().empty()
    check_shards(made, 4)


def a_killed_task_is_made_good(folder):
    """One task of an array is cancelled, another one killed; the others go on, and what is missing is made."""
    made = new_chain(folder, trained=True, size={"rows": 300}, site={"SCORE_TASKS": "3", "FOLLOW_UPS": "0"})
    made.submit("--only", "score")
    job = made.jobs["score"]
    made.at_work("score")
    sandbox().output("scancel", f"{job}_0")
    chain.kill_task(sandbox(), "score", SLURM_ARRAY_JOB_ID=job, SLURM_ARRAY_TASK_ID="1")
    assert sandbox().wait(f"{job}_0") == "CANCELLED" and sandbox().wait(f"{job}_2") == "COMPLETED", made.log("score")
    chain.until(lambda: made.restarts("score") == 1, lambda: made.log("score"))
    made.sandbox.hasten(f"{job}_1")
    assert sandbox().wait(f"{job}_1") == "COMPLETED", made.log("score")
    sandbox().empty()
    there = glob.glob(f"{made.out}/shards/shard-*.h5")
    assert 40 <= len(there) < 60, there
    assert made.status()["score"].startswith("stopped: "), made.status()
    made.submit("--only", "score")
    made.finish("score")
    sandbox().empty()
    check_shards(made, 60)


# --- failures ------------------------------------------------------------------------------------


def a_failed_stage_ends_the_chain(folder):
    """With one clear line; everything behind it is cancelled."""
    made = new_chain(folder, site={"SBATCH_OPTIONS": "--time=5"})
    harness.write(made.config, open(made.config).read().replace('reference = "out/sft"; }', 'reference = "out/none"; }', 1))
    made.submit()
    sandbox().empty(60)
    for stage, expected in (("sft", "COMPLETED"), ("dpo", "FAILED"), ("score", "CANCELLED"), ("distill", "CANCELLED"),
                            ("eval", "CANCELLED")):
        assert sandbox().show(made.jobs[stage]) == expected, (stage, made.log())
    log = made.log("dpo")
    assert log.count("aligndistil: error: ") == 1 and "out/none" in log, log
    assert log.count("failed with 3; its own line is above") == 1, log
    assert "cancelled, as they need dpo: score distill eval" in log, log
    status = made.status()
    assert status["dpo"] == "failed: failed with 3; its own line is above", status
    assert status["score"] == "not begun", status


def follow_ups_go_on_where_the_job_cannot(folder):
    """After a stop, without scontrol in jobs; after a KILL that left its lock; where a rank is lost, whose job
    could be requeued, but might fail at its start again."""
    lines = chain.without_clients(folder, "scontrol").replace("\n", "; ")
    made = new_chain(folder, size=LONG, site={
        "FOLLOW_UPS": "2", "lines": f'[ "${{SLURM_JOB_NAME-}}" != ald-sft ] || {{ {lines}; }}'})
    made.submit("--only", "sft,dpo,reverse")
    jobs = open(f"{made.out}/jobs/sft.id").read().split()
    made.at_work("sft")
    sandbox().output("scancel", "--signal=USR2", "--batch", jobs[0])
    chain.until(lambda: "follow-up 1 of 2" in made.log("sft"), lambda: made.log("sft"))
    assert [sandbox().wait(job) for job in jobs] == ["FAILED", "COMPLETED", "CANCELLED"], made.log("sft")
    log = made.log("sft")
    assert "the follow-up job behind this one goes on" in log and "sft: finished" in log, log
    made.at_work("dpo")
    chain.kill_task(sandbox(), "dpo", SLURM_JOB_ID=made.jobs["dpo"])
    made.at_work("reverse")
    sandbox().output("scancel", "--signal=KILL", "--full", made.jobs["reverse"])
    for stage in ("dpo", "reverse"):
        made.finish(stage)
        log = made.log(stage)
        assert "follow-up 1 of 2" in log and "follow-up 2" not in log, log
        assert "taken over" not in log and "writes here since" not in log, log
    assert "its launcher ended with" in made.log("dpo") and "start may be what fails" in made.log("dpo"), made.log("dpo")
    sandbox().empty()


# --- launchers -----------------------------------------------------------------------------------


def launchers_that_do_not_fit_are_refused(folder):
    """N singletons are noticed; a plain call in a batch job of several tasks is none of them."""
    made = new_chain(folder)
    program = f"{harness.BINARY} sft -c {made.config} --set optimizer.max_steps=1"
    def job(command):
        log = f"{folder}/launch.log"
        harness.write(log, "")
        code = os.waitstatus_to_exitcode(os.spawnvpe(os.P_WAIT, "sbatch", [
            "sbatch", "--wait", "-Q", "--nodes=1", "--ntasks=2", f"--output={log}", "--wrap",
            f". {made.site}\n{command}"], sandbox().env) << 8)
        shutil.rmtree(made.out, ignore_errors=True)
        return code, open(log).read()
    code, log = job(f"srun --mpi=none -n 2 {program}")
    assert code == 2 and "sft: 2 ranks" not in log, log
    assert log.count("aligndistil: error: srun has started 2 ranks, but without a protocol that MPI knows: ") == 1, log
    for command, ranks in ((program, 1), (f"mpirun -n 1 {program}", 1), (f"mpirun {program}", 2),
                           (f"srun --mpi=pmix {program}", 2)):
        code, log = job(command)
        assert code == 0 and f"sft: {ranks} ranks" in log, (command, log)


def mpirun_where_the_site_says_so(folder):
    """A stop goes through mpirun, too."""
    made = new_chain(folder, size=LONG, site={"LAUNCH": "mpirun"})
    made.submit("--only", "sft")
    made.at_work("sft")
    sandbox().output("scancel", "--signal=USR2", "--batch", made.jobs["sft"])
    chain.until(lambda: made.restarts("sft") == 1, lambda: made.log("sft"))
    made.finish("sft")
    sandbox().empty()
    log = made.log("sft")
    assert re.search(r"on node\[[-,123]+\]: mpirun \(of site.sh\): sft", log) and "kept: step-" in log and "sft: 2 ranks" in log, log


ON_POLICY = "distill.mode=on-policy shards.directory=rounds"


def roles_on_unlike_nodes(folder):
    """A heterogeneous job makes what the same roles make in one."""
    sizes = {f"{role}_SIZE": f"--nodes=1 --ntasks-per-node={n}" for role, n in
             (("TRAINER", 2), ("SCORER", 1), ("GENERATOR", 2))}
    made = new_chain(folder, trained=True, size={"steps": 4}, site={**sizes, "DISTILL_ROLES": ON_POLICY})
    harness.run("distill", "-c", made.config, *(w for s in ON_POLICY.split() for w in ("--set", s)),
                *(w for s in ("trainers=2", "scorers=1", "generators=2") for w in ("--set", f"roles.{s}")), ranks=5)
    one = open(f"{made.out}/aligned/model.safetensors", "rb").read()
    shutil.rmtree(f"{made.out}/aligned")
    shutil.rmtree(f"{made.out}/rounds")
    made.submit("--only", "distill")
    made.finish("distill")
    sandbox().empty()
    assert "on-policy, 2 trainers, 1 scorers, 2 generators" in made.log("distill"), made.log("distill")
    assert open(f"{made.out}/aligned/model.safetensors", "rb").read() == one
    assert list(made.status()) == ["sft", "dpo", "reverse", "distill", "eval"]


# --- submit.sh -----------------------------------------------------------------------------------


def two_chains_on_one_output(folder):
    made = new_chain(folder, site={"SBATCH_OPTIONS": "--time=5 --hold"})
    made.submit()
    _, err = made.call(code=4)
    assert err.startswith(f"submit: {made.out}: a chain is in the queue: jobs {made.jobs['sft']} "), err
    assert len(sandbox().queue().splitlines()) == 2 * len(chain.STAGES)
    made.call("--cancel")
    sandbox().empty()
    os.mkdir(f"{made.out}/jobs/submitting")
    assert "another submit.sh is at it" in made.call(code=4)[1]
    harness.write(f"{made.out}/jobs/submitting/by", f"elsewhere {2**22 + 1}\n")
    assert "another submit.sh is at it" in made.call(code=4)[1]
    harness.write(f"{made.out}/jobs/submitting/by", f"{os.uname().nodename} {2**22 + 1}\n")  # no such process
    broken = subprocess.Popen([chain.SUBMIT, made.config, "--only", "sft"], stdout=subprocess.PIPE,
                              env={**sandbox().env, "ALD_SITE": made.site})
    broken.stdout.close()  # as by `| head`
    broken.wait(timeout=60)
    assert not os.path.exists(f"{made.out}/jobs/submitting") and len(sandbox().queue().splitlines()) == 2
    made.call("--cancel")
    sandbox().empty()


def results_that_are_made_anew_are_kept_aside(folder):
    made = new_chain(folder, trained=True, site={"SBATCH_OPTIONS": "--time=5 --hold"})
    kept = open(f"{made.out}/dpo/model.safetensors", "rb").read()
    faster = harness.write(f"{folder}/faster.cfg", open(made.config).read().replace("lr = 1e-3", "lr = 2e-3"))
    assert "dpo (optimizer.lr was 0.001, is 0.002)" in made.call(code=2, config=faster)[1]
    made.call("--dry-run", "--force", config=faster)
    assert sandbox().queue() == "" and os.path.isdir(f"{made.out}/dpo")
    said, err = made.call("--force", config=faster)
    assert said.startswith("submitted: sft ") and err.count("moved: ") == 3, (said, err)
    assert not os.path.exists(f"{made.out}/dpo"), os.listdir(made.out)
    old = glob.glob(f"{made.out}/dpo.replaced-*")
    assert len(old) == 1 and open(f"{old[0]}/model.safetensors", "rb").read() == kept, old
    made.call("--cancel")
    sandbox().empty()


def what_sbatch_refuses_half_way_is_taken_back(folder):
    made = new_chain(folder, site={"SFT_SIZE": "--nodes=2", "DPO_SIZE": "--mem=99G"})
    _, err = made.call(code=5)
    assert "sbatch failed: " in err and "cancelled again: " in err, err
    sandbox().empty()


def an_interrupted_submission_leaves_nothing(folder):
    made = new_chain(folder, site={"SBATCH_OPTIONS": "--time=5 --hold"})
    for sent in (signal.SIGINT, signal.SIGTERM):
        going = subprocess.Popen([chain.SUBMIT, made.config], env={**sandbox().env, "ALD_SITE": made.site}, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        chain.until(lambda: os.path.exists(f"{made.out}/jobs/sft.id"), "no job is submitted")
        going.send_signal(sent)
        said, err = going.communicate(timeout=60)
        assert going.returncode == 130 and said == "" and "submit: cancelled again: " in err, (going.returncode, said, err)
        sandbox().empty()
        assert not os.path.exists(f"{made.out}/jobs/submitting")
        shutil.rmtree(made.out)


def runs_that_do_not_get_on_end_with_a_line(folder):
    """The same step twice; more restarts than allowed; a site without requeues. Three chains at once."""
    expected = (
        ({}, 2, "no progress since it stopped last (nothing is kept yet): it needs more time than it is given, "
         "or fails again and again"),
        ({"MAX_RESTARTS": "0"}, 1, "stopped more than MAX_RESTARTS=0 times (nothing is kept yet)"),
        ({"REQUEUE": "no"}, 1, "stopped, and site.sh has REQUEUE=no: submit again to go on"))
    chains = [new_chain(folder, name=f"still{k}", site={**site, "lines": "export ALD_BEFORE='kill -USR2 $$'"})
              for k, (site, _, _) in enumerate(expected)]
    for made in chains:
        made.submit("--only", "sft,dpo,reverse")
    for made, (_, times, line) in zip(chains, expected):
        assert sandbox().wait(made.jobs["sft"], states=("FAILED",)) == "FAILED", made.log("sft")
    sandbox().empty()
    for made, (_, times, line) in zip(chains, expected):
        log = made.log("sft")
        assert log.count("keeps what it has") == times and log.count(f"sft: {line}") == 1, log
        assert sandbox().show(made.jobs["dpo"]) == "CANCELLED", log
        assert made.status()["sft"] == f"failed: {line}", made.status()


def the_time_that_is_left_of_a_task(folder):
    """By the controller; of an array's task its own, though all of the array are listed by its number."""
    ask = f"{harness.BINARY} --time-left"
    job = sandbox().output("sbatch", "--parsable", "--requeue", "--array=0-1", "--time=5", f"--output={folder}/left-%a.log", "--wrap",
                           f"env -u SLURM_JOB_END_TIME {ask}; sleep 4; env -u SLURM_JOB_END_TIME {ask}").strip()
    chain.until(lambda: all(glob.glob(f"{folder}/left-{k}.log") for k in (0, 1)), "no task is running")
    sandbox().output("scontrol", "requeuehold", f"{job}_0")
    sandbox().output("scontrol", "update", f"jobid={job}_0", "timelimit=9")
    assert sandbox().wait(f"{job}_1") == "COMPLETED"
    left = [int(line) for line in open(f"{folder}/left-1.log").read().split()]
    assert len(left) == 2 and 200 < left[1] < left[0] <= 300, left
    sandbox().output("scancel", job)


if __name__ == "__main__":
    harness.main([stops_in_every_stage_change_nothing, a_cancelled_chain_goes_on_when_submitted_again,
                  follow_ups_go_on_where_the_job_cannot, roles_on_unlike_nodes,
                  an_interrupted_submission_leaves_nothing, two_chains_on_one_output],
                 prepare,
                 [the_whole_route, a_second_submission_leaves_out_what_is_finished,
                  arrays_of_any_form_make_each_row_once, a_killed_task_is_made_good, a_failed_stage_ends_the_chain,
                  launchers_that_do_not_fit_are_refused, mpirun_where_the_site_says_so,
                  results_that_are_made_anew_are_kept_aside, what_sbatch_refuses_half_way_is_taken_back,
                  runs_that_do_not_get_on_end_with_a_line, the_time_that_is_left_of_a_task])
