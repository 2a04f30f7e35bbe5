# SPDX-License-Identifier: MIT
"""An ordinary user, and kernels and containers that forbid what the stacks are read with."""

import json
import os
import subprocess

import pytest

from conftest import DEBIAN, PROGRAMS, validator

PERF_EVENT_OPEN, PROCESS_VM_READV = 298, 310
SICK = """
import asyncio, threading, time
def heavy():
    return pow(365, 4 * 10**5)
async def main():
    for _ in range(20):
        await asyncio.sleep(0.01)
    await asyncio.get_running_loop().run_in_executor(None, heavy)
    for _ in range(5):
        await asyncio.sleep(0.01)
    time.sleep(0.1)
    await asyncio.sleep(0.01)
    lock = threading.Lock()
    def keep():
        with lock:
            time.sleep(0.12)
    thread = threading.Thread(target=keep, name="keeper")
    thread.start()
    await asyncio.sleep(0.02)
    with lock:
        pass
    await asyncio.sleep(0.01)
asyncio.run(main())
print("out")
raise SystemExit(3)
"""


@pytest.fixture
def look(tmp_path):
    """look(runner, binary, directory) -> what is said on stderr, and the segments that matter, by cause"""

    def start(command, place, call=subprocess.run):
        (place / "sick.py").write_text(SICK)
        done = call([*command, "run", "-o", place / "r", "--report", place / "r.json", "-f", "json", "--", DEBIAN,
                     place / "sick.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        assert (done.stdout, done.returncode) == ("out\n", 3), done.stderr
        document = json.loads((place / "r.json").read_text())
        validator().validate(document)
        stalls = document["processes"][0]["stalls"]
        big = [max(s["segments"], key=lambda s: s["seconds"]) for s in stalls]
        assert [s["cause"] for s in big] == ["gil", "syscall", "lock"], big
        assert [round(s["seconds"], 1) for s in big[1:]] == [0.1, 0.1]
        return " ".join(done.stderr.split()), dict(zip(("gil", "syscall", "lock"), big)), document

    return start


def names(segment):
    return segment["culprit"]["function"], segment["culprit"]["line"], segment["culprit"]["thread"]


def assert_python(big):
    assert names(big["gil"])[:2] == ("heavy", 4) and names(big["gil"])[2].startswith(("asyncio_0", "ThreadPoolExecutor"))
    assert names(big["syscall"]) == ("main", 11, "MainThread")
    assert names(big["lock"]) == ("main.<locals>.keep", 16, "keeper")


def kinds(segment):
    return {f["kind"] for f in segment["stack"] + [f for h in segment["holders"] for f in h["stack"]]}


def test_an_ordinary_user(look, ordinary_user):
    said, big, document = look([ordinary_user.binary], ordinary_user.directory, ordinary_user)
    assert_python(big)
    paranoid = int(open("/proc/sys/kernel/perf_event_paranoid").read())
    if paranoid <= 2:
        assert big["gil"]["culprit"]["native"] == "long_pow" or os.path.exists("/usr/lib/debug") is False
        assert "perf_event" not in said
    else:
        assert big["gil"]["culprit"]["native"] is None and "kernel.perf_event_paranoid" in said
    assert big["syscall"]["culprit"]["native"]  # a blocked thread can be read all the same


@pytest.fixture
def deny(cc):
    return cc(PROGRAMS / "deny.c")


def test_perf_events_denied(look, deny, binary, tmp_path):
    said, big, document = look([deny, str(PERF_EVENT_OPEN), binary], tmp_path)
    assert_python(big)
    assert big["gil"]["culprit"]["native"] is None
    assert all(f["kind"] == "python" for h in big["gil"]["holders"] for f in h["stack"])
    assert "kernel.perf_event_paranoid" in said and document["capture"]["notes"]
    assert big["syscall"]["culprit"]["native"]


def test_reading_memory_by_the_usual_call_denied(look, deny, binary, tmp_path):
    said, big, document = look([deny, str(PROCESS_VM_READV), binary], tmp_path)
    assert_python(big)
    assert big["syscall"]["culprit"]["native"]
    _, big, _ = look([deny, f"{PERF_EVENT_OPEN},{PROCESS_VM_READV}", binary], tmp_path)
    assert_python(big)


def test_a_process_that_does_not_let_itself_be_read(ordinary_user):
    """Ticks and stalls are still there; functions are not, and the report says why."""
    place = ordinary_user.directory
    (place / "dark.py").write_text("import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE\n" + SICK)
    done = ordinary_user([ordinary_user.binary, "run", "-o", place / "dark", "--report", place / "dark.json", "-f", "json",
                          "--", DEBIAN, place / "dark.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (done.stdout, done.returncode) == ("out\n", 3), done.stderr
    document = json.loads((place / "dark.json").read_text())
    validator().validate(document)
    stalls = document["processes"][0]["stalls"]
    assert [round(s["duration_s"], 1) for s in stalls][1:] == [0.1, 0.1]
    assert document["processes"][0]["note"] or document["capture"]["notes"], done.stderr
