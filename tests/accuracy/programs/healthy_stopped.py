# SPDX-License-Identifier: MIT
"""Stopped by a signal while the loop sleeps and nothing is due: no stall."""
import asyncio
import os
import signal
import time

import stamp


def stopper(pid):
    for _ in range(3):
        time.sleep(0.4)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.25)
        os.kill(pid, signal.SIGCONT)


async def main():
    for _ in range(3):
        await asyncio.sleep(0.75)


pid = os.getpid()
if not os.fork():
    stopper(pid)
    os._exit(0)
stamp.run(main, beat=False)
os.wait()
