# SPDX-License-Identifier: MIT
"""A regular expression that backtracks for ever in a worker."""
import re
import time

import stamp

PATTERN = re.compile(r"(?:a|aa)*b")


def validate(text):
    with stamp.gil("match"):
        return PATTERN.match(text)  # ill: match sre_ucs1_match|_sre_SRE_Pattern_match|pattern_match


def requests(texts):
    for text in texts:
        validate(text)
        time.sleep(0.07)


def text_for(seconds):
    n, took = 18, 0.0
    while took < seconds:
        n += 1
        start = time.perf_counter()
        PATTERN.match("a" * n)
        took = time.perf_counter() - start
    return "a" * n


async def main():
    await stamp.ended(stamp.worker(requests, TEXTS, name="validator"))


TEXTS = [text_for(0.05), text_for(0.1), text_for(0.2)]
stamp.run(main, native=True)
