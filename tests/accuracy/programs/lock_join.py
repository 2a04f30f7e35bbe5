# SPDX-License-Identifier: MIT
"""The loop joins a thread of C, which sleeps or computes."""
import ctypes

import stamp


class Order(ctypes.Structure):
    _fields_ = [("ns", ctypes.c_uint64), ("compute", ctypes.c_int), ("what", ctypes.c_int),
                ("tid", ctypes.c_uint64), ("start", ctypes.c_uint64), ("end", ctypes.c_uint64)]


lib = stamp.library()[0]
lib.hold_start.argtypes = [ctypes.POINTER(Order)]
lib.hold_start.restype = ctypes.c_uint64
lib.hold_join.argtypes = [ctypes.c_uint64]
NOTHING = 4


def joined(seconds, compute):
    order = Order(ns=int(seconds * 1e9), compute=compute, what=NOTHING)
    thread = lib.hold_start(order)
    with stamp.waiting("end"):
        lib.hold_join(thread)
    stamp.add("hold", cause="lock", lock="end", kind="futex", name="hold.c:compute" if compute else "hold.c:sleep",
              tid=order.tid, thread="c-holder", start=order.start, end=order.end)



async def main():
    for i, seconds in enumerate(stamp.durations(4, 40, 400)):
        joined(seconds, i % 2)
        await stamp.calm()


stamp.run(main, native=True)
