# SPDX-License-Identifier: MIT
"""Busy all the time, but never for more than a few milliseconds in a tick."""
import asyncio
import time

import stamp


def slice_of_work():
    until = time.monotonic() + 0.005
    while time.monotonic() < until:
        sum(range(50))


async def main():
    for _ in range(250):
        slice_of_work()
        await asyncio.sleep(0)


stamp.run(main)
