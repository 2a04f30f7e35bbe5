# SPDX-License-Identifier: MIT
"""Several interpreters in one process, each with its own lock (CPython 3.12 and later): a loop waits for the lock of its own
one, and whoever has that is named."""

import pytest

from conftest import PROGRAMS
from test_interp_python import look, pystack_dump, settle, stack_of, start  # noqa: F401


@pytest.mark.parametrize("version,idle", [("3.12", 0), ("3.13", 0), ("3.14", 0), ("3.15", 20),
                                          pytest.param("3.13", 20, marks=pytest.mark.all),
                                          pytest.param("3.14", 80, marks=pytest.mark.all)])
def test_a_loop_waits_for_the_lock_of_its_interpreter(python_of, run, report, version, idle):
    done = run(python_of(version), PROGRAMS / "subinterpreters.py", idle)
    # 3.12.1 dies of an invalid free() once it has ended such an interpreter, without us too
    assert done.returncode == 0 or (version == "3.12" and done.returncode == 134), done.stderr
    process = next(p for p in report(done.record)["processes"] if p["loops"])
    outer = {l["tid"] for l in process["loops"] if l["thread"] == "MainThread"}
    guests = {l["tid"] for l in process["loops"]} - outer
    assert len(outer) == 1 and guests
    waits = [s for stall in process["stalls"] if stall["tid"] in guests for s in stall["segments"]
             if s["cause"] == "gil" and s["seconds"] > 0.01]
    assert len(waits) >= 4 and len(guests) == (1 if done.returncode else 2)
    assert all(any(stall["tid"] == tid for stall in process["stalls"]) for tid in guests)
    assert {(s["culprit"]["thread"], s["culprit"]["function"]) for s in waits} == {("inner-heavy", "heavy")}
    assert not [s for stall in process["stalls"] if stall["tid"] in outer for s in stall["segments"]
                if s["cause"] == "gil" and s["culprit"]["thread"] == "inner-heavy"]


ENTER = """
import concurrent.interpreters
def enter():
    concurrent.interpreters.create().exec('''
import time
def inside():
    print("ready", flush=True)
    time.sleep(1000)
inside()
''')
enter()
"""


@pytest.mark.parametrize("version", ["3.14", "3.15"])
def test_the_frames_of_a_thread_that_entered_another_interpreter(python_of, start, look, version):
    """Those in there, then those that led there."""
    process = start([python_of(version), "-c", ENTER])
    answer = settle(look, process.pid, lambda a: "inside" in [f["function"] for t in a["threads"] for f in t["stack"]])
    functions = [f["function"] for f in stack_of(answer, process.pid)["stack"]]
    assert functions[:2] == ["inside", "<module>"] and functions[-2:] == ["enter", "<module>"], functions
    assert len(answer["locks"]) == 2
