#!/usr/bin/python3
"""What `cmake --install` leaves: the program, its manual page and completion, which are made from the
program's own tables, the jobs, the tools; and what other ways of installing say of them."""
import glob
import os
import re
import subprocess
import sys
import types

import yaml

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

SPACK = "tools/spack/spack_repo/aligndistil"


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def version():
    return re.search(r"project\(aligndistil VERSION ([\d.]+)", read(harness.ROOT, "CMakeLists.txt")).group(1)


def configuration_keys():
    """(kind, path, choices) of every key, from the table in C."""
    found = re.findall(r"\bK\((\w+), ([\w.]+), \"[^\"]*\",\s*[^,]+, [^,]+, (\w+),",
                       read(harness.ROOT, "include/ald/config/config.h"))
    assert len(found) > 80, len(found)
    return found


def choices(name):
    """The texts of a list of choices, from the table in C."""
    table = re.search(rf"#define ALD_{name}\(C\)(.*?[^\\])\n",
                      read(harness.ROOT, "include/ald/config/choices.h"), re.S).group(1)
    return re.findall(r'C\(\w+, \d+, "([^"]+)"\)', table)


def call(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True,
                          env=harness.environment(), **options)


def commands():
    """The program's commands."""
    found = re.findall(r"^  (\w+) +\w", call(harness.BINARY, "--help").stdout, re.M)
    assert len(found) >= 9 and "bench" in found, found
    return found


def install(folder):
    """PREFIX with all of it; the same prefix for every case."""
    prefix = os.path.join(folder, "prefix")
    call("cmake", "--install", harness.BUILD, "--prefix", prefix)
    # A page that is older than the program is one that the build forgot.
    assert os.path.getmtime(f"{harness.BUILD}/aligndistil.man") >= os.path.getmtime(harness.BINARY)
    harness.make_desk(folder)
    harness.make_model(folder, "policy")


def the_installed_program_runs(folder):
    """Without the build folder's libraries and files, from another folder."""
    program = os.path.join(folder, "prefix", "bin", "aligndistil")
    assert call(program, "--version").stdout == f"aligndistil {version()}\n"
    text = call(program, "tokenize", f"{folder}/policy", f"{folder}/desk/eval.jsonl", cwd="/").stdout
    assert len(text.split()) > 20, text
    libraries = call("ldd", program).stdout
    assert "not found" not in libraries and "openblas-openmp" in libraries, libraries


def files_are_where_they_belong(folder):
    """Every file of jobs/ with its mode, licence and page, the tools and what they import."""
    share = os.path.join(folder, "prefix", "share")
    for name in os.listdir(os.path.join(harness.ROOT, "jobs")):
        ours, theirs = os.path.join(harness.ROOT, "jobs", name), f"{share}/aligndistil/jobs/{name}"
        assert read(ours) == read(theirs), name
        assert os.access(ours, os.X_OK) == os.access(theirs, os.X_OK), name
    for name in ("LICENSE", "README.md"):
        assert read(harness.ROOT, name) == read(share, "doc", "aligndistil", name), name
    tools = glob.glob(f"{share}/aligndistil/tools/*.py")
    assert len(tools) >= 9, tools
    for tool in tools:
        if os.access(tool, os.X_OK):
            assert "usage" in call(harness.PYTHON, tool, "--help").stdout, tool
    call(harness.PYTHON, "-c", "import aligndistil_shards", cwd=f"{share}/aligndistil/tools")


def the_installed_jobs_find_the_program(folder):
    """By the site.sh beside them, by a copy of it in a user's folder, and by one that is empty."""
    prefix = os.path.join(folder, "prefix")
    root = f"{prefix}/share/aligndistil"
    harness.write(f"{folder}/site/site.sh", read(root, "jobs/site.sh"))
    for site in (f"{root}/jobs/site.sh", f"{folder}/site/site.sh", harness.write(f"{folder}/site/empty.sh", "")):
        done = call("env", "-u", "ALIGNDISTIL", f"ALD_ROOT={root}", f"ALD_SITE={site}", "ALD_CONFIG=none", "PATH=/usr/bin:/bin", "sh", "-euc",
                    '. "$ALD_ROOT/jobs/common.sh"; command -v "$ALIGNDISTIL"; "$ALIGNDISTIL" --version')
        path, said = done.stdout.splitlines()
        assert os.path.realpath(path) == f"{prefix}/bin/aligndistil" and said == f"aligndistil {version()}", done
    harness.write(f"{folder}/site/align.cfg", read(root, "jobs/align.cfg"))
    done = call("env", f"ALD_SITE={folder}/site/site.sh", f"{root}/jobs/submit.sh", f"{folder}/site/align.cfg", "--dry-run")
    assert "/jobs/sft.sh\n    #!/bin/sh\n" in done.stdout and "would be submitted: sft <sft>, " in done.stdout, done


