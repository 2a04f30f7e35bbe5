# SPDX-License-Identifier: MIT
"""A handler makes some containers, and the collection that this brings up walks through many that live on."""
import asyncio
import gc

import stamp


class Cache:
    def __init__(self):
        self.rows = []

    async def grow(self, n):
        while len(self.rows) < n:
            self.rows += [[i] for i in range(2000)]
            await asyncio.sleep(0.001)

    async def shrink(self):
        while self.rows:
            del self.rows[-5000:]
            await asyncio.sleep(0.001)

    def lookup(self):
        found = []
        with stamp.parts("lookup", "gc"):
            gc.enable()  # ill: lookup
            for i in range(3000):  # ill: lookup
                found.append([i])  # ill: lookup gc_collect_main|gc_collect_generations|collect_generations|_PyGC_Collect|_Py_RunGC|gc_collect_young|gc_collect_increment
        gc.disable()
        return len(found)


async def main():
    gc.collect()
    gc.disable()
    cache = Cache()
    for n in (350_000, 500_000, 700_000):
        await cache.grow(n)
        await stamp.calm()
        cache.lookup()
        await cache.shrink()
    gc.enable()


stamp.run(main)
