#!/usr/bin/python3
"""One scoring, many runs: shards of several sources mixed by weight, sweeps of settings over one
set of shards, on 1 and 3 ranks. What must be equal is held to bits."""
import os
import signal
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

CONFIG = """shards: { sequences_per_shard = 4; };
distill: { policy = "policy"; mode = "off-policy"; };
optimizer: { lr = 1e-3; batch_size = 6; micro_batch_tokens = 100; epochs = 2; };
"""
TIMES = ("wait/read", "seconds", "tokens_per_second")
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


# --- sweeps ------------------------------------------------------------------------------------

ON_CHOSEN = ("data.train=", "shards.directory=chosen")
RUNS = """runs: ( { name = "plain"; teacher: { extrapolation = "none"; }; distill: {
                   token_weight = "uniform"; }; },
        { name = "seed2"; seed = 2; optimizer: { betas = [0.8, 0.9]; lr = 2e-3; }; },
        { name = "short"; optimizer: { max_steps = 3; batch_size = 5; }; },
        { name = "as-it-is"; } );
grid: { teacher: { strength = [5.0, 40.0]; temperature = [1.0, 2.0]; };
        distill: { divergence = ["reverse", "forward"]; granularity = ["sequence"]; }; };
"""
SETTINGS = {
    "plain": ["teacher.extrapolation=none", "distill.token_weight=uniform"],
    "seed2": ["seed=2", "optimizer.betas=[0.8, 0.9]", "optimizer.lr=2e-3"],
    "short": ["optimizer.max_steps=3", "optimizer.batch_size=5"],
    "as-it-is": [],
    **{f"strength-{r}_temperature-{t}_divergence-{d}_granularity-sequence":
       [f"teacher.strength={r}", f"teacher.temperature={t}", f"distill.divergence={d}",
        "distill.granularity=sequence"]
       for r in ("5.0", "40.0") for t in ("1.0", "2.0") for d in ("reverse", "forward")}}


def sweep(folder, output, text=RUNS, settings=ON_CHOSEN, keep=False, **options):
    if not keep:
        shutil.rmtree(f"{folder}/out/{output}", ignore_errors=True)
    path = write(f"{folder}/sweep.cfg", text)
    return aligndistil(folder, "distill", *settings, f"distill.output={output}",
                       words=("--sweep", path), **options)


def table(folder, output):
    return read_json(f"{folder}/out/{output}/sweep.json")


@test
def a_sweep_is_its_runs_alone(folder):
    """Weights and metrics bit by bit, on 1 and 3 ranks and in groups of 2."""
    for name, settings in SETTINGS.items():
        aligndistil(folder, "distill", *ON_CHOSEN, *settings, f"distill.output=alone/{name}")
    alone = {name: f"{folder}/out/alone/{name}" for name in SETTINGS}
    assert differ(alone["plain"], alone["as-it-is"]) and differ(alone["seed2"], alone["as-it-is"])
    for n, text in ((1, RUNS), (3, RUNS), (2, "at_once = 2;\n" + RUNS)):
        done = sweep(folder, "swept", text, ranks=n)
        for name in SETTINGS:
            run_folder = f"{folder}/out/swept/{name}"
            same_weights(alone[name], run_folder, f"{name} on {n}")
            assert metrics(alone[name]) == metrics(run_folder), name
            assert read_json(f"{run_folder}/done.json")["sha256"] == \
                read_json(f"{alone[name]}/done.json")["sha256"]
        check_files(f"{folder}/out/swept")
        report = table(folder, "swept")
        assert [run["name"] for run in report["runs"]] == list(SETTINGS), report
        # Ten of the runs draw alike, two epochs of 20; seed2 and short (3 steps of 5) on their own.
        groups = 6 if n == 2 else 1
        assert report["sequences_used"] == 11 * 40 + 15, report
        assert report["sequences_read"] == groups * 40 + 40 + 15, report
        assert ("runs 1 to 2 of 12" in done.err) == (n == 2), done
        assert all(f"| {name} |" in done.out for name in SETTINGS), done
        with open(f"{folder}/out/swept/sweep.md") as file:
            assert file.read() == done.out


