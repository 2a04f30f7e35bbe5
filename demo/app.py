# SPDX-License-Identifier: MIT
"""The classic sick app: each endpoint stalls the event loop in its own way, or does not."""

import asyncio
import functools
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from fastapi import FastAPI

api = FastAPI()
threads = ThreadPoolExecutor(8)
list(threads.map(time.sleep, [0.02] * 8))  # a server that has run for a while has its threads already
cache_lock = threading.Lock()


def heavy_cpu_work(n):
    return (365**n).bit_length()


@functools.lru_cache(None)
def processes():
    return ProcessPoolExecutor(2)


def power_of(seconds):
    """How large a power takes so long here: one native call, and it never releases the GIL."""
    took = []
    for _ in range(5):
        start = time.perf_counter()
        heavy_cpu_work(100_000)
        took.append(time.perf_counter() - start)
    return int(100_000 * (seconds / min(took)) ** (1 / 1.585))  # Karatsuba


POWER = power_of(1.5)


def count_primes(limit):
    found = 0
    for n in range(2, limit):
        for d in range(2, int(n**0.5) + 1):
            if n % d == 0:
                break
        else:
            found += 1
    return found


def rebuild_cache(locked):
    with cache_lock:
        locked.set()
        time.sleep(0.6)


@api.get("/health")
async def health():
    return "ok"


@api.get("/gil-blocking")
async def gil_blocking():
    await asyncio.get_running_loop().run_in_executor(threads, heavy_cpu_work, POWER)


@api.get("/gil-non-blocking")
async def gil_non_blocking():
    await asyncio.get_running_loop().run_in_executor(processes(), heavy_cpu_work, POWER)


@api.get("/threads")
async def pure_python_threads():
    loop = asyncio.get_running_loop()
    await asyncio.gather(*[loop.run_in_executor(threads, count_primes, 120_000) for _ in range(8)])


@api.get("/sleepy")
async def sleepy():
    time.sleep(0.5)


@api.get("/lock")
async def lock():
    locked = threading.Event()
    asyncio.get_running_loop().run_in_executor(threads, rebuild_cache, locked)
    while not locked.is_set():
        await asyncio.sleep(0.01)
    with cache_lock:
        pass


if os.environ.get("DEMO_NEVER"):

    @api.get("/never")
    async def never():
        await asyncio.get_running_loop().run_in_executor(threads, heavy_cpu_work, 10**14)
