# SPDX-License-Identifier: MIT
"""A record of many stalls (that of `make bench`, a hundredth of it) in every format: all of them are there."""

import json
import subprocess
import sys

import pytest

from conftest import BINARY, ROOT, validator

STALLS = 1000


@pytest.fixture(scope="module")
def large(tmp_path_factory, binary):
    out = tmp_path_factory.mktemp("large") / "large.whystall"
    subprocess.run([sys.executable, ROOT / "tests" / "bench" / "large.py", binary, out, str(STALLS)], check=True)
    return out


def output(*command):
    return subprocess.run([BINARY, *command], stdout=subprocess.PIPE, check=True).stdout.decode()


def test_every_stall_with_its_segments_and_stacks(large):
    document = json.loads(output("report", "-f", "json", large))
    validator().validate(document)
    process, = document["processes"]
    loop, = process["loops"]
    assert len(process["stalls"]) == loop["stalls"]["count"] == STALLS
    assert sum(c["total_s"] for c in loop["causes"]) == pytest.approx(loop["stalls"]["total_s"])
    looked = 0
    for cause in loop["causes"]:  # what it is without each one, the hard way; whose a holder's part is, is not told
        culprit = cause["culprit"] or {"function": None}
        if cause["cause"] != "syscall" or not culprit["function"]:
            continue
        looked += 1
        without = 0
        for stall in process["stalls"]:
            its = sum(s["seconds"] for s in stall["segments"] if s["cause"] == "syscall" and s["culprit"]
                      and all(s["culprit"][k] == culprit[k] for k in ("function", "file")))
            rest = stall["duration_s"] - its
            without += rest if rest >= document["capture"]["threshold_s"] - 1e-9 else 0
        assert cause["if_fixed"]["stalled_s"] == pytest.approx(without, abs=1e-6)
    assert looked > 10
    lines = [json.loads(line) for line in output("export", "-f", "jsonl", large).splitlines()]
    assert [line["segments"] for line in lines] == [stall["segments"] for stall in process["stalls"]]


@pytest.mark.parametrize("command", ["report -f text", "report -f markdown", "report -f html", "export -f perfetto",
                                     "export -f speedscope", "export -f folded", "export -f openmetrics"])
def test_every_format(large, command):
    assert output(*command.split(), large)