@test
def the_table_is_of_the_metrics(folder):
    """Also with more than ten steps, where a tenth is more than one."""
    settings = (*ON_CHOSEN, "optimizer.epochs=3", "optimizer.batch_size=2")
    sweep(folder, "table", 'runs: ( { name = "a"; }, { name = "b"; seed = 5; } );', settings)
    for run_ in table(folder, "table")["runs"]:
        rows = read_rows(f"{run_['output']}/metrics.jsonl")
        assert len(rows) == run_["steps"] == 30
        for key in ("loss", "kl/teacher", "kl/dpo", "reward/token", "response_length"):
            values = [row[key] for row in rows]
            assert run_["last"][key] == values[-1], key
            assert abs(run_["mean_of_last_tenth"][key] - np.mean(values[-3:])) <= 1e-8 * abs(np.mean(values[-3:])), key


@test
def a_stopped_sweep_goes_on(folder):
    """After a failure in the midst, with checkpoints of some runs, and after a signal."""
    settings = (*ON_CHOSEN, "checkpoint.every_steps=2")
    sweep(folder, "whole", settings=settings)
    for time_ in (20, 40, 60):  # of about 80 records; counted anew by each process
        done = sweep(folder, "stopped", settings=(*settings, f"debug.fail=metrics_write:0:{time_}"),
                     code=5)
        shutil.rmtree(f"{folder}/out/again", ignore_errors=True)
        os.rename(f"{folder}/out/stopped", f"{folder}/out/again")
        done = sweep(folder, "again", settings=settings, keep=True)
        finished = int(done.err.split("runs, of which ")[1].split()[0])
        assert (finished > 0) == (time_ > 36), done  # `short` ends after 3 steps of 12 runs
        same_sweep(folder, "whole", "again", f"after {time_}")


@test
def a_signal_stops_all_runs(folder):
    """SIGUSR1: exit 75, every run at its checkpoint or finished; the rerun ends as if never stopped."""
    settings = (*ON_CHOSEN, "checkpoint.every_steps=0", "optimizer.epochs=30")
    sweep(folder, "whole", settings=settings)
    shutil.rmtree(f"{folder}/out/signal", ignore_errors=True)
    words = ["distill", "-c", f"{folder}/run.cfg", "--sweep", f"{folder}/sweep.cfg",
             *[w for s in (*settings, "distill.output=signal") for w in ("--set", s)]]
    process = start(words)
    lines = f"{folder}/out/signal/as-it-is/metrics.jsonl"
    while process.poll() is None and not (os.path.exists(lines) and len(read_lines(lines)) > 20):
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    done = finish(process)
    assert done.code == 75, done
    done = sweep(folder, "signal", settings=settings, keep=True)
    assert "going on from" in done.err and "1 are finished already" in done.err, done
    same_sweep(folder, "whole", "signal", repr(done))
    # All are finished now: nothing is trained, and no file changes.
    before = times(f"{folder}/out/signal")
    done = sweep(folder, "signal", settings=settings, keep=True, ranks=2)
    assert "finished already" in done.err and done.out.count("| short |") == 1, done
    done = sweep(folder, "signal", settings=(*settings, "teacher.epsilon=0.5"), keep=True, code=2)
    assert "teacher.epsilon was 0.001, is 0.5" in done.errors[0] and "--force" in done.errors[0], done
    assert done.errors[0].startswith("run "), done
    after = times(f"{folder}/out/signal")
    assert after == before, set(after.items()) ^ set(before.items())
    os.remove(f"{folder}/out/signal/sweep.md")
    sweep(folder, "signal", settings=settings, keep=True)
    assert table(folder, "signal")["sequences_read"] == 0
    sweep(folder, "signal", settings=(*settings, "teacher.epsilon=0.5", "checkpoint.resume=false"), keep=True)
    assert table(folder, "signal")["sequences_read"] > 0


def times(folder):
    paths = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    return {path: os.stat(path).st_mtime_ns for path in paths}


