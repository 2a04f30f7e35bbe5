# SPDX-License-Identifier: MIT
"""In one tick: the loop waits for a lock, then computes with what it guarded."""
import threading
import time

import stamp

lock = threading.Lock()
held = threading.Event()


def refresh(seconds):
    with lock, stamp.holding("prices", "refresh", "sem"):
        held.set()
        time.sleep(seconds)  # ill: refresh


def refresher(plan):
    for seconds in plan:
        refresh(seconds)
        time.sleep(0.25)


def quote(seconds):
    with stamp.waiting("prices"):
        lock.acquire()
    lock.release()
    until = time.monotonic() + seconds
    with stamp.own("cpu", "quote"):
        while time.monotonic() < until:  # ill: quote
            pow(3, 50)  # ill: quote


async def main():
    thread = stamp.worker(refresher, stamp.durations(4, 60, 250), name="refresher")
    plan = stamp.durations(4, 30, 150)
    while thread.is_alive():
        await stamp.calm(0.01)
        if held.is_set():
            held.clear()
            quote(plan.pop())


stamp.run(main, native=True)
