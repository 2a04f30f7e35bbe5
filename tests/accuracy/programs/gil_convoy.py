# SPDX-License-Identifier: MIT
"""Eight threads of pure Python: each gives the GIL away after a switch interval, and still the loop queues."""
import threading
import time

import stamp

go = threading.Event()


def checksum(until):
    value = 0
    while time.monotonic() < until:
        for i in range(2000):  # ill: convoy
            value = (value * 31 + i) & 0xFFFFFFFF  # ill: convoy
    return value


def shard():
    go.wait()
    with stamp.running("convoy"):
        checksum(time.monotonic() + 1.2)


async def main():
    threads = [stamp.worker(shard, name="shard-%d" % i) for i in range(8)]
    go.set()
    await stamp.ended(*threads)


stamp.run(main, native=True)
