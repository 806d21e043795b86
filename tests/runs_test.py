#!/usr/bin/python3
"""One scoring, many runs: shards of several sources mixed by weight, sweeps of settings over one
set of shards, on 1 and 3 ranks. What must be equal is held to bits."""
from harness import *  # noqa: F403

CONFIG = """shards: { sequences_per_shard = 4; };
distill: { policy = "policy"; mode = "off-policy"; };
optimizer: { lr = 1e-3; batch_size = 6; micro_batch_tokens = 100; epochs = 2; };
"""
TIMES = ("seconds", "tokens_per_second")
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def prepare(folder):
    prepare_route(folder, CONFIG)
    for name in ("chosen", "rejected"):
        aligndistil(folder, "score", f"data.responses={name}", f"shards.directory={name}")


def aligndistil(folder, command, *settings, words=(), **options):
    sets = [w for s in settings for w in ("--set", s)]
    return run(command, "-c", f"{folder}/run.cfg", *sets, *words, **options)


def metrics(path, but=()):
    return [{k: v for k, v in row.items() if k not in (*TIMES, *but)}
            for row in read_rows(f"{path}/metrics.jsonl")]


def same_weights(a, b, where):
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys(), where
    for name, values in first.items():
        assert values.tobytes() == second[name].tobytes(), f"{where}: {name} differs"


def differ(a, b):
    first, second = weights(a), weights(b)
    return any(first[name].tobytes() != second[name].tobytes() for name in first)


# --- sources -----------------------------------------------------------------------------------


@test
def one_source_is_a_directory(folder):
    aligndistil(folder, "distill", "data.train=", "shards.directory=chosen",
                "distill.output=directory")
    for n in (1, 3):
        aligndistil(folder, "distill", "shards.sources=chosen:3", "distill.output=source", ranks=n)
        same_weights(f"{folder}/out/directory", f"{folder}/out/source", f"on {n}")
        assert metrics(f"{folder}/out/directory") == \
            metrics(f"{folder}/out/source", but=["source/0"])
        assert {row["source/0"] for row in read_rows(f"{folder}/out/source/metrics.jsonl")} == {1}


@test
def weights_of_sources(folder):
    """A list in the file; as many tokens of each as its weight says; the same on 3 ranks."""
    with open(f"{folder}/run.cfg") as file:
        text = file.read()
    sources = '{ directory = "chosen"; weight = 3.0; }, { directory = "rejected"; }'
    config = write(f"{folder}/sources.cfg", text.replace(
        "shards: {", f"shards: {{ sources = ( {sources} );"))
    for n in (1, 3):
        run("distill", "-c", config, "--set", f"distill.output=mixed{n}", "--set",
            "optimizer.epochs=4", ranks=n)
    same_weights(f"{folder}/out/mixed1", f"{folder}/out/mixed3", "on 3")
    rows = read_rows(f"{folder}/out/mixed1/metrics.jsonl")
    assert len(rows) == 4 * 7, len(rows)  # an epoch is 40 draws of 6
    assert all(abs(row["source/0"] + row["source/1"] - 1) < 1e-6 for row in rows)
    shares = np.array([row["source/0"] * row["tokens"] for row in rows])
    share = shares.sum() / sum(row["tokens"] for row in rows)
    assert 0.6 < share < 0.9, share
    made = read_json(f"{folder}/out/mixed1/done.json")["inputs"]["shards"]
    assert [source["weight"] for source in made] == [3, 1], made
    aligndistil(folder, "distill", "shards.sources=chosen:1,rejected:1", "distill.output=even",
                "optimizer.epochs=4")
    assert differ(f"{folder}/out/mixed1", f"{folder}/out/even")


@test
def a_mixed_run_goes_on(folder):
    """After a stop the draws go on where they were."""
    sources = ["shards.sources=chosen:1,rejected:2", "checkpoint.every_steps=3"]
    fault = "debug.fail=metrics_write:0:9"  # of the 8 steps that the second run has left, none
    aligndistil(folder, "distill", *sources, "distill.output=whole")
    aligndistil(folder, "distill", *sources, "distill.output=halves", fault, code=5)
    done = aligndistil(folder, "distill", *sources, "distill.output=halves", fault)
    assert "going on from" in done.err, done
    same_weights(f"{folder}/out/whole", f"{folder}/out/halves", repr(done))


@test
def bad_sources(folder):
    copy(f"{folder}/out/chosen", f"{folder}/out/other")
    aligndistil(folder, "score", "teacher.dpo=rev", "teacher.reverse=dpo",
                "shards.directory=swapped")
    cases = {"chosen:0": (2, "weight"), "chosen:x": (2, "expected a list of sources"),
             "chosen:nan": (2, "weight"), ":1": (2, "expected a list of sources"),
             ",".join(["chosen"] * 17): (2, "expected a list of sources"),
             "chosen,nowhere": (3, "nowhere"), "chosen,swapped": (3, "sha256_dpo")}
    for value, (code, text) in cases.items():
        for n, settings in ((1, []), (3, ["teacher.dpo=", "teacher.reverse="])):
            if n == 3 and value != "chosen,swapped":
                continue
            done = aligndistil(folder, "distill", f"shards.sources={value}", *settings, code=code,
                               ranks=n)
            assert len(done.errors) == 1 and text in done.errors[0], (value, done)
    done = aligndistil(folder, "distill", "shards.sources=chosen", "distill.mode=on-policy", code=2)
    assert "shards.sources: expected none" in done.errors[0], done
    for text in ("( 1 )", "( { weight = 1.0; } )", '( { directory = "a"; wait = 1; } )', '"a"',
                 '{ directory = "a"; }'):
        config = write(f"{folder}/bad.cfg", f"shards: {{ sources = {text}; }};")
        done = run("distill", "-c", config, code=2)
        assert "bad.cfg:1: shards.sources: expected a list" in done.errors[0], done


if __name__ == "__main__":
    main(TESTS, prepare)
