# SPDX-License-Identifier: MIT
"""Other native calls that keep the GIL, each by its own function of one thread."""
import sys
import time

import stamp


def total(n):
    with stamp.gil("sum"):
        return sum(range(n))  # ill: sum builtin_sum|builtin_sum_impl


def concatenate(parts):
    with stamp.gil("join"):
        return "".join(parts)  # ill: join unicode_join|_PyUnicode_JoinArray|PyUnicode_Join


def distinct(n):
    with stamp.gil("set"):
        return len(set(range(n)))  # ill: set


def in_base_ten(number):
    with stamp.gil("str"):
        return str(number)  # ill: str


def batch():
    for work, argument in WORK:
        work(argument)
        time.sleep(0.07)


async def main():
    await stamp.ended(stamp.worker(batch, name="batch"))


if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)


def decimal(n, numbers={}):
    return str(numbers.setdefault(n, 10 ** n))


WORDS = ["spam and eggs "] * 100
A, B, C, D = stamp.durations(4, 60, 250)
WORK = [
    (total, stamp.sized(lambda n: sum(range(n)), 200_000, A)),
    (concatenate, WORDS * stamp.sized(lambda n: "".join(WORDS * n), 2_000, 0.02)),
    (distinct, stamp.sized(lambda n: set(range(n)), 500_000, min(C, 0.15))),
    (in_base_ten, 10 ** stamp.sized(decimal, 20_000, min(D, 0.2), 2)),
]
stamp.run(main, native=True)
