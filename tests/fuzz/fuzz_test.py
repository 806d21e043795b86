#!/usr/bin/python3
"""The fuzz programs over their first inputs and some hundred changed ones each, under gcc's
sanitizers where that build is there. tests/fuzz.sh runs them for long, under clang's fuzzer."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403
import seeds  # noqa: E402

ROUNDS = {"shard": 20, "config": 80, "tokenizer": 120}  # of the others 250


def smoke_of(target):
    def smoke(folder):
        place = os.path.join(folder, target)
        seeds.main([target, place, f"{place}.dict"])
        checked = os.path.join(os.path.dirname(BUILD), "sanitize", "tests", f"smoke_{target}")
        program = checked if os.path.exists(checked) else os.path.join(BUILD, "tests", f"smoke_{target}")
        done = subprocess.run([program, place, str(ROUNDS.get(target, 250))], capture_output=True, text=True,
                              errors="replace", env=environment({"TMPDIR": folder,
                                                                 "ASAN_OPTIONS": "detect_leaks=0"}))
        assert done.returncode == 0, f"{program}: {done.returncode}\n{done.stdout}{done.stderr[-3000:]}"
    smoke.label = target
    return smoke


if __name__ == "__main__":
    main([smoke_of(target) for target in seeds.SEEDS])
