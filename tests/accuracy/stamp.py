# SPDX-License-Identifier: MIT
"""The truth about a program of the accuracy set, by the program itself: every long tick of its loops, and every ill
that it did to them, in CLOCK_MONOTONIC nanoseconds, as JSON lines in the file $STAMP_OUT when it ends.

How the truth is made, and what it cannot know, is told in README.md here. Python 3.8 and later, standard library
only."""

import asyncio
import contextlib
import gc
import json
import math
import os
import random
import select
import selectors
import sys
import threading
import time

KEEP = 8_000_000  # ticks from here on are kept, ns
IN, OUT = select.EPOLLIN, select.EPOLLOUT
BEAT = 0.005  # every loop has a timer due that often, s

if "STAMP_WAIT" in os.environ:  # whoever attaches opens this pipe when it is ready
    with open(os.environ.pop("STAMP_WAIT")) as gate:
        gate.read()

rng = random.Random(int(os.environ.get("STAMP_SEED", "1")))
_lines = []
_loops = []
_pids = []
_broken = []


def _broke(failure):
    _broken.append(failure)
    sys.__excepthook__(failure.exc_type, failure.exc_value, failure.exc_traceback)


threading.excepthook = _broke


def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def add(type, **fields):
    fields["type"] = type
    _lines.append(fields)  # list.append is atomic under the GIL


# --- ticks ---


class Selector(selectors.EpollSelector):
    """asyncio's own, and a stamp before and after each wait. Right wherever nobody else wants the GIL or the CPU at
    that moment; where a timer ended the wait, its deadline is known."""

    def __init__(self):
        super().__init__()
        self.start = self.ready = 0

    def select(self, timeout=None):
        entry = now()
        self.ends(entry)
        events = super().select(timeout)  # ill: asleep
        self.begins(entry, now(), milliseconds(timeout), len(events))
        return events

    def ends(self, entry):
        if self.start and entry - self.start >= KEEP:
            add("tick", tid=threading.get_native_id(), start=self.start, end=entry, ready=self.ready)

    def begins(self, entry, back, ms, ready):
        self.ready = ready
        self.start = back if ready or ms < 0 else min(back, entry + ms * 1_000_000)


class NativeSelector(Selector):
    """The same with the stamps in native code next to the wait: the thread's waiting for the GIL after the wait, and
    its being preempted when it wakes another thread by letting go of the GIL, are then on the right side."""

    def __init__(self):
        super().__init__()
        import ctypes

        self.wait = library()[0].stamped_wait
        self.events = (ctypes.c_uint32 * 3 * 256)()  # struct epoll_event is packed on x86-64
        self.stamps = (ctypes.c_uint64 * 2)()

    def select(self, timeout=None):
        ms = milliseconds(timeout)
        ready = max(0, self.wait(self.fileno(), self.events, 256, ms, self.stamps))
        entry, back = self.stamps
        self.ends(entry)
        self.begins(entry, back, ms, ready)
        found = []
        for events, fd, _ in self.events[:ready]:
            key = self._fd_to_key.get(fd)
            if key:
                mask = (events & ~IN and selectors.EVENT_WRITE) | (events & ~OUT and selectors.EVENT_READ)
                found.append((key, mask & key.events))
        return found


class Epoll:
    """Takes the place of the select.epoll that a framework waits on itself (trio, Twisted), with the same stamps."""

    def __init__(self, epoll):
        self.epoll = epoll
        self.start = self.ready = 0

    def __getattr__(self, name):
        return getattr(self.epoll, name)

    def poll(self, timeout=None, maxevents=-1):
        entry = now()
        self.ends(entry)
        events = self.epoll.poll(timeout, maxevents)
        self.begins(entry, now(), milliseconds(timeout), len(events))
        return events

    ends, begins = Selector.ends, Selector.begins


