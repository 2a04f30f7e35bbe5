# SPDX-License-Identifier: MIT
"""A method takes a threading.Lock that a worker holds while it sleeps."""
import threading
import time

import stamp


class Cache:
    def __init__(self):
        self.lock = threading.Lock()
        self.held = threading.Event()

    def rebuild(self, seconds):
        with self.lock, stamp.holding("cache", "rebuild", "sem"):
            self.held.set()
            time.sleep(seconds)  # ill: rebuild

    def rebuilder(self, plan):
        for seconds in plan:
            self.rebuild(seconds)
            time.sleep(0.08)

    def get(self):
        with stamp.waiting("cache"):
            self.lock.acquire()
        self.lock.release()


async def main():
    cache = Cache()
    thread = stamp.worker(cache.rebuilder, stamp.durations(6, 50, 400), name="rebuilder")
    while thread.is_alive():
        await stamp.calm(0.02)
        if cache.held.is_set():
            cache.held.clear()
            cache.get()


stamp.run(main)
