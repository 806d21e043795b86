#!/usr/bin/python3
"""The layers hold: includes point one way, libraries and ends of the process stay where they belong;
what is declared is used, and the pages that comments name are there."""
import collections
import glob
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

LAYERS = ["base", "par", "config", "num", "text", "model", "record", "data", "shard", "teacher",
          "tokens", "train", "objective", "role", "plan", "lineage", "bench", "pipeline", "cli"]
MPI = {"par", "train", "objective", "role", "lineage", "bench", "pipeline", "cli"}
# Header of a library: the layers and files that may see it, by whatever way it comes in.
LIBRARIES = {
    r"mpi\.h": MPI,
    r"hdf5.*\.h": {"record", "shard"},
    r"(cblas|lapacke|openblas_config)\.h": {"num"},
    r"(oneapi/dnnl/.*|dnnl.*)\.h": {"num"},
    r"libconfig\.h": {"config"},
    r"jansson\.h": {"src/base/json.c"},
    r"(pcre2|utf8proc)\.h": {"text"},
    r"zlib\.h": {"src/base/gzip.c"},
}
ENDS = r"\b(exit|_exit|_Exit|quick_exit|abort|MPI_Abort)\s*\("
MAY_END = {"src/par/comm.c", "src/par/ending.c", "src/cli/main.c"}


class Tree:
    """C files below a root: {path: text without comments and strings}, and their includes."""

    def __init__(self, root):
        self.root = root
        self.code, self.text, self.includes, self.layer, self.stated = {}, {}, {}, {}, {}
        for top in ("src", "include"):
            for path, text in self.texts(top, (".c", ".h")).items():
                self.add(path, text)

    def texts(self, top, ends):
        """{path: text} of the files below a folder whose names end so."""
        out = {}
        for place, _, names in os.walk(os.path.join(self.root, top)):
            for name in sorted(filter(lambda n: n.endswith(ends), names)):
                with open(os.path.join(place, name), encoding="utf-8") as file:
                    out[os.path.relpath(file.name, self.root)] = file.read()
        return out

    def add(self, path, text):
        self.includes[path] = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)
        plain = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
        self.code[path] = re.sub(plain, " ", text, flags=re.S)
        self.text[path] = text
        parts = path.split("/")
        self.layer[path] = parts[1] if parts[0] == "src" else parts[2] if len(parts) > 3 else None
        if parts[0] == "include":
            comment = re.match(r"/\*(.*?)\*/", text, re.S)
            said = re.search(r"Layer:\s+(?:\*\s+)?(\w+)", comment.group(1) if comment else "")
            self.stated[path] = said.group(1) if said else None

    def resolve(self, path, name):
        """An included file of ours, or None."""
        for place in ("include", "src"):
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
    """Files outside the folders of the table, and headers that name another layer than theirs."""
    out = [f"{path}: lies in no layer of the table" for path, layer in tree.layer.items()
           if layer not in LAYERS]
    return out + [f"{path}: states the layer {said}" for path, said in tree.stated.items()
                  if said != tree.layer[path]]


def stray_headers(tree):
    """Headers beside the code are private to their folder, and are spelled so that it shows."""
    out = []
    for path, names in tree.includes.items():
        if path.startswith("src/") and path.endswith(".h") and not path.endswith("_impl.h"):
            out.append(f"{path}: a header beside the code is called NAME_impl.h")
        for ours in filter(None, (tree.resolve(path, name) for name in names)):
            if ours.startswith("src/") and (path.startswith("include/") or
                                            tree.layer[ours] != tree.layer[path]):
                out.append(f"{path} includes {ours}, which is private to its folder")
    return out


def declared(code):
    """The functions that a header declares, macros and functions with their bodies left out."""
    plain = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*|static inline[^{]*\{.*?\n\}", " ", code,
                   flags=re.S | re.M)
    return re.findall(r"\b(ald_\w+)\s*\([^;{]*\)[^;{]*;", plain)


