# SPDX-License-Identifier: MIT
"""The classic: an executor's thread computes an integer power, one native call that never lets go of the GIL."""
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


SIZES = [stamp.sized(lambda n: 365 ** n, 40_000, s, 1.585) for s in stamp.durations(4, 40, 700)]
stamp.run(main, native=True)
