# SPDX-License-Identifier: MIT
"""A loop that waits for a lock of every kind, called in every way, one stall after the other. Prints what each is
called, who has it (null: nobody), which function is to blame, and the seconds that the wait took at most, one JSON line
each."""

import asyncio
import concurrent.futures
import fcntl
import json
import logging
import multiprocessing
import os
import queue
import sys
import threading
import time

HELD = 0.1
cache_lock = threading.Lock()
jobs = queue.Queue()


class Pool:
    shared = threading.Lock()

    def __init__(self):
        self._lock = threading.RLock()
        self.locks = {"a": threading.Lock()}
        self.inner = Inner()

    def use(self):
        with self._lock:
            pass

    def use_shared(self):
        with self.shared:
            pass

    def use_item(self):
        with self.locks["a"]:
            pass

    def use_inner(self):
        return self.inner.get()


class Inner:
    __slots__ = ("guard", "count")

    def __init__(self):
        self.guard = threading.Lock()

    def get(self):
        with self.guard:
            return 1


pool = Pool()


started = 0.0


def worker(target, name):
    global started
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    started = time.monotonic()
    return thread


def holder(lock):
    """Another thread has it for a while."""
    taken = threading.Event()

    def hold():
        with lock:
            taken.set()
            time.sleep(HELD)

    worker(hold, "holder")
    global started
    while not taken.is_set():  # no wait for a lock here
        time.sleep(0.0005)
    started = time.monotonic()


def later(action):
    def act():
        time.sleep(HELD)
        action()

    return worker(act, "later")


def by_argument(lock):
    with lock:
        pass


def by_closure(lock):
    def inner():
        lock.acquire()
        lock.release()

    inner()


def held_global():
    holder(cache_lock)
    cache_lock.acquire()
    cache_lock.release()


def held_global_by_argument():
    holder(cache_lock)
    by_argument(cache_lock)


def held_attribute():
    holder(pool._lock)
    pool.use()


def held_class_attribute():
    holder(Pool.shared)
    pool.use_shared()


def held_item():
    holder(pool.locks["a"])
    pool.use_item()


def held_slot():
    holder(pool.inner.guard)
    pool.use_inner()


def held_through_attribute():
    holder(pool.inner.guard)
    with pool.inner.guard:
        pass


def held_variable():
    mine = threading.Lock()
    holder(mine)
    by_closure(mine)


def held_condition():
    ready = threading.Condition()
    holder(ready)
    with ready:
        pass


def held_semaphore():
    """As a lock: whoever is inside its statement has it."""
    one = threading.BoundedSemaphore(1)
    holder(one)
    with one:
        pass


def held_handler(handler, log):
    holder(handler.lock)
    log.info("hello")


def held_shared():
    shared = multiprocessing.Lock()
    holder(shared)
    with shared:
        pass


def wait_queue():
    later(lambda: jobs.put(1))
    jobs.get()


def wait_simple_queue():
    results = queue.SimpleQueue()
    later(lambda: results.put(1))
    results.get()


def wait_event():
    ready = threading.Event()
    later(ready.set)
    ready.wait()


def wait_timeout():
    never = threading.Event()
    never.wait(HELD)


def wait_future():
    future = concurrent.futures.Future()
    later(lambda: future.set_result(1))
    future.result()


def wait_condition():
    changed = threading.Condition()
    with changed:
        changed.wait(HELD)


def wait_semaphore():
    permits = threading.Semaphore(0)
    later(permits.release)
    permits.acquire()


def wait_end():
    later(lambda: None).join()


def wait_import(folder):
    """A module of a slow body, imported by a thread and then by the loop."""
    with open(os.path.join(folder, "slow_module.py"), "w") as f:
        f.write(f"import time\n\n\ndef body():\n    time.sleep({HELD})\n\n\nstarted = 1\nbody()\n")
    sys.path.insert(0, folder)

    def load():
        import slow_module

    worker(load, "importer")
    while not hasattr(sys.modules.get("slow_module"), "started"):
        time.sleep(0.0005)
    import slow_module


def held_imports():
    """The lock that guards all imports, as an extension may hold it."""
    import _imp

    class Imports:
        def __enter__(self):
            _imp.acquire_lock()

        def __exit__(self, *raised):
            _imp.release_lock()

    holder(Imports())
    import colorsys  # noqa: F401


def wait_file():
    """A file's buffer, kept by a thread that writes to a full pipe."""
    r, w = os.pipe()
    fcntl.fcntl(w, 1031, 4096)  # F_SETPIPE_SZ
    os.write(w, b"x" * 4096)
    out = os.fdopen(w, "wb", 8192)

    def fill():
        out.write(b"y" * 20000)

    worker(fill, "filler")
    time.sleep(0.002)
    later(lambda: [os.read(r, 4096) for _ in range(6)])
    out.write(b"z")


async def main(folder):
    global started
    log, handler = logging.getLogger("whystall"), logging.StreamHandler(open(os.devnull, "w"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    lock, rlock = "threading.Lock", "threading.RLock"
    cases = [
        (held_global, f'{lock} "lock_names.cache_lock"', "holder", "holder.<locals>.hold"),
        (held_global_by_argument, f'{lock} "lock_names.cache_lock"', "holder", "holder.<locals>.hold"),
        (held_attribute, f'{rlock} "Pool._lock"', "holder", "holder.<locals>.hold"),
        (held_class_attribute, f'{lock} "Pool.shared"', "holder", "holder.<locals>.hold"),
        (held_item, f"{lock} \"Pool.locks['a']\"", "holder", "holder.<locals>.hold"),
        (held_slot, f'{lock} "Inner.guard"', "holder", "holder.<locals>.hold"),
        (held_through_attribute, f'{lock} "Inner.guard"', "holder", "holder.<locals>.hold"),
        (held_variable, f'{lock} "lock"', "holder", "holder.<locals>.hold"),
        (held_condition, 'threading.Condition "ready"', "holder", "holder.<locals>.hold"),
        (held_semaphore, 'threading.BoundedSemaphore "one"', "holder", "holder.<locals>.hold"),
        (lambda: held_handler(handler, log), "logging handler lock (StreamHandler)", "holder", "holder.<locals>.hold"),
        (held_shared, 'multiprocessing.Lock "shared"', "holder", "holder.<locals>.hold"),
        (wait_queue, 'queue.Queue "lock_names.jobs"', None, "wait_queue"),
        (wait_event, 'threading.Event "ready"', None, "wait_event"),
        (wait_timeout, 'threading.Event "never"', None, "wait_timeout"),
        (wait_future, 'concurrent.futures.Future "future"', None, "wait_future"),
        (wait_condition, 'threading.Condition "changed"', None, "wait_condition"),
        (wait_semaphore, 'threading.Semaphore "permits"', None, "wait_semaphore"),
        (lambda: wait_import(folder), 'import lock of "slow_module"', "importer", "body"),
        (held_imports, "global import lock", "holder", "holder.<locals>.hold"),
        (wait_simple_queue, 'queue.SimpleQueue "results"', None, "wait_simple_queue"),
        (wait_end, "a thread's end", "later", "later.<locals>.act"),
        (wait_file, 'io.BufferedWriter "out"', "filler", "wait_file.<locals>.fill"),
    ]
    for case, name, thread, function in cases:
        for _ in range(5):
            await asyncio.sleep(0.005)
        started = time.monotonic()
        case()
        print(json.dumps([name, thread, function, time.monotonic() - started]), flush=True)
    for _ in range(5):
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    if sys.argv[2:] == ["wait"]:
        sys.stdin.readline()
    asyncio.run(main(sys.argv[1]))
