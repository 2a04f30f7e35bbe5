# SPDX-License-Identifier: MIT
"""Blocking calls where they belong: in an executor's threads, which release the GIL. A lock held there that the
loop never wants, a compression that releases the GIL."""
import asyncio
import threading
import time
import zlib

import stamp

lock = threading.Lock()


def guarded():
    with lock:
        time.sleep(0.1)


async def main():
    loop = asyncio.get_running_loop()
    jobs = [loop.run_in_executor(None, time.sleep, 0.2), loop.run_in_executor(None, guarded),
            loop.run_in_executor(None, guarded), loop.run_in_executor(None, zlib.compress, b"abcdefgh" * 1_000_000)]
    await asyncio.gather(*jobs)
    await asyncio.gather(*[loop.run_in_executor(None, time.sleep, 0.05) for _ in range(8)])


stamp.run(main, native=True)
