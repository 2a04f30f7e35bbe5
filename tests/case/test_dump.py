# SPDX-License-Identifier: MIT
"""whystall dump: one look at a process, from outside."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from conftest import DEBIAN, PROGRAMS, pythons


@pytest.fixture
def start(tmp_path):
    """start(argv or Python source, ...) -> the running process, once it has written a line; killed in the end."""
    running = []

    def launch(what, *arguments, python=sys.executable, **more):
        if isinstance(what, str) and "\n" in what:
            path = tmp_path / f"app{len(running)}.py"
            path.write_text(what)
            what = [python, str(path)]
        process = subprocess.Popen([*map(str, what if isinstance(what, list) else [what]), *map(str, arguments)],
                                   stdout=subprocess.PIPE, text=True, **more)
        running.append(process)
        process.line = process.stdout.readline()
        return process

    yield launch
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def valid(binary):
    import jsonschema

    schema = json.loads(subprocess.run([binary, "dump", "--json-schema"], stdout=subprocess.PIPE, check=True).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


@pytest.fixture
def dump(binary, valid):
    """dump(pid) -> the document, valid by its schema, and every thread by name in .named"""

    class Dump(dict):
        @property
        def named(self):
            return {t["thread"]: t for t in self["threads"]}

    def look(pid, *options, call=subprocess.run, program=binary):
        done = call([program, "dump", "-f", "json", *options, str(pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        valid(document)
        return Dump(document)

    return look


@pytest.fixture
def text(binary):
    """text(pid) -> what a person sees, blanks and line ends made one blank each"""

    def look(pid, *options):
        done = subprocess.run([binary, "dump", *options, str(pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
        return " ".join(done.stdout.split())

    return look


def until(look, pid, good, *options):
    """Looks until what is looked for is there: programs need their time to come to where they will stay."""
    for _ in range(100):
        seen = look(pid, *options)
        if good(seen):
            return seen
        time.sleep(0.05)
    raise AssertionError(seen)


# --- what a thread waits for ---

APP = """
import asyncio, queue, socket, threading, time
from concurrent.futures import ThreadPoolExecutor
here, there = socket.socketpair()
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
pool = ThreadPoolExecutor(1, thread_name_prefix="pool")
pool.submit(time.sleep, 0).result()
def reads():
    client.recv(1)
def sleeps():
    time.sleep(1000)
sleeper = threading.Thread(target=sleeps, name="sleeper", daemon=True)
sleeper.start()
for name, call in (("getter", queue.Queue().get), ("event", threading.Event().wait), ("reader", reads),
                   ("joiner", sleeper.join)):
    threading.Thread(target=call, name=name, daemon=True).start()
