#!/usr/bin/python3
"""The first inputs of a fuzz program, and a dictionary of the words that our sources look for.

usage: seeds.py TARGET FOLDER DICTIONARY"""
import glob
import gzip
import json
import os
import re
import struct
import subprocess
import sys

sys.path[:0] = [os.path.abspath(__file__ + "/../../" + name) for name in ("common", "data")]
import harness  # noqa: E402
import tokenizer_cases  # noqa: E402

CUT = b"\xff"  # between the files of one input


def source(pattern):
    """The text of our files of that name."""
    texts = []
    for path in sorted(glob.glob(os.path.join(harness.ROOT, pattern))):
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(texts)


def shard(folder):
    for encoding in ("full", "hidden", "topk", "sampled"):
        os.makedirs(folder, exist_ok=True)
        subprocess.run([os.path.join(harness.BUILD, "tests", "make_shard"),
                        f"{folder}/{encoding}.h5", encoding, "2"], check=True)
    return []


def config():
    for text in (source("jobs/align.cfg"), source("jobs/sweep.cfg")):
        yield text
    sweep = source("include/ald/config/sweep.h").split("libconfig:\n *\n")[1].split("*/")[0]
    yield re.sub(r"^ \*", "", sweep, flags=re.M)
    keys = re.findall(r'\bK\(([A-Z0-9]+), ([\w.]+), "([^"]*)"', source("include/ald/config/config.h"))
    lines = [f"{path}={value}" for _, path, value in keys]
    for i in range(0, len(lines), 4):
        yield "\n".join(lines[i:i + 4])
    groups = {}
    for kind, path, value in keys:
        if kind != "SOURCES" and path.count(".") == 1:
            text = value if kind in ("INTEGER", "REAL", "REAL0", "REALS2", "BOOL") else f'"{value}"'
            groups.setdefault(path.split(".")[0], []).append(f"{path.split('.')[1]} = {text};")
    for group, lines in groups.items():
        yield f"{group}: {{ {' '.join(lines)} }};\n"
    yield 'shards: { sources = ( { directory = "a"; weight = 2; }, { directory = "b"; } ); };'
    yield '@include "other.cfg"\n/* */ a = [1, 2L, 0x3]; b = ((), "x" "y", true); # c\n'


def model():
    with open(os.path.join(harness.ROOT, "tests/unit/published.json"), encoding="utf-8") as file:
        published = json.load(file)
    for text in published.values():
        yield json.dumps(text)
        yield json.dumps(text).encode() + CUT + b'{"eos_token_id": [2, 3], "do_sample": true}'


def safetensors():
    shapes = {"model.embed_tokens": [4, 4], "lm_head": [4, 4], "model.norm": [4]}
    layer = {"self_attn.q_proj": [4, 4], "self_attn.k_proj": [2, 4], "self_attn.v_proj": [2, 4],
             "self_attn.o_proj": [4, 4], "mlp.gate_proj": [2, 4], "mlp.up_proj": [2, 4],
             "mlp.down_proj": [4, 2], "input_layernorm": [4], "post_attention_layernorm": [4]}
    shapes.update({f"model.layers.0.{name}": shape for name, shape in layer.items()})
    for dtype, size in (("F32", 4), ("BF16", 2), ("F16", 2)):
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for name, shape in shapes.items():
            count = shape[0] * (shape[1] if len(shape) > 1 else 1) * size
            header[name + ".weight"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count]}
            at += count
        text = json.dumps(header).encode()
        yield struct.pack("<Q", len(text)) + text + bytes(at)
    yield json.dumps({"metadata": {"total_size": 8},
                      "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})


def tokenizer():
    extra = json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True,
                        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}"})
    for case in tokenizer_cases.ALL.values():
        yield json.dumps(case).encode() + CUT + extra.encode() + CUT + b'{"eos_token": "</s>"}'
        yield json.dumps(case).encode().replace(b'"<0x30>"', b'""')  # a token of no text
    for template in re.findall(r'"(\{[%{].{20,}?)"\n', source("tests/data/chat_test.py")):
        yield CUT.join([json.dumps(case).encode(), json.dumps({"chat_template": template}).encode()])


def template():
    """The templates and the cases of chat_test.py, and a conversation beside one."""
    text = source("tests/data/chat_test.py")
    whole = re.findall(r'^[A-Z0-9]+ = "{3}(.*?)"{3}', text, re.M | re.S)
    lines = re.search(r'^CASES = r"{3}(.*?)"{3}', text, re.M | re.S).group(1).splitlines()
    yield from whole + ["\n".join(lines[i:i + 3]) for i in range(0, len(lines), 3)]
    yield whole[0].encode() + CUT + b'[{"role": "user", "content": "Tea?", "x": {"y": [1]}}]'


def rows():
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Tea?"}]
    yes, no = ({"role": "assistant", "content": text} for text in ("Yes.", "No."))
    kinds = [
        {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."},
        {"prompt": turns, "chosen": [yes], "rejected": [no], "system": "Be brief."},
        {"chosen": turns + [yes], "rejected": turns + [no]},
        {"chosen": "\n\nHuman: Tea?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Tea?\n\nAssistant: No."},
        {"prompt": "Tea?", "chosen": turns[1:] + [yes], "rejected": turns[1:] + [no],
         "score_chosen": 7, "score_rejected": 7},
        {"messages": turns + [yes]}, {"prompt": "Tea?", "completion": "Yes.", "label": False},
        {"conversations": [{"from": "human", "value": "Tea?"}],
         "chosen": {"from": "gpt", "value": "Yes."}, "rejected": {"from": "gpt", "value": "No."}},
        {"instruction": "Tea?", "input": "", "output": ["Yes.", "No."], "history": [["a", "b"]]},
        {"prompt": "Tea?"}, {"text": "Tea is drunk."}, {"question_id": 81, "turns": ["Tea?", "Milk?"]},
        {"uid": "x", "category": "y", "prompt": "Tea?"}, {"instruction": "Tea?", "dataset": "z"},
        {"id": 1, "prompt": "Tea?", "prompt_text": "<s>Tea?", "response": "Yes.", "sample": 0,
         "response_text": "Yes.</s>", "logprobs": [-1.0] * 5, "policy_step": 3},
    ]
    for row in kinds:
        yield (json.dumps(row) + "\n") * 2
    yield json.dumps(kinds[:2])
    yield gzip.compress(json.dumps(kinds[0]).encode(), mtime=0)


SEEDS = {"config": (config, "src/config/*.c", "include/ald/config/*.h"),
         "model": (model, "src/model/config*.c", "src/model/model_config.c", "src/model/rotation.c"),
         "safetensors": (safetensors, "src/model/safetensors.c"),
         "tokenizer": (tokenizer, "src/text/*.c"),
         "template": (template, "src/text/jinja*.c"),
         "rows": (rows, "src/data/*.c", "include/ald/data/*.h"),
         "shard": (None, "src/shard/format.c")}


def main(arguments):
    target, folder, dictionary = arguments
    make, *files = SEEDS[target]
    for number, seed in enumerate(shard(folder) if make is None else make()):
        harness.write(f"{folder}/seed-{number:03}", seed.encode() if isinstance(seed, str) else seed)
    text = "\n".join(map(source, files))
    words = set(re.findall(r'"([A-Za-z_<][\w<|>.-]+)"', text)) | set(re.findall(r"\b[a-z]+\.([a-z_]+),", text))
    harness.write(dictionary, "".join(f'"{word}"\n' for word in sorted(words)))


if __name__ == "__main__":
    main(sys.argv[1:])
