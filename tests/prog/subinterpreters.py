# SPDX-License-Identifier: MIT
"""subinterpreters.py IDLE: so many interpreters that do nothing, then one with a lock and a loop of its own, whose
"inner-heavy" keeps that lock; the main interpreter's loop is well. Then those end, and another such one comes."""

import asyncio
import sys
import threading

BODY = """
import asyncio, threading, time

def heavy():
    for _ in range(12):
        7 ** 400000
        time.sleep(0.01)

async def main():
    thread = threading.Thread(target=heavy, name="inner-heavy")
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.005)

asyncio.run(main())
"""
if sys.version_info >= (3, 14):
    import concurrent.interpreters

    def create():
        return concurrent.interpreters.create()

    def run(one, text):
        one.exec(text)

    def destroy(one):
        one.close()
else:
    if sys.version_info >= (3, 13):
        import _interpreters as low
    else:
        import _xxsubinterpreters as low

    def create():
        return low.create("isolated") if sys.version_info >= (3, 13) else low.create(isolated=True)

    def run(one, text):
        low.run_string(one, text)

    def destroy(one):
        low.destroy(one)


def guest():
    one = create()
    run(one, BODY)
    destroy(one)


async def turn():
    thread = threading.Thread(target=guest, name="guest")
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.005)


idle = [create() for _ in range(int(sys.argv[1]))]
asyncio.run(turn())
for one in idle:
    destroy(one)
asyncio.run(turn())
