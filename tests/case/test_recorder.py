# SPDX-License-Identifier: MIT
"""whystall.recorder.start(): a program that has itself recorded after its start, as `whystall run` would have."""

import os
import pathlib
import shutil
import subprocess
import textwrap
import time

import pytest

import sid
from conftest import BINARY, DEBIAN, EVERY_PYTHON, PROGRAMS, ROOT, python_path
from test_loops import heaviest, ills

START = """
import asyncio, os, subprocess, sys, threading, time
from whystall import recorder
begun = threading.Thread(target=time.sleep, args=(1,), name="begun before")
begun.start()
seen = recorder.start(0.01)
assert recorder.start() is seen is recorder.find() and seen.threshold == 0.01
assert "LD_PRELOAD" not in os.environ and "WHYSTALL_ARENA" not in os.environ
"""
SICK = START + '''
def heavy():
    return 7 ** 1500000 % 10

async def main():
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.01)
    time.sleep(0.05)
    await asyncio.sleep(0.01)
    lock = threading.Lock()
    def keep():
        with lock:
            time.sleep(0.1)
    worker = threading.Thread(target=keep, name="worker")
    worker.start()
    await asyncio.sleep(0.02)
    with lock:
        pass
    await asyncio.sleep(0.01)
    await loop.run_in_executor(None, heavy)
    await asyncio.sleep(0.01)

asyncio.run(main())
CHILD = """import asyncio, time
async def main():
    for _ in range(5): await asyncio.sleep(0.01)
    time.sleep(0.05)
    await asyncio.sleep(0.01)
asyncio.run(main())"""
subprocess.run([sys.executable, "-c", CHILD], check=True)
async def child():
    for _ in range(5):
        await asyncio.sleep(0.01)
if not os.fork():
    asyncio.run(child())
    os._exit(0)
print(os.wait()[1], seen.record)
'''


def closed(record):
    """Waits until the recorder is done with it."""
    for _ in range(600):
        if not record.with_name(record.name + "-wal").exists():
            return
        time.sleep(0.05)


@pytest.fixture
def program(tmp_path):
    """program(source, python=...) -> the finished process and, once the recorder has closed it, the record's path."""

    def start(source, *arguments, python=DEBIAN, **more):
        (tmp_path / "app.py").write_text(textwrap.dedent(source))
        environment = dict(os.environ, PYTHONPATH=str(ROOT / "python"), WHYSTALL=str(BINARY), XDG_STATE_HOME=str(tmp_path),
                           PYTHONWARNINGS="ignore")  # of a fork with threads
        environment.update(more.pop("env", {}))
        done = subprocess.run([python, "app.py", *arguments], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **more)
        done.record = None
        records = list((tmp_path / "whystall").glob("*.whystall"))
        if done.returncode == 0 and records:
            done.record, = records
            closed(done.record)
        return done

    return start


