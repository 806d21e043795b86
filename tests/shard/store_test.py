#!/usr/bin/python3
"""Offline scoring that can't be spoiled: parts and arrays, reruns, kills, damage, the manifest and
`inspect --verify`."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import h5py

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402

sys.path.insert(0, harness.TOOLS)
import aligndistil_shards  # noqa: E402

SHARDS = 6


class Setting:
    data = directories = good = None


def words(folder, directory, **values):
    settings = {"output": folder, "data__train": Setting.data.path, "data__chat_format": "none",
                "data__responses": "both", "teacher__dpo": Setting.directories["dpo"],
                "teacher__reverse": Setting.directories["reverse"], "shards__directory": directory,
                "shards__sequences_per_shard": 2, **values}
    return ["-c", os.path.join(folder, "empty.cfg"), *training.settings(settings)]


def score(folder, directory, *more, ranks=1, code=0, env=None, **values):
    done = harness.run("score", *words(folder, directory, **values), *more, ranks=ranks, code=code,
                       env=env)
    done.said = "".join(line for line in done.err.splitlines() if line.startswith("score:"))
    return done


def hashes(directory):
    out = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            out[name] = hashlib.sha256(file.read()).hexdigest()
    return out


def prepare(folder):
    Setting.data = training.Data(folder, pairs=SHARDS)
    Setting.directories = training.make_models(folder, training.KINDS["qwen3"])
    harness.write(os.path.join(folder, "empty.cfg"), "# all is set on the command line\n")
    assert "complete: 6 of 6" in score(folder, "good").said
    Setting.good = hashes(os.path.join(folder, "good"))
    assert list(Setting.good) == ["manifest.json", *(f"shard-{i:06d}.h5" for i in range(SHARDS))]


def copy(folder, name):
    path = os.path.join(folder, name)
    shutil.rmtree(path, ignore_errors=True)
    return shutil.copytree(os.path.join(folder, "good"), path)


# --- who does what -----------------------------------------------------------------------------


def parts_make_the_same_set(folder):
    """By --part on one and on two ranks, and as tasks of an array with a step, in any order."""
    for i in (2, 0, 1):
        done = score(folder, "parts", "--part", f"{i}/3", ranks=1 + i % 2)
        assert f"part {i} of 3: 2 shards made" in done.said, done.said
    assert "complete: 6 of 6" in done.said and hashes(os.path.join(folder, "parts")) == Setting.good
    for i in (7, 3, 5, 9):
        env = {"SLURM_ARRAY_TASK_ID": str(i), "SLURM_ARRAY_TASK_COUNT": "4",
               "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_STEP": "2"}
        done = score(folder, "array", env=env)
    assert hashes(os.path.join(folder, "array")) == Setting.good


def parts_at_once(folder):
    """Three tasks run together, two of them on the same part."""
    runs = [harness.start(["score", *words(folder, "together"), "--part", f"{i}/2"])
            for i in (0, 1, 1)]
    for done in map(harness.finish, runs):
        assert done.code == 0, done
    assert hashes(os.path.join(folder, "together")) == Setting.good


def reruns_make_what_is_missing(folder):
    """Nothing, then one missing, one cut, and one with a changed byte in its text, which has no
    checksum of HDF5's; with the manifest, with another number of parts, and without it."""
    assert "0 shards made, 6 there already, 0 had been damaged" in score(folder, "good").said
    for manifest in (True, False):
        place = copy(folder, "again")
        if not manifest:
            os.remove(os.path.join(place, "manifest.json"))
        os.remove(os.path.join(place, "shard-000001.h5"))
        with open(os.path.join(place, "shard-000003.h5"), "r+b") as file:
            file.truncate(3000)
        expected = "2 shards made, 4 there already, 1 had been damaged"
        if manifest:
            change_text(os.path.join(place, "shard-000004.h5"))
            expected = "3 shards made, 3 there already, 2 had been damaged"
        assert expected in score(folder, "again", ranks=2).said
        assert hashes(place) == Setting.good


