# SPDX-License-Identifier: MIT
"""A read-write lock held by a thread of C, asleep or computing: a reader that a writer waits for, a writer that a reader
and a writer wait for."""
import ctypes

import stamp


class Order(ctypes.Structure):
    _fields_ = [("ns", ctypes.c_uint64), ("compute", ctypes.c_int), ("what", ctypes.c_int),
                ("tid", ctypes.c_uint64), ("start", ctypes.c_uint64), ("end", ctypes.c_uint64)]


lib = stamp.library()[0]
lib.hold_start.argtypes = [ctypes.POINTER(Order)]
lib.hold_start.restype = ctypes.c_uint64
lib.hold_join.argtypes = [ctypes.c_uint64]
READ, WRITE = 1, 2


def blocked(seconds, compute, has, wants):
    order = Order(ns=int(seconds * 1e9), compute=compute, what=has)
    thread = lib.hold_start(order)
    with stamp.waiting("lock"):
        lib.take(wants)
    lib.hold_join(thread)
    stamp.add("hold", cause="lock", lock="lock", kind="rwlock", name="hold.c:compute" if compute else "hold.c:sleep",
              tid=order.tid, thread="c-holder", start=order.start, end=order.end)



async def main():
    for i, seconds in enumerate(stamp.durations(8, 40, 400)):
        has, wants = ((READ, WRITE), (WRITE, READ), (WRITE, WRITE))[i % 3]
        blocked(seconds, i // 3 % 2, has, wants)
        await stamp.calm()


stamp.run(main, native=True)
