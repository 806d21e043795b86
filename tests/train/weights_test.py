#!/usr/bin/python3
"""Weight files in and out: a model that isn't changed comes out as it was, byte by byte; how files
are cut; frozen models straight from their files give what a float32 copy gives."""
import json
import os
import shutil
import sys

import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402
import training  # noqa: E402

CARRIED = ["LICENSE", "README.md", "vocab.json", "merges.txt", "special_tokens_map.json",
           "added_tokens.json", "chat_template.jinja", "additional_chat_templates/tool_use.jinja",
           "figures/deep/er/a.png"]
LEFT = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.gguf", "consolidated.00.pth",
        "optimizer.pt", "training_args.bin", "onnx/model.onnx", "onnx/model.onnx_data",
        "tf_model.h5", "metrics.jsonl", ".cache/x", ".model.safetensors.sha256",
        "another/config.json", "another/LICENSE", "original/consolidated.00.pth",
        "adapter_config.json", "adapter_model.safetensors", "trainer_state.json", "notes.txt",
        "credentials.json", "id_rsa", "logs/run.log", "model.tmp-x-1/README.md.tmp-x-1"]


class Setting:
    data = None


def prepare(folder):
    Setting.data = training.Data(folder)


def tensors(directory):
    """name -> (dtype, shape, bytes), whatever the files."""
    out = {}
    for name in sorted(os.listdir(directory)):
        if name.endswith(".safetensors"):
            header, data = harness.safetensors_header(os.path.join(directory, name))
            assert header.pop("__metadata__") == {"format": "pt"}, name
            for tensor, entry in header.items():
                assert tensor not in out, f"{tensor} twice"
                out[tensor] = entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]
    return out


def pass_through(folder, directory, **options):
    """The output of a training step at a learning rate of 0."""
    output = os.path.join(folder, "through")
    training.stage("sft", folder, **{
        "data__train": Setting.data.path, "data__chat_format": "none", "sft__model": directory,
        "sft__output": output, "optimizer__lr": 0.0, "checkpoint__every_steps": 0, **options})
    return output


def change(directory, edit):
    """Rewrites model.safetensors: edit(name, dtype, bytes) gives (dtype, bytes)."""
    path = os.path.join(directory, "model.safetensors")
    header, data = harness.safetensors_header(path)
    body = b""
    for name, entry in header.items():
        if name[0] != "_":
            entry["dtype"], content = edit(name, entry["dtype"], data[slice(*entry["data_offsets"])])
            entry["data_offsets"] = [len(body), len(body) + len(content)]
            body += content
    harness.write_safetensors(path, header, body)


def unchanged_weights_come_out_as_they_were(folder):
    for kind, dtype in (("qwen2", "BF16"), ("qwen2 untied", "F16"), ("qwen3", "F32"),
                        ("llama", "BF16"), ("mistral", "F16"), ("gemma3", "BF16")):
        source = harness.make_model(folder, "source", 3, *training.KINDS[kind], "--dtype", dtype)
        before = tensors(source)
        assert all(entry[0] == dtype for entry in before.values())
        assert ("lm_head.weight" in before) == ("untied" in kind or kind == "llama")
        output = pass_through(folder, source)
        assert tensors(output) == before, f"{kind}, {dtype}: other tensors"
        with open(f"{source}/config.json", "rb") as a, open(f"{output}/config.json", "rb") as b:
            assert a.read() == b.read(), f"{kind}: config.json"
        harness.check_files(output)


def types_are_those_of_the_files(folder):
    """Mixed in one file, none in config.json, negative zeros and subnormals among the values."""
    source = harness.make_model(folder, "mixed", 3, "--dtype", "BF16")
    config = harness.read_json(f"{source}/config.json")
    del config["torch_dtype"]
    harness.write(f"{source}/config.json", json.dumps(config))

    def edit(name, dtype, content):
        bits = np.frombuffer(content, "<u2").copy()
        bits[::5], bits[1::5], bits[2::5] = 0x8000, 0x0001, 0x8003
        if "norm" in name:
            return "F32", (bits.astype("<u4") << 16).tobytes()
        return dtype, bits.tobytes()
    change(source, edit)
    output = pass_through(folder, source)
    assert tensors(output) == tensors(source)
    assert harness.read_json(f"{output}/config.json") == config


