# SPDX-License-Identifier: MIT
"""A hundred stalls of 50 ms, each in another way, and the end: whystall looks at each ten times."""

import asyncio
import hashlib
import json
import re
import threading
import time
import zlib

DATA = {str(i): list(range(i % 40)) for i in range(300)}
TEXT = json.dumps(DATA)
WAYS = [
    lambda: json.dumps(DATA),
    lambda: json.loads(TEXT),
    lambda: re.findall(r"(\d+), (\d+)", TEXT),
    lambda: zlib.compress(TEXT.encode()),
    lambda: hashlib.sha256(TEXT.encode()).hexdigest(),
    lambda: sorted(TEXT),
    lambda: pow(3, 10**4, 10**400 + 1),
    lambda: sum(i * i for i in range(2000)),
    lambda: [str(x) for x in range(1000)],
    lambda: time.sleep(0.005),
]
go = threading.Event()


def for_a_while(way, seconds=0.05):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        way()


def worker():
    """Another thread that keeps the interpreter's lock from the loop."""
    while go.wait():
        go.clear()
        for_a_while(lambda: pow(7, 10**5, 10**2000 + 1))


async def main():
    threading.Thread(target=worker, daemon=True).start()
    for i in range(100):
        if i % 3 == 0:
            go.set()
        for_a_while(WAYS[i % len(WAYS)])
        await asyncio.sleep(0.01)


asyncio.run(main())