def the_manual_page_is_whole(folder):
    """groff has nothing to say of it, and it names every command, option and key, with its choices."""
    page = os.path.join(folder, "prefix", "share", "man", "man1", "aligndistil.1")
    done = call("groff", "-man", "-Tutf8", "-ww", "-P-cbou", page)
    assert done.stderr == "", done.stderr
    text = done.stdout
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "CONFIGURATION", "EXIT STATUS"):
        assert re.search(rf"^{heading}$", text, re.M), heading
    assert f"aligndistil {version()}" in text
    assert re.findall(r"^ {3}(\w+)$", text, re.M) == commands(), "another list of commands"
    options, keys = re.split(r"^(?:OPTIONS|CONFIGURATION|EXIT STATUS)$", text, flags=re.M)[1:3]
    for command in commands():
        for option in re.findall(r"^  (-\S+|[A-Z_]+)\b", call(harness.BINARY, command, "--help").stdout, re.M):
            found = re.findall(rf"^ +{re.escape(option)}\b(.*?)\n\n", options, re.M | re.S)
            assert any(re.search(rf"\[[^]]*\b{command}\b", one) for one in found), (command, option)
    plain = re.sub(r"\s+", "", keys)
    for _, key, names in configuration_keys():
        assert re.search(rf"^ +{re.escape(key)}\b", keys, re.M), key
        assert names == "NONE" or "(" + "|".join(choices(names)) + ")" in plain, names
    code = re.findall(r"(\d+)\s+\w", text.split("EXIT STATUS")[1])
    assert code[:6] == ["0", "2", "3", "4", "5", "75"], code


def complete(folder, *words, cut=True):
    """What bash offers for the last word; `cut`: words are cut at "=" as it does by itself."""
    if cut:
        words = [part for word in words for part in (re.findall(r"=|[^=]+", word) or [""])]
    script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _aligndistil; ' \
             'printf "%s\\n" "${COMPREPLY[@]}"'
    file = os.path.join(folder, "prefix", "share", "bash-completion", "completions", "aligndistil")
    done = call("bash", "-c", script, file, *words, cwd=folder)
    assert done.stderr == "", done.stderr
    return done.stdout.split()


def completion_knows_the_tables(folder):
    """Commands, options of each, keys, values of keys and options, files."""
    assert complete(folder, "aligndistil", "s") == ["sft", "score"]
    assert set(commands()) < set(complete(folder, "aligndistil", ""))
    for command in commands():
        options = re.findall(r"^  (-\S+)", call(harness.BINARY, command, "--help").stdout, re.M)
        assert complete(folder, "aligndistil", command, "-") == [*options, "--help"], command
    keys = configuration_keys()
    assert complete(folder, "aligndistil", "score", "--set", "") == [key + "=" for _, key, _ in keys]
    for kind, key, names in keys:
        if kind in ("CHOICE", "BOOL"):
            expected = choices(names) if kind == "CHOICE" else ["true", "false"]
            assert complete(folder, "aligndistil", "score", "--set", key + "=") == expected, key
    assert complete(folder, "aligndistil", "distill", "--role", "s") == ["scorer"]
    assert complete(folder, "aligndistil", "inspect", "--row", "") == []


def completion_knows_files_and_cut_words(folder):
    """Behind -c, for paths, and whether or not bash cuts words at "="."""
    harness.write(f"{folder}/mine.cfg", "")
    assert complete(folder, "aligndistil", "dpo", "-c", "mi") == ["mine.cfg"]
    assert complete(folder, "aligndistil", "inspect", "--verify", "mi") == ["mine.cfg"]
    assert complete(folder, "aligndistil", "dpo", "--set", "data.train=mi") == ["mine.cfg"]
    assert complete(folder, "aligndistil", "dpo", "--set", "dpo.loss=td") == ["tdpo1", "tdpo2"]
    whole = complete(folder, "aligndistil", "dpo", "--set", "dpo.loss=td", cut=False)
    assert whole == ["dpo.loss=tdpo1", "dpo.loss=tdpo2"], whole
    assert complete(folder, "aligndistil", "dpo", "--set", "data.train=mi", cut=False) == \
        ["data.train=mine.cfg"]