def read_lines(path):
    with open(path) as file:
        return file.readlines()


def same_sweep(folder, one, two, where):
    for name in SETTINGS:
        a, b = (f"{folder}/out/{output}/{name}" for output in (one, two))
        same_weights(a, b, f"{name} {where}")
        assert metrics(a) == metrics(b), (name, where)
    first, second = table(folder, one), table(folder, two)
    assert [{**run, "output": ""} for run in first["runs"]] == \
        [{**run, "output": ""} for run in second["runs"]], where
    check_files(f"{folder}/out/{two}")


@test
def sources_in_a_sweep(folder):
    settings = ("shards.sources=chosen:1,rejected:3",)
    sweep(folder, "mixed", 'grid: { teacher: { strength = [1.0, 9.0]; }; };', settings)
    for r in ("1.0", "9.0"):
        aligndistil(folder, "distill", *settings, f"teacher.strength={r}",
                    f"distill.output=alone/r{r}")
        same_weights(f"{folder}/out/alone/r{r}", f"{folder}/out/mixed/strength-{r}", r)
        assert metrics(f"{folder}/out/alone/r{r}") == metrics(f"{folder}/out/mixed/strength-{r}")


@test
def the_example_runs(folder):
    """jobs/sweep.cfg."""
    with open(f"{ROOT}/jobs/sweep.cfg") as file:
        done = sweep(folder, "example", file.read(), (*ON_CHOSEN, "optimizer.max_steps=1"))
    assert len(table(folder, "example")["runs"]) == 9, done


@test
def bad_sweeps(folder):
    cases = {
        'runs: ( { name = "a"; shards: { encoding = "full"; }; } );':
            "sweep.cfg:1: shards.encoding: a sweep can't change this",
        'runs: ( { name = "a";\n teacher: { dpo = "x"; }; } );':
            "sweep.cfg:2: teacher.dpo: a sweep can't change this",
        'runs: ( { name = "a"; distill: { mode = "mixed"; }; } );': "distill.mode: a sweep can't",
        'grid: { data: { responses = ["both"]; }; };': "data.responses: a sweep can't",
        'runs: ( { name = "a"; teacher: { strenght = 1; }; } );': "did you mean teacher.strength?",
        'runs: ( { name = "a"; teacher: { strength = "x"; }; } );':
            'teacher.strength: expected a number, found "x"',
        'runs: ( { name = "a"; teacher: { strength = [1, 2]; }; } );':
            "teacher.strength: expected a value, found a list",
        'grid: { teacher: { strength = 1; }; };': "expected a list of values",
        'grid: { teacher: { strength = [-1]; }; };': "out of range",
        'grid: { };': "grid: no keys", '': "no runs", 'runs = 5;': "runs: expected (",
        'runs: ( { seed = 1; } );': "without a name", 'rums: ( );': "rums: expected at_once",
        'runs: ( { name = "a/b"; } );': "expected letters", 'runs: ( { name = ".."; } );':
            "expected letters", 'at_once = -1;': "at_once: expected",
        'runs: ( { name = "a"; }, { name = "a"; } );': "two runs of this name",
        'runs: ( { name = "a"': "sweep.cfg:1: syntax error",
    }
    for text, expected in cases.items():
        done = sweep(folder, "bad", text, code=2)
        assert len(done.errors) == 1 and expected in done.errors[0], (text, done)
        assert not os.path.exists(f"{folder}/out/bad"), text
    one = 'runs: ( { name = "a"; } );'
    done = sweep(folder, "bad", one, settings=("distill.mode=mixed",), code=2)
    assert "expected \"off-policy\"" in done.errors[0], done
    done = sweep(folder, "bad", one, settings=("data.train=", "shards.directory=nowhere"), code=3)
    assert "nowhere" in done.errors[0], done
    text = 'runs: ( { name = "a"; }, { name = "b"; teacher: { contrast = "reference"; }; } );'
    done = sweep(folder, "bad", text, settings=(*ON_CHOSEN, "teacher.reference=policy"), code=3,
                 ranks=3)
    assert len(done.errors) == 1 and done.errors[0].startswith("run b: "), done
    done = aligndistil(folder, "sft", words=("--sweep", "x"), code=2)
    assert "unknown option" in done.errors[0], done