def change_text(path):
    with h5py.File(path, "r") as file:
        text = file["sequence/prompt"][0]
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(content.index(text))
        file.write(b"#")


def other_work_is_refused(folder):
    """Shards beyond the set, and lists of another one: named, or passed over."""
    place = copy(folder, "larger")
    for name in ("shard-000006.h5", "shard-000019.h5"):
        shutil.copy(os.path.join(place, "shard-000005.h5"), os.path.join(place, name))
        (error,) = score(folder, "larger", code=3).errors
        assert name in error and "6 shards" in error, error
        os.remove(os.path.join(place, name))
    manifest = harness.read_json(os.path.join(place, "manifest.json"))
    manifest["set"]["sha256_data"] = "0" * 64
    harness.write(os.path.join(place, "manifest.json"), json.dumps(manifest))
    harness.write(os.path.join(place, "manifest.part-0-of-9.json"), "{")
    assert "6 there already" in score(folder, "larger").said
    assert hashes(place) == Setting.good


# --- what happens to it ------------------------------------------------------------------------


def fifty_kills(folder):
    """KILL at random instants of three ranks: no shard with its final name is ever damaged, and the
    last run ends with the same files."""
    place, chance = os.path.join(folder, "killed"), random.Random(5)
    command = ["score", *words(folder, "killed")]
    begun = time.monotonic()
    harness.finish(harness.start(command, ranks=3))
    whole = time.monotonic() - begun
    shutil.rmtree(place)
    cut = 0
    for i in range(50):
        process = harness.start(command, ranks=3)
        time.sleep(chance.uniform(0.3, 1.0) * whole)
        cut += harness.kill(process)
        process.communicate()
        for name in os.listdir(place) if os.path.isdir(place) else []:
            if not name.startswith("manifest.part") and ".tmp-" not in name:
                assert hashes_one(place, name) == Setting.good[name], f"{name} after kill {i}"
        if i % 5 == 4 and os.path.isdir(place):
            shutil.rmtree(place)
    assert cut > 10, f"only {cut} of 50 runs were still going"
    score(folder, "killed", ranks=3)
    assert hashes(place) == Setting.good


