#!/usr/bin/python3
"""The layers hold: includes point one way, libraries and ends of the process stay where they belong."""
import os
import re

import harness

LAYERS = ["base", "par", "config", "num", "text", "model", "data", "train", "role", "pipeline", "cli"]
MPI = {"par", "train", "role", "pipeline", "cli"}
# Header of a library: the layers and files that may see it, by whatever way it comes in.
LIBRARIES = {
    r"mpi\.h": MPI,
    r"hdf5.*\.h": {"data", "src/train/checkpoint.c"},
    r"(cblas|lapacke|openblas_config)\.h": {"num"},
    r"(oneapi/dnnl/.*|dnnl.*)\.h": {"num"},
    r"libconfig\.h": {"config"},
    r"jansson\.h": {"src/base/json.c"},
    r"(pcre2|utf8proc)\.h": {"text"},
    r"zlib\.h": {"src/base/gzip.c"},
}
ENDS = r"\b(exit|_exit|_Exit|quick_exit|abort|MPI_Abort)\s*\("
MAY_END = {"src/par/comm.c", "src/cli/main.c"}


class Tree:
    """C files below a root: {path: text without comments and strings}, and their includes."""

    def __init__(self, root):
        self.code, self.includes, self.layer = {}, {}, {}
        for top in ("src", "include"):
            for place, _, names in os.walk(os.path.join(root, top)):
                for name in sorted(names):
                    if name.endswith((".c", ".h")):
                        self.add(root, os.path.join(place, name))

    def add(self, root, full):
        path = os.path.relpath(full, root)
        with open(full, encoding="utf-8") as file:
            text = file.read()
        self.includes[path] = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)
        plain = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
        self.code[path] = re.sub(plain, " ", text, flags=re.S)
        if path.startswith("src/"):
            self.layer[path] = path.split("/")[1]
        else:
            comment = re.match(r"/\*(.*?)\*/", text, re.S)
            stated = re.search(r"Layer:\s+(?:\*\s+)?(\w+)", comment.group(1) if comment else "")
            self.layer[path] = stated.group(1) if stated else None

    def resolve(self, path, name):
        """An included file of ours, or None."""
        for place in ("include", "src", os.path.dirname(path)):
            found = os.path.normpath(os.path.join(place, name))
            if found in self.includes:
                return found
        return None

    def seen_by(self, path):
        """{library header: file that names it} over everything that `path` includes."""
        out, todo, done = {}, [path], set()
        while todo:
            here = todo.pop()
            if here in done:
                continue
            done.add(here)
            for name in self.includes[here]:
                ours = self.resolve(here, name)
                if ours:
                    todo.append(ours)
                else:
                    out[name] = here
        return out


def unstated_layers(tree):
    return [f"{path}: states no layer of the table" for path, layer in tree.layer.items()
            if layer not in LAYERS]


def upward_includes(tree):
    out = []
    for path, names in tree.includes.items():
        for ours in filter(None, (tree.resolve(path, name) for name in names)):
            mine, other = tree.layer[path], tree.layer[ours]
            if mine in LAYERS and other in LAYERS and LAYERS.index(other) > LAYERS.index(mine):
                out.append(f"{path} ({mine}) includes {ours} ({other})")
    return out


def unknown_includes(tree):
    """Quoted includes that name no file of ours."""
    out = []
    for path, names in tree.includes.items():
        out += [f"{path} includes {name}, which isn't there" for name in names
                if name.startswith("ald/") and tree.resolve(path, name) is None]
    return out


def stray_libraries(tree):
    out = []
    for path in tree.includes:
        for name, through in tree.seen_by(path).items():
            for pattern, allowed in LIBRARIES.items():
                if re.fullmatch(pattern, name) and not allowed & {path, tree.layer[path]}:
                    out.append(f"{path} sees {name} (by {through})")
    return out


def stray_ends(tree):
    return [f"{path}: calls {match.group(1)}" for path, code in tree.code.items()
            for match in re.finditer(ENDS, code) if path not in MAY_END]


CHECKS = [unstated_layers, upward_includes, unknown_includes, stray_libraries, stray_ends]


def check_of(rule):
    def test(folder):
        tree = Tree(harness.ROOT)
        assert len(tree.code) > 100, "the sources were not found"
        found = rule(tree)
        assert not found, "; ".join(found)
    test.label = rule.__name__
    return test


def rules_find_what_they_forbid(folder):
    """Each rule on a small tree that breaks it, and all of them on one that doesn't."""
    good = {
        "include/ald/file.h": "/* Files. Layer: base. */\n",
        "include/ald/comm.h": '/* Ranks.\n * Layer:\n * par. */\n#include <mpi.h>\n#include "ald/file.h"\n',
        "src/base/file.c": '#include "ald/file.h"\n/* exit(1) */ const char *s = "abort()";\n',
        "src/par/comm.c": '#include "ald/comm.h"\nvoid f(void) { MPI_Abort(0, 1); abort(); }\n',
        "src/train/loss.c": '#include "ald/comm.h"\n#include "num/kernel.h"\n',
        "src/num/kernel.h": "int at_exit(int);\n",
        "src/num/gemm.c": "#include <cblas.h>\n#include \"kernel.h\"\n",
        "src/base/json.c": "#include <jansson.h>\n",
    }
    bad = [
        (unstated_layers, "include/ald/file.h", "/* Files. */\n"),
        (unstated_layers, "include/ald/file.h", "/* Files. Layer: cellar. */\n"),
        (upward_includes, "src/base/file.c", '#include "ald/comm.h"\n'),
        (upward_includes, "include/ald/file.h", '/* Layer: base. */\n#include "ald/comm.h"\n'),
        (unknown_includes, "src/base/file.c", '#include "ald/gone.h"\n'),
        (stray_libraries, "src/num/gemm.c", '#include "ald/comm.h"\n'),
        (stray_libraries, "src/base/file.c", "#include <jansson.h>\n"),
        (stray_libraries, "src/train/loss.c", "#include <hdf5.h>\n"),
        (stray_libraries, "src/train/loss.c", "#include <cblas.h>\n"),
        (stray_libraries, "src/train/loss.c", "#include <oneapi/dnnl/dnnl.h>\n"),
        (stray_libraries, "src/base/file.c", "#include <libconfig.h>\n"),
        (stray_ends, "src/base/file.c", "void f(void) { exit(3); }\n"),
        (stray_ends, "src/train/loss.c", "void f(void) { MPI_Abort (0, 1); }\n"),
    ]
    for number, (rule, path, text) in enumerate([(None, None, None)] + bad):
        root = os.path.join(folder, str(number))
        for name, content in {**good, **({path: text} if path else {})}.items():
            harness.write(os.path.join(root, name), content)
        found = [r for r in CHECKS if r(Tree(root))]
        assert rule in found if rule else not found, f"{number}: {path}: {found}"


if __name__ == "__main__":
    harness.main([*map(check_of, CHECKS), rules_find_what_they_forbid])
