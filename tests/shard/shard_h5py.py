#!/usr/bin/python3
"""Opens shards with plain h5py and holds them to the format's table.

usage: tests/shard/shard_h5py.py FILE...
"""
import sys

import h5py
import numpy as np

TEXT = "text"
COMMON = {
    "sequence/id": ("i8", "N"),
    "sequence/source": ("source", "N"),
    "sequence/token_start": ("i8", "N+1"),
    "sequence/response_start": ("i8", "N+1"),
    "sequence/prompt": (TEXT, "N"),
    "sequence/response": (TEXT, "N"),
    "token/id": ("i4", "T"),
    "response/id": ("i4", "R"),
    "response/logprob_dpo": ("f4", "R"),
    "response/logprob_reverse": ("f4", "R"),
    "response/logprob_policy": ("f4", "R"),
    "response/tvd": ("f4", "R"),
}
TEACHER = {
    "full": {"logprob_dpo": ("f4", "RV"), "log_ratio": ("f4", "RV")},
    "hidden": {"hidden_dpo": ("u2", "RH"), "hidden_reverse": ("u2", "RH")},
    "hidden32": {"hidden_dpo": ("f4", "RH"), "hidden_reverse": ("f4", "RH")},
    "sampled": {"token_id": ("i4", "RK"), "logprob_dpo": ("f2", "RK"), "log_ratio": ("f2", "RK"),
                "proposal_factor": ("f4", "R"), "proposal_temperature": ("f4", "R"),
                "proposal_logz": ("f4", "R")},
    "topk": {
        "token_id": ("i4", "RK"),
        "logprob_dpo": ("f2", "RK"),
        "log_ratio": ("f2", "RK"),
        "tail_dpo": ("f4", "R"),
        "tail_reverse": ("f4", "R"),
    },
}
CERTIFICATE = {"alpha_max": ("f4", "R"), "tail_mass": ("f4", "R3"), "tail_least": ("f4", "R3"),
               "tail_ratio_min": ("f4", "R"), "tail_ratio_max": ("f4", "R")}
TEXTS = ["format", "tool_version", "created", "encoding", "contrast", "sha256_dpo",
         "sha256_reverse", "sha256_tokenizer", "sha256_data", "chat_format", "config"]
INTEGERS = ["schema_version", "vocab_size", "hidden_size", "top_k", "policy_step", "seed"]
SOURCES = {"chosen": 0, "rejected": 1, "policy": 2}


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in what))


def check_attributes(file):
    for name in TEXTS:
        check(isinstance(file.attrs[name], str), name, "is no string")
    for name in INTEGERS:
        check(file.attrs[name].dtype == np.int64, name, "is no int64")
    found = set(file.attrs)
    if file.attrs["encoding"] == "full" and file.attrs.get("full_dtype") == "f16":
        found.remove("full_dtype")
    check(found == set(TEXTS + INTEGERS), "attributes", sorted(file.attrs))
    check(file.attrs["format"] == "aligndistil-shard", "format", file.attrs["format"])
    check(file.attrs["schema_version"] in (1, 2), "schema_version", file.attrs["schema_version"])


def check_dataset(dataset, kind, shape, sizes):
    name = dataset.name
    expected = tuple(sizes[axis] for axis in ([shape] if shape == "N+1" else shape))
    check(dataset.shape == expected, name, "shape", dataset.shape, "expected", expected)
    check(dataset.chunks is not None, name, "has no chunks")
    check(np.prod(dataset.chunks) * dataset.dtype.itemsize <= 1 << 20, name, "chunks above 1 MiB")
    if kind == TEXT:
        info = h5py.check_string_dtype(dataset.dtype)
        check(info.encoding == "utf-8" and info.length is None, name, "is no UTF-8 text")
        list(dataset.asstr())
        return
    check(dataset.fletcher32, name, "has no Fletcher-32")
    if kind == "source":
        check(h5py.check_enum_dtype(dataset.dtype) == SOURCES, name, "is no enum of sources")
    else:
        check(dataset.dtype == np.dtype("<" + kind), name, "dtype", dataset.dtype)
    dataset[...]  # the checksums


def check_starts(starts, end):
    check(starts[0] == 0 and starts[-1] == end and (np.diff(starts) >= 0).all(), "offsets")


def check_content(file):
    tokens = file["sequence/token_start"][...]
    positions = file["sequence/response_start"][...]
    check_starts(tokens, file["token/id"].shape[0])
    check_starts(positions, file["response/id"].shape[0])
    ids, answers = file["token/id"][...], file["response/id"][...]
    for i in range(len(tokens) - 1):
        length = positions[i + 1] - positions[i]
        tail = ids[tokens[i + 1] - length : tokens[i + 1]]
        check((tail == answers[positions[i] : positions[i + 1]]).all(), "sequence", i)


def check_file(path):
    with h5py.File(path, "r") as file:
        check_attributes(file)
        encoding = file.attrs["encoding"]
        teacher = dict(TEACHER[encoding])
        if "full_dtype" in file.attrs:
            teacher = {name: ("f2", shape) for name, (_, shape) in teacher.items()}
        if encoding == "topk" and "alpha_max" in file["teacher"]:  # all of them, or none
            teacher.update(CERTIFICATE)
        table = {**COMMON, **{"teacher/" + k: v for k, v in teacher.items()}}
        found = []
        file.visititems(lambda name, item: found.append(name)
                        if isinstance(item, h5py.Dataset) else None)
        check(set(found) == set(table), "datasets", sorted(set(found) ^ set(table)))
        n = file["sequence/id"].shape[0]
        sizes = {"N": n, "N+1": n + 1, "T": file["token/id"].shape[0],
                 "R": file["response/id"].shape[0], "V": file.attrs["vocab_size"],
                 "H": file.attrs["hidden_size"], "K": file.attrs["top_k"], "3": 3}
        for name, (kind, shape) in table.items():
            check_dataset(file[name], kind, shape, sizes)
        if encoding == "hidden":
            for name in TEACHER["hidden"]:
                check(file["teacher"][name].attrs["dtype"] == "bfloat16", name, "dtype attribute")
        check_content(file)
        print(f"{path}: {encoding}, {n} sequences, {sizes['T']} tokens, {sizes['R']} positions: ok")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for path in sys.argv[1:]:
        try:
            check_file(path)
        except AssertionError as error:
            sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main()
