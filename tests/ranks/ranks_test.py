#!/usr/bin/python3
"""The same answer on any number of ranks and any split of roles, after a stop and a resume, from
shards made in parts, and from the same data in other shapes. Everything here is held to bits.

What ranks share is run with the products of debug.product = "perturbed", where a row depends on how many
rows its product has and which of them it is: so what is cut by rank and not by content shows on every CPU.
Each stage is run once with the program's own products too."""
import concurrent.futures
import functools
import hashlib
import itertools
import os
import re
import signal
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

CONFIG = """shards: { sequences_per_shard = 4; };
distill: { policy = "policy"; mode = "off-policy"; };
generate: { model = "policy"; };
sampling: { max_new_tokens = 12; };
optimizer: { lr = 1e-3; batch_size = 6; micro_batch_tokens = 230; epochs = 2; };
"""
ON_POLICY = ["distill.mode=on-policy"]
MIXED = ["distill.mode=mixed", "distill.on_policy_fraction=0.5", "data.responses=both"]
SWEEP = """at_once = 2;
grid: { teacher: { strength = [5.0, 40.0]; }; distill: { divergence = ["reverse", "forward"]; }; };
"""
TESTS = []
PRODUCTS = ["auto"]  # the last one is that of the test that runs


def test(function):
    TESTS.append(function)
    return function


def with_products(*products):
    """A test that runs with each of these products."""
    def add(function):
        def run_with(product):
            def run_it(folder):
                PRODUCTS.append(product)
                try:
                    function(folder)
                finally:
                    PRODUCTS.pop()
            run_it.label = f"{function.__name__} ({product})"
            return run_it
        TESTS.extend(map(run_with, products))
        return function
    return add


both, perturbed = with_products("auto", "perturbed"), with_products("perturbed")
seldom_both = with_products(*some(("perturbed", "auto"), 2))


def numbers(*ranks):
    """All of them with perturbed products, which show what depends on ranks; with the others the largest."""
    return ranks if ALL_TRIALS or PRODUCTS[-1] == "perturbed" else ranks[-1:]


def prepare(folder):
    prepare_route(folder, CONFIG)
    write(f"{folder}/sweep.cfg", SWEEP)


def words_of(folder, command, output, settings):
    return [command, "-c", f"{folder}/run.cfg",
            *(w for s in (f"output={output}", f"debug.product={PRODUCTS[-1]}", *settings) for w in ("--set", s))]


def stage(folder, command, output, *settings, ranks=1, words=(), **options):
    """Runs a command into FOLDER/OUTPUT, which is emptied first unless `keep` says otherwise."""
    if not options.pop("keep", False):
        shutil.rmtree(f"{folder}/{output}", ignore_errors=True)
    return run(*words_of(folder, command, output, settings), *words, ranks=ranks, **options)


def side_by_side(tasks):
    """Calls them, two at a time: their ranks wait for each other most of the time. Each has a folder of
    MPI's of its own, as it takes turns badly in one."""
    def call(task):
        with tempfile.TemporaryDirectory(prefix="ald-mpi-") as session:
            task({"OMPI_MCA_orte_tmpdir_base": session})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(call, tasks))


def same_weights(a, b, where):
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys(), where
    for name, values in first.items():
        other = second[name]
        assert values.tobytes() == other.tobytes(), \
            f"{where}: {name} differs by up to {np.abs(values - other).max():.2g}"


def same_training(a, b, where):
    """Model directory, metrics and done.json."""
    same_weights(a, b, where)
    first, second = metrics(f"{a}/metrics.jsonl"), metrics(f"{b}/metrics.jsonl")
    assert first == second, f"{where}: metrics: {first}\n{second}"
    assert read_json(f"{a}/done.json")["sha256"] == read_json(f"{b}/done.json")["sha256"], where
    check_files(b)


def has_moved(folder, output, origin="policy"):
    """The training did something: so that equal results mean something."""
    first, second = weights(f"{folder}/{origin}"), weights(output)
    assert max(np.abs(first[k] - second[k]).max() for k in first) > 1e-4, output


# --- numbers of ranks --------------------------------------------------------------------------


@both
def training_on_ranks(folder):
    cases = [("sft", (), (2, 3, 4, 6)), ("dpo", (), (2, 4, 6)), ("dpo", ("dpo.reverse=true",), (3,)),
             ("dpo", ("dpo.reference=",), (3, 6)),
             ("dpo", ("dpo.loss=simpo", "dpo.beta=2", "dpo.reference="), (3,)),
             ("dpo", ("dpo.loss=tdpo1",), (2,)), ("dpo", ("dpo.loss=tdpo2", "dpo.reference="), (3,))]
    for command, settings, ranks in cases:
        one = f"{folder}/one/{command}"
        stage(folder, command, "one", *settings)
        has_moved(folder, one)

        def compare(n):
            def task(env):
                stage(folder, command, f"many-{n}", *settings, ranks=n, env=env)
                same_training(one, f"{folder}/many-{n}/{command}", f"{command} {settings} on {n}")
            return task
        side_by_side(map(compare, numbers(*ranks)))