def headers_without_source(tree):
    """A header that declares functions has a source of its name; one of macros and types needs none."""
    out = []
    for path, code in tree.code.items():
        source = path.replace("include/ald/", "src/").replace(".h", ".c")
        if not path.startswith("include/") or source in tree.code:
            continue
        if declared(code):
            out.append(f"{path}: has no {source}")
    return out


def circles(edges):
    """The circles of a graph {node: set of nodes}, each as the list of its nodes."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def include_circles(tree):
    edges = {path: set(filter(None, (tree.resolve(path, name) for name in names)))
             for path, names in tree.includes.items()}
    return [" and ".join(circle) + " include each other" for circle in circles(edges)]


def calls_between(objects):
    """{source: the sources whose functions or data it uses}, from the object files of a folder."""
    defined, wanted = {}, {}
    files = glob.glob(f"{objects}/**/*.c.o", recursive=True)
    listing = subprocess.run(["nm", "-A", "-P", *files], capture_output=True, text=True, check=True)
    for line in listing.stdout.splitlines():
        place, rest = line.split(": ", 1)
        symbol, kind = rest.split()[:2]
        source = os.path.relpath(place, objects)[:-2]
        if kind == "U":
            wanted.setdefault(source, set()).add(symbol)
        elif kind in "TDBRVW":
            defined[symbol] = source
    return {source: {defined[s] for s in symbols if defined.get(s, source) != source}
            for source, symbols in wanted.items()}


def call_circles():
    edges = calls_between(os.path.join(harness.BUILD, "CMakeFiles", "ald.dir", "src"))
    assert len(edges) > 100, "the object files were not found"
    return [" and ".join(circle) + " call each other" for circle in circles(edges)]


def calls_go_one_way(folder):
    """No two sources of the program need each other, directly or around a corner."""
    found = call_circles()
    assert not found, "; ".join(found)


def circles_are_found(folder):
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) == [["a", "b", "c"]]


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


def uncalled_functions(tree):
    """Declared in include/, and named nowhere but there and where they are defined. Tests count."""
    count = collections.Counter()
    for code in (*tree.code.values(), *tree.texts("tests", (".c", ".h")).values()):
        count.update(re.findall(r"\bald_\w+", code))
    return [f"{path}: {name} is called by nothing" for path, code in tree.code.items()
            if path.startswith("include/") for name in declared(code) if count[name] < 3]


def unused_values(tree):
    """Values of enumerations that only their declaration names, and no macro pastes together."""
    whole = "\n".join(tree.code.values())
    pasted = tuple(re.findall(r"\b(ALD_\w+_)##", whole))
    count = collections.Counter(re.findall(r"\bALD_\w+", whole))
    return [f"{path}: {name} is used nowhere" for path, code in tree.code.items()
            for body in re.findall(r"\benum\b\s*\w*\s*\{(.*?)\}", code, re.S)
            for name in re.findall(r"(?:^|,)\s*(ALD_\w+)", body)
            if count[name] == 1 and not (pasted and name.startswith(pasted))]


def unread_keys(tree):
    """Keys of the configuration whose member no code reads, and members without a key."""
    table = "include/ald/config/config.h"
    if table not in tree.code:
        return []
    with open(os.path.join(tree.root, table), encoding="utf-8") as file:
        keys = re.findall(r"\bK\([A-Z0-9]+, ([\w.]+),", file.read())
    code = "\n".join(text for path, text in tree.code.items() if tree.layer[path] != "config")
    read = set(re.findall(r"(?:\.|->)(\w+)\b", code)) | \
        set(re.findall(r"(?=(?:\.|->)(\w+\.\w+)\b)", code)) | \
        set(re.findall(r"(?=(?:\.|->)(\w+\.\w+\.\w+)\b)", code))
    text = re.sub(r"\n {8}struct \{([^{}]*)\} (\w+);",  # within another: its names get one with a dot
                  lambda m: re.sub(r"(\w+)(\s*[,;])", rf"{m[2]}.\1\2", m[1]), tree.code[table])
    groups = re.findall(r"\n *struct \{([^{}]*)\} (\w+);", text)
    members = [f"{group}.{name}" for body, group in groups for declaration in body.split(";")
               for name in re.findall(r"([\w.]+)(?:\[\d+\])?\s*(?:,|$)", declaration)]
    return [f"{table}: {key} is read by nothing" for key in keys if key not in read] + \
        [f"{table}: the member {name} has no key" for name in members if name not in keys]


def missing_pages(tree):
    """Pages that a file names by their path from the root, or that lie beside it; not those that the
    program writes, which a string of its own names."""
    texts = {}
    for top in ("src", "include", "tools", "jobs"):
        texts.update(tree.texts(top, (".c", ".h", ".py", ".sh", ".cfg", ".md")))
    written = set(re.findall(r'"([\w.-]+\.md)"', "\n".join(texts.values())))
    return [f"{path} names {page}, which isn't there" for path, text in texts.items()
            for page in re.findall(r"[\w./-]*\w\.md\b", text)
            if os.path.basename(page) not in written
            and not any(os.path.exists(os.path.join(tree.root, place, page))
                        for place in ("", os.path.dirname(path)))]


def sources_without_opening(tree):
    """A source opens with a comment of two lines, or a few more: what it does, and why so."""
    out = []
    for path, text in tree.texts("src", (".c",)).items():
        comment = re.match(r"/\*.*?\*/\n", text, re.S)
        if comment is None or comment.group().count("\n") < 2:
            out.append(f"{path}: no comment of two lines at the beginning")
    return out


def pages(tree):
    """{path: text} of the README files, the root's included."""
    found = {}
    for top in ("src", "include", "tests", "tools", "jobs"):
        found.update(tree.texts(top, ("README.md",)))
    if os.path.exists(os.path.join(tree.root, "README.md")):
        with open(os.path.join(tree.root, "README.md"), encoding="utf-8") as file:
            found["README.md"] = file.read()
    return found


