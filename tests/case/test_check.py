# SPDX-License-Identifier: MIT
"""whystall check: what breaks a budget, what does not, and what it says of it."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest

from conftest import DEBIAN
from fetch import python_path, source

SICK = '''
import asyncio, re, threading, time

def heavy(event):
    event.wait()
    re.match("(a+)+$", "a" * 23 + "b")  # one call that keeps the GIL

def sleepy():
    time.sleep(0.07)

async def main():
    event = threading.Event()
    worker = threading.Thread(target=heavy, args=(event,), name="worker")
    worker.start()
    for i in range(40):
        await asyncio.sleep(0.01)
        if i == 5:
            sleepy()
        if i == 10:
            event.set()
    worker.join()

asyncio.run(main())
'''
HEALTHY = '''
import asyncio, threading, time

def short(end):
    while time.monotonic() < end:  # takes the GIL for a few milliseconds at a time
        sum(range(100000))
        time.sleep(0.004)

async def main():
    worker = threading.Thread(target=short, args=(time.monotonic() + SECONDS,))
    worker.start()
    while worker.is_alive():
        await asyncio.sleep(0.005)

asyncio.run(main())
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("check")
    (directory / "sick.py").write_text(SICK)
    (directory / "healthy.py").write_text(HEALTHY.replace("SECONDS", "0.8"))
    (directory / "busy.py").write_text(HEALTHY.replace("SECONDS", "3"))
    return directory


@pytest.fixture(scope="module")
def check(binary, place):
    """check("--max-stall", "50ms", ...) -> the finished process."""

    def call(*arguments, **more):
        environment = dict(os.environ, XDG_STATE_HOME=str(place / "state"), **more.pop("env", {}))
        return subprocess.run([binary, "check", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60, env=environment, stdin=subprocess.DEVNULL, **more)

    return call


@pytest.fixture(scope="module")
def records(binary, place):
    for name in ("sick", "healthy"):
        subprocess.run([binary, "run", "-q", "-o", place / f"{name}.whystall", "--", DEBIAN, place / f"{name}.py"],
                       check=True, timeout=60)
    return {name: place / f"{name}.whystall" for name in ("sick", "healthy")}


def test_a_broken_budget_names_who_and_what_to_do(check, records):
    done = check("--max-stall", "50ms", "--max-stalled", "90", records["sick"])
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.startswith("whystall check: failed, 1 of 2 budgets broken\n")
    assert re.search(r"^  longest stall  [\d.]+ m?s, allowed 50 ms, #\d+ at \d\d:\d\d:\d\d", done.stdout, re.M)
    assert re.search(r"^    gil     heavy .*sick\.py:6 .*worker", done.stdout, re.M)
    assert re.search(r"^  stalled        [\d.]+ %, allowed 90 %: ok$", done.stdout, re.M)
    *lines, last = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert re.fullmatch(rf"  Try: whystall report --stall \d+ {records['sick']}", last)


def test_passing_is_one_line(check, records):
    done = check("--max-stall", "50ms", "--max-p99", "2s", records["healthy"])
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("whystall check: passed: longest stall ") and done.stdout.count("\n") == 1
    assert check("-q", "--max-stall", "50ms", records["healthy"]).stdout == ""


def test_causes_that_count(check, records):
    assert check("--max-stall", "30ms", "--ignore", "gil,syscall,runqueue,cpu", records["sick"]).returncode == 0
    assert check("--fail-on", "gil", records["sick"]).returncode == 1
    assert check("--fail-on", "fault", records["sick"]).returncode == 0
    done = check("--max-stall", "30ms", "--fail-on", "syscall", records["sick"])
    assert done.returncode == 1 and "sleepy" in done.stdout and "Not counted: gil" in done.stdout


def test_a_command_under_a_budget(check, place):
    done = check("--max-stall", "50ms", "--", DEBIAN, place / "sick.py")
    assert done.returncode == 1 and "heavy" in done.stdout
    assert all("so far" in line for line in done.stderr.splitlines())  # on a busy machine it takes long enough for that
    done = check("--max-stall", "50ms", "--", DEBIAN, place / "healthy.py")
    assert done.returncode == 0, done.stdout
    done = check("--max-stall", "5s", "--", DEBIAN, "-c", place.joinpath("sick.py").read_text() + "\nraise SystemExit(7)")
    assert done.returncode == 7 and "passed" in done.stdout
    assert check("--max-stall", "50ms", "--", "/nonexistent").returncode == 127
    done = check("--max-stall", "50ms", "--")
    assert done.returncode == 2 and "no command after --" in done.stderr


@pytest.mark.parametrize("arguments, says", [
    ([], "no budget given"),
    (["--max-stall", "0ms"], "allows nothing"),
    (["--max-stalled", "101"], "percentage from 0 to 100"),
    (["--max-stalled", "-1"], "percentage from 0 to 100"),
    (["--max-stalled", "nan"], "percentage from 0 to 100"),
    (["--max-stall", "50"], "needs a unit"),
    (["--max-stall", "1ms"], "below the record's threshold of 20 ms"),
    (["--max-stall", "50ms", "--fail-on", "gli"], "did you mean gil?"),
    (["--max-stall", "50ms", "--fail-on", "gil", "--ignore", "gil"], "the same cause"),
    (["--max-stall", "50ms", "--fail-on", "none"], "never fail"),
    (["--max-stall", "50ms", "--threshold", "5ms"], "--threshold is for a command"),
    (["--max-stall", "50ms", "another"], "one RECORD"),
    (["--max-stalled", "0x5"], "percentage from 0 to 100"),
    (["--max-stall", "1000000h"], "is too long: a day at most"),
    (["--max-stall", "50ms", "--ignore", "gil,none"], "none stands alone"),
    (["--max-stall", "50ms", "-o", ""], "--output is given an empty name"),
    (["--baseline", ""], "--baseline is given an empty name"),
])
def test_a_budget_that_makes_no_sense_is_status_2(check, records, arguments, says):
    done = check(*arguments, records["sick"])
    assert done.returncode == 2, done.stdout
    assert says in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_what_a_command_cannot_be_checked_for_is_told_before_it_runs(check, tmp_path):
    for options, says in ((["--max-stall", "50ms", "--threshold", "100ms"], "--threshold is above --max-stall"),
                          (["--max-p99", "50us"], "--max-p99 wants 100us or more")):
        done = check(*options, "--", "touch", tmp_path / "ran")
        assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "ran").exists()
    assert check("--max-stall", "50ms", "--ignore", "gil, syscall", tmp_path / "none").returncode == 4


def test_others_over_the_limit_are_named_too(check, records):
    text = re.sub(r"\s+", " ", check("--max-stall", "50ms", records["sick"]).stdout)
    assert re.search(r"gil heavy .*Also over 50 ms: syscall sleepy sick\.py:\d+ \(native: time_sleep\), [678]\d ms", text), text


def edited(record, place, sql):
    """A copy of the record with a change in it."""
    path = place / "edited.whystall"
    shutil.copy(record, path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executescript(sql)
    return path


def test_a_quantile_of_what_does_not_count_is_a_warning_only(check, records):
    for options in (["--fail-on", "cpu"], ["--ignore", "gil,syscall,lock,runqueue"]):
        done = check("--max-p99", "30ms", *options, "--github", records["sick"])
        assert done.returncode == 0 and "a warning only" in done.stdout
        assert re.search(r"of the stalls does not count, and a quantile", re.sub(r"\s+", " ", done.stdout))
        assert "::warning title=whystall::The event loop: p99 tick" in done.stdout and "MainThread, " not in done.stdout
    done = check("--max-p99", "30ms", "--ignore", "none", records["sick"])
    assert done.returncode == 1 and "heavy" in done.stdout


def test_a_quantile_below_the_threshold_has_nobody_to_blame(check, records, place):
    """With a command it has: the limit is its threshold then."""
    done = check("--max-p99", "100us", "--github", records["healthy"])
    assert done.returncode == 1 and "record with --threshold 0.1ms to learn by whom" in re.sub(r"\s+", " ", done.stdout)
    assert "\n::error title=whystall::The event loop: p99 tick" in done.stdout
    (place / "short.py").write_text("import asyncio, time\ndef brief():\n time.sleep(0.012)\nasync def main():\n"
                                    " for _ in range(30):\n  await asyncio.sleep(0.001)\n  brief()\nasyncio.run(main())\n")
    done = check("--max-p99", "5ms", "--", DEBIAN, place / "short.py")
    assert done.returncode == 1 and "brief short.py:3" in done.stdout


@pytest.mark.parametrize("sql, says", [
    ("UPDATE capture SET complete = 0", "The record was never closed"),
    ("UPDATE capture SET lost_events = 1000", "1,000 events lost")])
@pytest.mark.parametrize("form", ["text", "junit", "markdown"])
def test_a_record_that_lacks_something_passes_with_a_word(check, records, tmp_path, junit_schema, sql, says, form):
    done = check("--max-stall", "10s", "-f", form, "--github", edited(records["sick"], tmp_path, sql))
    assert done.returncode == 0 and says in done.stdout and f"::warning title=whystall::{says}" in done.stdout
    if form == "junit":
        junit_schema.validate(xml.etree.ElementTree.fromstring(done.stdout.split("\n::")[0]))


def test_a_stall_that_was_not_kept_breaks_the_limit_all_the_same(check, records, tmp_path):
    sql = ("UPDATE loop SET suppressed = 7, tick_max_ns = 5000000000; UPDATE capture SET suppressed_stalls = 7")
    record = edited(records["sick"], tmp_path, sql)
    done = check("--max-stall", "4s", record)
    assert done.returncode == 1 and "longest stall  5.00 s, allowed 4.00 s" in done.stdout
    text = re.sub(r"\s+", " ", done.stdout)
    assert "Its causes are not in the record" in text and "7 stalls counted but not kept" in text
    assert check("--max-stall", "6s", record).returncode == 0


def test_the_loop_is_named_where_there_are_several(check, place):
    (place / "two.py").write_text("import os, sys\npid = os.fork()\n" + SICK + "\nif pid: os.wait()\n")
    for form in ("text", "junit", "markdown"):
        done = check("--max-stall", "50ms", "-f", form, "--github", "--", DEBIAN, place / "two.py")
        assert done.returncode == 1
        assert re.search(r"in `?MainThread`?, pid \d+", done.stdout), done.stdout
        assert "title=whystall::The event loop of MainThread, pid " in done.stdout
        assert form != "text" or "1 other loop over it too" in done.stdout


def test_a_record_without_any_name_is_told_all_the_same(binary, records, tmp_path):
    record = edited(records["sick"], tmp_path, "UPDATE frame SET function = NULL, module = NULL, file = NULL, line = NULL; "
                                               "UPDATE thread SET name = ''; UPDATE lock SET name = NULL")
    for command in ("report", "report --stall 1", "report -f json", "report -f html", "report -f junit", "report -f markdown",
                    "check --max-stall 50ms", "export -f perfetto", "export -f speedscope", "export -f folded",
                    "export -f openmetrics", "export -f jsonl"):
        done = subprocess.run([binary, *command.split(), record], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        assert done.returncode == (command.startswith("check")) and done.stdout and done.stderr == b"", command


def test_a_baseline_of_another_program_is_refused(binary, check, records):
    done = check("--baseline", records["healthy"], records["sick"])
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (f"whystall: check: the baseline {records['healthy']} is of another program (healthy.py, not "
                           "sick.py): there is nothing to compare\n")
    done = subprocess.run([binary, "diff", records["healthy"], records["sick"]], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "heavy" in done.stdout
    assert done.stderr == "whystall: diff: the older record is of another program (healthy.py, not sick.py)\n"


@pytest.mark.parametrize("out", ["nowhere/report", "."])
def test_a_report_that_cannot_be_written_is_told_before_the_start(check, place, tmp_path, out):
    ran = tmp_path / "ran"
    done = check("--max-stall", "50ms", "-o", tmp_path / out, "--", "touch", ran)
    assert done.returncode == 125 and not ran.exists()
    assert done.stderr.startswith(f"whystall: cannot write the report to {tmp_path / out}: ")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_nothing_to_judge_is_status_4(check, place):
    done = check("--max-stall", "50ms", "--", "true")
    assert done.returncode == 4 and "no event loop was seen" in done.stderr
    out = place / "never"
    done = check("--max-stall", "50ms", "-o", out, place / "sick.py")
    assert done.returncode == 4 and not out.exists()


def test_junit_for_a_ci(check, records, place):
    out = place / "junit.xml"
    done = check("--max-stall", "50ms", "--max-stalled", "95", "-f", "junit", "-o", out, records["sick"])
    assert done.returncode == 1 and done.stdout == ""
    suite = xml.etree.ElementTree.parse(out).getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    stall, stalled = suite.findall("testcase")
    assert stall.get("name") == "longest stall" and stall.get("file") == str(place / "sick.py")
    assert stall.get("line") == "6"
    failure = stall.find("failure")
    assert failure.get("message").endswith("allowed 50 ms") and "heavy" in failure.text
    assert stalled.find("failure") is None
    assert check("--max-stall", "9s", "-f", "junit", "-o", out, records["sick"]).returncode == 0
    assert xml.etree.ElementTree.parse(out).getroot().find("testsuite").get("failures") == "0"


@pytest.fixture(scope="module")
def junit_schema():
    """Jenkins' schema of JUnit files, as pytest's own tests use it, with the two attributes that others go by."""
    text = (source("pytest==7.4.4") / "testing" / "example_scripts" / "junit-10.xsd").read_text()
    name = '<xs:attribute name="classname" type="xs:string"/>'
    assert text.count(name) == 1
    sys.path.append(python_path("xmlschema==4.3.2"))
    import xmlschema

    return xmlschema.XMLSchema(text.replace(name, name + "".join(
        f'<xs:attribute name="{more}" type="xs:string"/>' for more in ("file", "line"))))


def test_junit_is_by_its_schema(binary, records, many, place, junit_schema):
    out = place / "by-schema.xml"
    for arguments, record in ((["check", "--max-stall", "50ms", "--baseline", many[0]], many[1]),
                              (["check", "--max-stall", "50ms", "--max-p99", "1ms"], records["sick"]),
                              (["check", "--max-p99", "9s"], records["healthy"]),
                              (["report"], records["sick"]), (["report"], records["healthy"])):
        out.unlink(missing_ok=True)
        subprocess.run([binary, *map(str, arguments), "-f", "junit", "-o", out, record], timeout=60)
        junit_schema.validate(str(out))
    subprocess.run([binary, "report", "-f", "junit", "-o", out, records["sick"]], check=True, timeout=60)
    (case,) = xml.etree.ElementTree.parse(out).getroot().iter("testcase")
    assert case.get("name") == "loop in MainThread" and case.get("file") == str(place / "sick.py") and case.get("line")
    failure = case.find("failure")
    assert re.match(r"\d+ stalls, [\d.]+ m?s of ", failure.get("message")) and "heavy" in failure.text
    assert "sleepy" in failure.text and "asyncio.sleep()" in failure.text


MANY = """
import asyncio, time
names = [f"slow_{i}" for i in range(14)]
for name in names:
    exec(f"def {name}(): time.sleep(SECONDS)")

