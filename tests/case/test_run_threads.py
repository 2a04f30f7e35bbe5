# SPDX-License-Identifier: MIT
"""Threads: what they are called, however short they live, and the places that they give back."""

import re

import pytest

from conftest import DEBIAN, PROGRAMS

SHORT = """
import asyncio, threading, time
async def main():
    threading.Thread(target=time.sleep, args=(0.2,), name="my-worker").start()
    for _ in range(30):
        await asyncio.sleep(0.005)
asyncio.run(main())
"""

LOOPS = """
import asyncio, sys, threading, time
async def main(stalls):
    for i in range(12):
        await asyncio.sleep(0.005)
        if stalls and i == 8:
            time.sleep(0.05)
stalls = [word == "stalls" for word in sys.argv[1:]]
threads = [threading.Thread(target=lambda s=s: asyncio.run(main(s)), name=f"loop-{i}") for i, s in enumerate(stalls)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def said(done):
    return re.sub(r"\s+", " ", done.stderr)


def test_a_run_that_is_short_and_healthy_has_pythons_names(run, report):
    process, = report(run(DEBIAN, "-c", SHORT).record)["processes"]
    assert {t["name"] for t in process["threads"]} == {"MainThread", "my-worker"}
    assert [l["thread"] for l in process["loops"]] == ["MainThread"]


def test_loop_names_no_thread(run, report):
    done = run(DEBIAN, "-c", SHORT, options=["--loop", "MianThread"])
    assert done.returncode == 0
    assert "No thread is called MianThread, as --loop has it; threads seen: " in said(done)
    told = re.search(r"threads seen: (.*?)\.", said(done))[1].split(", ")
    assert sorted(told) == ["MainThread", "my-worker"]
    assert report(done.record)["processes"][0]["loops"] == []


def test_loop_names_a_thread_that_runs_none(run):
    assert "The thread my-worker, which --loop names, ran no loop." in said(
        run(DEBIAN, "-c", SHORT, options=["--loop", "my-worker"]))


def test_loop_names_one(run, report):
    done = run(DEBIAN, "-c", SHORT, options=["--loop", "MainThread"])
    assert "--loop" not in said(done)
    assert len(report(done.record)["processes"][0]["loops"]) == 1


@pytest.mark.parametrize("loops, sentence", [
    (["stalls", "stalls"], "Both of its loops stalled, "), (["stalls", "not"], "Of its 2 loops 1 stalled, "),
    (["stalls"] * 3, "All 3 of its loops stalled, ")])
def test_how_many_loops_stalled(loops, sentence, run):
    assert sentence in said(run(DEBIAN, "-c", LOOPS, *loops, options=["--threshold", "40ms"]))


def test_cancelled_threads_give_their_places_back(run, cc):
    """More of them than there is room for at once."""
    done = run(cc(PROGRAMS / "cancelled.c", "-pthread"), 4000)
    assert done.returncode == 0 and "not recorded" not in said(done)


BURN = """
import asyncio, threading, time
def burn():
    end = time.thread_time() + 0.4
    while time.thread_time() < end:
        pass
async def main():
    thread = threading.Thread(target=burn, name="burner")
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.02)
asyncio.run(main())
"""


def test_a_thread_that_ends_soon_has_its_cpu_time(run, report):
    process, = report(run(DEBIAN, "-c", BURN).record)["processes"]
    burner, = (t for t in process["threads"] if t["name"] == "burner")
    assert 0.3 < burner["cpu_s"] < 0.42