def missing_files(tree):
    """Links of the README files, and the files of ours that they name in `...`, by a path from the
    root, from the page's folder or one in it, or as an include line has it; words in capitals are
    placeholders."""
    out = []
    for path, text in pages(tree).items():
        here = os.path.dirname(path)
        near = ("", here, "include", "src", os.path.join(here, "**") if here else "")
        named = re.findall(r"\]\(([^)#:]+)[)#]", text)
        for code in re.findall(r"`([^`\n]+)`", text):
            named += re.findall(r"^[\w./*-]*[\w*]\.(?:[ch]|py|sh|js)\b(?![\w.(])", code)
            named += re.findall(r"^[\w.-]+/[\w./-]+\.(?:cfg|md)\b", code)
        out += [f"{path} names {name}, which isn't there" for name in named
                if not re.search(r"[A-Z]{4}", name.replace("README.md", ""))
                and not any(
                    glob.glob(os.path.join(tree.root, place, name), recursive=True) for place in near)]
    return out


def long_pages(tree):
    """The first page stays one that is read to its end; the folders' pages are short, but for the
    format of shards, which readers in other languages are written from."""
    limits = {"README.md": 170, "src/shard/README.md": 180}
    return [f"{path}: {len(text.splitlines())} lines, {limits.get(path, 110)} are allowed"
            for path, text in pages(tree).items()
            if len(text.splitlines()) > limits.get(path, 110)]


