# SPDX-License-Identifier: MIT
"""A loop and fifty threads that each work a little, so that every one has used what it will use."""

import asyncio
import threading
import time

lock = threading.Lock()


def work():
    for _ in range(20):
        with lock:
            time.sleep(0.001)
    time.sleep(600)


async def main():
    for i in range(50):
        threading.Thread(target=work, name=f"worker-{i}", daemon=True).start()
    await asyncio.sleep(3)
    print("ready", flush=True)
    await asyncio.sleep(600)


asyncio.run(main())
