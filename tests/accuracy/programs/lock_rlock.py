# SPDX-License-Identifier: MIT
"""A reentrant lock, taken twice by its holder."""
import threading
import time

import stamp


class Registry:
    def __init__(self):
        self.lock = threading.RLock()
        self.held = threading.Event()

    def save(self, seconds):
        with self.lock:
            self.held.set()
            time.sleep(seconds)  # ill: save

    def saver(self, plan):
        for seconds in plan:
            with self.lock, stamp.holding("registry", "save", "sem"):
                self.save(seconds)
            time.sleep(0.08)

    def names(self):
        with stamp.waiting("registry"):
            with self.lock:
                return []


async def main():
    registry = Registry()
    thread = stamp.worker(registry.saver, stamp.durations(5, 50, 400), name="saver")
    while thread.is_alive():
        await stamp.calm(0.02)
        if registry.held.is_set():
            registry.held.clear()
            registry.names()


stamp.run(main)
