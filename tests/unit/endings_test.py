#!/usr/bin/python3
"""Ends of a job: deadlines, messages that can't be carried, failures of MPI, signals. On 1 to 3 ranks the last one
ends all of them, with one line that says why and the contract's exit code."""
import os
import re
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import harness  # noqa: E402

PROGRAM = os.path.join(harness.BUILD, "tests", "endings")
USUAL = {"OMPI_MCA_odls_base_sigkill_timeout": "1"}  # seconds that mpirun gives the others, as for users
INPUT, RESOURCE, INTERNAL, TERMINATED = 3, 4, 5, (-15, 128 + 15)  # the latter alone, and as mpirun has it
# What endings.c does: exit code, error line ({} is the last rank), least seconds.
ENDINGS = {
    "receive": (INTERNAL, "rank {} waited 1 s for rank 0, in a message of tag 11 (runtime.deadline)", 1.0),
    "finish": (INTERNAL, "rank {} waited 1 s for rank 0, in a message of tag 12 (runtime.deadline)", 1.0),
    "mpi_fails": (INTERNAL, "rank {}: MPI failed: MPI_ERR_COUNT: invalid count argument", 0),
    "failing_send": (INTERNAL, "debug.fail: message_send, time 2", 0),
    "failing_receive": (INTERNAL, "debug.fail: message_receive, time 1", 0),
    "give_up": (RESOURCE, "rank {} gives up", 0),
    "terminate": (TERMINATED, None, 0),
    "catch_and_terminate": (0, None, 0),
}
# On more than one rank: the last never comes where the others are. Rank 0 says so.
WAITS = {
    "stay_away": (INTERNAL, "rank 0 waited 1 s for the others, in MPI_Barrier (runtime.deadline)", 1.0),
    "stay_away-agree": (INTERNAL, "rank 0 waited 1 s for the others, in an agreement (runtime.deadline)",
                        1.0),
}


def check_of(name, ranks):
    def test(folder):
        code, line, least = {**ENDINGS, **WAITS}[name]
        done = harness.finish(harness.start([name], ranks, program=PROGRAM, env=USUAL), timeout=30)
        assert done.code in (code if isinstance(code, tuple) else (code,)), done
        assert done.errors == ([line.format(ranks - 1)] if line else []), done
        assert least <= done.seconds < least + 15, done
    test.label = f"{name} on {ranks}"
    return test


def a_killed_rank_is_named(folder):
    """Where the launcher lets the others wait: Slurm's, unless told otherwise."""
    for ranks in (2, 3, 6):
        done = harness.finish(harness.start(["be_killed"], ranks, program=PROGRAM,
                                            env={**USUAL, "OMPI_MCA_orte_enable_recovery": "1"}), timeout=30)
        assert len(done.errors) == 1 and done.seconds < 10, done
        assert re.fullmatch(rf"rank {ranks - 1} \(process \d+\) is gone: killed, or out of memory",
                            done.errors[0]), done


def an_end_that_mpi_keeps_waiting(folder):
    """A thread of MPI doesn't hear that it is to end."""
    alone = {"OMPI_MCA_ess_singleton_isolated": "1", "OMPI_MCA_orte_create_session_dirs": "0"}
    done = harness.finish(harness.start(["enter_late"], program=PROGRAM, env=alone), timeout=50)
    assert done.code == INPUT and done.errors == [] and 19 < done.seconds < 45, done


def one_rank_says_it(folder):
    """A launcher that gives each rank 8 s for its end, and two ranks whose patience ends."""
    done = harness.finish(harness.start(["stay_away"], 6, program=PROGRAM,
                                        env={"OMPI_MCA_odls_base_sigkill_timeout": "8"}), timeout=30)
    assert done.code == INTERNAL, done
    assert done.errors == ["rank 0 waited 1 s for the others, in MPI_Barrier (runtime.deadline)"], done
    assert done.seconds < 25, done  # the launcher's 8 s once, not for each of them


if __name__ == "__main__":
    harness.main([a_killed_rank_is_named, an_end_that_mpi_keeps_waiting, one_rank_says_it] +
                 [check_of(name, ranks) for name in ENDINGS for ranks in (1, 2, 3)] +
                 [check_of(name, ranks) for name in WAITS for ranks in (2, 3)])
