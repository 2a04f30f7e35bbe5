# SPDX-License-Identifier: MIT
"""Four threads of pure Python with a switch interval of 20 ms."""
import sys
import threading
import time

import stamp

go = threading.Event()

sys.setswitchinterval(0.02)


def simulate(until):
    x = 1
    while time.monotonic() < until:
        for _ in range(1000):  # ill: walk
            x = (x * 1103515245 + 12345) % 2147483648  # ill: walk


def walker():
    go.wait()
    with stamp.running("walk"):
        simulate(time.monotonic() + 1.2)


async def main():
    threads = [stamp.worker(walker, name="walker-%d" % i) for i in range(4)]
    go.set()
    await stamp.ended(*threads)


stamp.run(main, native=True)