def the_citation_is_of_this_version(folder):
    """CITATION.cff has what its format requires."""
    citation = yaml.safe_load(read(harness.ROOT, "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == version() and citation["license"] == "Apache-2.0", citation
    manual = subprocess.run([harness.BINARY, "--help=man"], capture_output=True, text=True, check=True).stdout
    assert f'"{citation["date-released"]}"' in manual.splitlines()[0], manual.splitlines()[0]
    paper, = citation["references"]
    assert paper["type"] == "conference-paper" and len(paper["authors"]) == 6, paper


# What CMakeLists.txt looks for, and the package of Spack that has it.
PACKAGES = {"PkgConfig": "pkgconfig", "MPI": "mpi", "OpenSSL": "openssl", "jansson": "jansson",
            "libconfig": "libconfig", "libpcre2-8": "pcre2", "libutf8proc": "utf8proc", "zlib": "zlib-api",
            "hdf5-serial": "hdf5", "openblas": "openblas", "cmocka": "cmocka"}


def recipe(prefix):
    """The package of the recipe, as Spack reads it, and what it says: {directive: [arguments]}."""
    said = {}

    class Executable:
        def __init__(self, path):
            self.path = path

        def __call__(self, *arguments, output, error):
            return call(self.path, *arguments).stdout

    def directive(name):
        return lambda *values, **options: said.setdefault(name, []).append((values, options))

    class When:
        def __init__(self, condition):
            pass
        __enter__ = __exit__ = lambda *ignored: None

    names = {name: directive(name) for name in ("license", "version", "variant", "depends_on")}
    spack = {"spack": {}, "spack.package": {**names, "Executable": Executable, "when": When},
             "spack_repo": {}, "spack_repo.builtin": {}, "spack_repo.builtin.build_systems": {},
             "spack_repo.builtin.build_systems.cmake": {"CMakePackage": object}}
    for name, content in spack.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(content)
    space = {}
    exec(read(harness.ROOT, SPACK, "packages/aligndistil/package.py"), space)
    package = space["Aligndistil"]()
    package.prefix = types.SimpleNamespace(bin=types.SimpleNamespace(aligndistil=f"{prefix}/bin/aligndistil"))
    package.spec = types.SimpleNamespace(version=version())
    return package, said


def the_recipe_needs_what_the_build_needs(folder):
    """Spack's list of packages is that of CMakeLists.txt, and its stand-alone tests pass here."""
    assert yaml.safe_load(read(harness.ROOT, SPACK, "repo.yaml"))["repo"]["namespace"] == "aligndistil"
    package, said = recipe(os.path.join(folder, "prefix"))
    build = read(harness.ROOT, "CMakeLists.txt")
    wanted = set(re.findall(r"find_package\((\w+)", build)) - {"OpenMP"} | \
        set(re.findall(r"pkg_\w+\(\w+ \w+ IMPORTED_TARGET ([\w-]+)", build)) | \
        set(re.findall(r"find_library\(\w+ (\w+)", build))
    assert wanted == set(PACKAGES), wanted ^ set(PACKAGES)
    needed = {re.match(r"[\w-]+", values[0]).group() for values, options in said["depends_on"]
              if options.get("type") != "run"}
    assert needed == set(PACKAGES.values()) | {"c", "cmake"}, needed
    assert said["version"] == [((version(),), {})] and said["license"] == [(("Apache-2.0",), {})]
    tests = [name for name in dir(package) if name.startswith("test_")]
    assert tests == ["test_model", "test_version"], tests
    here = os.getcwd()
    os.chdir(folder)
    try:
        for name in tests:
            assert getattr(package, name).__doc__, name
            getattr(package, name)()
    finally:
        os.chdir(here)


def the_image_has_the_checkout(folder):
    """The Apptainer definition copies what the build takes, and its scripts are shell."""
    text = read(harness.ROOT, "tools", "apptainer", "aligndistil.def")
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", text, re.M | re.S))
    copied = [line.split() for line in sections["files"].splitlines() if line.strip()]
    for source, target in copied:
        assert os.path.exists(os.path.join(harness.ROOT, source)), source
        assert target == f"/opt/aligndistil/{source}", target
    assert {"CMakeLists.txt", "LICENSE", "README.md", "include", "src", "jobs", "tools"} == \
        {source for source, _ in copied}, copied
    for name in ("post", "test", "runscript", "environment"):
        subprocess.run(["sh", "-n"], input=sections[name], text=True, check=True)
    assert "tools/setup.sh" in sections["post"] and "cmake --install" in sections["post"]


if __name__ == "__main__":
    harness.main([the_installed_program_runs, files_are_where_they_belong, the_installed_jobs_find_the_program,
                  the_manual_page_is_whole,
                  completion_knows_the_tables, completion_knows_files_and_cut_words,
                  the_citation_is_of_this_version, the_recipe_needs_what_the_build_needs,
                  the_image_has_the_checkout], install)
