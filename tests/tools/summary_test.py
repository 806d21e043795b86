#!/usr/bin/python3
"""What tests/run.sh says of its programs, whatever way they end: real runs of ctest, counted."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

SUMMARY = os.path.join(harness.ROOT, "tests", "common", "summary.py")
# Program: what it runs, then its line in the summary and the lines below (None: any).
CASES = {
    "ours": ("echo 4 passed, 0 failed", "ours: 4 passed, 0 failed", []),
    "earlier": ("echo 9 passed, 0 failed; echo 4 passed, 0 failed", "earlier: 4 passed, 0 failed", []),
    "skips": ("echo a: skipped: no room; echo 1 passed, 0 failed, 1 skipped",
              "skips: 1 passed, 0 failed, 1 skipped", ["a: skipped: no room"]),
    "fails": ("echo why; echo; echo 3 passed, 2 failed; exit 1", "fails: 3 passed, 2 failed",
              ["why", "", "3 passed, 2 failed"]),
    "cmocka": ("echo '[  PASSED  ] 5 test(s).'; echo '[  SKIPPED ] 1 test(s), listed below:'",
               "cmocka: 5 passed, 0 failed, 1 skipped", []),
    "cmocka_fails": ("echo '[  PASSED  ] 5 test(s).'; echo '[  FAILED  ] 1 test(s)'; exit 1",
                     "cmocka_fails: 5 passed, 1 failed", None),
    "ends_badly": ("echo 7 passed, 0 failed; exit 3", "ends_badly: 7 passed, 1 failed",
                   ["7 passed, 0 failed"]),
    "crashes": ("printf half; kill -SEGV $$", "crashes: 0 passed, 1 failed, Exception: SegFault",
                ["half"]),
    "counts_nothing": ("echo all is well", "counts_nothing: 0 passed, 1 failed", ["all is well"]),
    "hangs": ("echo begun; exec sleep 50", "hangs: 0 passed, 1 failed, Timeout", ["begun"]),
}
TOTAL = "29 passed, 7 failed, 2 skipped"


def build(folder, names):
    """A folder in which ctest knows the programs."""
    lines = ["cmake_minimum_required(VERSION 3.25)", "project(cases NONE)", "enable_testing()"]
    for name in names:
        script = harness.write(os.path.join(folder, f"{name}.sh"), CASES[name][0] + "\n")
        lines += [f"add_test(NAME {name} COMMAND sh {script})",
                  f"set_tests_properties({name} PROPERTIES TIMEOUT 2)"]
    harness.write(os.path.join(folder, "CMakeLists.txt"), "\n".join(lines))
    subprocess.run(["cmake", "-S", folder, "-B", folder], check=True, capture_output=True)
    return folder


def ctest(folder, *options):
    done = subprocess.run(["ctest", "--test-dir", folder, "-V", *options], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout


def summary(text):
    done = subprocess.run([harness.PYTHON, SUMMARY], input=text, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def blocks(lines):
    """{program's line without its seconds: the lines below}, and the last line of all."""
    out, last = {}, None
    for line in lines[:-1]:
        if line.split(":")[0] in CASES and line.endswith(" s)"):
            last = out.setdefault(line[:line.rindex(" (")], [])
        else:
            last.append(line)
    return out, lines[-1]


def every_way_to_end_is_counted(folder):
    for options in ((), ("-j3",)):
        code, lines = summary(ctest(build(os.path.join(folder, "all"), CASES), *options))
        found, last = blocks(lines)
        assert code == 1 and last == TOTAL, lines
        assert sorted(found) == sorted(line for _, line, _ in CASES.values()), lines
        for name, (_, line, below) in CASES.items():
            assert below is None or found[line] == below, f"{name}: {found[line]}"


def several_runs_are_added_up(folder):
    good = ctest(build(os.path.join(folder, "good"), ["ours", "skips"]))
    none = ctest(folder + "/good", "-R", "nothing")
    code, lines = summary(good + none + good)
    assert code == 0 and lines[-1] == "10 passed, 0 failed, 2 skipped", lines


def what_never_ran_is_a_failure(folder):
    path = build(os.path.join(folder, "few"), ["ours", "earlier"])
    whole = ctest(path)
    for text in ("", ctest(path, "-R", "nothing"), whole[:whole.index("2/2 Test")]):
        code, lines = summary(text)
        assert code == 1 and ", 1 failed" in lines[-1], lines
    assert "4 passed" in lines[-1], lines


if __name__ == "__main__":
    harness.main([every_way_to_end_is_counted, several_runs_are_added_up,
                  what_never_ran_is_a_failure])
