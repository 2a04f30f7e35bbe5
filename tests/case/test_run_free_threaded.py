# SPDX-License-Identifier: MIT
"""CPython built without the GIL, where pyenv has one (3.13.0t, 3.14.0t ...): recognised, nothing told of a GIL, its pauses
and locks explained. What pretends to be such a build (test_interp_python.py) is tested everywhere."""

import json

import pytest

from conftest import PROGRAMS, free_threaded_pythons
from test_interp_python import look, marked, pystack_dump, settle, start  # noqa: F401

SICK = PROGRAMS / "pystack_sick.py"
NONE = not free_threaded_pythons()
pytestmark = pytest.mark.skipif(NONE, reason="no free-threaded Python here")


@pytest.fixture(params=sorted(free_threaded_pythons()))
def python(request):
    return free_threaded_pythons()[request.param]


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "app.py"
        path.write_text(text)
        return path

    return write


def segments(document, cause):
    return [s for stall in document["processes"][0]["stalls"] for s in stall["segments"]
            if s["cause"] == cause and s["seconds"] > 0.01]


WORLD = """
import asyncio, gc, threading, time

def collector():
    for _ in range(3):
        gc.collect()
        time.sleep(0.1)

async def main():
    kept = [[i] for i in range(1500000)]
    gc.collect()
    await asyncio.sleep(0.01)
    thread = threading.Thread(target=collector, name="collector")
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.002)

asyncio.run(main())
"""


def test_a_pause_of_all_threads(python, script, run, report):
    document = report(run(python, script(WORLD)).record)
    process = document["processes"][0]
    assert process["runtime"]["free_threaded"] is True and process["runtime"]["switch_interval_s"] is None
    paused = [s for s in segments(document, "lock") if s["lock"]["name"] == "stop-the-world"]
    assert paused
    assert {(s["culprit"]["thread"], s["culprit"]["function"]) for s in paused} == {("collector", "collector")}
    assert {h["thread"] for s in paused for h in s["holders"]} == {"collector"}
    cause = next(c for c in process["loops"][0]["causes"] if c["cause"] == "lock" and c["culprit"]["thread"] == "collector")
    assert cause["why"].startswith("collector stopped all threads") and "gc.freeze()" in cause["advice"]


THREADS = """
import asyncio, threading, time

def work(until):
    while time.monotonic() < until:
        sum(i * i for i in range(1000))

async def main():
    for _ in range(4):
        threading.Thread(target=work, args=(time.monotonic() + 1.5,)).start()
    for _ in range(10):
        await asyncio.sleep(0.02)
        time.sleep(0.05)

asyncio.run(main())
"""


def test_no_gil_is_told_where_there_is_none(python, script, run, report):
    document = report(run(python, script(THREADS)).record)
    assert not segments(document, "gil")
    assert len(segments(document, "syscall")) >= 10
    assert all(t["gil"] is None for t in document["processes"][0]["threads"])


def test_locks_have_their_names_and_holders(python, run, report, tmp_path):
    done = run(python, PROGRAMS / "lock_names.py", tmp_path)
    assert done.returncode == 0, done.stderr
    told = {s["lock"]["name"]: (s["holders"][0]["thread"] if s["holders"] else None) for s in segments(report(done.record), "lock")}
    expected = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [(name, holder, told.get(name)) for name, holder, *_ in expected if told.get(name, "nothing") != holder]
    assert len(wrong) <= 2, wrong  # a machine that is busy may let a thread go on before it was looked at


def test_frames_of_threads_that_run_their_own_copy_of_the_code(python, start, look):
    """A thread's instructions lie in a copy of its own; its lines are told all the same."""
    process = start([python, SICK, "hold"])
    name = "Outer.Inner.work.<locals>.<lambda>"
    answer = settle(look, process.pid, lambda a: any(t["stack"] and t["stack"][0]["function"] == name for t in a["threads"]))
    assert answer["locks"] == [] and answer["free_threaded"] is True
    worker = next(t for t in answer["threads"] if t["name"] == "worker-ü")
    line = marked()
    assert all(f["line"] == line[f["function"]] for f in worker["stack"] if f["function"] in line), worker
    assert len([f for f in worker["stack"] if f["function"] in line]) >= 7