@perturbed
def windows_and_norms_behind_on_ranks(folder):
    """A window shorter than the prompts, in one layer of two, which turns otherwise: OLMo 3, Gemma 3."""
    olmo3 = {"sliding_window": 9, "layer_types": ["full_attention", "sliding_attention"],
             "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
    gemma3 = {"sliding_window": 9, "sliding_window_pattern": 2, "query_pre_attn_scalar": 20}
    if not os.path.isdir(f"{folder}/gemma3"):
        make_model(folder, "olmo3", 5, "--type", "olmo3", "--untied", "--config", json.dumps(olmo3))
        make_model(folder, "gemma3", 6, "--type", "gemma3_text", "--config", json.dumps(gemma3))
    for origin, n in (("olmo3", 3), ("gemma3", 2)):
        cases = {"dpo": (f"dpo.policy={origin}", "dpo.reference="),
                 "distill": (f"distill.policy={origin}", *ON_POLICY)}
        for command, settings in cases.items():
            output = "aligned" if command == "distill" else command
            stage(folder, command, "one", *settings)
            has_moved(folder, f"{folder}/one/{output}", origin)
            stage(folder, command, "many", *settings, ranks=n)
            same_training(f"{folder}/one/{output}", f"{folder}/many/{output}",
                          f"{command} of {origin} on {n}")


@test
def reverse_is_dpo_of_swapped_pairs(folder):
    rows = read_rows(f"{folder}/desk/train.jsonl")
    write_rows(f"{folder}/swapped.jsonl", [{"prompt": r["prompt"], "chosen": r["rejected"],
                                            "rejected": r["chosen"]} for r in rows])
    stage(folder, "dpo", "one", "data.train=swapped.jsonl")
    stage(folder, "dpo", "many", "dpo.reverse=true")
    same_weights(f"{folder}/one/dpo", f"{folder}/many/dpo", "reverse")


@both
def scoring_on_ranks(folder):
    for encoding, ranks in (("hidden", (2, 3, 4, 6)), ("full", (3,)), ("topk", (2,))):
        settings = (f"shards.encoding={encoding}", "data.responses=both", "shards.top_k=8")
        stage(folder, "score", "one", *settings)
        one = shard_content(f"{folder}/one/shards")
        assert len(one) == 40 and all(len(copies) == 1 for copies in one.values())
        for n in numbers(*ranks):
            stage(folder, "score", "many", *settings, ranks=n)
            assert sorted(os.listdir(f"{folder}/one/shards")) == \
                sorted(os.listdir(f"{folder}/many/shards"))
            assert shard_content(f"{folder}/many/shards") == one, f"{encoding} on {n}"


@both
def generating_on_ranks(folder):
    settings = ("generate.samples=3", "sampling.top_p=0.9")
    stage(folder, "generate", "one", *settings)
    with open(f"{folder}/one/generations.jsonl") as file:
        one = file.read()
    rows = [json.loads(line) for line in one.splitlines()]
    assert [(r["id"], r["sample"]) for r in rows] == list(itertools.product(range(20), range(3)))
    assert len({r["response"] for r in rows}) > 30
    for n in numbers(2, 3, 4, 6):
        stage(folder, "generate", "many", *settings, ranks=n)
        with open(f"{folder}/many/generations.jsonl") as file:
            assert file.read() == one, n


@both
def evaluating_on_ranks(folder):
    """Of pairs, and of samples of a model and of the composed teacher."""
    views = ("data.eval=desk/train.jsonl", "eval.dpo=dpo", "eval.contrast=rev", "eval.reference=dpo",
             "eval.generate=2", "optimizer.micro_batch_tokens=200")
    for more, ranks in (("eval.model=policy", (2, 6)), ("eval.teacher=true", (3,))):
        stage(folder, "eval", "one", *views, more)
        for n in numbers(*ranks):
            stage(folder, "eval", "many", *views, more, ranks=n)
            for name in ("eval.json", "answers.jsonl"):
                with open(f"{folder}/one/eval/{name}") as one, open(f"{folder}/many/eval/{name}") as many:
                    assert one.read() == many.read(), f"{name} of {more} on {n}"


@test
def perturbed_products_are_in_every_stage(folder):
    """Or the tests with them show nothing. A run with them doesn't go on from one without."""
    views = ("data.eval=desk/eval.jsonl", "eval.model=policy", "eval.dpo=dpo", "eval.contrast=rev", "eval.generate=0")
    shards = ("data.train=", f"shards.directory={folder}/scored/shards")
    stage(folder, "score", "scored")
    for command, name, settings in (
            ("score", "shards", ()), ("score", "shards", ("shards.encoding=full",)), ("eval", "eval", views),
            ("distill", "aligned", shards), ("dpo", "dpo", ()), ("dpo", "dpo", ("dpo.loss=tdpo1",)), ("sft", "sft", ())):
        made = []
        for product in ("auto", "perturbed"):
            stage(folder, command, product, *settings, f"debug.product={product}")
            place = f"{folder}/{product}/{name}"
            made.append(read_json(f"{place}/eval.json")["metrics"] if command == "eval" else
                        shard_content(place) if command == "score" else read_json(f"{place}/done.json")["sha256"])
        assert made[0] != made[1], (command, settings)
    done = stage(folder, "sft", "perturbed", keep=True, code=2)
    assert 'debug.product was "perturbed", is not there' in done.errors[0], done


# --- splits of roles ---------------------------------------------------------------------------


def same_distillation(folder, where, one="one", many="many"):
    same_training(f"{folder}/{one}/aligned", f"{folder}/{many}/aligned", where)
    first, second = (shard_content(f"{folder}/{name}/shards") for name in (one, many))
    assert first == second, f"{where}: shards: {sorted(first)} {sorted(second)}"


def on_splits(folder, settings, splits, every=2):
    """One rank, and then so many ranks as trainers, scorers and generators (0: those that are left); one of
    `every` splits."""
    stage(folder, "distill", "one", *settings)
    has_moved(folder, f"{folder}/one/aligned")

    def compare(n, split):
        def task(env):
            roles = [f"roles.{name}={count}" for name, count in
                     zip(("trainers", "scorers", "generators"), split)]
            many = f"many-{n}-{'-'.join(map(str, split))}"
            stage(folder, "distill", many, *settings, *roles, ranks=n, timeout=120, env=env)
            same_distillation(folder, f"{settings} on {n}, trainers, scorers, generators {split}", many=many)
            shutil.rmtree(f"{folder}/{many}")
        return task
    side_by_side([compare(n, split) for n, split in some(splits, every)])


AUTOMATIC = (0, 0, 0)
SPLITS = [*((n, AUTOMATIC) for n in (2, 3, 4, 6)), (2, (1, 1, 0)), (2, (0, 1, 1)), (3, (1, 1, 1)),
          (3, (2, 0, 1)), (4, (2, 1, 1)), (4, (1, 2, 1)), (4, (1, 1, 2)), (4, (1, 0, 1)), (4, (0, 0, 2)), (5, (1, 3, 1)),
          (6, (2, 2, 2)), (6, (3, 1, 2)), (6, (1, 2, 3)), (6, (0, 2, 2))]
FEW = [(2, AUTOMATIC), (3, (1, 1, 1)), (6, (2, 3, 1))]


@seldom_both
def on_policy_on_splits(folder):
    on_splits(folder, ON_POLICY, SPLITS)


@perturbed
def stale_on_splits(folder):
    """With a staleness too, which version of the policy samples a batch is fixed: steps - staleness. Shards of
    later steps come while a checkpoint is written."""
    on_splits(folder, ON_POLICY + ["distill.max_staleness=1", "checkpoint.every_steps=2"], SPLITS[1:])
    rows = metrics(f"{folder}/one/aligned/metrics.jsonl")
    assert [row["staleness"] for row in rows] == [0, 1, 1, 1, 1, 1, 1, 1], rows
    on_splits(folder, ON_POLICY + ["distill.max_staleness=2"], FEW)
    rows = metrics(f"{folder}/one/aligned/metrics.jsonl")
    assert [row["staleness"] for row in rows] == [0, 1, 2, 2, 2, 2, 2, 2], rows
    stage(folder, "distill", "many", *ON_POLICY)
    fresh, stale = (weights(f"{folder}/{name}/aligned") for name in ("many", "one"))
    assert any((fresh[k] != stale[k]).any() for k in fresh)


@perturbed
def mixed_on_splits(folder):
    on_splits(folder, MIXED, SPLITS, 3)  # all splits are those of the two tests before
    rows = metrics(f"{folder}/one/aligned/metrics.jsonl")
    shares = [row["on_policy"] for row in rows]
    assert 0.2 < np.mean(shares) < 0.8, shares
    sources = {source for _, _, source in shard_content(f"{folder}/one/shards")}
    assert sources == {0, 1, 2}, sources


@perturbed
def off_policy_on_splits(folder):
    on_splits(folder, [], [(3, AUTOMATIC), (6, AUTOMATIC), (2, (1, 1, 0)), (3, (2, 0, 0)), (4, (1, 3, 0))])


@perturbed
def policy_gradients_on_splits(folder):
    """The baseline is of the whole step."""
    for signal, encoding, more in (("token", "hidden", []), ("sequence", "topk", [
            "distill.penalty=beta", "teacher.epsilon=0.1", "distill.max_staleness=1"])):
        on_splits(folder, [*ON_POLICY, f"distill.signal={signal}", f"shards.encoding={encoding}",
                           *more], FEW)
        row = metrics(f"{folder}/one/aligned/metrics.jsonl")[0]
        assert row["advantage/std"] > 0 and "kl/teacher" not in row, row


@perturbed
def sweeps_on_splits(folder):
    shards = ("data.train=", f"shards.directory={folder}/scored/shards", "optimizer.max_steps=4")
    stage(folder, "score", "scored")
    stage(folder, "distill", "one", *shards, words=("--sweep", f"{folder}/sweep.cfg"))
    runs = [name for name in os.listdir(f"{folder}/one/aligned") if os.path.isdir(f"{folder}/one/aligned/{name}")]
    assert len(runs) == 4, runs
    for n in (2, 3):
        stage(folder, "distill", "many", *shards, words=("--sweep", f"{folder}/sweep.cfg"), ranks=n)
        for name in runs:
            same_training(f"{folder}/one/aligned/{name}", f"{folder}/many/aligned/{name}", f"{name} on {n}")


@test
def old_shards_go(folder):
    """A shorter on-policy run into the same folder leaves only its own shards."""
    stage(folder, "distill", "one", *ON_POLICY, ranks=3)
    stage(folder, "distill", "one", *ON_POLICY, "optimizer.max_steps=2", "checkpoint.resume=false", keep=True)
    steps = {step for step, _, _ in shard_content(f"{folder}/one/shards")}
    assert steps == {0, 1}, steps


# --- shards made in parts, kept, repaired ------------------------------------------------------


def state_of(folder):
    return {name: (os.stat(f"{folder}/{name}").st_mtime_ns, os.stat(f"{folder}/{name}").st_ino)
            for name in os.listdir(folder)}


@perturbed
def parts_of_an_array(folder):
    """Three tasks of a Slurm array, of which one runs on 2 ranks, are one scoring."""
    stage(folder, "score", "one")
    shutil.rmtree(f"{folder}/many", ignore_errors=True)
    for task in range(3):
        env = {"SLURM_ARRAY_TASK_ID": str(10 + 2 * task), "SLURM_ARRAY_TASK_COUNT": "3",
               "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "2"}
        stage(folder, "score", "many", ranks=1 + task % 2, env=env, keep=True)
        made = sorted(glob_shards(f"{folder}/many/shards"))
        assert made == [f"shard-{k:06d}.h5" for k in range(5) if k % 3 <= task], made
    assert shard_content(f"{folder}/one/shards") == shard_content(f"{folder}/many/shards")
    before = state_of(f"{folder}/many/shards")
    done = stage(folder, "distill", "many", keep=True)
    assert "0 shards made, 5 there already" in done.err, done
    assert state_of(f"{folder}/many/shards") == before
    stage(folder, "distill", "one", keep=True)
    same_distillation(folder, "parts")
    stage(folder, "distill", "alone", "data.train=", f"shards.directory={folder}/many/shards",
          ranks=2)
    same_weights(f"{folder}/one/aligned", f"{folder}/alone/aligned", "shards alone")


@test
def reruns_make_what_is_missing(folder):
    stage(folder, "score", "one")
    shards = f"{folder}/one/shards"
    content = shard_content(shards)
    faults = (lambda p: os.remove(p), lambda p: os.truncate(p, 3000),
              lambda p: write(p, "not HDF5"), flip_teacher)
    for n, fault in itertools.product((1, 3), faults):
        before = state_of(shards)
        fault(f"{shards}/shard-000002.h5")
        done = stage(folder, "score", "one", ranks=n, keep=True)
        assert "1 shards made, 4 there already" in done.err, done
        after = state_of(shards)
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"shard-000002.h5"}, changed
        assert shard_content(shards) == content
    before = state_of(shards)
    assert "0 shards made, 5 there already" in stage(folder, "score", "one", keep=True).err
    assert state_of(shards) == before


def flip_teacher(path):
    with h5py.File(path) as file:
        at = file["teacher/hidden_reverse"].id.get_chunk_info(0).byte_offset
    with open(path, "r+b") as raw:
        raw.seek(at + 5)
        byte = raw.read(1)[0]
        raw.seek(at + 5)
        raw.write(bytes([byte ^ 1]))


@test
def prompts_alone(folder):
    """On-policy needs no responses, and doesn't look at them."""
    rows = read_rows(f"{folder}/desk/train.jsonl")
    write_rows(f"{folder}/prompts.jsonl", [{"prompt": r["prompt"]} for r in rows])
    stage(folder, "distill", "one", *ON_POLICY)
    stage(folder, "distill", "many", *ON_POLICY, "data.train=prompts.jsonl", ranks=2)
    same_weights(f"{folder}/one/aligned", f"{folder}/many/aligned", "prompts alone")


@test
def generations_can_be_scored(folder):
    stage(folder, "generate", "one") # of a model that knows nothing: bytes of all kinds
    data = "data.train=one/generations.jsonl"
    assert any("\ufffd" in r["response"] for r in read_rows(f"{folder}/one/generations.jsonl"))
    stage(folder, "score", "many", data)
    content = shard_content(f"{folder}/many/shards")
    assert {source for _, _, source in content} == {2} and len(content) == 20
    for name in glob_shards(f"{folder}/many/shards"):
        with h5py.File(f"{folder}/many/shards/{name}") as file:
            assert np.isfinite(file["response/logprob_policy"][:]).all()
    stage(folder, "distill", "many", data, keep=True)
    has_moved(folder, f"{folder}/many/aligned")


# --- stop and resume ---------------------------------------------------------------------------

LONG = ["optimizer.epochs=9", "checkpoint.every_steps=4", "optimizer.lr=1e-4"]


def stopped(folder, command, output, settings, ranks, number, lines, whole=False, env=None):
    """Starts a stage, signals it once its metrics have so many lines, returns how it ended."""
    name = {"distill": "aligned"}.get(command, command)
    path = f"{folder}/{output}/{name}/metrics.jsonl"
    process = start(words_of(folder, command, output, settings), ranks, env)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if os.path.exists(path) and len(open(path).readlines()) >= lines:
            break
        time.sleep(0.005)
    if whole:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    return finish(process)


# A stage, and the ranks that it is stopped on; it goes on with 2.
RESUMED = (("sft", [], 1), ("dpo", ["dpo.reference="], 3),
           ("dpo", ["dpo.loss=tdpo2", "dpo.reference="], 1), ("distill", [], 3),
           ("distill", MIXED, 1), ("distill", ON_POLICY + ["distill.max_staleness=2"], 3),
           ("distill", ON_POLICY + ["distill.signal=token"], 1))


def stop_and_go_on(folder, number, env):
    """A mode of RESUMED, stopped by a signal and started again."""
    command, settings, ranks = RESUMED[number]
    settings, name = [*settings, *LONG], {"distill": "aligned"}.get(command, command)
    one, many = f"one-{number}", f"many-{number}"
    stage(folder, command, one, *settings, env=env)
    shutil.rmtree(f"{folder}/{many}", ignore_errors=True)
    where = f"{command} {settings}, {ranks} ranks, then 2"
    stop = signal.SIGTERM if ranks == 1 else signal.SIGUSR1  # which mpirun hands on
    done = stopped(folder, command, many, settings, ranks, stop, 9, env=env)
    assert done.code == 75, f"{where}: {done}"
    assert len(done.errors) == 1 and "stopped by a signal after step" in done.errors[0], done
    out = f"{folder}/{many}/{name}"
    assert not os.path.exists(f"{out}/done.json"), where
    assert len(os.listdir(f"{out}/checkpoints")) == 2, where
    check_files(f"{folder}/{many}")
    done = stage(folder, command, many, *settings, ranks=2, keep=True, env=env)
    assert "going on from" in done.err, f"{where}: {done}"
    same_training(f"{folder}/{one}/{name}", out, where)
    if command == "distill":
        same_distillation(folder, where, one, many)


@seldom_both
def a_signal_stops_and_a_rerun_goes_on(folder):
    """tests/ranks/kills_test.py has the same at random moments, and kills."""
    side_by_side([functools.partial(stop_and_go_on, folder, i) for i in range(len(RESUMED))])


@perturbed
def a_killed_run_goes_on_from_its_checkpoint(folder):
    settings = [*ON_POLICY, *LONG, "optimizer.epochs=15"]
    stage(folder, "distill", "one", *settings)
    shutil.rmtree(f"{folder}/many", ignore_errors=True)
    done = stopped(folder, "distill", "many", settings, 1, signal.SIGKILL, 21, whole=True)
    assert done.code == -9, done
    done = stage(folder, "distill", "many", *settings, ranks=3, keep=True, timeout=120)
    # That of step 20 may still be written when the run is killed.
    assert re.search(r"going on from .*step-0000(16|2[048]|[345]\d)", done.err), done
    same_weights(f"{folder}/one/aligned", f"{folder}/many/aligned", "killed")
    assert metrics(f"{folder}/one/aligned/metrics.jsonl") == \
        metrics(f"{folder}/many/aligned/metrics.jsonl")


@test
def resuming_is_careful(folder):
    settings = [*LONG]
    shutil.rmtree(f"{folder}/many", ignore_errors=True)
    done = stopped(folder, "sft", "many", settings, 1, signal.SIGUSR1, 15)
    assert done.code == 75, done
    for n in (1, 3):
        done = stage(folder, "sft", "many", *settings, "optimizer.lr=2e-4", keep=True, ranks=n,
                     code=2)
        assert "state.json" in done.errors[0] and "optimizer.lr was" in done.errors[0], done
        assert ", is 0.0002;" in done.errors[0], done
    steps = sorted(os.listdir(f"{folder}/many/sft/checkpoints"))
    copy(f"{folder}/many", f"{folder}/good")
    for name, fault in (("optimizer.h5", lambda p: os.truncate(p, 2000)),
                        ("state.json", lambda p: write(p, "{")),
                        ("model.safetensors", lambda p: os.truncate(p, 2000))):
        copy(f"{folder}/good", f"{folder}/many")
        for step in steps[:-1]:
            shutil.rmtree(f"{folder}/many/sft/checkpoints/{step}")
        fault(f"{folder}/many/sft/checkpoints/{steps[-1]}/{name}")
        for n in (1, 3):
            done = stage(folder, "sft", "many", *settings, keep=True, code=3, ranks=n)
            assert len(done.errors) == 1 and f"{steps[-1]}/{name}" in done.errors[0], done
    copy(f"{folder}/good", f"{folder}/many")
    done = stage(folder, "sft", "many", *settings, "checkpoint.resume=false", keep=True)
    assert "going on" not in done.err, done
    stage(folder, "sft", "one", *settings)
    same_weights(f"{folder}/one/sft", f"{folder}/many/sft", "started anew")


@test
def a_stopped_scoring_goes_on(folder):
    rows = read_rows(f"{folder}/desk/train.jsonl") * 5
    write_rows(f"{folder}/many.jsonl", rows)
    settings = ["data.train=many.jsonl", "shards.sequences_per_shard=1"]
    stage(folder, "score", "one", *settings)
    for n in (1, 3):
        shutil.rmtree(f"{folder}/many", ignore_errors=True)
        process = start(words_of(folder, "score", "many", settings), n)
        while process.poll() is None and not glob_shards(f"{folder}/many/shards"):
            time.sleep(0.005)
        process.send_signal(signal.SIGUSR1)
        done = finish(process)
        assert done.code == 75 and len(done.errors) == 1, done
        assert "run the same command again" in done.errors[0], done
        check_files(f"{folder}/many")
        assert 0 < len(glob_shards(f"{folder}/many/shards")) < 100
        stage(folder, "score", "many", *settings, keep=True)
        assert shard_content(f"{folder}/one/shards") == shard_content(f"{folder}/many/shards")


def glob_shards(folder):
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in names if name.endswith(".h5")]


