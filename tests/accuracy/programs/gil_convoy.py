# SPDX-License-Identifier: MIT
"""Eight threads of pure Python: each gives the GIL away after a switch interval, and still the loop queues."""
import time

import stamp


def checksum(until):
    value = 0
    while time.monotonic() < until:
        for i in range(2000):  # ill: convoy
            value = (value * 31 + i) & 0xFFFFFFFF  # ill: convoy
    return value


def shard(until):
    with stamp.running("convoy"):
        checksum(until)


async def main():
    until = time.monotonic() + 1.2
    await stamp.ended(*[stamp.worker(shard, until, name="shard-%d" % i) for i in range(8)])


stamp.run(main)
