# SPDX-License-Identifier: MIT
"""A worker's full collections keep the GIL from the loop: they are the worker's, not the loop's."""
import gc
import time

import stamp


class Report:
    def compact(self):
        return gc.collect()  # ill: compact gc_collect

    def run(self, rounds):
        with stamp.collections("compact"):
            for _ in range(rounds):
                time.sleep(0.1)
                self.compact()


async def main():
    await stamp.ended(stamp.worker(Report().run, 5, name="reporter"))


gc.disable()
ALIVE = [[i] for i in range(600_000)]
gc.enable()
stamp.run(main, native=True)
