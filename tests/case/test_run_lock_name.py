# SPDX-License-Identifier: MIT
"""Every lock has the name that the program gives it, and its holder: on every Python here."""

import json

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


def test_every_lock_has_its_name_and_holder(python, run, report, tmp_path):
    done = run(python, PROGRAM, tmp_path)
    assert done.returncode == 0, done.stderr
    expected = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(expected) > 18
    document = report(done.record)
    assert list(waits(document)) == expected
    body = causes(document)["body"]
    assert body["why"].startswith('importer held the import lock of "slow_module" for')
    assert body["advice"].startswith("Import it before the loop runs")
