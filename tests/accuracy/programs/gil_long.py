# SPDX-License-Identifier: MIT
"""One hold of two seconds."""
import stamp


class Model:
    def fit(self, n):
        with stamp.gil("power"):
            return pow(7, n)  # ill: power long_pow


async def main():
    await stamp.ended(stamp.worker(Model().fit, SIZE, name="trainer"))


SIZE = stamp.sized(lambda n: pow(7, n), 80_000, 2.0, 1.585)
stamp.run(main, native=True)
