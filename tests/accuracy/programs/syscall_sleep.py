# SPDX-License-Identifier: MIT
"""time.sleep in a coroutine."""
import sys
import time

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


async def sleepy(seconds):
    with stamp.own("syscall", "sleep", syscall=CALL):
        time.sleep(seconds)  # ill: sleep


async def main():
    for seconds in stamp.durations(9, 25, 500):
        await sleepy(seconds)
        await stamp.calm()


stamp.run(main)
