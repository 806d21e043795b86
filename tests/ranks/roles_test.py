#!/usr/bin/python3
"""The roles of an on-policy run: which shards they keep, what a killed run finds again, the share that is
sampled, and the account that they give."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

CONFIG = """distill: { policy = "policy"; mode = "on-policy"; };
sampling: { max_new_tokens = 12; };
optimizer: { lr = 1e-3; batch_size = 6; micro_batch_tokens = 100; epochs = 2; };
checkpoint: { every_steps = 3; };
"""
APART = ("roles.trainers=1", "roles.scorers=1", "roles.generators=1")
STEPS = 8
INTERNAL = 5


def distill(folder, output, *settings, anew=True, **options):
    if anew:
        shutil.rmtree(f"{folder}/{output}", ignore_errors=True)
    words = [w for s in (f"output={output}", *settings) for w in ("--set", s)]
    return run("distill", "-c", f"{folder}/run.cfg", *words, **options)


def model(folder, output):
    with open(f"{folder}/{output}/aligned/model.safetensors", "rb") as file:
        return file.read()


def shards(folder, output):
    """{number: (bytes' time, policy step)} of the shards that are there."""
    found = {}
    for name in os.listdir(f"{folder}/{output}/shards"):
        if name.endswith(".h5"):
            path = f"{folder}/{output}/shards/{name}"
            with h5py.File(path) as file:
                found[int(name[6:12])] = (os.stat(path).st_mtime_ns, int(file.attrs["policy_step"]))
    return found


def steps_of(found):
    return sorted({number // 6 for number in found})


def shards_are_kept_as_asked(folder):
    for lag in (0, 2):
        stale = f"distill.max_staleness={lag}"
        distill(folder, "all", stale)
        kept = {"2": [6, 7], "0": [], "none": [], "100": range(STEPS), "all": range(STEPS)}
        for value, expected in kept.items() if lag else some(kept.items(), 2):
            distill(folder, "some", stale, f"shards.keep={value}", ranks=3)
            assert steps_of(shards(folder, "some")) == list(expected), (value, lag)
            assert model(folder, "some") == model(folder, "all"), (value, lag)
    for value in ("-1", "half", "1.5"):
        done = distill(folder, "some", f"shards.keep={value}", code=2)
        assert "shards.keep" in done.errors[0], done
    write(f"{folder}/keep.cfg", open(f"{folder}/run.cfg").read() + "shards: { keep = 3; };\n")
    run("distill", "-c", f"{folder}/keep.cfg", "--set", "output=some", "--force")
    assert steps_of(shards(folder, "some")) == [5, 6, 7]


def a_killed_run_samples_nothing_twice(folder):
    """Killed two steps behind its checkpoint: the batches since then are there, and used again, on other
    ranks too; where they weren't kept, those that the checkpoint needs are."""
    for i, lag in enumerate((0, 2)):
        stale = f"distill.max_staleness={lag}"
        distill(folder, "all", stale)
        for j, keep in enumerate(("all", "none", "1")):
            both = ((1, ()), (3, APART))  # of these one in turn
            for ranks, roles in both if ALL_TRIALS else both[(i + j) % 2:][:1]:
                settings = (stale, f"shards.keep={keep}", *roles)
                distill(folder, "some", *settings, "debug.fail=metrics_write:0:6", ranks=ranks,
                        code=INTERNAL)
                before = shards(folder, "some")
                assert set(range(3, 6)) <= set(steps_of(before)), (settings, before)
                done = distill(folder, "some", stale, f"shards.keep={keep}", anew=False, ranks=4 - ranks)
                there = re.search(r"batches of steps 4 to (\d+) are there already", done.err)
                assert there and int(there[1]) >= 6, done
                assert model(folder, "some") == model(folder, "all"), settings
                after = shards(folder, "some")
                for number in set(before) & set(after):
                    if number // 6 < int(there[1]):
                        assert before[number] == after[number], (settings, number)


def batches_that_are_gone_are_told_of(folder):
    stale = "distill.max_staleness=2"
    distill(folder, "some", stale, "debug.fail=metrics_write:0:4", code=INTERNAL)
    for name in os.listdir(f"{folder}/some/shards"):
        if name.endswith(".h5") and int(name[6:12]) >= 4 * 6:
            os.remove(f"{folder}/some/shards/{name}")
    done = distill(folder, "some", stale, anew=False)
    assert "steps 5 to 5" in done.err and "made again, from the policy after step 3" in done.err, done


def another_runs_batches_are_not_taken(folder):
    """Two runs with one folder of shards: the second has removed what the first had made."""
    stale, place = "distill.max_staleness=1", "shards.directory=../shared"
    distill(folder, "first", stale, place, "debug.fail=metrics_write:0:5", code=INTERNAL)
    distill(folder, "second", stale, place, "optimizer.lr=2e-3")
    done = distill(folder, "first", stale, place, anew=False)
    assert "are there already" not in done.err and "made again" in done.err, done


def a_share_goes_from_one_to_another(folder):
    mixed = ("distill.mode=mixed", "data.responses=both", "distill.max_staleness=1")
    shares = {}
    for name, share in (("up", "0:1"), ("constant", "0.5"), ("same", "0.5:0.5"), ("down", "1:0")):
        distill(folder, name, *mixed, f"distill.on_policy_fraction={share}", "optimizer.batch_size=20")
        shares[name] = [row["on_policy"] for row in read_rows(f"{folder}/{name}/aligned/metrics.jsonl")]
    assert model(folder, "constant") == model(folder, "same")
    distill(folder, "long", *mixed, "distill.on_policy_fraction=0:1", "optimizer.batch_size=4")
    rows = [row["on_policy"] for row in read_rows(f"{folder}/long/aligned/metrics.jsonl")]
    assert len(rows) == 10 and rows[0] == 0 and rows[-1] == 1, rows
    assert sum(rows[:5]) < 0.5 * sum(rows[5:]), rows
    write(f"{folder}/ramp.cfg", open(f"{folder}/run.cfg").read().replace(
        'mode = "on-policy";', "on_policy_fraction = { from = 0; to = 1.0; };"))
    words = [w for s in (*mixed, "output=group", "optimizer.batch_size=4") for w in ("--set", s)]
    run("distill", "-c", f"{folder}/ramp.cfg", *words, ranks=3)
    assert model(folder, "group") == model(folder, "long")
    for value in ("0.2:1.1", "a:1", "0.1:0.2:0.3", "-0.1"):
        done = distill(folder, "some", f"distill.on_policy_fraction={value}", code=2)
        assert "distill.on_policy_fraction" in done.errors[0], done


def sequences(folder, output):
    """What the shards say of each sequence: row, source, tokens and their teacher's numbers."""
    found = []
    for name in sorted(os.listdir(f"{folder}/{output}/shards")):
        if not name.endswith(".h5"):
            continue
        with h5py.File(f"{folder}/{output}/shards/{name}") as file:
            start = file["sequence/response_start"][:]
            for i, (first, last) in enumerate(zip(start, start[1:])):
                found.append((int(file["sequence/id"][i]), int(file["sequence/source"][i]),
                              *(file[f"response/{part}"][first:last].tobytes()
                                for part in ("id", "logprob_dpo", "logprob_reverse", "tvd", "logprob_policy"))))
    return found


def kept_sets_are_trained_on_as_they_are(folder):
    """The off-policy items of a mixed run, from the shards of an on-policy run and of a data file."""
    distill(folder, "old", "optimizer.lr=2e-3")
    run("score", "-c", f"{folder}/run.cfg", "--set", "output=scored", "--set", "data.responses=chosen")
    kept = set(sequences(folder, "old")), set(sequences(folder, "scored"))
    mixed = ("distill.mode=mixed", "distill.on_policy_fraction=0.5", "distill.max_staleness=1",
             "shards.sources=../old/shards:2,../scored/shards:1")
    done = distill(folder, "all", *mixed)
    assert "old/shards, weight 2" in done.err, done
    all_of = sequences(folder, "all")
    taken = [sum(one in some for one in all_of) for some in kept]
    assert len(all_of) == 40 and 0.3 < sum(taken) / 40 < 0.7 and taken[0] > taken[1] > 0, taken
    for ranks, roles in ((3, APART), (4, ()), (6, ("roles.trainers=2", "roles.scorers=2", "roles.generators=2"))):
        distill(folder, "some", *mixed, *roles, "debug.fail=metrics_write:0:5", ranks=ranks, code=INTERNAL)
        distill(folder, "some", *mixed, anew=False, ranks=7 - ranks)
        assert model(folder, "some") == model(folder, "all"), roles
        assert sorted(sequences(folder, "some")) == sorted(all_of), roles
    done = distill(folder, "some", *mixed[:-1], anew=False, code=2)
    assert "shards was " in done.errors[0], done
    for settings, code, word in ((("shards.encoding=topk",), 3, "encoding"),
                                 (("teacher.reverse=policy",), 3, "sha256_reverse"),
                                 (("distill.mode=on-policy",), 2, "shards.sources"),
                                 (("shards.sources=../nowhere:1",), 3, "nowhere")):
        done = distill(folder, "other", *mixed, *settings, ranks=2, code=code)
        assert len(done.errors) == 1 and word in done.errors[0], (settings, done)


def batches_are_made_while_a_step_is_trained(folder):
    """With a trainer that never ends its third step: as many batches ahead as the bound allows, and no more."""
    for lag in (0, 1, 3):
        shutil.rmtree(f"{folder}/ahead", ignore_errors=True)
        settings = ("output=ahead", f"distill.max_staleness={lag}", "optimizer.micro_batch_tokens=10000",
                    "debug.fail=train_step:0:3:hang", *APART)
        process = start(["distill", "-c", f"{folder}/run.cfg", *(w for s in settings for w in ("--set", s))], 3)
        deadline = time.monotonic() + 30
        made = []
        while made != list(range(2 + lag + 1)):
            assert time.monotonic() < deadline and process.poll() is None, (lag, made)
            time.sleep(0.05)
            made = steps_of(shards(folder, "ahead")) if os.path.exists(f"{folder}/ahead/shards") else []
        time.sleep(0.5)
        assert steps_of(shards(folder, "ahead")) == made and len(read_rows(f"{folder}/ahead/aligned/metrics.jsonl")) == 2
        assert kill(process)


def a_calibration_may_choose_the_split(folder):
    """Asked for, or with work enough: whatever it chooses, the same model; roles that are set are left alone."""
    stale = ("distill.max_staleness=1", "sampling.max_new_tokens=24")
    distill(folder, "all", *stale)
    done = distill(folder, "some", *stale, "roles.calibrate=always", ranks=3)
    told = re.search(r"calibrated in ([\d.]+) s: a step of every role on all 3 ranks takes about ([\d.e-]+) s, "
                     r"(and no split a tenth less|with this split about ([\d.e-]+) s)", done.err)
    assert told and float(told[1]) < 60, done
    split = re.search(r"on-policy, (\d) trainers, (\d) scorers, (\d) generators", done.err)
    counts = [int(split[k]) for k in (1, 2, 3)]
    if told[4]:
        assert float(told[4]) < 0.91 * float(told[2]) and counts[0] < 3, done
    else:
        assert counts == [3, 3, 3], done
    assert model(folder, "some") == model(folder, "all")
    for settings, ranks in ((("roles.calibrate=never",), 2), ((), 2), ((*APART, "roles.calibrate=always"), 3),
                            (("roles.calibrate=always",), 1)):
        done = distill(folder, "some", *stale, *settings, ranks=ranks)
        assert "calibrated" not in done.err, done
        assert model(folder, "some") == model(folder, "all")
    done = distill(folder, "some", "data.train=nowhere.jsonl", "roles.calibrate=always", ranks=2, code=3)
    assert len(done.errors) == 1 and "nowhere.jsonl" in done.errors[0], done


def the_bottleneck_is_named(folder):
    done = distill(folder, "some", *APART, "distill.max_staleness=1", ranks=3)
    assert re.search(r"of [\d.]+ s the busiest generator worked [\d.]+, scorer [\d.]+, trainer [\d.]+: the "
                     r"bottleneck was to (generate|score|train); ", done.err), done
    done = distill(folder, "some", ranks=3)
    assert "bottleneck" not in done.err, done
    with h5py.File(f"{folder}/some/aligned/metrics.h5") as file:
        for name in ("work/generate", "work/score", "work/train", "throughput/generate",
                     "throughput/score", "queue/batches"):
            assert len(file[name]) == STEPS, name


SITES = ("generate", "shard_write", "shard_commit", "shard_read", "train_step", "message_send",
         "message_receive", "checkpoint_write", "metrics_write")


def a_failure_anywhere_ends_all(folder):
    """On 1 to 6 ranks, with roles apart and together: one line, no hang, and a rerun to the same bytes."""
    fired = 0
    distill(folder, "all", "distill.max_staleness=1")
    splits = ((1, ()), (4, ("roles.generators=2",)), (5, ("roles.trainers=2", "roles.scorers=2")),
              (6, ("roles.trainers=2", "roles.scorers=2", "roles.generators=2")))
    for i, site in enumerate(SITES):
        for ranks, roles in splits if "message" in site else splits[i % 2::2]:
            rank = 0 if "_write" in site and "shard" not in site else (i + 1) % ranks
            settings = ("distill.max_staleness=1", *roles)
            fault = f"debug.fail={site}:{rank}:{2 if site == 'train_step' else 1}"
            done = distill(folder, "some", *settings, fault, ranks=ranks, code=None, timeout=20)
            assert done.code in (0, INTERNAL) and len(done.errors) == (done.code != 0), (fault, roles, done)
            if done.code == 0:  # that rank doesn't come there
                continue
            fired += 1
            assert f"debug.fail: {site}" in done.errors[0], done
            distill(folder, "some", "distill.max_staleness=1", anew=False, ranks=7 - ranks if ALL_TRIALS else 1 + ranks % 2)
            assert model(folder, "some") == model(folder, "all"), (fault, roles)
    assert fired > 14, fired


def commands_with_roles(folder, output, *roles):
    """mpirun with a command for each (role, ranks)."""
    line = ["mpirun", "-q"]
    for role, ranks in roles:
        line += [":"] * (len(line) > 2) + ["-n", str(ranks), BINARY, "distill", "-c", f"{folder}/run.cfg", "--set",
                                          f"output={output}", *(["--role", role] if role else [])]
    return finish(subprocess.Popen(line, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True))


def a_job_of_several_commands(folder):
    """Each says its role, in any order; rank 0, which writes the files, is a trainer."""
    distill(folder, "all")
    for roles in ((("generator", 1), ("trainer", 2), ("scorer", 1)), (("scorer", 2), ("generator", 1), ("trainer", 1)),
                  (("trainer", 1), ("scorer", 1), ("generator", 1))):
        shutil.rmtree(f"{folder}/some", ignore_errors=True)
        done = commands_with_roles(folder, "some", *roles)
        counts = dict(roles)
        assert done.code == 0 and f"{counts['trainer']} trainers, {counts['scorer']} scorers, " \
            f"{counts['generator']} generators" in done.err, done
        assert model(folder, "some") == model(folder, "all"), roles
    for roles in ((("generator", 1), (None, 2)), (("trainer", 1), ("generator", 1)), (("trainer", 2), ("dancer", 1))):
        done = commands_with_roles(folder, "other", *roles)
        assert done.code == 2 and len(done.errors) == 1 and "--role" in done.errors[0], done


if __name__ == "__main__":
    main([shards_are_kept_as_asked, a_killed_run_samples_nothing_twice, batches_that_are_gone_are_told_of,
          another_runs_batches_are_not_taken, a_share_goes_from_one_to_another, kept_sets_are_trained_on_as_they_are,
          batches_are_made_while_a_step_is_trained, a_calibration_may_choose_the_split, the_bottleneck_is_named, a_failure_anywhere_ends_all,
          a_job_of_several_commands],
         lambda folder: prepare_route(folder, CONFIG))
