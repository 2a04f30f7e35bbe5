# SPDX-License-Identifier: MIT
"""Sorting a big list: comparisons of ints in C."""
import random
import time

import stamp


def rank(items):
    with stamp.gil("sort"):
        sorted(items)  # ill: sort list_sort_impl|list_sort|builtin_sorted|PySequence_List


def nightly(batches):
    for items in batches:
        rank(items)
        time.sleep(0.08)


def shuffled(n):
    return [random.random() for _ in range(n)]


async def main():
    await stamp.ended(stamp.worker(nightly, BATCHES, name="nightly"))


SAMPLE = shuffled(200_000)
BATCHES = [shuffled(stamp.sized(lambda n: sorted(SAMPLE[:n]), 100_000, s, 1.15)) for s in stamp.durations(5, 40, 200)]
stamp.run(main, native=True)
