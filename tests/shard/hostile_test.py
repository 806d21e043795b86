#!/usr/bin/python3
"""Shards from strangers: every kind of damage is refused with a message that names file and place, in
bounded memory, also under the sanitizers; random damage never crashes the reader."""
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import zlib

import h5py
import numpy as np

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

SANITIZED = os.environ.get("ALD_SANITIZED", os.path.join(harness.ROOT, "build", "sanitize"))
V, K, N = 50, 5, 20  # of the sample shard
TEXT = h5py.string_dtype("utf-8")


def program(build, name):
    return os.path.join(build, "tests", name)


def builds():
    """Build folders, and whether memory can be limited there."""
    own = [(harness.BUILD, True)]
    return own + ([(SANITIZED, False)] if os.path.exists(program(SANITIZED, "read_shard")) else [])


def prepare(folder):
    for encoding in ("full", "hidden", "topk"):
        sample(folder, encoding)
    sample(folder, "full", "gzip")


def sample(folder, encoding, *options):
    path = os.path.join(folder, encoding + "".join(options) + ".h5")
    subprocess.run([program(harness.BUILD, "make_shard"), path, encoding, str(N), *options],
                   check=True)
    return path


def read(paths, build, limited):
    """[(status, message)] of one process that reads all the files."""
    def limit():
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    env = {**harness.environment(), "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    done = subprocess.run([program(build, "read_shard"), *paths], capture_output=True, text=True,
                          errors="replace", env=env, preexec_fn=limit, timeout=600)
    lines = [line.split("\t", 1) for line in done.stdout.splitlines()]
    last = paths[len(lines)] if len(lines) < len(paths) else "the end"
    assert done.returncode == 0 and len(lines) == len(paths), \
        f"{build}: {done.returncode} at {last}\n{done.stderr[-1500:]}"
    return [(int(status), message) for status, message in lines]


# --- ways to do damage -------------------------------------------------------------------------


def in_file(change, encoding="topk"):
    """Damage through h5py."""
    def apply(path):
        with h5py.File(path, "r+") as file:
            change(file)
    apply.encoding = encoding
    return apply


def in_bytes(change, encoding="topk"):
    """Damage of the bytes as they are."""
    def apply(path):
        with open(path, "rb") as file:
            data = bytearray(file.read())
        new = change(data)
        harness.write(path, bytes(data if new is None else new))
    apply.encoding = encoding
    return apply


def attribute(name, value=None, **options):
    def change(file):
        del file.attrs[name]
        if value is not None:
            file.attrs.create(name, value, **options)
    return in_file(change)


def number(name, value):
    return attribute(name, value, dtype="<i8")


def value(name, at, new, encoding="topk"):
    def change(file):
        file[name][at] = new
    return in_file(change, encoding)


def dataset(name, change_data=lambda old: old, encoding="topk", **options):
    """The dataset anew, from its old content, with other properties."""
    def change(file):
        old = change_data(file[name][...])
        del file[name]
        given = {"chunks": old.shape, "fletcher32": True, "data": old, **options}
        file.create_dataset(name, **{k: v for k, v in given.items() if v is not None})
    return in_file(change, encoding)


def empty(name, shape, dtype, **options):
    def change(file):
        del file[name]
        file.create_dataset(name, shape=shape, dtype=dtype, **{"fletcher32": True, **options})
    return in_file(change)


def link(name, target):
    def change(file):
        del file[name]
        file[name] = target
    return in_file(change)


def chunk_place(path, name):
    with h5py.File(path, "r") as file:
        info = file[name].id.get_chunk_info(0)
        return info.byte_offset, info.size


def in_chunk(name, offset, new, encoding="topk"):
    """Bytes of the first chunk; the checksum stays."""
    def apply(path):
        at = chunk_place(path, name)[0] + offset
        in_bytes(lambda data: data.__setitem__(slice(at, at + len(new)), new))(path)
    apply.encoding = encoding
    return apply


