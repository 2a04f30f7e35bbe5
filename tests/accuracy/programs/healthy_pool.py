# SPDX-License-Identifier: MIT
"""The heavy work is done by processes."""
import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import stamp


def heavy_cpu_work(n):
    return len(bin(365 ** n))


async def main():
    loop = asyncio.get_running_loop()
    for _ in range(2):
        await asyncio.gather(*[loop.run_in_executor(POOL, heavy_cpu_work, 60_000) for _ in range(2)])
        await stamp.calm()


if __name__ == "__main__":
    # 3.14's default has a server that forks: one more loop, which is not this program's
    POOL = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
    list(POOL.map(heavy_cpu_work, [1000, 1000]))
    stamp.run(main)
    POOL.shutdown()