@test
def done_says_what_was_made(folder):
    for command, name, inputs in (("sft", "sft", {"model": "policy"}),
                                  ("dpo", "dpo", {"policy": "policy", "reference": "dpo"}),
                                  ("distill", "aligned", {"policy": "policy", "dpo": "dpo",
                                                          "contrast": "rev"})):
        stage(folder, command, "one")
        made = read_json(f"{folder}/one/{name}/done.json")
        with open(f"{folder}/one/{name}/model.safetensors", "rb") as file:
            assert made["sha256"] == hashlib.sha256(file.read()).hexdigest(), made
        assert made["stage"] == command and made["steps"] == 8, made
        for key, value in inputs.items():
            assert made["inputs"][key] == f"{folder}/{value}", made
        with open(f"{folder}/desk/train.jsonl", "rb") as file:
            assert made["inputs"]["sha256_data"] == hashlib.sha256(file.read()).hexdigest(), made


# --- the reference's numbers -------------------------------------------------------------------


@perturbed
def reference_is_computed_once(folder):
    broken, anew = "debug.fail=reference:0:1", "checkpoint.resume=false"
    stage(folder, "dpo", "one")
    assert len(stage(folder, "dpo", "many", broken, code=5).errors) == 1
    for n in (1, 3): # the site is never met when the numbers are there
        copy(f"{folder}/one", f"{folder}/many")
        done = stage(folder, "dpo", "many", broken, anew, ranks=n, keep=True)
        assert "reference.h5" in done.err, done
        same_weights(f"{folder}/one/dpo", f"{folder}/many/dpo", "kept numbers")
    # Other data, another reference, and a damaged file are not taken for it.
    write_rows(f"{folder}/less.jsonl", read_rows(f"{folder}/desk/train.jsonl")[:19])
    copy(f"{folder}/one", f"{folder}/many")
    for settings in (["data.train=less.jsonl"], ["dpo.reference=rev"], ["dpo.reverse=true"],
                     ["data.max_response_tokens=5"], ["data.chat_format=none"],
                     ["optimizer.micro_batch_tokens=101"]):
        stage(folder, "dpo", "many", broken, anew, *settings, keep=True, code=5)
    os.truncate(f"{folder}/many/dpo/reference.h5", 1500)
    stage(folder, "dpo", "many", anew, keep=True)
    same_weights(f"{folder}/one/dpo", f"{folder}/many/dpo", "damaged numbers")


