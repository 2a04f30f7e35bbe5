# SPDX-License-Identifier: MIT
"""The pytest plugin, out of the tree: which test a stall was in, and tests that fail for it. (test_install.py has the
installed one.)"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from conftest import BINARY, DEBIAN, ROOT, pythons

SICK = """
import asyncio, threading, time
import pytest

async def sleepy(seconds=0.15):
    await asyncio.sleep(0.001)
    time.sleep(seconds)

def test_fine():
    asyncio.run(asyncio.sleep(0.001))

def test_no_loop():
    time.sleep(0.15)

def test_sick():
    asyncio.run(sleepy())

@pytest.mark.whystall(max_stall="5s")
def test_allowed():
    asyncio.run(sleepy())

@pytest.mark.whystall(ignore=["syscall"])
def test_ignored():
    asyncio.run(sleepy())

@pytest.mark.parametrize("x", ["é" * 300 + "1", "é" * 300 + "2"])
def test_long_name(x):
    asyncio.run(sleepy(0.15 if x.endswith("2") else 0))

@pytest.fixture(scope="module")
def server():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()

@pytest.fixture
def slow_end(server):
    yield
    asyncio.run_coroutine_threadsafe(sleepy(), server).result()

def test_end(slow_end):
    pass

@pytest.mark.xfail
def test_expected(server):
    asyncio.run_coroutine_threadsafe(sleepy(), server).result()
    assert False

def test_wrong_too(server):
    asyncio.run_coroutine_threadsafe(sleepy(), server).result()
    assert False

def test_late(server):
    server.call_soon_threadsafe(time.sleep, 0.3)
    time.sleep(0.2)

def test_last():
    time.sleep(0.15)
