# SPDX-License-Identifier: MIT
"""What a blocking call concerns, as the report names it."""

import os
import shutil

import pytest

PROGRAM = """
import asyncio, os, socket, subprocess, sys, threading, time
how, LONG = sys.argv[1], 0.15
def late(call, *arguments):
    threading.Thread(target=lambda: (time.sleep(LONG), call(*arguments)), daemon=True).start()
def tcp(family, host):
    server = socket.create_server((host, 0), family=family)
    client = socket.create_connection(server.getsockname()[:2])
    return server, client, server.accept()[0]
def ill():
    if how in ("tcp", "tcp6", "timeout"):
        family, host = (socket.AF_INET6, "::1") if how == "tcp6" else (socket.AF_INET, "127.0.0.1")
        server, client, peer = tcp(family, host)
        print(("[%s]:%d" if how == "tcp6" else "%s:%d") % client.getpeername()[:2])
        if how == "timeout":
            client.settimeout(5)
        late(peer.send, b"x")
        client.recv(1)
    elif how == "accept":
        server = socket.create_server(("127.0.0.1", 0))
        print("%s:%d" % server.getsockname())
        late(socket.create_connection, server.getsockname())
        server.accept()
    elif how == "unix":
        server = socket.socket(socket.AF_UNIX)
        server.bind("socket")
        server.listen(0)
        print("unix:socket")
        socket.socket(socket.AF_UNIX).connect("socket")
        first = socket.socket(socket.AF_UNIX)
        late(server.accept)
        first.connect("socket")
    elif how == "fifo":
        os.mkfifo("fifo")
        print("fifo")
        late(os.open, "fifo", os.O_WRONLY)
        os.open("fifo", os.O_RDONLY)
    elif how == "file":
        os.mkfifo("fifo")
        fd = os.open("fifo", os.O_RDWR)
        print(os.path.abspath("fifo"))
        late(os.write, fd, b"x")
        os.read(fd, 1)
    elif how == "pipe":
        r, w = os.pipe()
        print(os.readlink("/proc/self/fd/%d" % r))
        late(os.write, w, b"x")
        os.read(r, 1)
    elif how == "name":  # in its own network: a name server that never answers
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))
        print("slow.example")
        try:
            socket.getaddrinfo("slow.example", 80, socket.AF_INET)
        except OSError:
            pass
    elif how == "child":
        child = subprocess.Popen(["sleep", str(LONG)])
        print("pid %d" % child.pid)
        child.wait()
async def main():
    for _ in range(5):
        await asyncio.sleep(0.01)
    ill()
    await asyncio.sleep(0.05)
asyncio.run(main())
"""


@pytest.mark.parametrize("how, call", [
    ("tcp", "recvfrom"), ("tcp6", "recvfrom"), ("timeout", "poll"), ("accept", "accept4"), ("unix", "connect"),
    ("fifo", "openat"), ("file", "read"), ("pipe", "read"), ("child", "wait4")])
def test_a_call_names_what_it_waits_for(run, report, tmp_path, how, call):
    script = tmp_path / "ill.py"
    script.write_text(PROGRAM)
    done = run("/usr/bin/python3", script, how, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stalls = report(done.record)["processes"][0]["stalls"]
    # what the disk is slow to import is not what is asked for
    segment = max((s for stall in stalls for s in stall["segments"] if not (s["target"] or "").endswith(".pyc")),
                  key=lambda s: s["seconds"])
    assert (segment["cause"], segment["syscall"], segment["target"]) == ("syscall", call, done.stdout.strip())


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="own namespaces are root's")
def test_a_name_that_is_looked_up(run, report, tmp_path):
    script, servers = tmp_path / "ill.py", tmp_path / "resolv.conf"
    script.write_text(PROGRAM)
    servers.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    done = run("unshare", "-mn", "sh", "-c",
               f"mount --bind {servers} /etc/resolv.conf && exec /usr/bin/python3 {script} name", cwd=tmp_path)
    if "slow.example" not in done.stdout:
        pytest.skip("no namespaces here: " + done.stderr)
    segments = [s for p in report(done.record)["processes"] for stall in p["stalls"] for s in stall["segments"]]
    segment = max(segments, key=lambda s: s["seconds"])
    assert (segment["cause"], segment["syscall"], segment["target"]) == ("syscall", "getaddrinfo", "slow.example")
    assert 0.9 < segment["seconds"] < 3
