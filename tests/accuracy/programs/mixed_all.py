# SPDX-License-Identifier: MIT
"""One handler, one tick: it computes, waits for a lock that a worker holds, collects garbage and sleeps."""
import gc
import sys
import threading
import time

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


def compute(seconds):
    until = time.monotonic() + seconds
    with stamp.own("cpu", "compute"):
        while time.monotonic() < until:  # ill: compute
            "a-b".split("-")  # ill: compute


def tidy():
    with stamp.parts("tidy", "gc"):
        gc.collect()  # ill: tidy gc_collect


def nap(seconds):
    with stamp.own("syscall", "nap", syscall=CALL):
        time.sleep(seconds)  # ill: nap


class Store:
    def __init__(self):
        self.lock = threading.Lock()
        self.wanted, self.held = threading.Event(), threading.Event()

    def save(self, plan):
        for seconds in plan:
            self.wanted.wait()
            self.wanted.clear()
            with self.lock, stamp.holding("store", "save", "sem"):
                self.held.set()
                time.sleep(seconds)  # ill: save

    def load(self):
        with stamp.waiting("store"):
            self.lock.acquire()
        self.lock.release()


async def main():
    store, plan = Store(), stamp.durations(4, 50, 200)
    stamp.worker(store.save, plan, name="saver")
    for seconds in plan:
        store.held.clear()
        store.wanted.set()
        while not store.held.is_set():
            await stamp.calm(0.01)
        compute(0.04)
        store.load()
        tidy()
        nap(seconds / 2)
        await stamp.calm()


gc.disable()
ALIVE = [[i] for i in range(300_000)]
gc.enable()
stamp.run(main)