def another_type_is_written_when_asked(folder):
    source = harness.make_model(folder, "plain", 3)
    values = harness.weights(source)
    for dtype, word in (("BF16", "bfloat16"), ("F16", "float16"), ("F32", "float32")):
        output = pass_through(folder, source, runtime__dtype=dtype)
        assert harness.read_json(f"{output}/config.json")["torch_dtype"] == word
        for name, (found, _, content) in tensors(output).items():
            if dtype == "BF16":  # to nearest even
                bits = values[name].view("<u4").astype("u8")
                expected = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
            else:
                expected = values[name].astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()
            assert found == dtype and content == expected, (dtype, name)


def files_are_cut_between_tensors(folder):
    source = harness.make_model(folder, "cut", 3, "--dtype", "BF16", "--untied")
    before = tensors(source)
    largest = max(len(entry[2]) for entry in before.values())
    for limit, size in (("20KB", 20000), ("16KiB", 16384), ("1KB", 1000)):
        output = pass_through(folder, source, runtime__max_shard_size=limit)
        index = harness.read_json(f"{output}/model.safetensors.index.json")
        names = sorted(n for n in os.listdir(output) if n.endswith(".safetensors"))
        count = len(names)
        assert names == [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        assert index["metadata"] == {"total_size": sum(len(e[2]) for e in before.values())}
        assert set(index["weight_map"]) == set(before) and set(index["weight_map"].values()) == set(names)
        for name in names:
            header, data = harness.safetensors_header(os.path.join(output, name))
            held = [key for key in header if key[0] != "_"]
            assert all(index["weight_map"][key] == name for key in held)
            assert len(data) <= size or len(held) == 1, (limit, name, len(data))
        assert tensors(output) == before and largest > 1000
        again = pass_through(folder, harness.copy(output, os.path.join(folder, "again")))
        assert tensors(again) == before  # one file in the place of many: none of them is left
        assert not os.path.exists(f"{again}/model.safetensors.index.json")
    done = harness.run("sft", "-c", f"{folder}/empty.cfg", "--set", "runtime.max_shard_size=\"5\"",
                       code=2)
    assert len(done.errors) == 1 and "runtime.max_shard_size" in done.errors[0], done


def checkpoints_are_cut_too(folder):
    source = harness.make_model(folder, "cut", 3)
    output = pass_through(folder, source, runtime__max_shard_size="20KB", optimizer__batch_size=1,
                          checkpoint__every_steps=2, optimizer__max_steps=3)
    step = os.path.join(output, "checkpoints", "step-000002")
    assert os.path.exists(f"{step}/model.safetensors.index.json")
    assert tensors(step) == tensors(source)


def make_links(folder, source):
    """Links of all kinds in a model directory, and whether their files belong in the result."""
    open_file = harness.write(f"{folder}/elsewhere/open.txt", "open")
    private = harness.write(f"{folder}/elsewhere/private.txt", "private")
    os.chmod(private, 0o600)
    os.chmod(open_file, 0o644)
    harness.write(f"{folder}/blobs/abc", "cached")
    os.chmod(f"{folder}/blobs/abc", 0o600)
    links = {"NOTICE": (open_file, True), "USE_POLICY.md": (private, False),
             "figures/secret.png": (private, False), "notes.md": ("../blobs/abc", True),
             "secret.txt": (open_file, False), "etc": ("/etc", False), "self": (".", False),
             "a.png": ("/dev/zero", False), "gone.md": ("nowhere", False),
             "tekken.json": ("../elsewhere", False)}
    for name, (target, _) in links.items():
        os.symlink(target, os.path.join(source, name))
    os.rename(f"{source}/tokenizer.json", f"{folder}/elsewhere/tokenizer.json")
    os.chmod(f"{folder}/elsewhere/tokenizer.json", 0o600)
    os.symlink(f"{folder}/elsewhere/tokenizer.json", f"{source}/tokenizer.json")
    return {"tokenizer.json": True, **{name: carried for name, (_, carried) in links.items()}}


def other_files_are_carried_along(folder):
    source = harness.make_model(folder, "rich", 3)
    for name in CARRIED + LEFT:
        harness.write(os.path.join(source, name), f"this is {name}")
    links = make_links(folder, source)
    output = pass_through(folder, source)
    for name, carried in links.items():
        assert os.path.exists(os.path.join(output, name)) == carried, name
        assert not os.path.islink(os.path.join(output, name)), name
    for name in CARRIED:
        with open(os.path.join(output, name)) as file:
            text = file.read()
        if name == "README.md":  # the origin's card says nothing of this model, which has its own
            assert "made by aligndistil" in text and f"this is {name}" not in text, text
        else:
            assert text == f"this is {name}"
    for name in LEFT:
        if name != "metrics.jsonl":  # this run's own
            assert not os.path.exists(os.path.join(output, name)), name
    for name in ("onnx", "original", "another", ".cache", "logs", "etc", "self"):
        assert not os.path.exists(os.path.join(output, name)), name
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        with open(f"{source}/{name}", "rb") as a, open(f"{output}/{name}", "rb") as b:
            assert a.read() == b.read(), name


def wider(source, target):
    """A float32 copy of a model in halves."""
    harness.copy(source, target)

    def edit(_, dtype, content):
        if dtype == "F16":
            return "F32", np.frombuffer(content, "<f2").astype("<f4").tobytes()
        return "F32", (np.frombuffer(content, "<u2").astype("<u4") << 16).tobytes()
    change(target, edit)
    return target


def frozen_models_are_what_a_float32_copy_is(folder):
    """Sampling bit by bit; scoring, the trainer's heads and dpo's reference nearly so."""
    for kind, dtype in (("qwen2", "BF16"), ("llama", "F16")):
        halves = [harness.make_model(folder, f"half-{i}", 5 + i, *training.KINDS[kind],
                                     "--vocab-size", 389, "--dtype", dtype) for i in range(2)]
        floats = [wider(path, path + "-wide") for path in halves]
        made = {}
        for place, (first, second) in (("halves", halves), ("floats", floats)):
            training.stage("generate", folder, data__train=Setting.data.path,
                           data__chat_format="none", generate__model=first,
                           generate__output=f"{place}.jsonl", sampling__max_new_tokens=20)
            output = os.path.join(folder, place + "-run")
            common = {"data__train": Setting.data.path, "data__chat_format": "none",
                      "checkpoint__resume": False, "optimizer__batch_size": 100}
            teachers = {"teacher__dpo": first, "teacher__reverse": second}
            shutil.rmtree(os.path.join(folder, place), ignore_errors=True)
            training.stage("score", folder, shards__directory=place, **teachers,
                           data__train=Setting.data.path, data__chat_format="none")
            training.stage("distill", folder, distill__policy=floats[1], distill__output=output,
                           distill__mode="off-policy", shards__directory=place, **teachers, **common)
            metrics = [harness.read_rows(f"{output}/metrics.jsonl")[0]]
            training.stage("dpo", folder, dpo__policy=floats[1], dpo__reference=first,
                           dpo__output=output, **common)
            metrics.append(harness.read_rows(f"{output}/metrics.jsonl")[0])
            made[place] = (harness.read_rows(f"{folder}/{place}.jsonl"),
                           training.shard_rows(os.path.join(folder, place), "response/logprob_dpo"),
                           [row["loss"] for row in metrics])
        assert made["halves"][0] == made["floats"][0], f"{kind}: other samples"
        for key, found in made["halves"][1].items():
            assert np.abs(found - made["floats"][1][key]).max() < 1e-5, (kind, key)
        for found, expected in zip(made["halves"][2], made["floats"][2]):
            assert abs(found / expected - 1) < 1e-4, (kind, made["halves"][2], made["floats"][2])


if __name__ == "__main__":
    harness.main([unchanged_weights_come_out_as_they_were, types_are_those_of_the_files,
                  another_type_is_written_when_asked, files_are_cut_between_tensors,
                  checkpoints_are_cut_too, other_files_are_carried_along,
                  frozen_models_are_what_a_float32_copy_is], prepare)
