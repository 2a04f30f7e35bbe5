# SPDX-License-Identifier: MIT
"""The lock's holder is itself blocked: it waits for an answer on a socket."""
import socket
import threading
import time

import stamp

lock = threading.Lock()
held = threading.Event()


def answer(server, plan):
    for seconds in plan:
        server.recv(1)
        time.sleep(seconds)
        server.send(b"x")


def query(client):
    client.send(b"?")
    held.set()
    client.recv(1)  # ill: query


def pool(client, plan):
    for _ in plan:
        with lock, stamp.holding("connection", "query", "sem"):
            query(client)
        time.sleep(0.08)


def connection():
    with stamp.waiting("connection"):
        with lock:
            return None


async def main():
    server, client = socket.socketpair()
    plan = stamp.durations(5, 50, 400)
    stamp.worker(answer, server, plan, name="database")
    thread = stamp.worker(pool, client, plan, name="pool")
    while thread.is_alive():
        await stamp.calm(0.02)
        if held.is_set():
            held.clear()
            connection()


stamp.run(main)