@test
def own_reference_is_free(folder):
    """Reference and policy in one directory: step 0 has loss log 2 and computes its rows' numbers."""
    broken = "debug.fail=reference:0:1"
    whole = ["optimizer.batch_size=20", "optimizer.epochs=1"]
    os.path.exists(f"{folder}/link") or os.symlink(f"{folder}/policy", f"{folder}/link")
    for reference in ("", "policy", "link"):
        stage(folder, "dpo", "one", broken, *whole, f"dpo.reference={reference}")
        first = metrics(f"{folder}/one/dpo/metrics.jsonl")[0]
        assert first["loss"] == round(np.log(2), 9) and first["rewards/margins"] == 0, first
        assert os.path.exists(f"{folder}/one/dpo/reference.h5")
    copy(f"{folder}/policy", f"{folder}/twin")
    stage(folder, "dpo", "one", "dpo.reference=")
    stage(folder, "dpo", "many", "dpo.reference=twin", ranks=2)
    with h5py.File(f"{folder}/one/dpo/reference.h5") as a, \
            h5py.File(f"{folder}/many/dpo/reference.h5") as b:
        assert np.allclose(a["logprob"][:], b["logprob"][:], rtol=1e-6, atol=1e-4)
        assert a["logprob"].shape == (20, 2) and a.attrs["format"] == "aligndistil-reference"
    first, second = (weights(f"{folder}/{name}/dpo") for name in ("one", "many"))
    start_ = weights(f"{folder}/policy")
    for k in first:
        moved = np.abs(first[k] - start_[k]).max()
        assert np.abs(first[k] - second[k]).max() <= 1e-3 * moved + 1e-7, k