@test
def a_sweep_over_draws(folder):
    """Of "sampled" shards: another divergence than forward, in the first run or a later one, is refused
    before any run is trained, though each would be alone in memory; and forward isn't."""
    aligndistil(folder, "score", "shards.encoding=sampled", "shards.top_k=6",
                "shards.directory=draws")
    settings = ("data.train=", "shards.directory=draws", "optimizer.max_steps=1")
    axes = 'at_once = 1; grid: {{ distill: {{ divergence = [{}]; }}; teacher: {{ {} }}; }};'
    for values, guilty in (('"forward", "reverse"', "reverse"), ('"jsd", "forward"', "jsd")):
        for n in (1, 3):
            done = sweep(folder, "drawn", axes.format(values, "strength = [3.0]; "), settings, code=2,
                         ranks=n)
            assert len(done.errors) == 1, done
            assert done.errors[0].startswith(f'run divergence-{guilty}_strength-3.0: '
                                             f'distill.divergence: "{guilty}"'), done
            assert "shard-000000.h5" in done.errors[0] and '"forward"' in done.errors[0], done
            assert not os.path.exists(f"{folder}/out/drawn"), os.listdir(f"{folder}/out/drawn")
    sweep(folder, "drawn", axes.format('"forward"', "strength = [3.0, 5.0]; "), settings)
    assert len(table(folder, "drawn")["runs"]) == 2
    done = aligndistil(folder, "distill", *settings, "distill.divergence=jsd",
                       "distill.output=drawn-alone", code=2)
    assert 'distill.divergence: "jsd"' in done.errors[0], done


# --- a third model in the shards ---------------------------------------------------------------


def first_moment(run_folder):
    with h5py.File(f"{run_folder}/checkpoints/step-000001/optimizer.h5") as file:
        return file["m"][:]


@test
def a_reference_beside_the_reverse(folder):
    """Contrast "reference" from shards of "reverse" with a reference: loss, gradients and weights of
    shards scored with that contrast, bit by bit; of topk where the support is everything nearly."""
    make_model(folder, "ref", 7)
    base = ["data.train=", "teacher.reference=ref", "checkpoint.every_steps=1",
            "checkpoint.keep_last=0", "optimizer.epochs=1"]
    for encoding in ("full", "hidden", "hidden32", "topk"):
        setting = [f"shards.encoding={encoding}", "shards.top_k=100000"]
        aligndistil(folder, "score", *setting, "teacher.reference=ref",
                    "shards.with_reference=true", "shards.directory=both")
        aligndistil(folder, "score", *setting, "teacher.reference=ref",
                    "teacher.contrast=reference", "shards.directory=only")
        aligndistil(folder, "score", *setting, "shards.directory=plain")
        for contrast, shards in (("reference", "only"), ("reverse", "plain")):
            for output, directory in (("one", "both"), ("two", shards)):
                aligndistil(folder, "distill", *base, f"teacher.contrast={contrast}",
                            f"shards.directory={directory}", f"distill.output={output}")
            one, two = f"{folder}/out/one", f"{folder}/out/two"
            if encoding == "topk" and contrast == "reference":  # another order of the same tokens
                a, b = first_moment(one), first_moment(two)
                assert np.abs(a - b).max() < 2e-3 * np.abs(b).max(), np.abs(a - b).max()
                loss = [metrics(run_)[0]["loss"] for run_ in (one, two)]
                assert abs(loss[0] - loss[1]) < 1e-3 * abs(loss[1]), loss
            else:
                assert first_moment(one).tobytes() == first_moment(two).tobytes()
                assert metrics(one) == metrics(two), (encoding, contrast)
                same_weights(one, two, f"{encoding} {contrast}")
            shutil.rmtree(one)
            shutil.rmtree(two)
        check_reference_data(folder, encoding)
        run("inspect", f"{folder}/out/both", "--verify")
        for name in ("both", "only", "plain"):
            shutil.rmtree(f"{folder}/out/{name}")


