# SPDX-License-Identifier: MIT
"""Event loops that are not Python's: libuv, libevent, Redis, nginx, Node, Ruby. Ticks, causes and native stacks."""

import os
import shutil
import socket
import subprocess
import urllib.request

import pytest

from conftest import PROGRAMS
from test_loops import heaviest, ills, only
from test_packages_workers import end, started, until  # noqa: F401

PACKAGES = PROGRAMS / "packages"


def functions(segment):
    """Of the stack on which the loop was delayed."""
    return [f["function"] for f in segment["stack"]]


def causes(process):
    """{function on the stack: the causes that stalls with it have}"""
    found = {}
    for stall in ills(process):
        for segment in stall["segments"]:
            for function in functions(segment):
                found.setdefault(function, set()).add(segment["cause"])
    return found


@pytest.mark.parametrize("library, package", [("libuv", "libuv"), ("libevent", "libevent_core")])
def test_a_library_of_c(cc, run, report, library, package):
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", package], stdout=subprocess.PIPE, text=True, check=True)
    program = cc(PACKAGES / f"loop_{library}.c", "-D_GNU_SOURCE", *flags.stdout.split())
    process = only(report(run(program).record))
    loop, = process["loops"]
    assert loop["wait"].startswith("epoll_") and loop["ticks"] > 50
    told = {(heaviest(s)["cause"], heaviest(s)["culprit"]["function"]) for s in ills(process)}
    assert told == {("cpu", "compress_log"), ("syscall", "ask_disk")}
    assert {"main"} <= set(functions(heaviest(ills(process)[0])))
    assert ills(only(report(run(program, "healthy").record))) == []


def redis(started, tmp_path, *commands):
    """Redis under whystall, and the commands one after the other -> the record"""
    path = tmp_path / "socket"
    whystall, record = started("redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp_path,
                               "--enable-debug-command", "yes")

    def command(*words):
        return subprocess.run(["redis-cli", "-s", path, *map(str, words)], stdout=subprocess.PIPE, text=True).stdout

    until(lambda: command("ping") == "PONG\n")
    for words in commands:
        command(*words)
    end(whystall)
    return record


def test_redis(started, report, tmp_path):
    record = redis(started, tmp_path, ["debug", "populate", 500000], ["keys", "none*"], ["debug", "sleep", "0.15"],
                   ["eval", "local t = 0 for i = 1, 2e7 do t = t + i end return t", 0])
    process = only(report(record))
    loop, = process["loops"]
    assert loop["wait"] == "epoll_wait"
    found = causes(process)
    assert "cpu" in found["keysCommand"] and "cpu" in found["luaCallFunction"] and "syscall" in found["debugCommand"]
    sleep, = [s for stall in process["stalls"] for s in stall["segments"] if s["syscall"] == "clock_nanosleep"]
    assert sleep["culprit"]["function"] == "debugCommand" and 0.14 < sleep["seconds"] < 1


def test_redis_healthy(started, report, tmp_path):
    record = redis(started, tmp_path, *[["set", f"key{i}", i] for i in range(20)], ["mget", "key1", "key2"])
    process = only(report(record))
    assert process["loops"][0]["ticks"] > 20
    assert ills(process) == []


def test_nginx(started, report, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("hello\n")
    (tmp_path / "nginx.conf").write_text(f"""
daemon off; worker_processes 2; pid {tmp_path}/pid; error_log {tmp_path}/errors;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 64; }}
http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {tmp_path}/www; }} }}
""")
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    whystall, record = started(nginx, "-c", tmp_path / "nginx.conf", "-p", tmp_path)

    def get():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
        except OSError:
            return None

    until(lambda: get() == b"hello\n")
    for _ in range(50):
        assert get() == b"hello\n"
    end(whystall)
    processes = report(record)["processes"]
    assert len(processes) == 3
    assert sum(loop["ticks"] for p in processes for loop in p["loops"]) > 50
    assert [stall for p in processes for stall in ills(p)] == []


def test_node(run, report, tmp_path):  # in whose directory V8 leaves a log
    process = only(report(run("node", "--perf-basic-prof", PACKAGES / "loop.js", cwd=tmp_path).record))
    assert process["loops"][0]["wait"].startswith("epoll_")
    found = causes(process)
    assert any("pbkdf2" in f.lower() or "sha512" in f.lower() for f in found)
    assert any("Json" in f for f in found)
    assert "cpu" in found["sumSquares"]
    sums, = {(c["file"], c["line"]) for loop in process["loops"] for c in
             (cause["culprit"] for cause in loop["causes"]) if c and c["function"] == "sumSquares"}
    assert sums == (str(PACKAGES / "loop.js"), 13)
    frame = next(f for stall in process["stalls"] for s in stall["segments"] for f in s["stack"]
                 if f["function"] == "sumSquares")
    assert frame["kind"] == "js"
    assert ills(only(report(run("node", PACKAGES / "loop.js", "healthy").record))) == []


def test_ruby(run, report):
    process = only(report(run("ruby", PACKAGES / "loop.rb").record))
    loop, = process["loops"]
    assert loop["wait"] in ("pselect6", "ppoll", "poll") and loop["ticks"] > 100
    assert {"cpu", "syscall", "lock"} <= {s["cause"] for stall in process["stalls"] for s in stall["segments"]
                                          if s["seconds"] > 0.03}
    assert any(f and f.startswith("rb_") for stall in ills(process) for f in functions(heaviest(stall)))
    assert ills(only(report(run("ruby", PACKAGES / "loop.rb", "healthy").record))) == []
