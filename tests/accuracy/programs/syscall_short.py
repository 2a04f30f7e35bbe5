# SPDX-License-Identifier: MIT
"""Several short sleeps in one tick, by callbacks that each do not seem worth a thought."""
import asyncio
import sys
import time

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


class Meter:
    def flush(self):
        with stamp.own("syscall", "flush", syscall=CALL):
            time.sleep(0.008)  # ill: flush


async def main():
    loop = asyncio.get_running_loop()
    for count in (4, 12, 25, 7):
        for _ in range(count):
            loop.call_soon(Meter().flush)
        await stamp.calm()


stamp.run(main)
