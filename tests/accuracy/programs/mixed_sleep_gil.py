# SPDX-License-Identifier: MIT
"""In one tick: the loop sleeps, and when it wakes a worker has the GIL."""
import ctypes
import sys
import threading
import time

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"
go = threading.Event()


def nap(seconds):
    start = stamp.now()
    time.sleep(seconds)  # ill: nap
    tid = threading.get_native_id()
    stamp.add("own", cause="syscall", name="nap", syscall=CALL, tid=tid, start=start, end=start + int(seconds * 1e9))


def crunch(plan):
    hold = stamp.library()[1].hold_interpreter
    hold.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
    for before, seconds in plan:
        go.wait()
        go.clear()
        time.sleep(before / 2)
        stamps = (ctypes.c_uint64 * 2)()
        hold(int((before / 2 + seconds) * 1e9), stamps)  # ill: crunch hold_interpreter|PyCFuncPtr_call|_call_function_pointer
        stamp.gil_exactly("crunch", *stamps)


async def main():
    plan = list(zip(stamp.durations(4, 60, 200), stamp.durations(4, 40, 250)))
    stamp.worker(crunch, plan, name="cruncher")
    for before, _ in plan:
        go.set()
        nap(before)
        await stamp.calm(0.1)


stamp.run(main, native=True)