"""


@pytest.fixture
def suite(tmp_path):
    """suite("--whystall-max-stall=50ms", before=[...]) -> the finished pytest over tmp_path/test_it.py"""
    (tmp_path / "test_it.py").write_text(SICK)

    def start(*options, before=(), python=DEBIAN, **more):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "WHYSTALL": str(BINARY),
                       "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONDONTWRITEBYTECODE": "1", **more.pop("env", {})}
        plugin = ["-p", "whystall.pytest_plugin"]
        return subprocess.run([*map(str, before), python, "-m", "pytest", *plugin, "-p", "no:cacheprovider", *options],
                              cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120, **more)

    return start


def test_a_test_whose_loop_stalls_fails_with_the_culprit(suite, tmp_path):
    done = suite("--whystall-max-stall=50ms", "--junitxml=out.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    line = SICK.splitlines().index("    time.sleep(seconds)") + 1
    told = dict(re.findall(r"^(?:FAILED|ERROR) test_it\.py::(\w+)\S*(?: - (.*))?$", done.stdout, re.M))
    assert sorted(told) == ["test_end", "test_late", "test_long_name", "test_sick", "test_wrong_too"]
    assert re.search(rf"^loop stalled \d+ ms, allowed 50 ms: test_it\.py:{line}$", done.stdout, re.M)
    assert re.search(r"^syscall  sleepy  \S*test_it\.py:%d  \(native: time_sleep\)  in MainThread  \d+ ms\n"
                     r"await asyncio\.sleep\(\)" % line, done.stdout, re.M), done.stdout
    assert told["test_wrong_too"] == "assert False"
    assert "5 failed" not in done.stdout and re.search(r"3 failed, 8 passed, 1 xfailed, 2 errors", done.stdout)
    assert "in 6 tests an event loop stalled for too long; see also whystall report " in done.stdout  # and the xfailed one
    cases = {}
    for case in xml.etree.ElementTree.parse(tmp_path / "out.xml").getroot().iter("testcase"):
        cases.setdefault(case.get("name").split("[")[0], []).append(case)
    failure = cases["test_sick"][0].find("failure")
    assert f"test_it.py:{line}" in failure.get("message") and "asyncio.to_thread()" in failure.text
    assert cases["test_fine"][0].find("failure") is None
    assert cases["test_end"][0].find("error") is not None


def test_nothing_is_started_again_without_the_option(suite, tmp_path):
    done = suite()
    assert done.returncode == 1 and re.search(r"1 failed, 10 passed, 1 xfailed", done.stdout), done.stdout
    assert "whystall: 1 test has a stall budget, but nobody records: pytest --whystall-max-stall=none" in done.stdout
    assert not (tmp_path / "state").exists()
    assert suite("--whystall-max-stall=none").stdout.count("loop stalled") == 0


@pytest.mark.parametrize("command", ["run", "check"])
def test_tests_are_named_with_no_option_at_all(suite, report, command, tmp_path, binary):
    options = ["-q", "-o", tmp_path / "record"] if command == "run" else ["--max-stall", "50ms"]
    done = suite("-k", "sick", before=[binary, command, *options, "--"])
    if command == "check":
        assert done.returncode == 1
        assert "in test test_it.py::test_sick" in re.sub(r"\s+", " ", done.stdout), done.stdout
        return
    assert done.returncode == 0, done.stdout + done.stderr
    stalls = [s for p in report(tmp_path / "record")["processes"] for s in p["stalls"]]
    assert {s["test"] for s in stalls if s["duration_s"] > 0.14} == {"test_it.py::test_sick"}
    text = subprocess.run([binary, "report", tmp_path / "record"], stdout=subprocess.PIPE, text=True).stdout
    assert "in test test_it.py::test_sick" in re.sub(r"\s+", " ", text)


def test_the_budget_from_the_ini_file_and_x(suite, tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nwhystall_max_stall = 50ms\nwhystall_ignore = syscall\n")
    assert suite("-k", "sick").returncode == 0
    (tmp_path / "pytest.ini").write_text("[pytest]\nwhystall_max_stall = 50ms\n")
    done = suite("-x", "-k", "sick or allowed")
    assert done.returncode == 1 and "1 failed" in done.stdout and "passed" not in done.stdout


@pytest.mark.parametrize("option, words", [
    ("50", "--whystall-max-stall 50 needs a unit, for instance 50ms"),
    ("soon", "--whystall-max-stall 'soon' is no time; write it like 250us, 20ms, 1.5s or 2m"),
    ("1us", "--whystall-max-stall 1us: it has to be from 100us to a day"),
])
def test_a_budget_that_makes_no_sense_is_one_sentence(suite, option, words):
    done = suite(f"--whystall-max-stall={option}")
    assert done.returncode == 4 and done.stderr.strip() == f"ERROR: whystall: {words}" and done.stdout == ""


@pytest.mark.parametrize("mark, words", [
    ('max_stall="50"', "test_x.py::test_it: max_stall 50 needs a unit, for instance 50ms"),
    ("max_stall=50", "test_x.py::test_it: max_stall 50 needs a unit, for instance 50ms"),
    ('"50ms"', 'test_x.py::test_it: the marker takes max_stall="100ms" and ignore=[...] by name'),
    ('maxstall="1s"', 'test_x.py::test_it: the marker takes max_stall="100ms" and ignore=[...], not maxstall'),
    ('ignore=["gill"]', "check: --ignore: gill is no cause; did you mean gil? (test_x.py::test_it: max_stall)"),
    ('max_stall="1ms"', "whystall: test_x.py::test_it: max_stall 1ms is below the 20ms from which on a tick is recorded as a stall"),
])
def test_a_marker_that_makes_no_sense_is_one_sentence(suite, tmp_path, mark, words):
    (tmp_path / "test_x.py").write_text(f"import pytest\n@pytest.mark.whystall({mark})\ndef test_it(): pass\n")
    done = suite("--whystall-max-stall=50ms", "test_x.py")
    assert done.returncode == 4 and words in done.stderr + done.stdout, done.stdout + done.stderr
    assert done.stderr.count("\n") <= 2


def test_without_the_program(suite, tmp_path):
    nowhere = {"WHYSTALL": str(tmp_path / "none")}
    done = suite("--whystall-max-stall=50ms", env=nowhere)
    assert done.returncode == 4 and "the program is not on PATH; pip install whystall brings it" in done.stderr
    assert done.stderr.count("\n") == 2
    (tmp_path / "broken").write_text("#!/bin/sh\necho 'whystall: no place for a record' >&2\nexit 125\n")
    (tmp_path / "broken").chmod(0o755)
    done = suite("--whystall-max-stall=50ms", env={"WHYSTALL": str(tmp_path / "broken")})
    assert done.returncode == 4 and "ERROR: whystall: no place for a record\n" in done.stderr, done.stderr
    (tmp_path / "pytest.ini").write_text("[pytest]\nwhystall_max_stall = 50ms\n")  # no reason not to run the tests
    done = suite("-k", "sick", env=nowhere)
    assert done.returncode == 0 and "1 passed" in done.stdout
    assert "whystall: 1 test has a stall budget, but nobody records: the program is not on PATH" in done.stdout


@pytest.mark.parametrize("options, before", [(["--whystall-max-stall=50ms"], []), ([], []), ([], ["run", "-q", "--"])])
def test_started_by_a_program(suite, tmp_path, options, before):
    """pytest.main(), as an IDE or a tool calls it: with the option, the ini file's budget, or under whystall run."""
    (tmp_path / "own.py").write_text(
        "import os, pytest, sys\nprint('once')\n"
        f"status = pytest.main(['-p', 'whystall.pytest_plugin', '-k', 'sick', *{options!r}])\n"
        "try: print(os.waitpid(-1, os.WNOHANG))\nexcept ChildProcessError: print('no child')\n"
        "sys.exit(status)\n")
    if not options:
        (tmp_path / "pytest.ini").write_text("[pytest]\nwhystall_max_stall = 50ms\n")
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "python"), WHYSTALL=str(BINARY), XDG_STATE_HOME=str(tmp_path))
    done = subprocess.run([*([BINARY] if before else []), *before, DEBIAN, "own.py"], cwd=tmp_path, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout.count("once") == 1 and "no child" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout and "loop stalled" in done.stdout


def test_a_test_that_is_run_again_is_judged_again(suite, tmp_path):
    """As pytest-rerunfailures does it: the same name once more."""
    (tmp_path / "conftest.py").write_text(
        "import pytest\nfrom _pytest.runner import runtestprotocol\n@pytest.hookimpl\n"
        "def pytest_runtest_protocol(item, nextitem):\n for run in range(3):\n"
        "  item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)\n  item._initrequest()\n"
        "  for report in runtestprotocol(item, nextitem=nextitem, log=False):\n"
        "   print('RUN', run, report.when, report.outcome)\n"
        "  item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)\n return True\n")
    (tmp_path / "test_again.py").write_text("import asyncio, time\nruns = []\ndef test_it():\n runs.append(1)\n async def main():\n"
                                            "  await asyncio.sleep(0.001)\n  time.sleep(0.15 if len(runs) < 3 else 0)\n"
                                            " asyncio.run(main())\n")
    done = suite("--whystall-max-stall=50ms", "-s", "test_again.py")
    assert re.findall(r"RUN \d call (\w+)", done.stdout) == ["failed", "failed", "passed"], done.stdout


def test_a_recorder_that_dies_is_told(suite, tmp_path):
    (tmp_path / "test_dies.py").write_text("import asyncio, os, time\ndef test_it():\n async def main():\n"
                                           "  await asyncio.sleep(0.001)\n  time.sleep(0.15)\n asyncio.run(main())\n"
                                           " assert os.system('pkill -KILL -f -- \"--join-fd 2 %d$\"' % os.getpid()) == 0\n"
                                           " time.sleep(0.2)\n")
    done = suite("--whystall-max-stall=50ms", "test_dies.py")
    assert done.returncode == 0
    assert "whystall: the recorder does not answer any more: not all tests were judged" in done.stdout and "1 passed" in done.stdout


def test_a_child_process_is_in_its_parents_test(run, report, tmp_path):
    (tmp_path / "own.py").write_text("import asyncio, time\nasync def main():\n await asyncio.sleep(0.001)\n time.sleep(0.1)\n"
                                     "asyncio.run(main())\n")
    (tmp_path / "test_child.py").write_text(
        f"import subprocess\ndef test_child(): subprocess.run([{DEBIAN!r}, 'own.py'], check=True)\n")
    done = run(DEBIAN, "-m", "pytest", "-q", "-p", "whystall.pytest_plugin", "-p", "no:cacheprovider", "test_child.py",
               cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(ROOT / "python")))
    assert done.returncode == 0, done.stdout
    stalls = [s for p in report(done.record)["processes"] for s in p["stalls"]]
    assert [s["test"] for s in stalls] == ["test_child.py::test_child"]