@test
def losses_keep_what_they_need(folder):
    """No loss but those of sums has them computed or kept; a policy beside itself is at log 2."""
    broken = "debug.fail=reference:0:1"
    for loss, reference in (("simpo", ""), ("tdpo1", "policy"), ("tdpo2", "")):
        stage(folder, "dpo", "one", broken, f"dpo.loss={loss}", f"dpo.reference={reference}")
        assert not os.path.exists(f"{folder}/one/dpo/reference.h5"), loss
        assert read_json(f"{folder}/one/dpo/done.json")["inputs"]["loss"] == loss
    first = metrics(f"{folder}/one/dpo/metrics.jsonl")[0]
    assert abs(first["loss"] - np.log(2)) < 1e-5 and abs(first["kl/chosen"]) < 1e-4, first


# --- the same data in other shapes -------------------------------------------------------------


def messages(role, text):
    return [{"role": role, "content": text}]


@test
def strings_and_message_lists(folder):
    rows = read_rows(f"{folder}/desk/train.jsonl")
    lists = [{"prompt": messages("user", r["prompt"]),
              "chosen": messages("assistant", r["chosen"]),
              "rejected": messages("assistant", r["rejected"])} for r in rows]
    whole = [{"prompt": r["prompt"],
              "chosen": messages("user", r["prompt"]) + messages("assistant", r["chosen"]),
              "rejected": messages("user", r["prompt"]) + messages("assistant", r["rejected"])}
             for r in rows]
    write_rows(f"{folder}/lists.jsonl", lists)
    write_rows(f"{folder}/whole.jsonl", whole)
    write(f"{folder}/array.json", json.dumps(lists))
    write_rows(f"{folder}/blank.jsonl", [{**r, "prompt": r["prompt"] + "\n\n"} for r in rows])
    for command, name in (("sft", "sft"), ("dpo", "dpo"), ("distill", "aligned")):
        for chat, pairs, others in (("auto", "desk/train.jsonl", ("lists.jsonl", "array.json", "whole.jsonl")),
                                    ("none", "blank.jsonl", ("lists.jsonl",))):
            settings = (f"data.chat_format={chat}", "optimizer.epochs=1")
            stage(folder, command, "one", *settings, f"data.train={pairs}")
            for data in others:
                stage(folder, command, "many", *settings, f"data.train={data}")
                same_weights(f"{folder}/one/{name}", f"{folder}/many/{name}",
                             f"{command} {chat} {data}")
    stage(folder, "sft", "one", "data.chat_format=none")
    stage(folder, "sft", "many")
    first, second = (weights(f"{folder}/{name}/sft") for name in ("one", "many"))
    assert any((first[k] != second[k]).any() for k in first), "none is as chatml"


