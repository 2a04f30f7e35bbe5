# SPDX-License-Identifier: MIT
"""The loop makes one long native call: a power, a JSON document."""
import json

import stamp


def sign(n):
    with stamp.own("cpu", "power"):
        return pow(365, n)  # ill: power long_pow


def respond(document):
    with stamp.own("cpu", "dumps"):
        return json.dumps(document)  # ill: dumps


async def main():
    for n in SIZES:
        sign(n)
        await stamp.calm()
    for n in (2, 1, 3):
        respond(DOCUMENT * n)
        await stamp.calm()


SIZES = [stamp.sized(lambda n: 365 ** n, 40_000, s, 1.585) for s in stamp.durations(4, 30, 400)]
DOCUMENT = [{"id": i, "tags": ["a", "b"]} for i in range(60_000)]
stamp.run(main)
