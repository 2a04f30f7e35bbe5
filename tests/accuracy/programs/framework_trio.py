# SPDX-License-Identifier: MIT
# needs: trio
"""A trio program: a task that sleeps and computes in it, a worker thread whose native code keeps the GIL."""
import ctypes
import sys
import time

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT

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


async def call(seconds, function):
    await trio.sleep(seconds)
    function()


async def main():
    async with trio.open_nursery() as nursery:
        manager = GLOBAL_RUN_CONTEXT.runner.io_manager
        manager._epoll = stamp.Epoll(manager._epoll)
        stamp.beats(lambda seconds, function: nursery.start_soon(call, seconds, function), False)
        await trio.sleep(0.06)
        for seconds in stamp.durations(3, 40, 200):
            load_template(seconds)
            await trio.sleep(0.06)
            render(seconds)
            await trio.sleep(0.06)
        cruncher = stamp.worker(crunch, name="cruncher")
        while cruncher.is_alive():
            await trio.sleep(0.02)
        await trio.sleep(0.06)
        nursery.cancel_scope.cancel()


trio.run(main)
stamp.write()