def test_what_is_in_no_test_is_in_none(run, report, tmp_path):
    """Whose hooks run after the last test; the same of a pytest in a test, where it is that test."""
    (tmp_path / "conftest.py").write_text(
        "import asyncio, time\ndef stall():\n async def main():\n  await asyncio.sleep(0.001)\n  time.sleep(0.1)\n asyncio.run(main())\n"
        "def pytest_sessionfinish(): stall()\n")
    (tmp_path / "test_outer.py").write_text(
        "import pytest\nfrom conftest import stall\ndef test_outer():\n"
        " assert pytest.main(['-q', '-p', 'whystall.pytest_plugin', '-p', 'no:cacheprovider', 'inner.py']) == 0\n stall()\n")
    (tmp_path / "inner.py").write_text("from conftest import stall\ndef test_inner(): stall()\n")
    done = run(DEBIAN, "-m", "pytest", "-q", "-p", "whystall.pytest_plugin", "-p", "no:cacheprovider", "test_outer.py",
               cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(ROOT / "python")))
    assert done.returncode == 0, done.stdout
    stalls = [s.get("test") for p in report(done.record)["processes"] for s in p["stalls"] if s["duration_s"] > 0.09]
    assert stalls == ["inner.py::test_inner", *2 * ["test_outer.py::test_outer"], None]


