# SPDX-License-Identifier: MIT
"""Four threads of pure Python with a switch interval of 20 ms."""
import sys
import time

import stamp

sys.setswitchinterval(0.02)


def simulate(until):
    x = 1
    while time.monotonic() < until:
        for _ in range(1000):  # ill: walk
            x = (x * 1103515245 + 12345) % 2147483648  # ill: walk


def walker(until):
    with stamp.running("walk"):
        simulate(until)


async def main():
    until = time.monotonic() + 1.2
    await stamp.ended(*[stamp.worker(walker, until, name="walker-%d" % i) for i in range(4)])


stamp.run(main)