async def main():
    for i in range(4):
        for name in names:
            await asyncio.sleep(0.001)
            globals()[name]()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def many(binary, place):
    """The records of a program before and after fourteen of its functions became slow."""
    made = []
    for name, seconds in (("before", "0"), ("after", "0.03")):
        (place / "many.py").write_text(MANY.replace("SECONDS", seconds))
        made.append(place / f"{name}.whystall")
        subprocess.run([binary, "run", "-q", "-o", made[-1], "--", DEBIAN, place / "many.py"], check=True, timeout=60)
    return made


def test_github_shows_ten_annotations(check, many):
    done = check("--max-stall", "25ms", "--baseline", many[0], "--github", many[1])
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert len(lines) == 10 and all(line.startswith("::error ") for line in lines), lines
    assert re.search(r"title=whystall::The event loop: \d+ others are worse than the baseline; ", lines[-1])


def test_github_annotations_and_summary(check, records, place):
    summary = place / "summary.md"
    summary.write_text("before\n")
    done = check("--max-stall", "50ms", "--github", records["sick"],
                 env={"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_WORKSPACE": str(place)})
    assert done.returncode == 1 and done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert re.match(r"::error file=sick\.py,line=6,title=whystall::The event loop: longest stall .* allowed 50 ms; "
                    r"gil by heavy, ", lines[0])
    text = summary.read_text()
    assert text.startswith("before\n### whystall check: failed, 1 of 1 budget broken\n") and "`sick.py:6`" in text
    done = check("--max-stall", "9s", "--github", records["sick"], env={"GITHUB_STEP_SUMMARY": str(place / "no" / "x")})
    assert done.returncode == 0 and "::error" not in done.stdout and "job's summary" in done.stderr


def test_markdown(binary, check, records):
    done = check("--max-stall", "50ms", "-f", "markdown", records["sick"])
    assert done.returncode == 1 and "| longest stall | " in done.stdout and "**broken**" in done.stdout
    report = subprocess.run([binary, "report", "-f", "markdown", records["sick"]], stdout=subprocess.PIPE, text=True)
    assert report.returncode == 0 and re.search(r"^\| gil \| `heavy` `sick\.py:6`, ", report.stdout, re.M)
    for text in (done.stdout, report.stdout):  # every row of a table has as many cells as its head
        head = None
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert head is None or cells in (None, head), line
            head = cells


@pytest.mark.all
def test_verdicts_hold_on_a_starved_machine(check, place):
    """Two busy processes on each core: the healthy one passes each time, the sick one fails each time."""
    burners = [subprocess.Popen([DEBIAN, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())]
    try:
        time.sleep(0.5)
        wrong = []
        for i in range(20):
            for name, status in (("busy", 0), ("sick", 1)):
                done = check("--max-stall", "50ms", "--", DEBIAN, place / f"{name}.py")
                if done.returncode != status:
                    wrong.append(f"{name}, run {i}: {done.stdout}{done.stderr}")
        assert not wrong, "\n".join(wrong)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
