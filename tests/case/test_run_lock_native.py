# SPDX-License-Identifier: MIT
"""C++'s and Rust's locks: whoever has one is named, by the lock itself or because it let it go; signals blame nobody."""

import json
import subprocess

import pytest

from conftest import PROGRAMS

COMPILERS = {"locks.cpp": ["g++", "-g", "-O1", "-std=c++17", "-pthread"], "locks.rs": ["/usr/bin/rustc", "-g", "-O"]}


def waits(document):
    """(the lock's kind, holder's thread, culprit's function without its namespace and types) of each long wait."""
    for stall in document["processes"][0]["stalls"]:
        for segment in stall["segments"]:
            if segment["cause"] == "lock" and segment["seconds"] > 0.02:
                holders = [h["thread"] for h in segment["holders"]]
                function = (segment["culprit"]["function"] or "").split("<")[0].split("::")[-1]
                yield [segment["lock"]["kind"], holders[0] if holders else None, function]


@pytest.mark.parametrize("source", COMPILERS)
def test_locks_of_other_languages(source, run, report, tmp_path):
    program = tmp_path / source.replace(".", "_")
    subprocess.run([*COMPILERS[source], "-o", program, PROGRAMS / source], check=True)
    done = run(program)
    assert done.returncode == 0, done.stderr
    expected = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(waits(report(done.record))) == expected
    assert len(expected) == {"locks.cpp": 6, "locks.rs": 4}[source]
