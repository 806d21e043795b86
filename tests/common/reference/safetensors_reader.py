"""Reads model weights into float64, with no library but NumPy."""
import json
import math
import os

import numpy as np

WIDTH = {"F32": 4, "F16": 2, "BF16": 2}


def decode(data, dtype):
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(data, "<f4" if dtype == "F32" else "<f2").astype(np.float64)


def read_file(path):
    """{name: array}. Offsets must cover the data without gap or overlap."""
    with open(path, "rb") as file:
        blob = file.read()
    size = int.from_bytes(blob[:8], "little")
    assert len(blob) >= 8 + size, f"{path}: header of {size} bytes in a file of {len(blob)}"
    header, data, end = json.loads(blob[8:8 + size]), memoryview(blob)[8 + size:], 0
    header.pop("__metadata__", None)
    tensors = {}
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = t["data_offsets"]
        assert first == end, f"{path}: {name} starts at {first}, expected {end}"
        assert last <= len(data), f"{path}: {name} ends at {last} of {len(data)} bytes"
        assert last - first == WIDTH[t["dtype"]] * math.prod(t["shape"]), f"{path}: {name} size"
        tensors[name] = decode(data[first:last], t["dtype"]).reshape(t["shape"])
        end = last
    assert end == len(data), f"{path}: {len(data)} bytes of data, tensors end at {end}"
    return tensors


def read_directory(path):
    """Weights of a model directory, from one file or from the sharded form with its index."""
    index = os.path.join(path, "model.safetensors.index.json")
    if not os.path.exists(index):
        return read_file(os.path.join(path, "model.safetensors"))
    with open(index, encoding="utf-8") as file:
        places, tensors = json.load(file)["weight_map"], {}
    for name in sorted(set(places.values())):
        tensors.update(read_file(os.path.join(path, name)))
    assert set(tensors) == set(places), f"{index}: does not list what the files hold"
    return tensors
