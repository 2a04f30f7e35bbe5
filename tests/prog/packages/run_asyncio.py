# SPDX-License-Identifier: MIT
"""asyncio's own loop, uvloop's ("uvloop"), or two at once in two threads ("two")."""

import asyncio
import sys
import threading

import ills


async def calm():
    for _ in range(ills.CALM):
        await asyncio.sleep(0.005)


async def main(sick):
    for ill in sick:
        await calm()
        ill()
    await calm()


if "uvloop" in sys.argv:
    import uvloop

    uvloop.install()
if "two" in sys.argv:
    other = threading.Thread(target=lambda: asyncio.run(main([ills.sleepy])), name="second")
    other.start()
    asyncio.run(main([ills.compute]))
    other.join()
else:
    asyncio.run(main(ills.SICK))
