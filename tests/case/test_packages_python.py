# SPDX-License-Identifier: MIT
"""Real event loops and frameworks of Python's, as Debian packages them: what makes them stall is named by function,
line and thread; healthy ones yield nothing."""

import pytest

from conftest import DEBIAN, PROGRAMS
from test_loops import heaviest, ills, only

PACKAGES = PROGRAMS / "packages"
FRAMEWORKS = [("asyncio", []), ("asyncio", ["uvloop"]), ("trio", []), ("gevent", []), ("tornado", []), ("aiohttp", []),
              ("twisted", ["epoll"]), ("twisted", ["poll"]), ("twisted", ["select"]), ("twisted", ["asyncio"])]
# the ill's function, cause, thread
SICK = {"sleepy": ("syscall", "MainThread"), "compute": ("cpu", "MainThread"), "ask": ("syscall", "MainThread"),
        "hog": ("gil", "hog")}


def line_of(function):
    """The first line of its body."""
    lines = (PACKAGES / "ills.py").read_text().splitlines()
    return next(i for i, line in enumerate(lines, 2) if line == f"def {function}():")


def program(run, report, name, *arguments):
    done = run(DEBIAN, PACKAGES / f"run_{name}.py", *arguments)
    assert done.returncode == 0, done.stderr
    return only(report(done.record))


@pytest.mark.parametrize("name, arguments", FRAMEWORKS, ids=lambda x: " ".join(x) if isinstance(x, list) else x)
def test_what_stalls_a_framework(run, report, name, arguments):
    process = program(run, report, name, *arguments)
    loop, = process["loops"]
    assert loop["thread"] == "MainThread"
    found = {}
    for stall in ills(process):
        segment = heaviest(stall)
        found[segment["culprit"]["function"]] = stall, segment
    assert set(found) == set(SICK)
    for function, (cause, thread) in SICK.items():
        stall, segment = found[function]
        assert (segment["cause"], segment["culprit"]["thread"]) == (cause, thread), function
        assert segment["culprit"]["file"] == str(PACKAGES / "ills.py")
        assert line_of(function) <= segment["culprit"]["line"] <= line_of(function) + 2
        assert segment["seconds"] > 0.09 or cause in ("cpu", "gil")


@pytest.mark.parametrize("name, arguments", FRAMEWORKS, ids=lambda x: " ".join(x) if isinstance(x, list) else x)
def test_a_healthy_framework(run, report, name, arguments):
    process = program(run, report, name, *arguments, "healthy")
    loop, = process["loops"]
    assert loop["ticks"] > 20
    assert ills(process) == []


def test_two_loops_in_two_threads(run, report):
    process = program(run, report, "asyncio", "two")
    told = {(heaviest(s)["cause"], heaviest(s)["culprit"]["thread"], heaviest(s)["culprit"]["function"])
            for s in ills(process)}
    # what computes may keep the GIL from the other loop as well, if it has no CPU
    assert {("syscall", "second", "sleepy"), ("cpu", "MainThread", "compute")} <= told
    assert {l["thread"] for l in process["loops"]} == {"MainThread", "second"}


@pytest.mark.parametrize("how", ["asyncio", "uvloop", "gevent", "trio", "run"])
def test_work_between_two_runs_is_no_stall(run, report, how):
    done = run(DEBIAN, PACKAGES / "again.py", how)
    assert done.returncode == 0, done.stderr
    assert ills(only(report(done.record))) == []
