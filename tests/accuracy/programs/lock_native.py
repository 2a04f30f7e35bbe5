# SPDX-License-Identifier: MIT
"""A pthread mutex held by a thread of C, asleep or computing; the loop comes to it through an extension."""
import ctypes
import threading

import stamp


class Order(ctypes.Structure):
    _fields_ = [("ns", ctypes.c_uint64), ("compute", ctypes.c_int), ("what", ctypes.c_int),
                ("tid", ctypes.c_uint64), ("start", ctypes.c_uint64), ("end", ctypes.c_uint64)]


lib = stamp.library()[0]
lib.hold_start.argtypes = [ctypes.POINTER(Order)]
lib.hold_start.restype = ctypes.c_uint64
lib.hold_join.argtypes = [ctypes.c_uint64]


def blocked(seconds, compute):
    order = Order(ns=int(seconds * 1e9), compute=compute)
    thread = lib.hold_start(order)
    with stamp.waiting("mutex"):
        lib.take(0)
    lib.hold_join(thread)
    stamp.add("hold", cause="lock", lock="mutex", kind="mutex", name="hold.c:compute" if compute else "hold.c:sleep",
              tid=order.tid, thread="c-holder", start=order.start, end=order.end)


async def main():
    for i, seconds in enumerate(stamp.durations(6, 40, 400)):
        blocked(seconds, i % 2)
        await stamp.calm()


stamp.run(main, native=True)