def in_heap(offset, new):
    """Bytes of the collection with the first prompt, from its start."""
    def apply(path):
        at = chunk_place(path, "sequence/prompt")[0]
        with open(path, "rb") as file:
            file.seek(at + 4)
            heap = struct.unpack("<Q", file.read(8))[0]
        in_bytes(lambda data: data.__setitem__(slice(heap + offset, heap + offset + len(new)), new))(
            path)
    apply.encoding = "topk"
    return apply


def fletcher(data):
    one = two = 0
    for i in range(0, len(data), 2):
        word = data[i] << 8 | (data[i + 1] if i + 1 < len(data) else 0)
        one = (one + word) % 65535
        two = (two + one) % 65535
    some = any(data)
    return struct.pack("<HH", one or 65535 * some, two or 65535 * some)


def raw_chunk(name, make, mask=0, encoding="fullgzip"):
    """The first chunk's stored bytes, made from the old ones without checksum; a right checksum."""
    def change(file):
        d = file[name]
        at = (0,) * d.ndim
        old = d.id.read_direct_chunk(at)[1][:-4]
        new = make(old)
        d.id.write_direct_chunk(at, new + fletcher(new), filter_mask=mask)
    return in_file(change, encoding)


def text_of(name, data):
    def change(file):
        old = file[name][...]
        old[3] = data
        file[name][...] = old
    return in_file(change)


def swap(a, b):
    def change(file):
        file.move(a, "/x")
        file.move(b, a)
        file.move("/x", b)
    return in_file(change)


def group_instead(file):
    del file["response/tvd"]
    file.create_group("response/tvd")


def virtual(file):
    del file["response/tvd"]
    layout = h5py.VirtualLayout(shape=file["response/id"].shape, dtype="<f4")
    layout[:] = h5py.VirtualSource(".", "response/logprob_dpo", shape=file["response/id"].shape)
    file.create_virtual_dataset("response/tvd", layout)