def functions(tree):
    """(path, name, lines, parameters) of every function. As clang-format has them, the head and both
    braces of the body begin in column 0, which those of nothing else do."""
    for path, text in tree.text.items():
        for found in re.finditer(r"^(?![\s#/}])([^;{}#]*?)\n\{\n.*?^\}$", text, re.M | re.S):
            # The parameters are what the last parentheses of the head are around, but for kernels:
            # ALD_KERNEL(type, name, (parameters), (their names)).
            head = " ".join(re.sub(r"/\*.*?\*/", " ", found.group(1), flags=re.S).split())
            head = re.sub(r"^ALD_KERNEL\([^,]+, (\w+), (\(.*\)), \(.*$", r"\1\2", head)
            depth, at = 1, len(head) - 2
            while depth:
                depth += {")": 1, "(": -1}.get(head[at], 0)
                at -= 1
            inner = head[at + 2:-1]
            while "(" in inner:
                inner = re.sub(r"\([^()]*\)", "", inner)
            count = 0 if inner == "void" else inner.count(",") + 1
            name = re.search(r"\w+(\(\w+\))?$", head[:at + 1]).group()
            yield path, name, found.group().count("\n") + 1, count


LONGEST = 60  # lines, head and braces included


def long_functions(tree):
    return [f"{path}: {name} has {lines} lines" for path, name, lines, _ in functions(tree)
            if lines > LONGEST]


PARAMETERS, SHARE = 6, 0.02  # so many are enough, for all but this share of the functions


def with_many_parameters(tree):
    return [f"{path}: {name} has {count} parameters" for path, name, _, count in functions(tree)
            if count > PARAMETERS]


def long_signatures(tree):
    found = with_many_parameters(tree)
    return found if len(found) > SHARE * len([*functions(tree)]) else []


def choice_names(tree, choices=r"\w+"):
    """The constants and the texts of the table of choices, or of one list in it."""
    table = tree.text.get("include/ald/config/choices.h", "")
    lists = re.findall(rf"#define ALD_{choices}\(C\)(.*?[^\\])\n", table, re.S)
    return re.findall(r'C\((\w+), \d+, "([^"]+)"\)', "".join(lists))


ENCODING_FILES = 8
# Texts that are the name of a choice, and mean something else: a model's width, a member of a row.
HOMONYMS = {("src/cli/inspect_model.c", "hidden"), ("src/data/pairs_row.c", "chosen"), ("src/role/monitor.c", "stop")}


def files_of_encodings(tree):
    """The files that know an encoding: their own, and all that say a constant or a name of one."""
    names, out = choice_names(tree, "ENCODINGS"), []
    for path, text in tree.text.items():
        code = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        said = any(re.search(rf"\b{constant}\b", code) or f'"{name}"' in code and
                   (path, name) not in HOMONYMS for constant, name in names)
        if said or path in {f"src/teacher/{name}.c" for _, name in names}:
            out.append(path)
    return sorted(out)


def scattered_encodings(tree):
    found = files_of_encodings(tree)
    return found if len(found) > ENCODING_FILES else []


def compared_choices(tree):
    """Calls outside `config` that compare a text with one of a choice, or a text of the configuration."""
    names = {name for _, name in choice_names(tree)}
    return [f"{path}: {call}" for path, text in tree.text.items() if tree.layer[path] != "config"
            for call in re.findall(r"\bstrn?(?:case)?cmp\([^;{]*?\) *[=!]= *0", text)
            if re.search(r"\bconfig(?:\.|->)", call) or
            any(name in names and (path, name) not in HOMONYMS for name in re.findall('"(.*?)"', call))]


def training_loops(tree):
    """The files that run an optimizer: they add gradients or take a step, beside those of both and
    that which only times them."""
    return sorted(path for path, code in tree.code.items() if path.startswith("src/")
                  and path not in ("src/train/optimizer.c", "src/train/engine.c", "src/bench/kernels.c")
                  and re.search(r"\bald_(?:optimizer_(?:add|step)|engine_update)\b", code))


def second_loops(tree):
    found = training_loops(tree)
    return found if len(found) > 1 else []


CHECKS = [unstated_layers, upward_includes, unknown_includes, stray_headers, headers_without_source,
          include_circles, stray_libraries, stray_ends, uncalled_functions, unused_values, unread_keys,
          missing_pages, missing_files, long_pages, sources_without_opening, long_functions,
          long_signatures, scattered_encodings, compared_choices, second_loops]


