# SPDX-License-Identifier: MIT
"""Threads in known places, for tests/case/test_interp_python.py: pystack_sick.py MODE. A comment "HERE name" marks the
line where a frame must stand. Works on every Python from 2.7 on for the mode `idle`."""
import asyncio
import functools
import sys
import threading
import time

HUGE = 10**12  # 7 ** HUGE runs until memory ends, in one call, with the GIL


class Outer(object):
    class Inner(object):
        def work(self):
            power = lambda n: 7 ** n  # HERE Outer.Inner.work.<locals>.<lambda>

            def closure():
                return power(HUGE)  # HERE Outer.Inner.work.<locals>.closure

            return closure()  # HERE Outer.Inner.work

    @classmethod
    def build(cls):
        for value in cls.produce():  # HERE Outer.build
            return value

    @staticmethod
    def produce():
        yield sorted([2, 1], key=Outer().key)  # HERE Outer.produce

    @property
    def slow(self):
        return Outer.Inner().work()  # HERE Outer.slow

    def key(self, value):
        return self.slow  # HERE Outer.key


def hold():
    """One thread that has the GIL for ever, under every kind of function."""
    return [Outer.build() for _ in range(1)][0]  # HERE hold


async def waits(event):
    await event.wait()  # HERE waits


async def nest():
    worker = threading.Thread(target=functools.partial(hold), name=u"worker-\u00fc")
    worker.daemon = True
    waiter = threading.Thread(target=time.sleep, args=(1000,), name=u"\u5de5\u4eba \U0001f40d")
    waiter.daemon = True
    waiter.start()
    print("ready")
    sys.stdout.flush()
    worker.start()  # HERE nest
    await waits(asyncio.Event())


def deep(n):
    if n:
        return deep(n - 1)  # HERE deep
    print("ready")
    sys.stdout.flush()
    time.sleep(1000)


def alpha(n):
    return beta(n) + 1


def beta(n):
    return gamma(n) + 1


def gamma(n):
    return n + delta(n)


def delta(n):
    return n * 2


def epsilon(n):
    return n + 1


def stream(n):
    for i in range(n):
        yield delta(i)


def descend(n):
    return descend(n - 1) if n else alpha(1)


class Thing(object):
    def method(self, n):
        return self.other(n)

    def other(self, n):
        return [epsilon(i) for i in range(n)]


def spin():
    thing = Thing()
    print("ready")
    sys.stdout.flush()
    while True:
        alpha(3)
        thing.method(3)
        sum(stream(3))
        descend(20)


def rename():
    threading.current_thread().name = "renamed"
    print("ready")
    sys.stdout.flush()
    sys.stdin.readline()
    threading.current_thread().name = "renamed again"
    print("ready")
    sys.stdout.flush()
    time.sleep(1000)


def main(mode):
    if mode == "hold":
        asyncio.new_event_loop().run_until_complete(nest())
    elif mode == "deep":
        sys.setrecursionlimit(5000)
        deep(int(sys.argv[2]))
    elif mode == "spin":
        spin()
    elif mode == "rename":
        rename()
    elif mode == "churn":
        churn()


def churn():
    """Threads that come and go, code that is made and forgotten."""
    print("ready")
    sys.stdout.flush()
    serial = 0
    while True:
        threads = [threading.Thread(target=alpha, args=(1,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            serial += 1
            space = {}
            exec(compile("def made_%d(n):\n return sum(range(n))\n" % (serial % 7), "made_%d.py" % (serial % 7),
                         "exec"), space)
            space["made_%d" % (serial % 7)](200)
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
