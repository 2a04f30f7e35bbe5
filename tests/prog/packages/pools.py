# SPDX-License-Identifier: MIT
"""Workers of every kind that multiprocessing makes, which all compute while a loop awaits them: pools.py METHOD"""

import asyncio
import concurrent.futures
import multiprocessing
import sys

import ills


def work(n):
    ills.compute()
    ills.compute()
    return n


async def main():
    loop, context = asyncio.get_running_loop(), multiprocessing.get_context(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        await asyncio.gather(*[loop.run_in_executor(pool, work, n) for n in range(2)])
    with context.Pool(1) as pool:
        result = pool.map_async(work, range(2))
        while not result.ready():
            await asyncio.sleep(0.01)
    process = context.Process(target=work, args=(1,))
    process.start()
    while process.is_alive():
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
