# SPDX-License-Identifier: MIT
"""Many callbacks of two milliseconds each, all ready in one tick: none is long, the tick is."""
import asyncio
import time

import stamp


def on_message(seconds):
    until = time.monotonic() + seconds
    n = 0
    with stamp.own("cpu", "callback"):
        while time.monotonic() < until:  # ill: callback
            n += len(str(n))  # ill: callback


async def main():
    loop = asyncio.get_running_loop()
    for count in (20, 60, 120, 35):
        for _ in range(count):
            loop.call_soon(on_message, 0.002)
        await stamp.calm()


stamp.run(main)
