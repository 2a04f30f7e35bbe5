# SPDX-License-Identifier: MIT
"""gc.collect() in a coroutine, with more and more objects alive, and cycles to be found in them."""
import gc

import stamp


def tidy():
    with stamp.parts("tidy", "gc"):
        gc.collect()  # ill: tidy gc_collect


def make(n):
    rows = [[i] for i in range(n)]
    for row in rows[::50]:
        row.append(row)
    return rows


async def main():
    for alive in ALIVE:
        tidy()
        await stamp.calm()


gc.disable()
ALIVE = [make(n) for n in (200_000, 300_000, 500_000)]
gc.enable()
stamp.run(main)