def milliseconds(timeout):
    """What selectors.EpollSelector and select.epoll make of a timeout in seconds."""
    if timeout is None:
        return -1
    if timeout <= 0:
        return 0
    return -(-math.ceil(math.ceil(timeout * 1e3) * 1e-3 * 1e9) // 1_000_000)


class Beat:
    """A timer due every 5 ms. On a loop whose waits cannot be stamped (uvloop) it also makes the truth: a beat that
    comes late says that the loop stood still from when it was due; libuv counts whole milliseconds."""

    def __init__(self, loop, stamps):
        self.loop, self.stamps = loop, stamps
        self.due = 0
        self.own_until = 0
        self.beat()

    def beat(self):
        at = now()
        if self.stamps and self.due and at - self.due >= KEEP and self.own_until < self.due:
            add("tick", tid=threading.get_native_id(), start=self.due, slack=1_200_000, end=at)
        self.due = now() + int(BEAT * 1e9)
        self.loop.call_later(BEAT, self.beat)


# --- ills; the name is that of the source line's "# ill: NAME" comment ---


def starved():
    """ns for which this thread was ready to run and had no CPU, since its birth."""
    with open("/proc/thread-self/schedstat") as f:
        return int(f.read().split()[1])


@contextlib.contextmanager
def _window(type, **fields):
    before = starved() if type == "own" else 0
    start = now()
    try:
        yield
    finally:
        end = now()
        if type == "own":
            fields["starved"] = starved() - before
        add(type, start=start, end=end, tid=threading.get_native_id(), thread=threading.current_thread().name,
            **fields)


@contextlib.contextmanager
def parts(name, rest):
    """The loop's own doing, of several causes of which only the sums are known, by the kernel's counts of the thread
    and the interpreter's word on its collections: gc, cpu, runqueue, and the rest of the time."""
    collecting = [0, 0]  # CPU time: when the one under way began, in all

    def told(phase, info):
        if phase == "start":
            collecting[0] = time.thread_time_ns()
        else:
            collecting[1] += time.thread_time_ns() - collecting[0]

    gc.callbacks.append(told)
    start, cpu, delay = now(), time.thread_time_ns(), starved()
    try:
        yield
    finally:
        cpu, delay, end = time.thread_time_ns() - cpu, starved() - delay, now()
        gc.callbacks.remove(told)
        sums = {"cpu": cpu - collecting[1], "gc": collecting[1], "runqueue": delay}
        sums[rest] = sums.get(rest, 0) + max(0, end - start - cpu - delay)
        add("own", cause="parts", parts=sums, name=name, start=start, end=end, tid=threading.get_native_id())


def own(cause, name, **more):
    """The loop's own doing: cpu, syscall (syscall="read"), or lock where nobody is responsible."""
    beat = getattr(threading.current_thread(), "beat", None)
    window = _window("own", cause=cause, name=name, **more)
    return window if beat is None else _with_beat(window, beat, cause, name)


@contextlib.contextmanager
def _with_beat(window, beat, cause, name):
    """No selector to stamp: the ill itself is the tick, but for some microseconds."""
    start = now()
    with window:
        yield
    beat.own_until = now()
    if beat.own_until - start >= KEEP:
        add("tick", tid=threading.get_native_id(), start=start, end=beat.own_until)


@contextlib.contextmanager
def collections(name):
    """This thread keeps the GIL through its cycle collections meanwhile, which the interpreter announces."""
    began = 0

    def told(phase, info):
        nonlocal began
        if phase == "start":
            began = now()
        else:
            gil_exactly(name, began, now())

    gc.callbacks.append(told)
    try:
        yield
    finally:
        gc.callbacks.remove(told)


def skip(why):
    """This machine cannot be made ill like that."""
    print(why)
    sys.exit(77)


def gil(name):
    """One native call of this thread that keeps the GIL throughout."""
    return _window("hold", cause="gil", name=name)


def gil_exactly(name, start, end):
    """The same, stamped by native code."""
    add("hold", cause="gil", name=name, start=start, end=end, tid=threading.get_native_id(),
        thread=threading.current_thread().name)


def running(name):
    """This thread runs Python code and gives the GIL away when it is asked for."""
    return _window("run", cause="gil", name=name)


def holding(lock, name, kind):
    """This thread has the lock (any word that names it)."""
    return _window("hold", cause="lock", lock=lock, name=name, kind=kind)


def waiting(lock):
    """The loop waits for the lock."""
    return _window("wait", lock=lock)


# --- work of a wanted length ---


def sized(work, n, seconds, exponent=1.0):
    """The argument for which work() takes about so long, from one that takes little."""
    took = 1e9
    for _ in range(3):
        start = time.perf_counter()
        work(n)
        took = min(took, time.perf_counter() - start)
    return int(n * (seconds / took) ** (1 / exponent))


def durations(count, low, high):
    """Seconds between low and high (ms), spread evenly on a logarithmic scale and then jittered, in any order."""
    steps = [low * (high / low) ** ((i + rng.random()) / count) / 1000 for i in range(count)]
    rng.shuffle(steps)
    return steps


def library(name="hold.so"):
    """The native ills, as ctypes.CDLL (releases the GIL around calls) and PyDLL (does not)."""
    import ctypes

    path = os.path.join(os.environ["STAMP_LIBRARIES"], name)
    return ctypes.CDLL(path), ctypes.PyDLL(path)


# --- running ---


async def calm(seconds=0.06):
    """Some healthy ticks."""
    await asyncio.sleep(seconds)


async def warm(pool, threads):
    """Makes an executor start its threads now: a loop that starts one waits for it."""
    loop = asyncio.get_running_loop()
    await asyncio.gather(*[loop.run_in_executor(pool, time.sleep, 0.05) for _ in range(threads)])


async def ended(*threads):
    while any(t.is_alive() for t in threads):
        await asyncio.sleep(0.02)


def worker(target, *args, name):
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


def run(main, loop=None, native=False, beat=True):
    """Runs the coroutine function main in a loop that is stamped (`native`: in native code), and writes the truth at
    the end. Without a beat, nothing is due while main sleeps."""
    run_here(main, loop, native, beat)
    write()


def run_here(main, loop=None, native=False, beat=True):
    """The same for one of several loops, in any thread; write() then comes once at the end."""
    stamps = loop is not None
    loop = loop or asyncio.SelectorEventLoop(NativeSelector() if native else Selector())
    asyncio.set_event_loop(loop)
    _loops.append(threading.get_native_id())

    async def beating():
        if beat:
            beats = Beat(loop, stamps)
        if stamps:
            threading.current_thread().beat = beats
        await calm()
        await main()
        await calm()

    loop.run_until_complete(beating())
    loop.close()


def forked(target, *args):
    """A child that runs target(*args), which stamps; its pid and where its stamps come from, for joined()."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    status = 1
    try:
        del _lines[:], _loops[:]
        target(*args)
        with open(write, "w") as f:
            json.dump([_lines, _loops], f)
        status = 0
    finally:
        os._exit(status)


def joined(children):
    """Takes over what the children stamped."""
    for pid, read in children:
        with open(read) as f:
            lines, loops = json.load(f)
        os.waitpid(pid, 0)
        _lines.extend(lines)
        _loops.extend(loops)
        _pids.append(pid)


class Timers:
    """A loop that is not asyncio's, of which no more is known than how it calls a function later."""

    def __init__(self, call_later):
        self.call_later = call_later


def beats(call_later, stamps=True):
    """Says that this thread runs a loop that is not asyncio's (`stamps`: nor are its waits stamped); write() then comes
    at its end."""
    _loops.append(threading.get_native_id())
    beat = Beat(Timers(call_later), stamps)
    if stamps:
        threading.current_thread().beat = beat


def write():
    out = os.environ.get("STAMP_OUT")
    add("program", pid=os.getpid(), pids=[os.getpid(), *_pids], python=sys.version.split()[0], loops=_loops,
        program=os.path.abspath(sys.modules["__main__"].__file__),
        wall=time.clock_gettime_ns(time.CLOCK_REALTIME) - now())
    with open(out, "w") if out else contextlib.nullcontext(sys.stdout) as f:
        for line in _lines:
            f.write(json.dumps(line) + "\n")
    if _broken:
        sys.exit(1)
