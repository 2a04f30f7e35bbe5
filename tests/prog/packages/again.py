# SPDX-License-Identifier: MIT
"""One loop entered again and again, with work between: again.py asyncio|uvloop|gevent|trio|run"""

import sys
import time

how = sys.argv[1]
if how == "gevent":
    import gevent
elif how == "trio":
    import trio
else:
    import asyncio
if how == "uvloop":
    import uvloop


def work():
    end = time.perf_counter() + 0.06
    while time.perf_counter() < end:
        pass
    time.sleep(0.06)


def greenlet():
    for _ in range(10):
        gevent.sleep(0.01)


async def coroutine():
    for _ in range(10):
        await (trio if how == "trio" else asyncio).sleep(0.01)


if how in ("asyncio", "uvloop"):
    loop = (uvloop if how == "uvloop" else asyncio).new_event_loop()
for _ in range(4):
    if how == "gevent":
        gevent.joinall([gevent.spawn(greenlet) for _ in range(3)])
    elif how == "trio":
        trio.run(coroutine)
    elif how == "run":
        asyncio.run(coroutine())
    else:
        loop.run_until_complete(coroutine())
    work()