def told(process):
    return {(s["cause"], s["culprit"] and s["culprit"]["function"], s["culprit"] and s["culprit"]["thread"])
            for s in map(heaviest, ills(process))}


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    """The program that needs no library, and the shim beside it: what a wheel brings into another root."""
    place = tmp_path_factory.mktemp("static")
    subprocess.run(["make", "-s", "static"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    shutil.copy2(ROOT / "build" / "static" / "whystall", place)
    shutil.copy2(BINARY.parent / "libwhystall.so", place)
    return place / "whystall"


@pytest.mark.parametrize("version", EVERY_PYTHON)
def test_the_same_verdict_as_from_the_start(program, report, version, request):
    elsewhere = {"WHYSTALL": str(request.getfixturevalue("static"))} if version in sid.VERSIONS else {}
    done = program(SICK, python=python_path(version), env=elsewhere)
    assert done.returncode == 0 and done.stderr == "" and done.stdout == f"0 {done.record}\n", done.stderr
    document = report(done.record)
    assert document["capture"]["backend"] == "preload" and document["capture"]["complete"]
    assert document["capture"]["lost_events"] == 0
    first, *others = document["processes"]
    assert first["runtime"]["name"] == "cpython" and first["loops"][0]["wait"].startswith("epoll_")
    threads = {c[2] for c in told(first) if c[0] == "gil"}
    assert {("syscall", "main", "MainThread"), ("gil", "heavy", *threads)} <= told(first)
    assert any(c == "lock" and f.endswith("keep") and t == "worker" for c, f, t in told(first))
    assert len(others) == 2 and {p["ppid"] for p in others} == {first["pid"]}
    assert any(told(p) == {("syscall", "main", "MainThread")} for p in others)
    assert sum(bool(p["loops"]) for p in others) == 2


def test_what_is_imported_later_is_seen(program, report):
    """uvloop's own libuv, whose calls were not bound yet."""
    done = program(START + """
import uvloop

async def main():
    for i in range(5):
        await asyncio.sleep(0.01)
    time.sleep(0.1)
    await asyncio.sleep(0.01)

uvloop.install()
asyncio.run(main())
""")
    assert done.returncode == 0, done.stderr
    process, = report(done.record)["processes"]
    assert told(process) == {("syscall", "main", "MainThread")} and process["loops"][0]["ticks"] > 5


@pytest.mark.parametrize("flags", [["-Wl,-z,lazy"], ["-Wl,-z,now"], ["-fno-plt"], ["-no-pie", "-fno-pie", "-Wl,-z,lazy"]],
                         ids=["lazy", "now", "no-plt", "no-pie"])
def test_a_program_in_c_however_it_is_linked(cc, report, tmp_path, flags):
    record = tmp_path / "record"
    done = subprocess.run([cc(PROGRAMS / "joins.c", *flags, "-ldl", "-lpthread"), BINARY, record], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stderr)
    older, newer = done.stdout.splitlines()
    if "-no-pie" not in flags:  # where a function's address is one in the program
        assert newer == "newer libwhystall.so" and older == "older libc.so.6"
    closed(record)
    process, = report(record)["processes"]
    assert {(c, f) for c, f, _ in told(process)} == {("syscall", "slow_step"), ("lock", "hold_lock")}


def test_a_recorder_is_no_child_and_keeps_no_stream(program, tmp_path):
    """Who waits for any child, for the end of a pipe, or counts descriptors finds all as it was."""
    done = program("""
import os, signal
from whystall import recorder
before = set(os.listdir("/proc/self/fd"))
recorder.start()
assert set(os.listdir("/proc/self/fd")) == before
try: os.waitpid(-1, os.WNOHANG)
except ChildProcessError: print("no child")
assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
os.kill(os.getpid(), signal.SIGKILL)
""")
    assert done.returncode == -9 and done.stdout == "no child\n" and done.stderr == ""


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_closed_streams_are_no_trouble(program, tmp_path, closed):
    program(f"""
import os
for fd in {closed!r}: os.close(fd)
from whystall import recorder
seen = recorder.start()
open("out", "w").write("fine" if seen.record else "")
""")
    assert (tmp_path / "out").read_text() == "fine"


@pytest.mark.parametrize("environment, says", [
    ({"WHYSTALL": "/nonexistent"}, "the program is not on PATH; pip install whystall brings it"),
    ({"WHYSTALL": "/bin/true"}, "/bin/true does not start")])
def test_what_keeps_it_from_recording_is_one_sentence(program, environment, says):
    done = program("from whystall import recorder\ntry: recorder.start()\nexcept recorder.Trouble as t: print(t)\n",
                   env=environment)
    assert done.stdout == says + "\n" and done.stderr == ""


def test_where_address_space_is_short_nothing_is_recorded(program):
    done = program("""
import resource
from whystall import recorder
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
try: recorder.start()
except recorder.Trouble as t: print(t)
""")
    assert done.returncode == 0 and "cannot be recorded" in done.stdout and done.stdout.count("\n") == 1, done.stdout


@pytest.mark.parametrize("arguments, says", [
    (["--join-fd", "2", "1", "2"], "--join-fd is for one process"),
    (["--join-fd", "2", "--hooks", "pthread", "1"], "and for no eBPF"),
    (["--join-fd", "x", "1"], "--join-fd")])
def test_join_fd_is_for_one_process(binary, arguments, says):
    done = subprocess.run([binary, "attach", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr, done.stderr


def test_an_ordinary_user_needs_no_more(ordinary_user, report):
    source = ordinary_user.directory / "own.py"
    source.write_text(SICK)
    state = ordinary_user.directory / "joined"
    package = ordinary_user.directory / "python" / "whystall"
    package.mkdir(parents=True)
    for name in ("__init__.py", "recorder.py"):
        (package / name).write_text((ROOT / "python" / "whystall" / name).read_text())
    done = ordinary_user([DEBIAN, source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                         env=dict(os.environ, PYTHONPATH=str(package.parent), WHYSTALL=ordinary_user.binary,
                                  XDG_STATE_HOME=str(state)))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    closed(pathlib.Path(done.stdout.split()[1]))
    first, *_ = report(done.stdout.split()[1])["processes"]
    assert ("gil", "heavy") in {(c, f) for c, f, _ in told(first)}