def hashes_one(place, name):
    with open(os.path.join(place, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def stale_temporaries_go(folder):
    place = copy(folder, "stale")
    child = subprocess.Popen(["true"])
    child.wait()
    host = os.uname().nodename
    gone = os.path.join(place, f"shard-000002.h5.tmp-{host}-{child.pid}")
    kept = os.path.join(place, f"shard-000002.h5.tmp-elsewhere-{child.pid}")
    for path in (gone, kept):
        harness.write(path, "half a shard")
    score(folder, "stale")
    assert not os.path.exists(gone) and os.path.exists(kept)


def a_file_that_cannot_grow(folder):
    """A quota (here RLIMIT_FSIZE): exit 4, one line, and what was there stays."""
    import resource
    place = copy(folder, "full")
    os.remove(os.path.join(place, "shard-000005.h5"))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    done = subprocess.run(harness.command_line(["score", *words(folder, "full")]),
                          env=harness.environment(), capture_output=True, text=True,
                          preexec_fn=limit)
    assert done.returncode == 4, done
    assert "shard-000005.h5" in done.stderr, done.stderr
    names = [name for name in os.listdir(place) if name.endswith(".h5")]
    assert sorted(names) == [f"shard-{i:06d}.h5" for i in range(5)] and not any(
        ".tmp-" in name for name in os.listdir(place))
    score(folder, "full")
    assert hashes(place) == Setting.good


# --- proof -------------------------------------------------------------------------------------


def verify(path, code=0):
    done = harness.run("inspect", "--verify", path, "--json", code=code)
    report = json.loads(done.out)
    assert report["verified"] == (code == 0) and bool(done.errors) == (code == 3), done
    return report


def verify_finds_everything(folder):
    report = verify(os.path.join(folder, "good"))
    rows = 2 * len(Setting.data.rows)
    assert (report["shards"], report["sequences"], report["problems"]) == (SHARDS, rows, [])
    verify(os.path.join(folder, "good", "shard-000003.h5"))
    for fault, parts in FAULTS:
        place = copy(folder, "faulty")
        fault(place)
        problems = verify(place, 3)["problems"]
        assert any(all(part in problem for part in parts) for problem in problems), (parts, problems)


def cut(place):
    with open(os.path.join(place, "shard-000002.h5"), "r+b") as file:
        file.truncate(5000)


def swap(place):
    a, b, c = (os.path.join(place, n) for n in ("shard-000001.h5", "shard-000004.h5", "x"))
    os.rename(a, c)
    os.rename(b, a)
    os.rename(c, b)


def change_manifest(key, value):
    def apply(place):
        path = os.path.join(place, "manifest.json")
        manifest = harness.read_json(path)
        manifest["shards"][2][key] = value
        harness.write(path, json.dumps(manifest))
    return apply


def damage(place):
    with h5py.File(os.path.join(place, "shard-000002.h5"), "r") as file:
        at = file["teacher/hidden_dpo"].id.get_chunk_info(0).byte_offset
    with open(os.path.join(place, "shard-000002.h5"), "r+b") as file:
        file.seek(at + 2)
        byte = file.read(1)[0]
        file.seek(at + 2)
        file.write(bytes([byte ^ 1]))


def without_manifest(change):
    def apply(place):
        os.remove(os.path.join(place, "manifest.json"))
        change(place)
    return apply


def twice(place):
    shutil.copy(os.path.join(place, "shard-000002.h5"), os.path.join(place, "shard-000003.h5"))


FAULTS = [
    (lambda p: os.remove(os.path.join(p, "shard-000004.h5")), ["shard-000004.h5", "missing"]),
    (lambda p: os.remove(os.path.join(p, "manifest.json")), ["no manifest.json"]),
    (lambda p: harness.write(os.path.join(p, "manifest.json"), "{"), ["manifest.json"]),
    (lambda p: shutil.copy(os.path.join(p, "shard-000001.h5"), os.path.join(p, "shard-000006.h5")),
     ["shard-000006.h5", "not in manifest.json"]),
    (cut, ["shard-000002.h5", "cut short"]),
    (damage, ["shard-000002.h5", "hidden_dpo", "Fletcher"]),
    (swap, ["shard-000001.h5", "sha256"]),
    (lambda p: change_text(os.path.join(p, "shard-000000.h5")), ["shard-000000.h5", "sha256"]),
    (change_manifest("positions", 1), ["shard-000002.h5", "positions", "manifest.json has 1"]),
    (change_manifest("sha256", "0" * 64), ["shard-000002.h5", "sha256"]),
    (change_manifest("sha256", 5), ["manifest.json", "shards[2]", "64 hexadecimal"]),
    (change_manifest("bytes", -5), ["manifest.json", "shards[2]", "bytes"]),
    (change_manifest("name", "other.h5"), ["manifest.json", "shards[2]", "name"]),
    (change_manifest("name", "shard-000003.h5"), ["manifest.json", "expected shard-000002.h5"]),
    (without_manifest(twice), ["shard-000003.h5", "row 2 (chosen)", "again"]),
    (without_manifest(swap), ["shard-000002.h5", "out of order"]),
]


# --- looking at a set --------------------------------------------------------------------------


def index_opens_as_one(folder):
    """index.h5 through plain h5py and through the importable reader, after a move of the folder."""
    place = copy(folder, "indexed")
    harness.run("inspect", "--index", place)
    os.rename(place, place + "-moved")
    place += "-moved"
    whole = aligndistil_shards.Shard(os.path.join(place, "index.h5"))
    alone = list(aligndistil_shards.sequences(place))
    assert len(whole) == len(alone) == 2 * len(Setting.data.rows)
    for a, b in zip(whole, alone):
        assert (a.id, a.source, a.prompt, a.response) == (b.id, b.source, b.prompt, b.response)
        assert a.prompt_ids.tolist() == b.prompt_ids.tolist()
        assert a.tvd.tolist() == b.tvd.tolist()
        assert (a.encoded("hidden_reverse") == b.encoded("hidden_reverse")).all()
    with h5py.File(os.path.join(place, "index.h5"), "r") as file:
        assert file["sequence/shard"][...].tolist() == [i // 2 for i in range(12)]
        assert file["response/tvd"].shape == file["response/id"].shape
    verify(place)  # the index is none of the set's files
    harness.run("score", *words(folder, "indexed-moved"))


def diff(folder, a, b):
    done = harness.run("inspect", "--diff", os.path.join(folder, a), os.path.join(folder, b),
                       "--json")
    return json.loads(done.out)


def diff_names_what_differs(folder):
    """Sets cut otherwise have the same sequences, equal up to rounding; other teachers, rows and
    texts are named."""
    score(folder, "coarse", shards__sequences_per_shard=12)
    found = diff(folder, "good", "coarse")
    assert (found["only_in_a"], found["only_in_b"]) == (0, 0)
    assert all((row["largest"] or 0) < 1e-4 for row in found["datasets"])
    assert [text.split(" | ")[1] for text in found["attributes"]] == ["  sequences_per_shard = 12;"]
    assert diff(folder, "good", "good")["equal"] is True
    score(folder, "chosen", data__responses="chosen")
    found = diff(folder, "chosen", "good")
    assert (found["only_in_a"], found["only_in_b"], found["equal"]) == (0, 6, False)
    score(folder, "other", teacher__reverse=Setting.directories["reference"])
    found = diff(folder, "good", "other")
    assert (found["only_in_a"], found["only_in_b"], found["differing"]) == (0, 0, 12)
    datasets = {row["dataset"]: row for row in found["datasets"]}
    assert set(datasets) == {"/response/logprob_reverse", "/response/tvd", "/teacher/hidden_reverse"}
    assert datasets["/response/tvd"]["sequences"] == 12 and datasets["/response/tvd"]["largest"] > 0
    assert any(text.startswith("sha256_reverse: ") for text in found["attributes"])
    place = copy(folder, "text")
    change_text(os.path.join(place, "shard-000002.h5"))
    found = diff(folder, "good", "text")
    assert [row["dataset"] for row in found["datasets"]] == ["/sequence/prompt"]
    assert found["datasets"][0]["first_row"] == 2 and found["differing"] == 1
    (error,) = harness.run("inspect", "--diff", place, code=2).errors
    assert "two shards" in error


def distill_asks_the_manifest(folder):
    """Missing, resized and additional shards are named; a set without a manifest is said."""
    def distill(directory, code=0):
        return harness.run("distill", *words(folder, directory, data__train="",
                                             distill__policy=Setting.directories["policy"],
                                             distill__mode="off-policy", optimizer__max_steps=1,
                                             checkpoint__resume=False), code=code)
    assert "manifest" not in distill("good").err
    for fault, parts in FAULTS[:1] + FAULTS[2:5]:
        place = copy(folder, "faulty")
        fault(place)
        (error,) = distill("faulty", 3).errors
        assert parts[0] in error, error
    place = copy(folder, "faulty")
    os.remove(os.path.join(place, "manifest.json"))
    assert "no manifest.json" in distill("faulty").err


if __name__ == "__main__":
    harness.main([parts_make_the_same_set, parts_at_once, reruns_make_what_is_missing,
                  other_work_is_refused, fifty_kills, stale_temporaries_go, a_file_that_cannot_grow,
                  verify_finds_everything, index_opens_as_one, diff_names_what_differs,
                  distill_asks_the_manifest], prepare)
