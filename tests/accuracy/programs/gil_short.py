# SPDX-License-Identifier: MIT
"""Many native holds just above the threshold, stamped from inside."""
import ctypes
import time

import stamp


class Codec:
    def __init__(self):
        self.hold = stamp.library()[1].hold_interpreter
        self.hold.argtypes = [ctypes.c_uint64, ctypes.c_void_p]

    def encode(self, seconds):
        stamps = (ctypes.c_uint64 * 2)()
        self.hold(int(seconds * 1e9), stamps)  # ill: encode hold_interpreter|PyCFuncPtr_call|_call_function_pointer
        stamp.gil_exactly("encode", *stamps)


def encoder(codec):
    for seconds in stamp.durations(14, 25, 60):
        codec.encode(seconds)
        time.sleep(0.05)


async def main():
    await stamp.ended(stamp.worker(encoder, Codec(), name="encoder"))


stamp.run(main, native=True)
