# SPDX-License-Identifier: MIT
"""The lock is held by a worker that computes: the loop waits for the lock, not for the GIL."""
import threading
import time

import stamp

lock = threading.Lock()
held = threading.Event()


def reindex(seconds):
    until = time.monotonic() + seconds
    total = 0
    while time.monotonic() < until:  # ill: reindex
        for i in range(5000):  # ill: reindex
            total += i % 7  # ill: reindex


def indexer(plan):
    for seconds in plan:
        with lock, stamp.holding("index", "reindex", "sem"), stamp.running("reindex"):
            held.set()
            reindex(seconds)
        time.sleep(0.08)


def lookup():
    with stamp.waiting("index"):
        lock.acquire()
    lock.release()


async def main():
    thread = stamp.worker(indexer, stamp.durations(5, 60, 400), name="indexer")
    while thread.is_alive():
        await stamp.calm(0.02)
        if held.is_set():
            held.clear()
            lookup()


stamp.run(main, native=True)