def external(file):
    shape = file["response/tvd"].shape
    del file["response/tvd"]
    file.create_dataset("response/tvd", shape=shape, dtype="<f4",
                        external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def committed_type(file):
    old = file["response/tvd"][...]
    del file["response/tvd"]
    file["type"] = np.dtype("<f4")
    file.create_dataset("response/tvd", data=old, dtype=file["type"], chunks=old.shape,
                        fletcher32=True)


def user_block(path):
    with open(path, "rb") as file:
        data = file.read()
    with h5py.File(path, "w", userblock_size=512):
        pass
    with open(path, "rb") as file:
        block = file.read()
    harness.write(path, block[:512] + data)


user_block.encoding = "topk"


def new_format(path):
    with h5py.File(path, "r") as old, h5py.File(path + ".new", "w", libver="latest") as new:
        for name in old:
            old.copy(name, new)
        for name in old.attrs:
            new.attrs[name] = old.attrs[name]
    os.rename(path + ".new", path)


new_format.encoding = "topk"


def root(data):
    """Where the names of `/` are: the tree, the heap's header, the heap."""
    tree, heap = struct.unpack_from("<2Q", data, 80)
    return tree, heap, struct.unpack_from("<Q", data, heap + 24)[0]


def place(data, at, number):
    struct.pack_into("<Q", data, at, number)


def tree_as_heap(data):
    """In the superblock, and where the header of `/` says the same."""
    tree, heap, _ = root(data)
    return data.replace(struct.pack("<2Q", tree, heap), struct.pack("<2Q", tree, tree))


def tree_in_a_circle(data):
    tree = root(data)[0]
    data[tree + 5] = 1
    place(data, tree + 32, tree)


def free_in_a_circle(data):
    _, heap, names = root(data)
    place(data, heap + 16, 32)
    place(data, names + 32, 32)
    place(data, names + 40, 16)


def groups(data):
    """The symbols of `/`, in its only leaf."""
    leaf = struct.unpack_from("<Q", data, root(data)[0] + 32)[0]
    return [leaf + 8 + 40 * i for i in range(struct.unpack_from("<H", data, leaf + 6)[0])]


def group_is_root(data):
    data[groups(data)[0] + 8:groups(data)[0] + 40] = data[64:96]


def groups_of_one_heap(data):
    one, two = (struct.unpack_from("<Q", data, at + 32)[0] for at in groups(data)[:2])
    return data.replace(struct.pack("<Q", two), struct.pack("<Q", one))


def name_beyond_the_heap(data):
    place(data, groups(data)[1], 1 << 20)


def another_tree_by_name(data):
    place(data, groups(data)[0] + 24, struct.unpack_from("<Q", data, groups(data)[1] + 24)[0])


def header_in_a_circle(data):
    """A message of `/` that says that its header goes on where it begins."""
    struct.pack_into("<HH4xQQ", data, 112, 0x10, 16, 112, 24)


def chunk_at(where):
    """The first chunk of a dataset lies where a header is."""
    def apply(path):
        at = chunk_place(path, "response/tvd")[0]
        in_bytes(lambda data: data.replace(struct.pack("<Q", at), struct.pack("<Q", where)))(path)
    apply.encoding = "topk"
    return apply


LONG = "x" * (2 << 20)
DAMAGES = {
    "empty": (in_bytes(lambda d: b""), "not an HDF5 file"),
    "text": (in_bytes(lambda d: b"not a shard\n" * 900), "not an HDF5 file"),
    "cut": (in_bytes(lambda d: d[:len(d) // 2]), "cut short"),
    "user block": (user_block, "user block"),
    "newest HDF5": (new_format, "earliest format"),
    "sizes of addresses": (in_bytes(lambda d: d.__setitem__(13, 4)), ""),
    "format missing": (attribute("format"), 'attribute "format" is missing'),
    "another format": (attribute("format", "other"), 'found "other"'),
    "format of fixed length": (attribute("format", np.bytes_(b"aligndistil-shard")),
                               "a string of variable length"),
    "format a number": (number("format", 1), 'attribute "format": expected one string'),
    "formats": (attribute("format", ["a", "b"], dtype=TEXT), 'attribute "format": expected one'),
    "newer version": (number("schema_version", 1 << 40), "reads up to version"),
    "version 0": (number("schema_version", 0), "schema version 0: expected 1"),
    "version a text": (attribute("schema_version", "1"), 'attribute "schema_version": expected one'),
    "version of 32 bits": (attribute("schema_version", 1, dtype="<i4"), "one integer, signed"),
    "versions": (attribute("schema_version", [1, 1], dtype="<i8"), "one integer"),
    "version big-endian": (attribute("schema_version", 1, dtype=">i8"), "one integer"),
    "another encoding": (attribute("encoding", "sampledd"), "encoding: expected"),
    "V 0": (number("vocab_size", 0), 'attribute "vocab_size": expected 1 to'),
    "V negative": (number("vocab_size", -50), 'attribute "vocab_size": expected 1 to'),
    "V huge": (number("vocab_size", (1 << 63) - 1), 'attribute "vocab_size": expected 1 to'),
    "V of floats": (attribute("vocab_size", 50.0, dtype="<f8"), 'attribute "vocab_size": expected'),
    "H negative": (number("hidden_size", -1), 'attribute "hidden_size"'),
    "K 0": (number("top_k", 0), 'attribute "top_k"'),
    "K above V": (number("top_k", V + 1), 'attribute "top_k"'),
    "K another": (number("top_k", K + 1), "expected 6 columns, found 5"),
    "contrast": (attribute("contrast", "both"), "expected reverse or reference"),
    "long sha256": (attribute("sha256_dpo", LONG), 'attribute "sha256_dpo": expected at most 64'),
    "huge config": (attribute("config", LONG), 'attribute "config": expected at most'),
    "config missing": (attribute("config"), 'attribute "config" is missing'),
    "dataset missing": (in_file(lambda f: f.__delitem__("response/tvd")), "/response/tvd is missing"),
    "group missing": (in_file(lambda f: f.__delitem__("teacher")), "/teacher is missing"),
    "a group instead": (in_file(group_instead), "/response/tvd: expected a dataset"),
    "soft link": (link("response/tvd", h5py.SoftLink("/response/logprob_dpo")), "found a link"),
    "soft link of a group": (link("teacher", h5py.SoftLink("/response")),
                             "/teacher: expected the data itself"),
    "external link": (link("response/tvd", h5py.ExternalLink("other.h5", "/x")), "a group or a dataset"),
    "external link of a group": (link("teacher", h5py.ExternalLink("/etc/passwd", "/")),
                                 "a group or a dataset"),
    "virtual dataset": (in_file(virtual), "/response/tvd: expected"),
    "external storage": (in_file(external), "/response/tvd: expected"),
    "committed type": (in_file(committed_type), "/response/tvd: expected"),
    "contiguous": (dataset("response/tvd", chunks=None, fletcher32=None), "chunks in this file"),
    "no checksum": (dataset("response/tvd", fletcher32=None), "expected a Fletcher-32 checksum"),
    "scale-offset": (dataset("response/id", scaleoffset=0, fletcher32=None), "expected"),
    "lzf": (dataset("teacher/logprob_dpo", compression="lzf"), "/teacher/logprob_dpo: expected"),
    "gzip outside": (dataset("response/tvd", compression="gzip"), "compression in /teacher alone"),
    "64-bit floats": (dataset("response/tvd", dtype="<f8"), "/response/tvd: expected 32-bit floats"),
    "big-endian floats": (dataset("response/tvd", dtype=">f4"), "expected 32-bit floats"),
    "integers": (dataset("response/tvd", lambda x: x.astype("<i4")), "expected 32-bit floats"),
    "a compound": (empty("response/tvd", (10,), [("a", "<f4"), ("b", "<i4")]), "32-bit floats"),
    "unsigned ids": (dataset("token/id", dtype="<u4"), "/token/id: expected 32-bit integers"),
    "sources without enum": (dataset("sequence/source", lambda x: x.astype("u1")),
                             "/sequence/source: expected the enum"),
    "fixed texts": (dataset("sequence/prompt", lambda x: x.astype("S16")),
                    "/sequence/prompt: expected variable-length texts"),
    "two dimensions": (dataset("response/tvd", lambda x: x[:, None]), "expected 1 dimension"),
    "one dimension": (dataset("teacher/token_id", lambda x: x.ravel()), "expected 2 dimensions"),
    "one row less": (dataset("response/tvd", lambda x: x[:-1]), "/response/tvd: expected"),
    "no rows": (dataset("response/tvd", lambda x: x[:0], chunks=(8,), maxshape=(None,)), "rows, found 0"),
    "one column more": (dataset("teacher/token_id", lambda x: np.hstack([x, x[:, :1]])),
                        "expected 5 columns, found 6"),
    "N starts": (dataset("sequence/token_start", lambda x: x[:-1]), "/sequence/token_start: expected"),
    "N + 2 starts": (dataset("sequence/token_start", lambda x: np.append(x, x[-1])),
                     "/sequence/token_start: expected"),
    "2^40 rows": (empty("response/tvd", (1 << 40,), "<f4", chunks=(1024,)), "rows need"),
    "2^40 sequences": (empty("sequence/id", (1 << 40,), "<i8", chunks=(1024,)), "rows need"),
    "chunks of 2^31": (empty("response/tvd", (1 << 30,), "<f4", chunks=(1 << 29,)),
                       "expected chunks of at most"),
    "swapped datasets": (swap("sequence/token_start", "sequence/response_start"), "expected"),
    "swapped groups": (swap("response", "teacher"), "missing"),
    "start negative": (value("sequence/token_start", 3, -1), "/sequence/token_start[3]: expected"),
    "start falls": (value("sequence/token_start", 3, 1), "/sequence/token_start[3]: expected"),
    "start huge": (value("sequence/token_start", 3, (1 << 63) - 1), "/sequence/token_start[3]"),
    "start not 0": (value("sequence/response_start", 0, 12), "expected 0 first, found 12"),
    "last start": (value("sequence/response_start", N, 10 ** 6), "/sequence/response_start[20]"),
    "source 7": (value("sequence/source", 2, 7), "/sequence/source[2]: expected 0 to 2"),
    "id negative": (value("sequence/id", 1, -1), "/sequence/id[1]"),
    "token V": (value("token/id", 5, V), "/token/id: element 5: expected an id below 50"),
    "token negative": (value("token/id", 5, -1), "/token/id: element 5"),
    "support V": (value("teacher/token_id", (0, 0), V), "/teacher/token_id: element 0"),
    "another response": (in_file(lambda f: f["response/id"].__setitem__(
        0, (f["response/id"][0] + 1) % V)), "expected the end of its tokens"),
    "distance NaN": (value("response/tvd", 4, np.nan), "/response/tvd: element 4: found"),
    "distance negative": (value("response/tvd", 4, -0.5), "/response/tvd: element 4: found -0.5"),
    "distance 2": (value("response/tvd", 4, 2.0), "/response/tvd: element 4: found 2"),
    "logprob NaN": (value("response/logprob_dpo", 0, np.nan), "/response/logprob_dpo: element 0"),
    "logprob inf": (value("response/logprob_policy", 0, np.inf), "/response/logprob_policy"),
    "ratio NaN": (value("teacher/log_ratio", (0, 1), np.nan), "/teacher/log_ratio: element 1"),
    "ratio inf": (value("teacher/log_ratio", (0, 1), np.inf), "/teacher/log_ratio: element 1"),
    "tail inf": (value("teacher/tail_dpo", 0, np.inf), "/teacher/tail_dpo: element 0"),
    "row of NaN": (value("teacher/logprob_dpo", 3, np.nan, "full"), "/teacher/logprob_dpo: element"),
    "hidden inf": (value("teacher/hidden_dpo", (0, 0), 0x7F80, "hidden"), "/teacher/hidden_dpo"),
    "hidden NaN": (value("teacher/hidden_reverse", (0, 1), 0xFFFF, "hidden"), "/teacher/hidden_reverse: element 1"),
    "another dtype": (in_file(lambda f: f["teacher/hidden_dpo"].attrs.__setitem__("dtype", "float16"),
                              "hidden"), 'attribute "dtype": expected "bfloat16"'),
    "dtype missing": (in_file(lambda f: f["teacher/hidden_dpo"].attrs.__delitem__("dtype"), "hidden"),
                      '/teacher/hidden_dpo: attribute "dtype" is missing'),
    "flip": (in_chunk("response/tvd", 0, b"\x55"), "Fletcher-32"),
    "flip of a checksum": (in_chunk("sequence/id", N * 8, b"\x55\x55"), "Fletcher-32"),
    "chunk without filters": (raw_chunk("teacher/log_ratio", lambda old: old + b"\0", mask=1),
                              "without its filters"),
    "chunk short": (raw_chunk("teacher/log_ratio", lambda old: zlib.compress(bytes(range(200)) * 9)),
                    "expected chunks of"),
    "chunk no deflate": (raw_chunk("teacher/log_ratio", lambda old: b"\x55" * len(old)),
                         "compressed chunk is damaged"),
    "deflate bomb": (raw_chunk("teacher/log_ratio", lambda old: zlib.compress(bytes(20 << 20), 9)),
                     "damaged or larger than"),
    "text not UTF-8": (text_of("sequence/prompt", b"\xff\xfe"), "a text that isn't UTF-8"),
    "text overlong": (text_of("sequence/response", b"\xc0\xaf"), "a text that isn't UTF-8"),
    "text with NUL": (in_heap(16 + 16, b"\0"), ""),
    "text's length": (in_chunk("sequence/prompt", 0, b"\xff\xff\xff\xff"), "a text of 4294967295"),
    "text's address": (in_chunk("sequence/prompt", 4, b"\xff" * 8), "behind the end"),
    "text's place": (in_chunk("sequence/prompt", 4, struct.pack("<Q", 96)), "where there are no"),
    "text's number": (in_chunk("sequence/prompt", 12, b"\xff\xff\0\0"), "that isn't there"),
    "heap's size": (in_heap(8, b"\xff" * 7), "a heap of"),
    "heap's version": (in_heap(4, b"\x07"), ""),
    "tree as heap": (in_bytes(tree_as_heap), "expected a heap of names"),
    "tree in a circle": (in_bytes(tree_in_a_circle), "expected a tree of names"),
    "free list in a circle": (in_bytes(free_in_a_circle), "a list of what is free"),
    "group that is the root": (in_bytes(group_is_root), "its structure is damaged"),
    "groups of one heap": (in_bytes(groups_of_one_heap), "its structure is damaged"),
    "name beyond the heap": (in_bytes(name_beyond_the_heap), "a name of the group's heap"),
    "another tree by name": (in_bytes(another_tree_by_name), "where its name says"),
    "header in a circle": (in_bytes(header_in_a_circle), "damaged"),
    "chunk over a header": (chunk_at(96), "one use of each byte"),
    "chunk beyond the end": (chunk_at(1 << 60), "a chunk within the file"),
    "file's end beyond it": (in_bytes(lambda d: place(d, 40, 1 << 40)), "cut short"),
    "base address": (in_bytes(lambda d: place(d, 24, 8)), "nothing else"),
    "driver block": (in_bytes(lambda d: place(d, 48, 4096)), "nothing else"),
    "version of the superblock": (in_bytes(lambda d: d.__setitem__(8, 1)), "earliest format"),
}


def every_damage_is_named(folder):
    kinds, paths = list(DAMAGES), []
    for i, kind in enumerate(kinds):
        change, _ = DAMAGES[kind]
        path = os.path.join(folder, f"damage-{i}.h5")
        shutil.copy(os.path.join(folder, change.encoding + ".h5"), path)
        change(path)
        paths.append(path)
    for build, limited in builds():
        found = read(paths, build, limited)
        bad = [f"{kind}: {status} {message}" for kind, path, (status, message)
               in zip(kinds, paths, found)
               if status != 3 or DAMAGES[kind][1] not in message or path not in message]
        assert not bad, "\n".join([build, *bad])


def the_command_says_so(folder):
    path = os.path.join(folder, "linked.h5")
    shutil.copy(os.path.join(folder, "topk.h5"), path)
    link("response/tvd", h5py.SoftLink("/response/logprob_dpo"))(path)
    for words in (["inspect", path], ["inspect", "--verify", path]):
        (error,) = harness.run(*words, code=3).errors
        assert path in error and "/response/tvd" in error, error


def random_damage_never_crashes(folder):
    """A few flips anywhere, and bytes of the structure set to the values that hurt."""
    chance, paths = random.Random(11), []
    for encoding in ("topk", "hidden"):
        with open(os.path.join(folder, encoding + ".h5"), "rb") as file:
            good = file.read()
        used = [i for i in range(len(good)) if good[i] != 0 and i < 20000]
        for i in range(250):
            data = bytearray(good)
            for _ in range(chance.choice((1, 1, 2, 8))):
                if i % 2:
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                else:
                    data[chance.choice(used)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            paths.append(harness.write(os.path.join(folder, f"random-{encoding}-{i}.h5"),
                                       bytes(data)))
    for build, limited in builds():
        found = read(paths, build, limited)
        assert {status for status, _ in found} == {0, 3}, found
        assert all(path in message for path, (status, message) in zip(paths, found) if status == 3)
    for path in paths:
        os.remove(path)


def checksums_are_those_of_hdf5(folder):
    """h5py verifies what is written here, and sees a changed byte."""
    for encoding in ("full", "hidden", "topk", "fullgzip"):
        path = os.path.join(folder, encoding + ".h5")
        with h5py.File(path, "r") as file:
            names = [f"{group}/{name}" for group in file for name in file[group]]
            for name in names:
                assert file[name].fletcher32 == (name not in ("sequence/prompt", "sequence/response"))
                file[name][...]
        for name in names:
            if name in ("sequence/prompt", "sequence/response"):
                continue
            other = os.path.join(folder, "flipped.h5")
            shutil.copy(path, other)
            at, size = chunk_place(other, name)
            in_bytes(lambda data: data.__setitem__(at + size // 2, data[at + size // 2] ^ 1))(other)
            with h5py.File(other, "r") as file:
                try:
                    file[name][...]
                except OSError:
                    continue
            raise AssertionError(f"{encoding}: h5py doesn't see a changed byte of {name}")


if __name__ == "__main__":
    harness.main([every_damage_is_named, the_command_says_so, random_damage_never_crashes,
                  checksums_are_those_of_hdf5], prepare)
