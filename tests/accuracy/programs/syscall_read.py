# SPDX-License-Identifier: MIT
"""Blocking reads on the loop: a socket, a socket with a timeout, a pipe, a named pipe through a file object."""
import os
import socket
import tempfile
import time

import stamp


def fetch(sock):
    with stamp.own("syscall", "recv", syscall="recvfrom"):
        return sock.recv(1)  # ill: recv


def fetch_politely(sock):
    with stamp.own("syscall", "poll", syscall="poll"):
        return sock.recv(1)  # ill: poll


def drain(pipe):
    with stamp.own("syscall", "pipe", syscall="read"):
        return os.read(pipe, 1)  # ill: pipe


def tail(file):
    with stamp.own("syscall", "fifo", syscall="read"):
        return file.read(1)  # ill: fifo


def later(seconds, write, data):
    def peer():
        time.sleep(seconds)
        write(data)

    stamp.worker(peer, name="peer")


async def main():
    ours, theirs = socket.socketpair()
    r, w = os.pipe()
    path = os.path.join(tempfile.mkdtemp(), "fifo")
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR)
    file = open(path, "rb", buffering=0)
    a, b, c, d = stamp.durations(4, 50, 350)
    later(a, theirs.send, b"x")
    fetch(ours)
    await stamp.calm()
    ours.settimeout(5)
    later(b, theirs.send, b"x")
    fetch_politely(ours)
    await stamp.calm()
    later(c, lambda data: os.write(w, data), b"x")
    drain(r)
    await stamp.calm()
    later(d, lambda data: os.write(fifo, data), b"x")
    tail(file)
    os.unlink(path)
    os.rmdir(os.path.dirname(path))


stamp.run(main)