@test
def plain_texts(folder):
    """sft on {"text"}: the first token is the prompt, EOS ends it, no chat markup."""
    texts = [r["prompt"] + " " + r["chosen"] for r in read_rows(f"{folder}/desk/train.jsonl")]
    write_rows(f"{folder}/texts.jsonl", [{"text": text} for text in texts])
    out = run("tokenize", f"{folder}/policy", f"{folder}/texts.jsonl", "--jsonl").out
    ids = [json.loads(line)["ids"] for line in out.splitlines()]
    write_rows(f"{folder}/ids.jsonl", [{"ids": row[1:]} for row in ids])
    out = run("tokenize", f"{folder}/policy", f"{folder}/ids.jsonl", "--decode").out
    rest = [json.loads(line)["text"] for line in out.splitlines()]
    write_rows(f"{folder}/split.jsonl", [{"prompt": "x", "prompt_ids": row[:1], "chosen": text}
                                         for row, text in zip(ids, rest)])
    stage(folder, "sft", "one", "data.train=split.jsonl", "data.chat_format=none")
    has_moved(folder, f"{folder}/one/sft")
    for n in (1, 3):
        done = stage(folder, "sft", "many", "data.train=texts.jsonl", ranks=n)
        same_weights(f"{folder}/one/sft", f"{folder}/many/sft", f"texts on {n}")
        assert "cut: 0 prompts, 0 responses" in done.err
    done = stage(folder, "sft", "many", "data.train=texts.jsonl", "data.max_response_tokens=10")
    assert "cut: 0 prompts, 20 responses" in done.err, done
    for bad, word in (({"text": ""}, "2 tokens"), ({"text": 3}, "a string"), ({}, "\"prompt\"")):
        write_rows(f"{folder}/bad.jsonl", [{"text": texts[0]}, bad])
        done = stage(folder, "sft", "many", "data.train=bad.jsonl", code=3)
        assert "bad.jsonl:2" in done.errors[0] and word in done.errors[0], done
    done = stage(folder, "dpo", "many", "data.train=texts.jsonl", code=3)
    assert "texts.jsonl:1" in done.errors[0] and "\"prompt\" is missing" in done.errors[0], done


