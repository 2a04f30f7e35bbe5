# SPDX-License-Identifier: MIT
"""Every lock has the name that the program gives it, and its holder: on every Python here."""

import json
import os
import subprocess

import pytest

from conftest import PROGRAMS

PROGRAM = PROGRAMS / "lock_names.py"


def waits(document):
    """(name, holder's thread, culprit's function) of each wait for a lock that is a stall."""
    for stall in document["processes"][0]["stalls"]:
        for segment in stall["segments"]:
            if segment["cause"] == "lock" and segment["seconds"] > 0.02:
                holders = [h["thread"] for h in segment["holders"]]
                yield [segment["lock"]["name"], holders[0] if holders else None, segment["culprit"]["function"]]


def causes(document):
    """{culprit's function: its cause} of the locks'."""
    return {c["culprit"]["function"]: c for l in document["processes"][0]["loops"] for c in l["causes"]
            if c["cause"] == "lock"}


def check(lines, document):
    cases = [json.loads(line) for line in lines]
    assert len(cases) > 18
    seen = [w for w in waits(document) if w[2] != "worker"]  # a busy machine is long about starting a thread
    assert [w for w in seen if w not in [c[:3] for c in cases]] == []
    # where it kept the loop so long from its wait that the holder was gone, there is none to see
    assert [c[:3] for c in cases if c[:3] not in seen and c[3] > 0.04] == []
    assert len(seen) > len(cases) / 2
    body = causes(document)["body"]
    assert body["why"].startswith('importer held the import lock of "slow_module" for')
    assert body["advice"].startswith("Import it before the loop runs")


def test_every_lock_has_its_name_and_holder(python, run, report, tmp_path):
    done = run(python, PROGRAM, tmp_path)
    assert done.returncode == 0, done.stderr
    check(done.stdout.splitlines(), report(done.record))


@pytest.mark.parametrize("version", ["debian", "3.8"])
def test_the_same_where_nothing_was_prepared(version, python_of, binary, report, tmp_path):
    program = subprocess.Popen([python_of(version), PROGRAM, tmp_path, "wait"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    ready, write = os.pipe()
    watcher = subprocess.Popen([binary, "attach", "-q", "-o", tmp_path / "r", "--ready-fd", str(write),
                                str(program.pid)], pass_fds=[write])
    os.close(write)
    try:
        assert os.read(ready, 1)
        output, _ = program.communicate("\n", timeout=60)
        assert watcher.wait(timeout=30) == 0
    finally:
        os.close(ready)
        program.kill()
        watcher.kill()
    check(output.splitlines(), report(tmp_path / "r"))


HELD = """
import asyncio, os, signal, threading, time

class Cache:
    def __init__(self):
        self.lock = threading.Lock()

    def rebuild(self):
        with self.lock:
            time.sleep(0.6)
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    cache = Cache()
    threading.Thread(target=cache.rebuild, name="rebuilder").start()
    for _ in range(4):
        await asyncio.sleep(0.01)
    cache.lock.acquire()

asyncio.run(main())
"""


def test_a_lock_that_is_never_released_has_its_holder(python, run, report, tmp_path):
    """From 3.14 on a lock has no owner that could be read; who is inside `with lock:` has it."""
    (tmp_path / "held.py").write_text(HELD)
    done = run(python, tmp_path / "held.py")
    assert done.returncode == 128 + 9
    process = next(p for p in report(done.record)["processes"] if p["loops"])
    [stall] = [s for s in process["stalls"] if s["ongoing"]]
    waited = [s for s in stall["segments"] if s["cause"] == "lock" and s["seconds"] > 0.1]
    assert [(s["lock"]["name"], s["culprit"]["thread"], s["culprit"]["function"], [h["thread"] for h in s["holders"]])
            for s in waited] == [('threading.Lock "Cache.lock"', "rebuilder", waited[0]["culprit"]["function"], ["rebuilder"])]
    assert waited[0]["culprit"]["function"].endswith("rebuild")
