# SPDX-License-Identifier: MIT
"""A worker imports a module whose body takes long, and the loop imports it too."""
import sys
import threading
import time

import stamp

begun = threading.Event()
seconds = 0.0


def load(plan):
    global seconds
    for seconds in plan:
        sys.modules.pop("slow_module", None)
        import slow_module  # noqa: F401
        time.sleep(0.08)


def use_tables():
    with stamp.waiting("import"):
        import slow_module
    return slow_module


async def main():
    thread = stamp.worker(load, stamp.durations(5, 50, 400), name="loader")
    while thread.is_alive():
        await stamp.calm(0.02)
        if begun.is_set():
            begun.clear()
            use_tables()


stamp.run(main)
