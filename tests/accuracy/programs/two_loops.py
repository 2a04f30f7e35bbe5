# SPDX-License-Identifier: MIT
"""Two loops in two threads: each has its own ill, and a worker's hold stalls both."""
import ctypes
import sys
import threading
import time

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


def blocking_log(seconds):
    with stamp.own("syscall", "log", syscall=CALL):
        time.sleep(seconds)  # ill: log


def parse(seconds):
    until = time.monotonic() + seconds
    with stamp.own("cpu", "parse"):
        while time.monotonic() < until:  # ill: parse
            "a,b,c".split(",")  # ill: parse


def scan():
    hold = stamp.library()[1].hold_interpreter
    hold.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
    for seconds in stamp.durations(3, 60, 300):
        time.sleep(0.12)
        stamps = (ctypes.c_uint64 * 2)()
        hold(int(seconds * 1e9), stamps)  # ill: scan hold_interpreter|PyCFuncPtr_call|_call_function_pointer
        stamp.gil_exactly("scan", *stamps)


async def first():
    blocking_log(0.09)
    await stamp.calm()
    blocking_log(0.04)
    await stamp.ended(stamp.worker(scan, name="scanner"))


async def second():
    await stamp.calm(0.05)
    await stamp.ended(*[t for t in threading.enumerate() if t.name == "scanner"])
    await stamp.calm(1.1)
    parse(0.05)


thread = threading.Thread(target=stamp.run_here, args=(second, None, True), name="background-loop")
thread.start()
stamp.run_here(first, native=True)
thread.join()
stamp.write()
