# SPDX-License-Identifier: MIT
"""run_in_executor with the default pool: three jobs that each keep the GIL for a while, one after the other."""
import asyncio

import stamp


class Thumbnails:
    @staticmethod
    def scale(n):
        with stamp.gil("scale"):
            return 3 ** n  # ill: scale long_pow


async def main():
    loop = asyncio.get_running_loop()
    for n in SIZES:
        jobs = [loop.run_in_executor(None, Thumbnails.scale, n) for _ in range(3)]
        await asyncio.gather(*jobs)
        await stamp.calm()


SIZES = [stamp.sized(lambda n: 3 ** n, 80_000, s, 1.585) for s in stamp.durations(3, 30, 90)]
stamp.run(main)