def check_reference_data(folder, encoding):
    """The third model's datasets are the second one's of shards scored with that contrast."""
    pairs = {"response/logprob_reference": "response/logprob_reverse",
             "response/tvd_reference": "response/tvd",
             "teacher/log_ratio_reference": "teacher/log_ratio",
             "teacher/hidden_reference": "teacher/hidden_reverse"}
    certificate = ("alpha_max", "tail_mass", "tail_least", "tail_ratio_min", "tail_ratio_max")
    pairs.update({f"teacher/{name}_reference": "teacher/" + name for name in certificate})
    with h5py.File(f"{folder}/out/both/shard-000000.h5") as both, \
            h5py.File(f"{folder}/out/only/shard-000000.h5") as only:
        assert both.attrs["sha256_reference"] == only.attrs["sha256_reverse"]
        teacher = {"full": {"log_ratio_reference"},
                   "topk": {f"{name}_reference" for name in ("log_ratio", "tail", *certificate)}}
        found = {name for name in both["teacher"] if name.endswith("_reference")}
        assert found == teacher.get(encoding, {"hidden_reference"}), found
        for mine, other in pairs.items():
            if mine not in both:
                continue
            if encoding != "topk" or mine != "teacher/log_ratio_reference":
                assert both[mine][:].tobytes() == only[other][:].tobytes(), (encoding, mine)
        if encoding == "topk":
            order = [np.argsort(file["teacher/token_id"][:], axis=1) for file in (both, only)]
            a = np.take_along_axis(both["teacher/log_ratio_reference"][:], order[0], 1)
            b = np.take_along_axis(only["teacher/log_ratio"][:], order[1], 1)
            assert a.tobytes() == b.tobytes()


@test
def contrasts_in_one_sweep(folder):
    aligndistil(folder, "score", "teacher.reference=policy", "shards.with_reference=true",
                "shards.directory=both", ranks=2)
    settings = ("data.train=", "shards.directory=both", "teacher.reference=policy")
    sweep(folder, "contrasts", 'grid: { teacher: { contrast = ["reverse", "reference"]; }; };',
          settings, ranks=2)
    for contrast in ("reverse", "reference"):
        aligndistil(folder, "distill", *settings, f"teacher.contrast={contrast}",
                    f"distill.output=alone/{contrast}")
        same_weights(f"{folder}/out/alone/{contrast}", f"{folder}/out/contrasts/contrast-{contrast}", contrast)
    assert table(folder, "contrasts")["sequences_read"] == 40
    done = aligndistil(folder, "distill", *settings, "teacher.contrast=reference",
                       "teacher.reference=rev", code=3)
    assert "attribute sha256_reference is" in done.errors[0], done
    done = aligndistil(folder, "score", "teacher.reference=rev", "shards.with_reference=true",
                       "shards.directory=both", code=3)
    assert "attribute sha256_reference is" in done.errors[0], done
    for settings in (["teacher.contrast=reference"], ["shards.encoding=sampled"]):
        done = aligndistil(folder, "score", "shards.with_reference=true", "shards.directory=x",
                           "teacher.reference=rev", *settings, code=2)
        assert "shards.with_reference" in done.errors[0], done


@test
def a_sweep_computes_no_teacher(folder):
    """Shards that hold whole distributions are enough: the teachers may be gone."""
    aligndistil(folder, "score", "shards.encoding=full", "shards.directory=whole")
    done = sweep(folder, "without", 'grid: { teacher: { strength = [1.0, 9.0]; }; };',
                 ("data.train=", "shards.directory=whole", "teacher.dpo=", "teacher.reverse="))
    assert "shards made" not in done.err, done
    aligndistil(folder, "distill", "data.train=", "shards.directory=whole", "teacher.strength=9.0",
                "distill.output=alone/w")
    same_weights(f"{folder}/out/alone/w", f"{folder}/out/without/strength-9.0", "without")


if __name__ == "__main__":
    main(TESTS, prepare)
