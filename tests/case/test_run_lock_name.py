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
