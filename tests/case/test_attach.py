# SPDX-License-Identifier: MIT
"""whystall attach: processes that were never prepared, joined while they run."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request

import pytest

from conftest import DEBIAN, PROGRAMS, ROOT

SICK = """
    import asyncio, concurrent.futures.thread, ctypes, sys, time

    keep = ctypes.PyDLL(None).usleep  # it does not release the GIL

    def hold(seconds):
        keep(int(seconds * 1e6))

    def nap():
        time.sleep(0.15)

    async def main():
        loop = asyncio.get_running_loop()
        print("up", flush=True)
        for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
            await asyncio.sleep(0.05)
            nap()
            await asyncio.sleep(0.05)
            work = loop.run_in_executor(None, hold, 0.25)
            await asyncio.sleep(0.1)
            await work

    time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 1)
    asyncio.run(main())
"""


@pytest.fixture
def start(tmp_path):
    """start(source or argv, ...) -> the running process; killed in the end."""
    running = []

    def launch(what, *arguments, python=DEBIAN, **more):
        if isinstance(what, str):
            path = tmp_path / f"app{len(running)}.py"
            path.write_text(textwrap.dedent(what))
            what = [python, str(path)]
        more.setdefault("stdout", subprocess.DEVNULL)
        process = subprocess.Popen([*map(str, what), *map(str, arguments)], stdin=subprocess.DEVNULL, **more)
        running.append(process)
        return process

    yield launch
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def attach(binary, tmp_path):
    """attach(pid, ...) -> the running whystall, once it records; .record is its record."""
    running = []

    def join(*pids, options=(), program=binary, before=()):
        ready, write = os.pipe()
        record = tmp_path / f"attach{len(running)}.whystall"
        process = subprocess.Popen([*before, program, "attach", "-o", str(record), "--ready-fd", str(write), *options,
                                    *map(str, pids)], pass_fds=[write], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        os.close(write)
        process.ready = os.read(ready, 1)
        os.close(ready)
        process.record = record
        if not process.ready:
            pytest.fail(f"it did not begin to record: {process.communicate(timeout=20)}")
        return process

    yield join
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


def ended(process, timeout=40):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out, err


def culprits(loop):
    """But for memory that a slow disk has to give first."""
    return {(c["cause"], c["culprit"]["function"]) for c in loop["causes"] if c["share"] > 0.1 and c["cause"] != "fault"}


def loop_of(document, pid):
    process = next(p for p in document["processes"] if p["pid"] == pid)
    assert len(process["loops"]) == 1
    return process, process["loops"][0]


@pytest.mark.parametrize("version", ("debian", "3.8", "3.10", "3.12", "3.13", "3.14", "3.15"))
def test_the_verdict_is_that_of_run(attach, start, report, python_of, version):
    program = start(SICK, python=python_of(version))
    watcher = attach(program.pid)
    _, err = ended(watcher)
    assert f"whystall: recording {program.pid}\n" in err
    document = report(watcher.record)
    assert document["capture"]["backend"] == "ebpf" and document["capture"]["complete"]
    assert document["capture"]["lost_events"] == 0
    process, loop = loop_of(document, program.pid)
    assert process["runtime"]["name"] == "cpython" and process["backend"] == "ebpf"
    # 3.8 to 3.10 have qualified names too, from the function objects
    assert culprits(loop) == {("syscall", "nap"), ("gil", "hold")}
    assert loop["stalls"]["count"] >= 6
    for stall in process["stalls"]:
        assert sum(s["seconds"] for s in stall["segments"]) == pytest.approx(stall["duration_s"], rel=0.002, abs=0.0002)
    worker = "ThreadPoolExecutor-0_0" if version == "3.8" else "asyncio_0"
    holders = [h for s in process["stalls"] for g in s["segments"] if g["cause"] == "gil" for h in g["holders"]]
    assert holders and {h["thread"] for h in holders if h["seconds"] > 0.05} == {worker}
    nap = next(c for c in loop["causes"] if c["culprit"]["function"] == "nap")
    assert nap["culprit"]["line"] == 10 and nap["stalls"] == 3
    gil = {t["name"]: t["gil"] for t in process["threads"]}
    assert gil[worker]["contended_only"] and gil[worker]["holds"] > 0


def test_what_was_under_way_is_reported_from_then_on(attach, start, report):
    program = start("""
        import asyncio, time
        async def main():
            await asyncio.sleep(0.01)
            print("stalls", flush=True)
            time.sleep(2)
            await asyncio.sleep(0.1)
        asyncio.run(main())
    """, stdout=subprocess.PIPE)
    program.stdout.readline()
    time.sleep(0.3)
    watcher = attach(program.pid)
    ended(watcher)
    process, _ = loop_of(report(watcher.record), program.pid)
    first = process["stalls"][0]
    assert first["began_before"] and not first["ongoing"] and 0.5 < first["duration_s"] < 1.9
    assert first["segments"][0]["cause"] == "syscall" and first["segments"][0]["syscall"] == "clock_nanosleep"
    assert first["segments"][0]["culprit"]["function"] == "main"


def test_a_program_killed_in_its_stall_leaves_it_ongoing(attach, start, report):
    program = start("""
        import asyncio, time
        async def main():
            for _ in range(20):
                await asyncio.sleep(0.01)
            print("stalls", flush=True)
            time.sleep(30)
        time.sleep(0.6)
        asyncio.run(main())
    """, stdout=subprocess.PIPE)
    watcher = attach(program.pid)
    program.stdout.readline()
    time.sleep(1)
    program.kill()
    ended(watcher)
    process, loop = loop_of(report(watcher.record), program.pid)
    assert [s["ongoing"] for s in process["stalls"] if s["duration_s"] > 0.2] == [True]


def test_short_stalls_have_their_holder(attach, start, report):
    """5 to 20 ms: user space comes too late for these."""
    program = start("""
        import asyncio, ctypes, threading, time
        hold = ctypes.PyDLL(None).usleep  # it keeps the GIL

        def hog():
            time.sleep(0.8)
            for i in range(60):
                hold(8_000 + 150 * i)
                time.sleep(0.02)

        async def main():
            hogs = threading.Thread(target=hog, name="hog")
            hogs.start()
            while hogs.is_alive():
                await asyncio.sleep(0.001)

        asyncio.run(main())
    """)
    watcher = attach(program.pid, options=["--threshold", "5ms"])
    ended(watcher)
    process, loop = loop_of(report(watcher.record), program.pid)
    stalls = [s for s in process["stalls"] if s["duration_s"] < 0.02]
    gil = [s for s in stalls for g in s["segments"] if g["cause"] == "gil" and g["seconds"] > 0.6 * s["duration_s"]]
    right = [s for s in gil for g in s["segments"] if g["cause"] == "gil" and g["holders"]
             and g["holders"][0]["thread"] == "hog" and g["culprit"]["function"] == "hog"]
    assert len(gil) >= 30
    assert len(right) >= 0.9 * len(gil)


def test_children_and_those_that_were_there_already(attach, start, report):
    program = start("""
        import asyncio, os, sys, time
        def work():
            async def main():
                for _ in range(4):
                    await asyncio.sleep(0.02)
                    time.sleep(0.06)
            asyncio.run(main())
        first = os.fork()
        time.sleep(1.2)
        if first:
            second = os.fork()
        work()
        if first:
            os.waitpid(first, 0)
            if second:
                os.waitpid(second, 0)
    """)
    time.sleep(0.3)
    watcher = attach(program.pid)
    ended(watcher)
    document = report(watcher.record)
    stalled = [p for p in document["processes"] if any(l["stalls"]["count"] >= 4 for l in p["loops"])]
    assert len(stalled) == 3
    assert all(p["ppid"] == program.pid for p in stalled if p["pid"] != program.pid)


def test_no_children(attach, start, report):
    program = start("""
        import os, time
        time.sleep(0.6)
        if not os.fork():
            time.sleep(0.2)
            os._exit(0)
        os.wait()
    """)
    watcher = attach(program.pid, options=["--no-children"])
    ended(watcher)
    assert [p["pid"] for p in report(watcher.record)["processes"]] == [program.pid]


def test_uvicorn_with_workers(attach, start, report):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = start([DEBIAN, "-m", "uvicorn", "--app-dir", ROOT / "demo", "app:api", "--port", port, "--workers", "2",
                    "--log-level", "critical"], stderr=subprocess.DEVNULL)

    def get(path):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20).read()

    for _ in range(200):
        with contextlib.suppress(OSError):
            get("/health")
            break
        time.sleep(0.1)
    watcher = attach(server.pid)
    for _ in range(6):
        get("/sleepy")
    watcher.send_signal(signal.SIGINT)
    ended(watcher)
    assert server.poll() is None
    document = report(watcher.record)
    loops = [l for p in document["processes"] for l in p["loops"] if p["ppid"] == server.pid]
    assert len(loops) == 2
    assert {c["culprit"]["function"] for l in loops for c in l["causes"] if c["share"] > 0.5} == {"sleepy"}


@pytest.mark.parametrize("version", ("3.12", "3.15"))
def test_a_loop_waits_for_the_lock_of_its_interpreter(attach, start, report, python_of, version):
    program = start(["sh", "-c", f"sleep 1; exec {python_of(version)} {PROGRAMS / 'subinterpreters.py'} 8"],
                    stderr=subprocess.DEVNULL)
    watcher = attach(program.pid)
    ended(watcher)
    process = next(p for p in report(watcher.record)["processes"] if p["loops"])
    outer = {loop["tid"] for loop in process["loops"] if loop["thread"] == "MainThread"}
    waits = [s for stall in process["stalls"] if stall["tid"] not in outer for s in stall["segments"]
             if s["cause"] == "gil" and s["seconds"] > 0.01]
    assert len(waits) >= 4
    assert {(s["culprit"]["thread"], s["culprit"]["function"]) for s in waits} == {("inner-heavy", "heavy")}


def test_a_process_in_a_pid_namespace(attach, start, report):
    program = start(["unshare", "-fp", "--mount-proc", "--kill-child", DEBIAN, "-c", textwrap.dedent(SICK), "2", "1.2"])
    for _ in range(100):
        children = pathlib.Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        if children and "python" in os.readlink(f"/proc/{children[0]}/exe"):
            break
        time.sleep(0.01)
    watcher = attach(children[0])
    ended(watcher)
    process, loop = loop_of(report(watcher.record), int(children[0]))
    assert process["ns_pid"] == 1
    assert culprits(loop) == {("syscall", "nap"), ("gil", "hold")}
    assert {t["name"] for t in process["threads"]} >= {"MainThread", "asyncio_0"}


def test_whystall_in_the_namespace_too(binary, tmp_path, report):
    record = tmp_path / "inner.whystall"
    (tmp_path / "sick.py").write_text(textwrap.dedent(SICK))
    done = subprocess.run(["unshare", "-fp", "--mount-proc", "--kill-child", "sh", "-c",
                           f"{DEBIAN} {tmp_path}/sick.py 2 1.2 & exec {binary} attach -o {record} $!"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    process = report(record)["processes"][0]
    assert process["pid"] == process["ns_pid"] < 10
    assert culprits(process["loops"][0]) == {("syscall", "nap"), ("gil", "hold")}


def test_a_holder_that_begins_while_whystall_does_not_run(attach, start, report):
    """What the kernel noted of it is read late, together with its birth."""
    program = start(SICK, 3, 1.5, stdout=subprocess.PIPE)
    watcher = attach(program.pid)
    program.stdout.readline()
    time.sleep(0.2)  # in the nap; the thread comes after it
    watcher.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    watcher.send_signal(signal.SIGCONT)
    ended(watcher)
    _, loop = loop_of(report(watcher.record), program.pid)
    assert culprits(loop) == {("syscall", "nap"), ("gil", "hold")}


def test_both_captures_agree(binary, attach, start, report, tmp_path):
    record = tmp_path / "run.whystall"
    (tmp_path / "sick.py").write_text(textwrap.dedent(SICK))
    runner = start([binary, "run", "-q", "-o", record, "--", DEBIAN, tmp_path / "sick.py", 4, 1.5])
    pid = None
    while not pid:
        time.sleep(0.05)
        children = pathlib.Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()
        pid = int(children[0]) if children else None
    watcher = attach(pid, options=["--backend", "ebpf"])
    assert runner.wait(60) == 0
    ended(watcher)
    both = [report(r)["processes"][0]["stalls"] for r in (record, watcher.record)]
    assert len(both[0]) == len(both[1]) >= 8
    for one, other in zip(*both):
        assert one["duration_s"] == pytest.approx(other["duration_s"], rel=0.01, abs=0.0005)
        biggest = [max(s["segments"], key=lambda g: g["seconds"]) for s in (one, other)]
        assert biggest[0]["cause"] == biggest[1]["cause"]
        assert biggest[0]["culprit"]["function"] == biggest[1]["culprit"]["function"]


def test_what_run_records_is_read(binary, attach, start, report, tmp_path, ordinary_user):
    """Without any privilege, from the record that grows."""
    (ordinary_user.directory / "sick.py").write_text(textwrap.dedent(SICK))
    record = ordinary_user.directory / "own.whystall"
    runner = subprocess.Popen([ordinary_user.binary, "run", "-q", "-o", record, "--", DEBIAN,
                               ordinary_user.directory / "sick.py", "8", "0.5"], user="nobody", group="nogroup",
                              extra_groups=[], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        pid = None
        while not pid:
            time.sleep(0.05)
            children = pathlib.Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()
            pid = int(children[0]) if children else None
        time.sleep(2)
        done = ordinary_user([ordinary_user.binary, "attach", "-d", "1s", "-f", "json", pid], capture_output=True,
                             text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["capture"]["backend"] == "preload" and not document["capture"]["complete"]
        assert culprits(loop_of(document, pid)[1]) == {("syscall", "nap"), ("gil", "hold")}
        copy = ordinary_user.directory / "copy.whystall"
        done = ordinary_user([ordinary_user.binary, "attach", "-o", copy, pid], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and "recording" in done.stderr
        assert report(copy)["capture"]["complete"]
        assert runner.wait(30) == 0
    finally:
        runner.kill()
        runner.wait()


def test_the_shim_wanted_and_not_there(binary, start):
    program = start([sys.executable, "-c", "import time; time.sleep(20)"])
    done = subprocess.run([binary, "attach", "--backend", "preload", str(program.pid)], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 3 and "whystall run" in done.stderr


def test_what_only_the_probe_can_give(binary, start):
    program = start([sys.executable, "-c", "import time; time.sleep(20)"])
    for option in (["--hooks", "pthread"], ["--listen", "0"]):
        done = subprocess.run([binary, "attach", "--backend", "preload", *option, str(program.pid)], capture_output=True,
                              text=True, timeout=20)
        assert done.returncode == 2 and option[0] in done.stderr and done.stderr.count("\n") == 1


def test_an_exec_goes_on_as_another_program(attach, start, report):
    program = start("""
        import os, sys, time
        time.sleep(0.8)
        os.execv(sys.executable, [sys.executable, "-c", "import asyncio, time\\n"
            "async def main():\\n for _ in range(4):\\n  await asyncio.sleep(.01)\\n  time.sleep(.05)\\nasyncio.run(main())"])
    """)
    watcher = attach(program.pid)
    ended(watcher)
    process, loop = loop_of(report(watcher.record), program.pid)
    assert loop["stalls"]["count"] == 4
    assert process["command"][1] == "-c"


def test_duration_format_and_report(attach, start, tmp_path):
    program = start(SICK, 100, 0.1)
    out = tmp_path / "report.json"
    watcher = attach(program.pid, options=["-d", "700ms", "-f", "json"])
    text, err = ended(watcher)
    assert json.loads(text)["processes"][0]["pid"] == program.pid
    assert "stalled" not in err.replace("loop stalled", "")
    watcher = attach(program.pid, options=["-d", "300ms", "-f", "json", "--report", str(out)])
    text, err = ended(watcher)
    assert not text and json.loads(out.read_text())["schema"] == "whystall.report/1" and "observed" in err
    assert program.poll() is None


@pytest.mark.parametrize("pid,status,words", [
    ("0", 2, "not a process id"), ("-1", 2, ""), ("one", 2, "not a process id"), ("", 2, "not a process id"),
    ("99999999999", 2, "not a process id"), ("4194303", 3, "no such process"), ("2", 3, "thread of the kernel")])
def test_what_cannot_be_attached_to(binary, pid, status, words):
    done = subprocess.run([binary, "attach", pid], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert done.returncode == status and words in done.stderr
    assert status == 2 or len(done.stderr.splitlines()) == 1


def test_no_process_given(binary):
    done = subprocess.run([binary, "attach"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "PID" in done.stderr


def test_a_zombie(binary, start):
    program = start([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    done = subprocess.run([binary, "attach", str(program.pid)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 3 and "zombie" in done.stderr


def test_an_ordinary_user_is_told_what_is_missing(ordinary_user):
    program = subprocess.Popen(["sleep", "20"], user="nobody")
    try:
        done = ordinary_user([ordinary_user.binary, "attach", program.pid], capture_output=True, text=True, timeout=20)
    finally:
        program.kill()
        program.wait()
    assert done.returncode == 3
    for word in ("CAP_BPF", "CAP_PERFMON", "setcap", "whystall run"):
        assert word in done.stderr


def test_forks_without_end(attach, start, report):
    program = start("""
        import os, time
        time.sleep(0.5)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            if not os.fork():
                os._exit(0)
            os.wait()
    """)
    watcher = attach(program.pid)
    ended(watcher)
    assert len(report(watcher.record)["processes"]) > 20


def test_it_ends_while_it_is_attached_to(binary, start):
    for _ in range(10):
        program = start([sys.executable, "-c", "import time; time.sleep(.05)"])
        time.sleep(0.04)
        done = subprocess.run([binary, "attach", "-q", "-o", "/dev/null", str(program.pid)], capture_output=True, text=True,
                              timeout=20)
        assert done.returncode in (0, 3, 125), done.stderr