def check_of(rule):
    def test(folder):
        tree = Tree(harness.ROOT)
        assert len(tree.code) > 100, "the sources were not found"
        found = rule(tree)
        assert not found, "; ".join(found)
    test.label = rule.__name__
    return test


def read(path):
    with open(os.path.join(harness.ROOT, path), encoding="utf-8") as file:
        return file.read()


def the_page_of_the_configuration_is_true(folder):
    """Its paths and codes are those of the tables in C."""
    page, keys = read("src/config/README.md"), {}
    for kind, key in re.findall(r"\bK\((\w+), ([\w.]+),", read("include/ald/config/config.h")):
        keys.setdefault(kind, set()).add(key)
    paths = page.split("## Paths")[1].split("##")[0]
    rows = [row.split("|")[1] for row in paths.splitlines() if row.startswith("| ")]
    found = [set(re.findall(r"`([\w.]+)`", row)) for row in rows[1:]]
    assert found == [keys["ROOT"] | keys["INPUT"], keys["OUTPUT"] | keys["SOURCES"]], found
    codes = re.findall(r"ALD_STATUS_\w+ = (\d+)", read("include/ald/base/status.h"))
    assert re.findall(r"^\| (\d+) \|", page.split("## Exit codes")[1], re.M) == codes, codes


def the_page_of_the_field_names_tests(folder):
    """Every row of tests/FIELD.md has a report, and cases that are there."""
    rows = [line for line in read("tests/FIELD.md").splitlines() if line.startswith("| ") and
            "| held by |" not in line]
    assert len(rows) >= 30, len(rows)
    for row in rows:
        cases = re.findall(r"`(\w+) (\w+)`", row.split("|")[-2])
        assert cases and re.search(r"\]\(https://github\.com/[^)]+/(issues|pull)/\d+\)", row), row
        for program, case in cases:
            text = "".join(read(os.path.relpath(path, harness.ROOT)) for path in
                           glob.glob(os.path.join(harness.ROOT, "tests", "*", program + ".*")))
            assert re.search(rf"(def|void) {case}\(", text), f"tests/FIELD.md: {program} has no {case}"


def the_encodings_are_those_of_the_table(folder):
    """The pages that list encodings, the Python reader and the comparison, against the one list in C."""
    choices, teacher = read("include/ald/config/choices.h"), read("src/teacher/README.md")
    table = re.search(r"#define ALD_ENCODINGS\(C\)(.*?[^\\])\n", choices, re.S)
    encodings = re.findall(r'"(\w+)"', table.group(1))
    assert len(encodings) >= 5, encodings
    rows = re.search(r"\| `shards.encoding` \|[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", teacher)
    assert re.findall(r"^\| `(\w+)`", rows.group(1), re.M) == encodings, rows.group(1)
    assert "the five encodings (" + ", ".join(f"`{name}`" for name in encodings) + ")" in \
        " ".join(read("README.md").split()), "README.md lists others"
    datasets = read("src/shard/README.md").split("| encoding | datasets in `/teacher` |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", datasets, re.M) == encodings, datasets
    sys.path.append(harness.TOOLS)
    import aligndistil_shards
    import compare_encodings
    assert list(aligndistil_shards.ENCODINGS) == encodings, aligndistil_shards.ENCODINGS
    compared = [settings["encoding"] for _, settings in compare_encodings.ENCODINGS]
    measured = re.findall(r"^\| (\w+)(?:,[^|]*)? \| [\d,]+ \| ", teacher, re.M)
    assert set(measured) == set(encodings) >= set(compared), measured


