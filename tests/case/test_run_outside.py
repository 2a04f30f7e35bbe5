# SPDX-License-Identifier: MIT
"""Time outside the loop is no stall: between two runs, before the first wait, after the end; loops in threads."""

import pytest

from conftest import DEBIAN

BEGIN = """
import asyncio, sys, threading, time
async def waits(n=5):
    for _ in range(n):
        await asyncio.sleep(0.005)
async def stall(length):
    await waits()
    time.sleep(length)
    await asyncio.sleep(0.005)
async def stall_last(length):
    await waits()
    time.sleep(length)
def burn(length):
    end = time.monotonic() + length
    while time.monotonic() < end: pass
"""


@pytest.fixture
def stalls(run, report, tmp_path):
    """stalls(python, script) -> per process and loop thread, the lengths of the stalls"""

    def look(python, text, *arguments, options=()):
        path = tmp_path / "script.py"
        path.write_text(BEGIN + text)
        done = run(python, path, *arguments, options=options)
        assert done.returncode == 0, done.stderr
        document = report(done.record)
        process, = document["processes"]
        look.document = document
        return [s["duration_s"] for s in process["stalls"]]

    return look


def near(*wanted):
    """Sleeps take a little longer where the machine is busy."""
    return pytest.approx(list(wanted), abs=0.018)


VERSIONS = ["debian", "3.8", "3.12"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("work", ["time.sleep", "burn"])
def test_work_between_two_runs_of_one_loop(stalls, python_of, version, work):
    found = stalls(python_of(version), f"""
loop = asyncio.new_event_loop()
loop.run_until_complete(waits())
{work}(0.3)
loop.run_until_complete(waits())
loop.run_until_complete(stall_last(0.1))   # a stall whose tick goes on outside
{work}(0.25)
loop.run_until_complete(stall(0.07))
loop.close()
time.sleep(0.1)
""")
    assert found == near(0.1, 0.07)
    loop, = stalls.document["processes"][0]["loops"]
    assert 0.09 < loop["tick_s"]["max"] < 0.12 and loop["busy_s"] < 0.25 and loop["stalls"]["count"] == 2


def test_a_stall_before_and_after_the_time_outside(stalls):
    assert stalls(DEBIAN, """
loop = asyncio.new_event_loop()
async def first_thing(length):
    time.sleep(length)
    await waits()
loop.run_until_complete(waits())
time.sleep(0.2)
loop.run_until_complete(first_thing(0.09))
""") == near(0.09)


@pytest.mark.parametrize("version", VERSIONS)
def test_several_runs(stalls, python_of, version):
    assert stalls(python_of(version), """
time.sleep(0.05)
for length in (0.05, 0.07):
    asyncio.run(stall(length))
    time.sleep(0.1)
    burn(0.1)
asyncio.run(stall_last(0.06))
""") == near(0.05, 0.07, 0.06)


def test_the_loops_of_two_threads(stalls):
    found = stalls(DEBIAN, """
def serve(length):
    asyncio.run(stall(length))
    time.sleep(0.05)
threads = [threading.Thread(target=serve, args=(n,), name=f"serve-{n}") for n in (0.06, 0.08)]
[t.start() for t in threads]
asyncio.run(stall(0.1))
[t.join() for t in threads]
time.sleep(0.1)
""")
    assert sorted(found) == near(0.06, 0.08, 0.1)
    process = stalls.document["processes"][0]
    assert {loop["thread"] for loop in process["loops"]} == {"MainThread", "serve-0.06", "serve-0.08"}
    assert all(loop["stalls"]["count"] == 1 for loop in process["loops"])


def test_the_one_loop_that_is_asked_for(stalls):
    script = """
def serve():
    asyncio.run(stall(0.06))
thread = threading.Thread(target=serve, name="server")
asyncio.run(stall(0.1))
thread.start()
thread.join()
"""
    assert stalls(DEBIAN, script, options=["--loop", "server"]) == near(0.06)
    assert stalls(DEBIAN, script, options=["--loop", "nobody"]) == []


def test_options(stalls):
    script = "asyncio.run(stall(0.012))\nasyncio.run(stall(0.1))"
    assert stalls(DEBIAN, script) == near(0.1)
    assert stalls(DEBIAN, script, options=["--threshold", "5ms"]) == near(0.01, 0.1)
    assert stalls(DEBIAN, script, options=["--threshold=50ms", "--rate", "1000"]) == near(0.1)
    assert stalls(DEBIAN, script + "\ntime.sleep(0.7)\nasyncio.run(stall(0.1))", options=["-d", "500ms"]) == near(0.1)
    assert stalls(DEBIAN, "asyncio.run(stall(1.2))", options=["-d", "500ms"])[0] < 0.6  # cut off
    assert stalls.document["processes"][0]["stalls"][0]["ongoing"]


def test_no_native(stalls):
    found = stalls(DEBIAN, "async def pool():\n await waits()\n await asyncio.get_running_loop().run_in_executor(None, pow,"
                   " 365, 4 * 10**5)\n await waits()\nasyncio.run(pool())\nasyncio.run(stall(0.05))", options=["--no-native"])
    assert len(found) == 2
    for stall in stalls.document["processes"][0]["stalls"]:
        segment = max(stall["segments"], key=lambda s: s["seconds"])
        frames = segment["stack"] + [f for h in segment["holders"] for f in h["stack"]]
        assert frames and all(f["kind"] == "python" for f in frames) and segment["culprit"]["native"] is None
        assert segment["cause"] in ("gil", "syscall") and segment["culprit"]["function"]