@test
def unlike_ranks_are_warned_of(folder):
    """Other kernels of ours or of OpenBLAS, or another number of threads, on one of three ranks."""
    for name, value in (("ALIGNDISTIL_ISA", "x86-64"), ("OPENBLAS_CORETYPE", "Prescott"), ("OMP_NUM_THREADS", "2")):
        command = words_of(folder, "sft", f"unlike-{name}", ("optimizer.max_steps=1",))
        words = ["-q", "-n", 2, BINARY, *command, ":", "-n", 1, "env", f"{name}={value}", BINARY, *command]
        done = finish(start(words, program="mpirun"))
        told = [line for line in done.err.splitlines() if "computes with" in line]
        assert done.code == 0 and len(told) == 1, done
        assert f"{value}," in told[0] or f"{value} kernel" in told[0] or f"{value} threads" in told[0], told
        assert "rank 2 with" in told[0] and "ALIGNDISTIL_ISA, OPENBLAS_CORETYPE" in told[0], told
    assert "computes with" not in stage(folder, "sft", "many", "optimizer.max_steps=1", ranks=3).err


@test
def trainers_without_work_are_told_of(folder):
    settings = ("optimizer.max_steps=2", "optimizer.micro_batch_tokens=100000")
    told = [line for line in stage(folder, "sft", "many", *settings, ranks=3).err.splitlines() if "no work" in line]
    assert len(told) == 1 and "2 of 3 trainers" in told[0] and "1 micro-batch;" in told[0], told
    assert "no work" not in stage(folder, "sft", "many", "optimizer.max_steps=2", ranks=2).err


