# SPDX-License-Identifier: MIT
"""A server that forks: each of its workers has its own loop, and its own ill."""
import sys
import time

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


def query(seconds):
    with stamp.own("syscall", "query", syscall=CALL):
        time.sleep(seconds)  # ill: query


def render(seconds):
    until = time.monotonic() + seconds
    with stamp.own("cpu", "render"):
        while time.monotonic() < until:  # ill: render
            "".join(map(str, range(9)))  # ill: render


def worker(ill, plan):
    async def main():
        for seconds in plan:
            ill(seconds)
            await stamp.calm()

    stamp.run_here(main)


children = [stamp.forked(worker, ill, stamp.durations(4, 30, 250)) for ill in (query, render, query)]
stamp.joined(children)
stamp.write()
