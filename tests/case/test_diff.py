# SPDX-License-Identifier: MIT
"""whystall diff, and check --baseline: what changed between two records, and what is only chance."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess

import pytest

from conftest import DEBIAN

PROGRAM = '''
import asyncio, time

def {sometimes}():
    time.sleep({longer})

def spin():
    end = time.thread_time() + {spins}
    while time.thread_time() < end:  # of CPU, however busy the machine
        pass

async def main():
    for i in range(12):
        await asyncio.sleep(0.02)
        if i % 2:
            {sometimes}()
        if i % 3 == 0 and {spins}:
            spin()

asyncio.run(main())
'''


@pytest.fixture(scope="module")
def records(binary, tmp_path_factory):
    """first and again are the same program; changed sleeps longer, spins no more; renamed has another function."""
    place = tmp_path_factory.mktemp("diff")
    made = {}
    for name, settings in {"first": {}, "again": {}, "changed": {"longer": 0.09, "spins": 0},
                           "renamed": {"sometimes": "rarely"}}.items():
        values = {"sometimes": "often", "longer": 0.03, "spins": 0.08, **settings}
        # the same file for all: culprits are told apart by it; the line moves
        (place / "app.py").write_text("\n" * len(made) + PROGRAM.format(**values))
        made[name] = place / f"{name}.whystall"
        subprocess.run([binary, "run", "-q", "-o", made[name], "--", DEBIAN, place / "app.py"], check=True, timeout=60)
    return made


@pytest.fixture
def call(binary, tmp_path):
    def start(*arguments):
        return subprocess.run([binary, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60, env=dict(os.environ, XDG_STATE_HOME=str(tmp_path)),
                              stdin=subprocess.DEVNULL)

    return start


def kinds(text):
    return re.findall(r"^  (new|worse|better|gone) +(\w+) +(\w+)", text, re.M)


def test_two_runs_of_one_program_do_not_differ(call, records):
    for older, newer in (("first", "again"), ("again", "first"), ("first", "first")):
        done = call("diff", records[older], records[newer])
        assert done.returncode == 0, done.stdout
        assert done.stdout == "whystall diff: 0 worse, 0 better, nothing beyond what two runs differ by\n"


def test_what_is_worse_and_gone(call, records):
    done = call("diff", records["first"], records["changed"])
    assert done.returncode == 1 and kinds(done.stdout) == [("worse", "syscall", "often"), ("gone", "cpu", "spin")]
    assert "app.py:" in done.stdout and "asyncio.to_thread" in done.stdout
    done = call("diff", records["changed"], records["first"])
    assert done.returncode == 1 and kinds(done.stdout) == [("new", "cpu", "spin"), ("better", "syscall", "often")]
    done = call("diff", records["first"], records["renamed"])
    assert kinds(done.stdout) == [("new", "syscall", "rarely"), ("gone", "syscall", "often")]


def test_only_what_both_records_have_is_compared(binary, call, records, tmp_path):
    """One that was made with a lower threshold has stalls that the other cannot have."""
    finer = tmp_path / "finer"
    (tmp_path / "app.py").write_text(PROGRAM.format(sometimes="often", longer=0.008, spins=0))
    for record, options in ((tmp_path / "plain", []), (finer, ["--threshold", "5ms"])):
        subprocess.run([binary, "run", "-q", *options, "-o", record, "--", DEBIAN, tmp_path / "app.py"], check=True, timeout=60)
    for older, newer in ((tmp_path / "plain", finer), (finer, tmp_path / "plain")):
        done = call("diff", older, newer)
        assert done.returncode == 0 and "0 worse, 0 better" in done.stdout, done.stdout


def test_records_of_different_lengths_are_compared_by_shares(binary, call, tmp_path):
    """As many stalls in a fifth of the time are worse, though they are no more seconds."""
    (tmp_path / "app.py").write_text("import asyncio, time\ndef work():\n time.sleep(0.025)\nasync def main():\n"
                                     " for _ in range(30):\n  await asyncio.sleep(0.01)\n  work()\nasyncio.run(main())\n")
    short, long = tmp_path / "short", tmp_path / "long"
    subprocess.run([binary, "run", "-q", "-o", short, "--", DEBIAN, tmp_path / "app.py"], check=True, timeout=60)
    shutil.copy(short, long)
    with contextlib.closing(sqlite3.connect(long)) as db, db:
        db.execute("UPDATE loop SET last_ns = last_ns + 4 * (last_ns - first_ns)")
    done = call("diff", long, short)
    text = re.sub(r"\s+", " ", done.stdout)
    figures = re.search(r"worse syscall work .*: (\d+) % of the time, \d+ ms in 30 stalls, was (\d+) % of the time", text)
    assert done.returncode == 1 and figures and int(figures[1]) > 3 * int(figures[2]), done.stdout


def test_a_baseline_in_check(call, records):
    done = call("check", "--baseline", records["first"], records["again"])
    assert done.returncode == 0 and "nothing worse than the baseline" in done.stdout
    done = call("check", "--baseline", records["first"], "--max-stall", "10s", records["changed"])
    assert done.returncode == 1 and "failed, 1 worse than the baseline" in done.stdout
    assert kinds(done.stdout)[0] == ("worse", "syscall", "often")
    assert call("check", "--baseline", records["first"], "--tolerance", "900", records["changed"]).returncode == 0
    assert call("check", "--baseline", records["first"], "--ignore", "syscall", records["changed"]).returncode == 0
    # the baseline is the limit: causes chosen beside it are those that are compared
    assert call("check", "--baseline", records["first"], "--fail-on", "syscall", records["again"]).returncode == 0
    assert call("check", "--baseline", records["first"], "--fail-on", "cpu", records["changed"]).returncode == 0
    assert call("check", "--baseline", records["first"], "--fail-on", "syscall", records["changed"]).returncode == 1


def test_what_makes_no_sense(call, records, tmp_path):
    none = tmp_path / "none"
    shutil.copy(__file__, none)
    first = records["first"]
    for arguments, status, says in (
            (["diff", first], 2, "two records"),
            (["diff", first, none], 4, "none"),
            (["diff", none, first], 4, "none"),
            (["diff", first, first, "--tolerance", "much"], 2, "wants a percentage"),
            (["check", "--baseline", none, first], 4, "none"),
            (["check", "--max-stall", "1s", "--tolerance", "10", first], 2, "goes with --baseline"),
            (["check", "--baseline", first, "--tolerance", "-1", first], 2, "wants a percentage")):
        done = call(*arguments)
        assert done.returncode == status and says in done.stderr and done.stderr.count("\n") == 1, (arguments, done)
    empty = tmp_path / "empty"
    assert call("run", "-q", "-o", empty, "--", "true").returncode == 0
    done = call("diff", first, empty)
    assert done.returncode == 4 and f"no event loop was seen in {empty}" in done.stderr
    done = call("check", "--baseline", empty, first)
    assert done.returncode == 4 and "nothing to compare with" in done.stderr and done.stdout == ""
