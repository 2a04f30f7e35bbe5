# SPDX-License-Identifier: MIT
"""A thread of native holds and a thread of pure Python at the same time."""
import ctypes
import threading
import time

import stamp

go, done = threading.Event(), threading.Event()


def pure():
    go.wait()
    with stamp.running("pure"):
        while not done.is_set():
            for i in range(3000):  # ill: pure
                i * i  # ill: pure


def native():
    hold = stamp.library()[1].hold_interpreter
    hold.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
    go.wait()
    for seconds in stamp.durations(6, 60, 250):
        stamps = (ctypes.c_uint64 * 2)()
        hold(int(seconds * 1e9), stamps)  # ill: native hold_interpreter|PyCFuncPtr_call|_call_function_pointer
        stamp.gil_exactly("native", *stamps)
        time.sleep(0.1)
    done.set()


async def main():
    threads = [stamp.worker(native, name="native"), stamp.worker(pure, name="pure")]
    go.set()
    await stamp.ended(*threads)


stamp.run(main, native=True)