def rules_find_what_they_forbid(folder):
    """Each rule on a small tree that breaks it, and all of them on one that doesn't."""
    good = {
        "include/ald/base/file.h": "/* Files. Layer: base. */\nint ald_file(int a);\n",
        "include/ald/base/kinds.h": "/* Kinds. Layer: base. */\n#define K(x) ald_k(x);\n"
                                    "static inline int ald_kind(int a)\n{\n    return ald_k(a);\n}\n",
        "include/ald/par/comm.h": "/* Ranks.\n * Layer:\n * par. */\n#include <mpi.h>\n"
                                  '#include "ald/base/file.h"\n',
        "src/base/file.c": '#include "ald/base/file.h"\n/* exit(1) */ const char *s = "abort()";\n',
        "src/par/comm.c": '#include "ald/par/comm.h"\nvoid f(void) { MPI_Abort(0, 1); abort(); }\n',
        "src/train/loss.c": '#include "ald/par/comm.h"\n',
        "src/num/gemm_impl.h": "int at_exit(int);\n",
        "src/num/gemm.c": '#include <cblas.h>\n#include "num/gemm_impl.h"\n',
        "src/base/json.c": "#include <jansson.h>\n",
        "src/base/README.md": "How files are read.\n",
        "src/base/kinds.c": "/* As src/base/README.md says. */\nint ald_file(int a) { return ONE; }\n",
        "include/ald/config/config.h": "/* Keys. Layer: config. */\nenum { ALD_ONE, ALD_TWO = 2 };\n"
                                       "#define KEYS(K) K(BOOL, seed, 1) K(REAL, data.rows, 2)\n"
                                       "struct {\n int seed;\n struct { double rows; } data;\n};\n",
        "src/data/pairs.c": "/* README.md */\nint f(c) { return c->seed + c.data.rows + ALD_ONE + ALD_TWO; }\n",
        "src/data/README.md": "Rows.\n",
        "include/ald/config/choices.h": "/* Choices. Layer: config. */\n#define ALD_ENCODINGS(C) \\\n"
                                        '    C(ALD_FEW, 0, "few") \\\n    C(ALD_MANY, 1, "many")\n',
        "src/train/loop.c": "int f(void) { return ald_optimizer_step(0); }\n",
        "src/teacher/few.c": "int f(int a, int b, int c,\n      int d, int (*e)(int, int), int g)\n{\n"
                             "    a += 1;\n" + "    a += 1; /* } */\n" * 55 + "}\n",
        "tests/unit/test_file.c": "int f(void) { return ald_file(1); }\n",
    }
    bad = [
        (unstated_layers, "include/ald/base/file.h", "/* Files. */\n"),
        (unstated_layers, "include/ald/base/file.h", "/* Files. Layer: par. */\n"),
        (unstated_layers, "include/ald/other.h", "/* Files. Layer: base. */\n"),
        (unstated_layers, "src/cellar/file.c", "\n"),
        (upward_includes, "src/base/file.c", '#include "ald/par/comm.h"\n'),
        (upward_includes, "include/ald/base/file.h", '/* Layer: base. */\n#include "ald/par/comm.h"\n'),
        (unknown_includes, "src/base/file.c", '#include "ald/base/gone.h"\n'),
        (stray_headers, "src/train/loss.c", '#include "num/gemm_impl.h"\n'),
        (stray_headers, "src/num/gemm.h", "\n"),
        (headers_without_source, "include/ald/base/path.h", "/* Layer: base. */\nint ald_p(int a);\n"),
        (include_circles, "src/num/gemm_impl.h", '#include "num/gemm_impl2_impl.h"\n'),
        (stray_libraries, "src/num/gemm.c", '#include "ald/par/comm.h"\n'),
        (stray_libraries, "src/base/file.c", "#include <jansson.h>\n"),
        (stray_libraries, "src/train/loss.c", "#include <hdf5.h>\n"),
        (stray_libraries, "src/train/loss.c", "#include <cblas.h>\n"),
        (stray_libraries, "src/train/loss.c", "#include <oneapi/dnnl/dnnl.h>\n"),
        (stray_libraries, "src/base/file.c", "#include <libconfig.h>\n"),
        (uncalled_functions, "tests/unit/test_file.c", "int f(void) { return ald_path(1); }\n"),
        (unused_values, "src/data/pairs.c", "int f(c) { return c->seed + c.data.rows + ALD_ONE; }\n"),
        (unread_keys, "src/data/pairs.c", "int f(c) { return c.data.rows + ALD_ONE + ALD_TWO; }\n"),
        (unread_keys, "src/data/pairs.c", "int f(c) { return c.seed + c.rows + ALD_ONE + ALD_TWO; }\n"),
        (unread_keys, "include/ald/config/config.h", "/* Layer: config. */\nenum { ALD_ONE, ALD_TWO };\n"
                                                     "struct {\n struct { int a, rows[2]; } data;\n};\n"
                                                     "#define KEYS(K) K(REAL, data.rows, 2)\n"),
        (missing_pages, "src/base/json.c", "/* DESIGN.md */\n#include <jansson.h>\n"),
        (missing_pages, "src/data/README.md", "As src/num/README.md.\n"),
        (missing_files, "src/data/README.md", "As in `data/rows.c`.\n"),
        (missing_files, "src/data/README.md", "See [there](../num/gone.c#how).\n"),
        (missing_files, "README.md", "Run `tools/gone.sh --all`.\n"),
        (sources_without_opening, "src/base/file.c", '#include "ald/base/file.h"\n/* Files.\n * So. */\n'),
        (sources_without_opening, "src/base/file.c", "/* Files. */\n"),
        (long_pages, "README.md", "A line.\n" * 171),
        (long_pages, "src/data/README.md", "A line.\n" * 111),
        (long_functions, "src/base/file.c", "int f(int a)\n{\n" + "    a += 1;\n" * 58 + "}\n"),
        (long_signatures, "src/base/file.c", "int f(int a, int b, int c,\n      int d, int (*e)(int, int),"
                                             " int f, /* (g, */ int g)\n{\n    return a;\n}\n"),
        (scattered_encodings, "src/base/file.c", 'const char *s = "few"; /* "many" */\n'),
        (compared_choices, "src/base/file.c", 'int f(s) { return strcmp(s, "many") == 0; }\n'),
        (compared_choices, "src/base/file.c", "int f(c) { return strcmp(c->config->kind, s) != 0; }\n"),
        (second_loops, "src/data/pairs.c", "/* c->seed + c.data.rows + ALD_ONE */\n" + "int f(c) "
         "{ ald_engine_update(c); return c->seed + c.data.rows + ALD_ONE + ALD_TWO; }\n"),
        (stray_ends, "src/base/file.c", "void f(void) { exit(3); }\n"),
        (stray_ends, "src/train/loss.c", "void f(void) { MPI_Abort (0, 1); }\n"),
    ]
    for number, (rule, path, text) in enumerate([(None, None, None)] + bad):
        root = os.path.join(folder, str(number))
        more = {path: text} if path else {}
        if rule is scattered_encodings:
            more.update({f"src/base/{name}.c": text for name in "abcdef"})
        if rule is include_circles:
            more["src/num/gemm_impl2_impl.h"] = '#include "num/gemm_impl.h"\n'
        for name, content in {**good, **more}.items():
            source = name.startswith("src/") and name.endswith(".c")
            tried = name == path and rule is sources_without_opening
            opening = "/* What it does.\n * Why so. */\n" if source and not tried else ""
            harness.write(os.path.join(root, name), opening + content)
        found = [r for r in CHECKS if r(Tree(root))]
        assert rule in found if rule else not found, f"{number}: {path}: {found}"


if __name__ == "__main__":
    harness.main([*map(check_of, CHECKS), the_page_of_the_configuration_is_true,
                  the_encodings_are_those_of_the_table, the_page_of_the_field_names_tests,
                  rules_find_what_they_forbid, circles_are_found, calls_go_one_way])
