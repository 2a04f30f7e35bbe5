# SPDX-License-Identifier: MIT
"""A loop in an interpreter of its own, whose lock a thread of that interpreter keeps. A thread of the main one computes
too, and has nothing to do with it."""
# needs: _interpreters
import sys
import threading

if __name__ == "__main__":
    import _interpreters

    def compute():
        while not done:
            sum(range(10_000))

    done = []
    inner = _interpreters.create("isolated")
    threading.Thread(target=compute, daemon=True).start()
    try:
        failed = _interpreters.run_string(inner, f"""
import runpy, sys
sys.path[:0] = {sys.path!r}
sys.modules["__main__"].__file__ = {__file__!r}
runpy.run_path({__file__!r}, run_name="inner")
""")
    finally:
        done.append(1)
    sys.exit(failed and failed.formatted)

import asyncio
from concurrent.futures import ThreadPoolExecutor

import stamp


def heavy_cpu_work(n):
    with stamp.gil("power"):
        return 365 ** n  # ill: power long_pow


async def main():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "crunch") as pool:
        await stamp.warm(pool, 1)
        for n in SIZES:
            await loop.run_in_executor(pool, heavy_cpu_work, n)
            await stamp.calm()


SIZES = [stamp.sized(lambda n: 365 ** n, 40_000, s, 1.585) for s in stamp.durations(4, 40, 400)]
stamp.run(main, native=True)
