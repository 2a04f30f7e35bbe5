# SPDX-License-Identifier: MIT
# needs: uvloop
"""The same ills on uvloop, whose waits are libuv's."""
import ctypes
import sys
import threading
import time

import uvloop

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


def nap(seconds):
    with stamp.own("syscall", "nap", syscall=CALL):
        time.sleep(seconds)  # ill: nap


def count(seconds):
    until = time.monotonic() + seconds
    with stamp.own("cpu", "count"):
        while time.monotonic() < until:  # ill: count
            sum(range(100))  # ill: count


def crunch():
    hold = stamp.library()[1].hold_interpreter
    hold.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
    for seconds in stamp.durations(4, 60, 400):
        stamps = (ctypes.c_uint64 * 2)()
        hold(int(seconds * 1e9), stamps)  # ill: crunch hold_interpreter|PyCFuncPtr_call|_call_function_pointer
        stamp.gil_exactly("crunch", *stamps)
        time.sleep(0.1)


async def main():
    for seconds in stamp.durations(3, 40, 200):
        nap(seconds)
        await stamp.calm()
        count(seconds)
        await stamp.calm()
    await stamp.ended(stamp.worker(crunch, name="cruncher"))


stamp.run(main, uvloop.new_event_loop())
