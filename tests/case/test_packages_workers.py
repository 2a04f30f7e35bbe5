# SPDX-License-Identifier: MIT
"""Servers and pools with worker processes: each worker's stalls are its own, and each is listed by what it is."""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from conftest import DEBIAN, PROGRAMS
from test_loops import ills

PACKAGES = PROGRAMS / "packages"


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def child_of(pid):
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return int(text.split()[0]) if text else None


@pytest.fixture
def started(binary, tmp_path):
    """started("gunicorn", ...) -> (whystall, its record); the command is ended by SIGTERM at its own pid."""
    running = []

    def start(*command, **more):
        record = tmp_path / f"{len(running)}.whystall"
        environment = dict(os.environ, PYTHONPATH=str(PACKAGES), PYTHONDONTWRITEBYTECODE="1")
        with open(tmp_path / "output", "w") as output:
            running.append(subprocess.Popen([binary, "run", "-o", record, "--", *map(str, command)], env=environment,
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output, **more))
        return running[-1], record

    yield start
    for process in running:
        if process.poll() is None:
            command = child_of(process.pid)
            process.kill()
            if command:
                os.kill(command, signal.SIGKILL)
        process.wait()


def end(whystall):
    os.kill(child_of(whystall.pid), signal.SIGTERM)
    return whystall.wait(30)


def ask(port, path="", tries=1):
    for _ in range(tries):
        try:
            return int(urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20).read())
        except OSError:
            time.sleep(0.1)
    return None


SERVERS = {
    "gunicorn": lambda port: ["/usr/bin/gunicorn", "-k", "uvicorn.workers.UvicornWorker", "-w", "2", "-b",
                              f"127.0.0.1:{port}", "web:app"],
    "uvicorn": lambda port: [DEBIAN, "-m", "uvicorn", "--workers", "2", "--port", port, "web:app"],
}


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_the_workers_of_a_server(started, report, server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    whystall, record = started(*SERVERS[server](port))
    workers = set()
    until(lambda: workers.add(ask(port, tries=5)) or len(workers - {None}) == 2)
    sick = {name: [ask(port, name) for _ in range(2)] for name in ("sleepy", "wait_for_hog")}
    end(whystall)
    processes = {p["pid"]: p for p in report(record)["processes"]}
    assert {p["pid"] for p in processes.values() if p["role"] == f"{server} worker"} == workers - {None}
    for ill, function, cause, thread in (("sleepy", "sleepy", "syscall", "MainThread"),
                                         ("wait_for_hog", "hog", "gil", "hog")):
        for pid in set(sick[ill]):
            told = [s for stall in processes[pid]["stalls"] for s in stall["segments"]
                    if s["culprit"] and s["culprit"]["function"] == function]
            assert {(s["cause"], s["culprit"]["thread"]) for s in told} == {(cause, thread)}
            assert sum(s["seconds"] for s in told) > 0.09 * sick[ill].count(pid)
    for process in processes.values():
        assert process["role"] or ills(process) == []  # the one that starts the others has nothing to stall


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(run, report, method):
    done = run(DEBIAN, PACKAGES / "pools.py", method)
    assert done.returncode == 0, done.stderr
    processes = report(done.record)["processes"]
    roles = [p["role"] for p in processes]
    assert roles.count("ProcessPoolExecutor worker") == 2
    assert roles.count("multiprocessing.Pool worker") == 1 and roles.count("multiprocessing.Process") == 1
    assert roles.count("multiprocessing resource tracker") == (method != "fork")
    assert roles.count("multiprocessing fork server") == (method == "forkserver")
    assert processes[0]["role"] is None and len(processes[0]["loops"]) >= 1
    for process in processes[1:]:
        assert process["role"] == "multiprocessing fork server" or ills(process) == []  # that one may take its time to fork
    for process in processes:
        if process["role"] and process["role"].endswith("worker"):
            assert process["loops"] == []


def test_the_workers_of_celery(started, report, tmp_path):
    (tmp_path / "queue").mkdir()
    subprocess.run([DEBIAN, "-c", "import tasks\nfor n in range(4): tasks.work.delay(n)"], cwd=tmp_path, check=True,
                   env=dict(os.environ, PYTHONPATH=str(PACKAGES), PYTHONDONTWRITEBYTECODE="1"))
    whystall, record = started(DEBIAN, "-m", "celery", "-A", "tasks", "worker", "-c", "2", "--without-gossip",
                               "--without-mingle", "--without-heartbeat", cwd=tmp_path)
    until(lambda: all((tmp_path / f"done{n}").exists() for n in range(4)))
    end(whystall)
    processes = report(record)["processes"]
    pool = [p for p in processes if p["role"] == "Celery pool worker"]
    assert len(pool) == 2
    for process in processes:
        assert process["loops"] == [] or ills(process) == []
    assert all(sum(t["cpu_s"] or 0 for t in p["threads"]) > 0.15 for p in pool)