def test_a_test_may_read_the_record_that_it_is_in(run, tmp_path):
    """A process that has the record open, looked at by the one that writes it: the latter's locks stay."""
    (tmp_path / "reader.py").write_text(
        "import subprocess, sys, time\nsys.path.insert(0, sys.argv[1])\nfrom whystall import recorder\n"
        "seen = recorder.find()\nfor i in range(40):\n seen.mark(str(i))\n assert seen.sync()\n"
        " subprocess.run([sys.argv[2], 'report', seen.record], stdout=subprocess.DEVNULL, check=True)\n")
    done = run(DEBIAN, "reader.py", ROOT / "python", BINARY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_check_of_one_test(run, binary, tmp_path):
    (tmp_path / "marks.py").write_text(
        "import asyncio, sys, time\nsys.path.insert(0, sys.argv[1])\nfrom whystall import recorder\nseen = recorder.find()\n"
        "async def main(s):\n await asyncio.sleep(0.001)\n time.sleep(s)\n"
        "for name, s in ('test_sick', 0.15), ('test_fine', 0):\n seen.mark(name)\n asyncio.run(main(s))\n seen.mark('')\n")
    record = run(DEBIAN, "marks.py", ROOT / "python", cwd=tmp_path).record

    def check(*options, **more):
        return subprocess.run([binary, "check", *options, record], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              **more)

    assert check("--max-stall", "50ms", "--test", "test_sick").returncode == 1
    assert check("--max-stall", "50ms", "--test", "test_fine").returncode == 0
    assert re.search(r"^::error file=marks\.py,line=7,title=whystall::The event loop in test test_sick: longest stall ",
                     check("--max-stall", "50ms", "--github", env=dict(os.environ, GITHUB_WORKSPACE=str(tmp_path))).stdout, re.M)
    done = check("--max-stall", "50ms", "--test", "test_fin")
    assert done.returncode == 4 and done.stderr.startswith('whystall: check: no test "test_fin" ran in ')
    assert done.stderr.endswith("; did you mean test_fine?\n")
    for options in (["--max-p99", "5ms"], ["--max-stalled", "1"], ["--max-stall", "1s", "--baseline", record]):
        done = check("--test", "test_sick", *options)
        assert done.returncode == 2 and "--test goes with --max-stall and --fail-on only" in done.stderr
        assert done.stderr.count("\n") == 1


def test_without_a_recorder_all_calls_come_to_nothing(tmp_path):
    script = ("import ctypes\nf = ctypes.CDLL(None)\nf.whystall_record.restype = ctypes.c_char_p\n"
              "print(f.whystall_mark(b'x'), f.whystall_record(), f.whystall_stalls(), f.whystall_threshold(), f.whystall_sync(),"
              " f.whystall_synced(7))")
    done = subprocess.run([DEBIAN, "-c", script], stdout=subprocess.PIPE, text=True, check=True,
                          env=dict(os.environ, LD_PRELOAD=str(BINARY.parent / "libwhystall.so")))
    assert done.stdout == "-1 None 0 0 0 1\n"


def test_marks_are_taken_in_order_and_none_is_lost(run, tmp_path):
    import sqlite3

    (tmp_path / "marks.py").write_text(
        "import sys\nsys.path.insert(0, sys.argv[1])\nfrom whystall import recorder\nseen = recorder.find()\n"
        "for i in range(5000):\n seen.mark(f'mark {i}')\n if i % 50 == 49: seen.sync()\n"
        "seen.mark('x' * 1000)\nseen.mark('\\x1b[31m\\n')\nassert seen.sync() and seen.record\n")
    done = run(DEBIAN, "marks.py", ROOT / "python", cwd=tmp_path, options=["-q"])
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(done.record) as record:
        marks = [text for text, in record.execute("SELECT text FROM mark ORDER BY start_ns, id") if text]
        assert record.execute("SELECT lost_events FROM capture").fetchone() == (0,)
    assert marks[:5000] == [f"mark {i}" for i in range(5000)]
    assert marks[5000:] == ["x" * 499, "\\x1b[31m\\x0a"]


def test_the_python_module_is_older_than_no_python_we_know():
    """The plugin and its helper compile on each Python here, 3.8 the oldest."""
    for python in pythons().values():
        for name in ("__init__", "recorder", "pytest_plugin"):
            subprocess.run([python, "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())",
                            ROOT / "python" / "whystall" / f"{name}.py"], check=True)