@test
def paths_are_relative_to_the_file(folder):
    """Inputs to the configuration's folder, whatever the working directory; results to `output`."""
    os.makedirs(f"{folder}/away", exist_ok=True)
    shutil.rmtree(f"{folder}/out", ignore_errors=True)
    run("sft", "-c", "../run.cfg", cwd=f"{folder}/away")
    assert os.path.exists(f"{folder}/out/sft/done.json")
    run("sft", "-c", "run.cfg", "--set", f"output={folder}/absolute", "--set",
        f"sft.model={folder}/policy", cwd=folder)
    same_weights(f"{folder}/out/sft", f"{folder}/absolute/sft", "absolute")
    run("sft", "-c", "run.cfg", "--set", "sft.output=a/b", cwd=folder)
    assert os.path.exists(f"{folder}/out/a/b/done.json")
    assert not os.listdir(f"{folder}/away")


@test
def roles_say_how_long_they_waited(folder):
    """With ranks of their own and no staleness each role waits for the one before it. With staleness
    the first batches are made of the first weights, without a wait."""
    roles = [f"roles.{name}=1" for name in ("trainers", "scorers", "generators")]
    for lag in (0, 2):
        stage(folder, "distill", "many", *ON_POLICY, *roles, f"distill.max_staleness={lag}", ranks=3)
        rows = read_rows(f"{folder}/many/aligned/metrics.jsonl")
        assert len(rows) == 8, rows
        for i, row in enumerate(rows):
            waits = [row["wait/" + name] for name in ("generate", "score", "train")]
            works = [row["work/" + name] for name in ("generate", "score", "train")]
            assert all(0 <= wait < 60 for wait in waits) and all(0 < work < 60 for work in works), row
            assert lag > 0 or i == 0 or all(wait > 0 for wait in waits), (lag, waits)
    stage(folder, "distill", "many", *ON_POLICY)  # one rank waits for nobody's weights
    assert all(row["wait/generate"] == 0 for row in read_rows(f"{folder}/many/aligned/metrics.jsonl"))


if __name__ == "__main__":
    main(TESTS, prepare)
