# SPDX-License-Identifier: MIT
# needs: twisted
"""A Twisted program on the epoll reactor: a callback that sleeps and computes, a thread of the reactor's own pool whose
native code keeps the GIL."""
import ctypes
import sys
import time

from twisted.internet import defer, reactor, task, threads

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


def load_template(seconds):
    with stamp.own("syscall", "load_template", syscall=CALL):
        time.sleep(seconds)  # ill: load_template


def render(seconds):
    until = time.monotonic() + seconds
    with stamp.own("cpu", "render"):
        while time.monotonic() < until:  # ill: render
            sum(range(100))  # ill: render


def crunch():
    hold = stamp.library()[1].hold_interpreter
    hold.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
    for seconds in stamp.durations(3, 60, 300):
        stamps = (ctypes.c_uint64 * 2)()
        hold(int(seconds * 1e9), stamps)  # ill: crunch hold_interpreter|PyCFuncPtr_call|_call_function_pointer
        stamp.gil_exactly("crunch", *stamps)
        time.sleep(0.1)


def calm():
    return task.deferLater(reactor, 0.06, lambda: None)


@defer.inlineCallbacks
def main():
    reactor._poller = stamp.Epoll(reactor._poller)
    stamp.beats(reactor.callLater, False)
    yield calm()
    yield threads.deferToThread(time.sleep, 0.05)  # the pool starts a thread, for which the loop waits
    yield calm()
    for seconds in stamp.durations(3, 40, 200):
        load_template(seconds)
        yield calm()
        render(seconds)
        yield calm()
    yield threads.deferToThread(crunch)
    yield calm()
    reactor.stop()


reactor.callWhenRunning(main)
reactor.run()
stamp.write()
