# SPDX-License-Identifier: MIT
"""run_in_executor with the default pool: three jobs that each keep the GIL for a while, one after the other."""
import asyncio
import ctypes
from concurrent.futures import ThreadPoolExecutor

import stamp

hold = stamp.library()[1].hold_interpreter
hold.argtypes = [ctypes.c_uint64, ctypes.c_void_p]


class Thumbnails:
    @staticmethod
    def scale(seconds):
        stamps = (ctypes.c_uint64 * 2)()
        hold(int(seconds * 1e9), stamps)  # ill: scale hold_interpreter|PyCFuncPtr_call|_call_function_pointer
        stamp.gil_exactly("scale", *stamps)


async def main():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(3))  # it will not start a fourth meanwhile, and have the loop wait
    await stamp.warm(None, 3)
    for seconds in stamp.durations(4, 30, 120):
        await asyncio.gather(*[loop.run_in_executor(None, Thumbnails.scale, seconds) for _ in range(3)])
        await stamp.calm()


stamp.run(main, native=True)
