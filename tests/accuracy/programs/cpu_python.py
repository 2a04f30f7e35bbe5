# SPDX-License-Identifier: MIT
"""The loop computes in Python."""
import time

import stamp


class Report:
    def render(self, seconds):
        until = time.monotonic() + seconds
        rows = 0
        with stamp.own("cpu", "render"):
            while time.monotonic() < until:  # ill: render
                for i in range(1000):  # ill: render
                    rows += i & 3  # ill: render
        return rows


async def main():
    def handler(seconds):
        until = time.monotonic() + seconds
        with stamp.own("cpu", "handler"):
            while time.monotonic() < until:  # ill: handler
                sum(range(100))  # ill: handler

    for i, seconds in enumerate(stamp.durations(9, 25, 300)):
        Report().render(seconds) if i % 2 else handler(seconds)
        await stamp.calm()


stamp.run(main)
