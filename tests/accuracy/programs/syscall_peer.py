# SPDX-License-Identifier: MIT
"""Calls that wait for a peer: an answer that takes its time over TCP, a connection to be accepted,
a Unix socket that has no room yet."""
import os
import socket
import tempfile
import time

import stamp


def fetch(client):
    with stamp.own("syscall", "recv", syscall="recvfrom"):
        return client.recv(1)  # ill: recv


def serve(server):
    with stamp.own("syscall", "accept", syscall="accept4"):
        return server.accept()  # ill: accept


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    with stamp.own("syscall", "connect", syscall="connect"):
        client.connect(path)  # ill: connect


def late(seconds, call, *arguments):
    def peer():
        time.sleep(seconds)
        call(*arguments)

    stamp.worker(peer, name="peer")


async def main():
    a, b, c = stamp.durations(3, 60, 300)
    tcp = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(tcp.getsockname())
    peer = tcp.accept()[0]
    late(a, peer.send, b"x")
    fetch(client)
    await stamp.calm()
    late(b, socket.create_connection, tcp.getsockname())
    serve(tcp)
    await stamp.calm()
    path = os.path.join(tempfile.mkdtemp(), "socket")
    local = socket.socket(socket.AF_UNIX)
    local.bind(path)
    local.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(path)  # the backlog has room for one, which this takes
    late(c, local.accept)
    connect(path)
    os.unlink(path)
    os.rmdir(os.path.dirname(path))


stamp.run(main)