async def main():
    print(server.getsockname()[1], flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def python_functions(thread):
    return [f["function"].split(".")[-1] for f in thread["stack"] if f["kind"] == "python"]


def test_every_thread_says_what_it_waits_for(start, dump, python):
    app = start(APP, python=python)
    wanted = {"getter": ("work", "Queue.get"), "event": ("lock", "Event.wait"), "pool_0": ("work", "SimpleQueue.get"),
              "joiner": ("join", None), "sleeper": ("call", None), "reader": ("call", None),
              "MainThread": ("events", None)}

    def settled(d):
        waits = {name: t["wait"] for name, t in d.named.items()}
        return set(waits) == set(wanted) and all(
            w and w["for"] == wanted[n][0] and (not wanted[n][1] or w["in"] == wanted[n][1]) for n, w in waits.items())

    seen = until(dump, app.pid, settled)
    named = seen.named
    assert seen["process"]["runtime"]["name"] == "cpython" and seen["process"]["pid"] == app.pid
    assert named["sleeper"]["wait"]["syscall"] in ("clock_nanosleep", "pselect6", "select")
    assert named["reader"]["wait"]["syscall"] == "recvfrom"
    assert named["reader"]["wait"]["target"] == f"127.0.0.1:{app.line.strip()}"
    assert named["MainThread"]["wait"]["syscall"] == "epoll_wait" and named["MainThread"]["runs_loop"]
    assert named["MainThread"]["tid"] == app.pid
    assert "reads" in python_functions(named["reader"]) and "sleeps" in python_functions(named["sleeper"])
    assert all(t["state"] == "blocked" and not t["has_gil"] for t in seen["threads"])
    assert [g["free"] for g in seen["gils"]] == [True] and seen["deadlocks"] == []


def test_how_long_a_thread_has_slept(start, dump):
    """Measured by two looks: the second must say more, by what passed in between."""
    app = start(APP)
    first = until(dump, app.pid, lambda d: "sleeper" in d.named and d.named["sleeper"]["wait"])
    before = time.monotonic()
    time.sleep(1)
    passed = time.monotonic() - before
    second = dump(app.pid)
    waits = [d.named["sleeper"]["wait"]["seconds"] for d in (first, second)]
    if None in waits:
        pytest.skip("no /proc/PID/sched in this kernel")
    assert waits[1] - waits[0] >= 0.9 * passed


HOG = """
import threading, time
def heavy():
    while True:
        pow(365, 4 * 10**6)
def wants():
    while True:
        for _ in range(1000): pass
threading.Thread(target=heavy, name="hog", daemon=True).start()
time.sleep(0.5)
threading.Thread(target=wants, name="wants", daemon=True).start()
print("go", flush=True)
while True: time.sleep(0.001)
"""


def test_who_has_the_gil_and_who_waits_for_it(start, dump, text, python):
    app = start(HOG, python=python)

    def held(d):
        return d["gils"][0]["holder"] and d["gils"][0]["holder"]["thread"] == "hog" and d["gils"][0]["waiters"]

    seen = until(dump, app.pid, held)
    assert seen.named["hog"]["has_gil"] and seen.named["hog"]["state"] in ("running", "runnable")
    assert python_functions(seen.named["hog"])[0] == "heavy"
    waiter = next(t for t in seen["threads"] if t["tid"] == seen["gils"][0]["waiters"][0])
    assert waiter["wait"]["lock"]["kind"] == "gil" and waiter["wait"]["holder"]["tid"] == seen.named["hog"]["tid"]
    assert waiter["thread"] != "hog" and not waiter["has_gil"]
    if seen["gils"][0]["held_s"] is not None:  # without the shim it is what was seen of it
        assert seen["gils"][0]["at_least"] and seen["gils"][0]["held_s"] <= seen["looked_s"] + 0.001
    until(text, app.pid, lambda t: "The GIL is held by hog" in t and "has the GIL" in t)


def test_under_run_the_shim_tells_since_when(binary, tmp_path, dump):
    app = tmp_path / "app.py"
    app.write_text("import threading, time\ndef heavy():\n    pow(365, 4 * 10**7)\n"
                   "threading.Thread(target=heavy, name='hog', daemon=True).start()\n"
                   "time.sleep(1000)\n")
    process = subprocess.Popen([binary, "run", "-q", "-o", tmp_path / "r", "--", sys.executable, app],
                               stdout=subprocess.DEVNULL)
    child = 0
    try:
        for _ in range(200):
            time.sleep(0.05)
            children = open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()
            if not children:
                continue
            child = int(children[0])
            if "app.py" not in open(f"/proc/{child}/cmdline").read():
                continue  # before its exec
            seen = dump(child)
            if seen["process"]["shim"] and seen["gils"] and seen["gils"][0]["waiters"] and \
                    (seen["gils"][0]["held_s"] or 0) > seen["looked_s"]:
                break
        gil = seen["gils"][0]
        assert seen["process"]["shim"] and not gil["at_least"] and gil["holder"]["thread"] == "hog", seen
        wait = seen.named["MainThread"]["wait"]
        assert wait["lock"]["kind"] == "gil" and not wait["at_least"] and wait["seconds"] > seen["looked_s"]
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
        process.wait()


# --- deadlocks ---

@pytest.mark.parametrize("how, kind", [("mutex", "mutex"), ("rwlock", "rwlock"), ("timed", "mutex")])
@pytest.mark.parametrize("count", [2, 3])
def test_a_ring_of_pthread_locks(start, dump, text, cc, count, how, kind):
    app = start([cc(PROGRAMS / "ring.c", "-g", "-O1", "-pthread"), count, how])
    seen = until(dump, app.pid, lambda d: d["deadlocks"])
    ring, = seen["deadlocks"]
    assert ring["timed"] == (how == "timed")
    names = [t["thread"] for t in ring["threads"]]
    assert sorted(names) == [f"ring-{i}" for i in range(count)]
    for i, t in enumerate(ring["threads"]):
        after = ring["threads"][(i + 1) % count]
        assert t["held_by"] == after["tid"] and t["lock"]["kind"] == kind
        assert after["thread"] == f"ring-{(int(t['thread'][-1]) + 1) % count}"
    main = next(t for t in seen["threads"] if t["tid"] == app.pid)["wait"]
    assert main["for"] == "join" and main["holder"]["thread"] == "ring-0"
    said = text(app.pid)
    assert said.startswith(f"Deadlock of {count} threads") and "ring.c:" in said
    assert ("until a wait that has a timeout ends" in said) == (how == "timed")


def test_a_thread_that_waits_for_itself(start, dump, text, cc):
    app = start([cc(PROGRAMS / "ring.c", "-g", "-pthread"), 1])
    seen = until(dump, app.pid, lambda d: d["deadlocks"])
    assert [t["thread"] for t in seen["deadlocks"][0]["threads"]] == ["ring-0"]
    assert text(app.pid).startswith("Deadlock: a thread waits for itself")


def test_a_wait_that_goes_on_is_no_deadlock(start, dump, cc):
    app = start([cc("""
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static void *waits(void *p) { pthread_mutex_lock(&m); return p; }
int main(void) { pthread_t t; pthread_mutex_lock(&m); pthread_create(&t, 0, waits, 0); puts("go"); fflush(stdout); sleep(1000); }
""", "-g", "-pthread")])
    seen = until(dump, app.pid, lambda d: any(t["wait"] and t["wait"]["holder"] for t in d["threads"]))
    waiter = next(t for t in seen["threads"] if t["wait"]["holder"])
    assert waiter["wait"]["holder"] == {"tid": app.pid, "thread": seen["threads"][0]["thread"], "other_process": False,
                                        "known_by": "owner"}
    assert seen["deadlocks"] == []


# --- processes of all kinds ---

@pytest.mark.parametrize("arguments, status, words", [
    ([], 2, "which process?"), (["1", "2"], 2, "one PID at a time, not also 2"), (["0"], 2, "0 is no process"),
    (["--", "-5"], 2, "-5 is no process"), (["self"], 2, "self is no process"), (["12x"], 2, "12x is no process"),
    (["99999999999999999999"], 2, "is no process"), (["2147483647"], 3, "there is no process 2147483647")])
def test_what_is_no_process(binary, arguments, status, words):
    done = subprocess.run([binary, "dump", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == status and done.stdout == ""
    assert words in done.stderr and done.stderr.count("\n") == 1


def refused(binary, pid, call=subprocess.run):
    done = call([binary, "dump", str(pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 3 and done.stdout == "", done
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_zombie(binary):
    child = subprocess.Popen(["true"])
    for _ in range(100):
        if open(f"/proc/{child.pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.01)
    said = refused(binary, child.pid)
    assert f"process {child.pid} (true) has ended" in said and f"pid {os.getpid()}" in said
    child.wait()


def test_a_thread_of_the_kernel(binary):
    if not os.path.exists("/proc/2/comm") or open("/proc/2/comm").read().strip() != "kthreadd":
        pytest.skip("a container: no threads of the kernel to be seen")
    assert "is a thread of the kernel" in refused(binary, 2)


def test_a_thread_is_no_process(binary, start, dump):
    app = start(APP)
    other = until(dump, app.pid, lambda d: "sleeper" in d.named).named["sleeper"]["tid"]
    assert f"Try: whystall dump {app.pid}" in refused(binary, other)


def test_a_stopped_process(start, dump):
    app = start(APP)
    os.kill(app.pid, signal.SIGSTOP)
    seen = until(dump, app.pid, lambda d: all(t["state"] == "stopped" for t in d["threads"]))
    assert "sleeper" in seen.named
    os.kill(app.pid, signal.SIGCONT)


def test_nothing_is_written_when_the_output_cannot_be(binary, start):
    app = start(["sh", "-c", "echo; exec sleep 1000"])
    with open("/dev/full", "w") as full:
        done = subprocess.run([binary, "dump", str(app.pid)], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 125 and "standard output" in done.stderr
