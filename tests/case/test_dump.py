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
        pow(365, 8 * 10**5)
def wants():
    while True:
        for _ in range(1000): pass
threading.Thread(target=heavy, name="hog", daemon=True).start()
time.sleep(0.1)
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


def under_run(binary, tmp_path, *command):
    """The command under whystall run: the recorder, and the command's own pid."""
    process = subprocess.Popen([binary, "run", "-q", "-o", tmp_path / "r", "--", *map(str, command)],
                               stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process, int(open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()[0])


def test_under_run_the_shim_tells_who_took_what_names_nobody(binary, start, dump, cc, tmp_path):
    """A semaphore, and a read-write lock that is read."""
    program = cc("""
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
static sem_t sem;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static void *has(void *p) {
	prctl(PR_SET_NAME, "has");
	sem_wait(&sem); pthread_rwlock_rdlock(&lock);
	puts("up"); fflush(stdout); pause(); return p;
}
static void *sem_waits(void *p) { prctl(PR_SET_NAME, "sem"); sem_wait(&sem); return p; }
static void *writes(void *p) { prctl(PR_SET_NAME, "writer"); pthread_rwlock_wrlock(&lock); return p; }
int main(void) {
	pthread_t t[3];
	sem_init(&sem, 0, 1);
	pthread_create(&t[0], 0, has, 0);
	sleep(1);
	pthread_create(&t[1], 0, sem_waits, 0);
	pthread_create(&t[2], 0, writes, 0);
	pause();
}
""", "-pthread", "-g")
    process, child = under_run(binary, tmp_path, program)

    def held(d):
        return all(d.named.get(n, {}).get("wait") and d.named[n]["wait"]["holder"] for n in ("sem", "writer"))

    try:
        named = until(dump, child, held).named
        for name, kind in (("sem", "sem"), ("writer", "rwlock")):
            wait = named[name]["wait"]
            assert wait["lock"]["kind"] == kind
            assert (wait["holder"]["thread"], wait["holder"]["known_by"]) == ("has", "taker")
        # without the shim nobody can know
        app = start([program])
        named = until(dump, app.pid, lambda d: all(d.named.get(n, {}).get("wait") for n in ("sem", "writer"))).named
        assert named["sem"]["wait"]["holder"] is None and named["writer"]["wait"]["holder"] is None
    finally:
        os.kill(child, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_pool_that_waits_in_one_place_is_told_once(start, text, dump, tmp_path, binary):
    app = start("""
import queue, threading
jobs = queue.Queue()
def work():
    jobs.get()
for i in range(9):
    threading.Thread(target=work, name=f"worker-{i}", daemon=True).start()
print("up", flush=True)
threading.Event().wait()
""")
    until(dump, app.pid, lambda d: sum(t["wait"] is not None and t["wait"]["for"] == "work" for t in d["threads"]) == 9)
    said = text(app.pid)
    assert said.count("for work: Queue.get") == 1 and re.search(r"and 8 more like it: worker-\d \(\d+\), ", said)
    whole = text(app.pid, "--full")
    assert whole.count("for work: Queue.get") == 9 and "like it" not in whole and "_bootstrap_inner" in whole
    assert dump(app.pid, "--no-native")["threads"][0]["stack"][0]["kind"] == "python"
    done = subprocess.run([binary, "dump", "-o", tmp_path / "out", str(app.pid)], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"") and "Queue.get" in (tmp_path / "out").read_text()


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


LOCKS = """
import sys, threading
kind = getattr(threading, sys.argv[1])
first, second = kind(), kind()
both = threading.Barrier(2)
def one():
    with open("/dev/null") as f:
        f.read()
    with first:
        for _ in "x":
            try:
                both.wait()
                with second:
                    pass
            finally:
                f.close()
def two():
    with second as taken, open("/dev/null") as f:
        both.wait()
        with first:
            pass
threading.Thread(target=one, name="one").start()
threading.Thread(target=two, name="two").start()
print("up", flush=True)
"""


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_deadlock_of_pythons_locks(start, dump, text, python, kind):
    """A Lock has no owner, but the frames of whoever is in its `with` tell."""
    app = start(LOCKS, kind, python=python)
    seen = until(dump, app.pid, lambda d: d["deadlocks"])
    ring, = seen["deadlocks"]
    by_name = {t["thread"]: t for t in ring["threads"]}
    assert set(by_name) == {"one", "two"} and not ring["timed"]
    for waiter, lock, function, line in (("one", "second", "two", 18), ("two", "first", "one", 9)):
        assert by_name[waiter]["lock"]["name"].startswith(f"threading.{kind}") and lock in by_name[waiter]["lock"]["name"]
        taken = by_name[waiter]["taken_at"]
        assert (taken["function"], taken["line"]) == (function, line), taken
        assert seen.named[waiter]["wait"]["holder"]["known_by"] == ("with" if kind == "Lock" else "owner")
    said = text(app.pid)
    assert said.startswith("Deadlock of 2 threads") and "taken at two app0.py:18" in said


NATIVE = """
import ctypes, threading
libc = ctypes.PyDLL(None)  # calls that keep the GIL
mutex = ctypes.create_string_buffer(64)
def has_mutex():
    libc.pthread_mutex_lock(mutex)
    taken.set()
    while True:
        pass
def has_gil():
    taken.wait()
    libc.pthread_mutex_lock(mutex)
taken = threading.Event()
print("up", flush=True)
for name in (has_mutex, has_gil):
    threading.Thread(target=name, name=name.__name__).start()
"""


def test_a_deadlock_of_the_gil_and_a_mutex(start, dump, text, python):
    """As extensions make it that call back into Python with a lock of their own."""
    app = start(NATIVE, python=python)
    seen = until(dump, app.pid, lambda d: d["deadlocks"])
    ring = {t["thread"]: t for t in seen["deadlocks"][0]["threads"]}
    assert set(ring) == {"has_mutex", "has_gil"} and not seen["deadlocks"][0]["timed"]
    assert (ring["has_gil"]["lock"]["kind"], ring["has_mutex"]["lock"]["kind"]) == ("mutex", "gil")
    assert seen.named["has_gil"]["has_gil"] and seen["gils"][0]["waiters"]
    until(text, app.pid, lambda said: said.startswith("Deadlock of 2 threads") and "for the GIL, which has_gil" in said)


UNKNOWN = """
import threading, time
lock = threading.Lock()
condition = threading.Condition(lock)
def was_there():
    for _ in range(3):
        with lock:
            pass
    taken.wait()
def lets_go():
    with lock:
        condition.wait()
def takes():
    lock.acquire()
    taken.set()
    print("up", flush=True)
    time.sleep(1000)
def wants():
    taken.wait()
    with lock:
        pass
taken = threading.Event()
for name in (was_there, lets_go):
    threading.Thread(target=name, name=name.__name__, daemon=True).start()
time.sleep(0.3)
for name in (takes, wants):
    threading.Thread(target=name, name=name.__name__, daemon=True).start()
time.sleep(1000)
"""


def test_a_holder_that_nothing_tells_is_not_guessed(start, dump, python):
    """It took the lock without `with`; another was in one before, a third is in one but let go of the lock."""
    app = start(UNKNOWN, python=python)

    def waits(d):
        wait = d.named.get("wants", {}).get("wait")
        return wait and wait["lock"] and wait["lock"]["name"] and "lock" in wait["lock"]["name"]

    seen = until(dump, app.pid, waits)
    assert seen.named["wants"]["wait"]["holder"] is None and seen["deadlocks"] == []


def test_a_process_in_pid_and_mount_namespaces_of_its_own(start, dump):
    if os.geteuid():
        pytest.skip("making them needs root")
    outside = start(["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", DEBIAN, "-c", APP])
    pid = int(open(f"/proc/{outside.pid}/task/{outside.pid}/children").read().split()[0])

    def settled(d):
        return "joiner" in d.named and d.named["joiner"]["wait"] and d.named["joiner"]["wait"]["holder"]

    seen = until(dump, pid, settled)
    assert seen["process"]["ns_pid"] == 1 and seen["process"]["pid"] == pid
    assert seen.named["MainThread"]["ns_tid"] == 1 and seen.named["MainThread"]["tid"] == pid
    assert seen.named["joiner"]["wait"]["holder"]["tid"] == seen.named["sleeper"]["tid"]
    assert "sleeps" in python_functions(seen.named["sleeper"])


def test_a_mutex_owner_in_a_pid_namespace(start, dump, cc):
    if os.geteuid():
        pytest.skip("making one needs root")
    outside = start(["unshare", "--fork", "--pid", "--kill-child", cc(PROGRAMS / "ring.c", "-g", "-pthread"), 2])
    pid = int(open(f"/proc/{outside.pid}/task/{outside.pid}/children").read().split()[0])
    seen = until(dump, pid, lambda d: d["deadlocks"])
    assert {t["thread"] for t in seen["deadlocks"][0]["threads"]} == {"ring-0", "ring-1"}
    assert all(t["tid"] > 2 for t in seen["threads"]) or pid < 4


def test_another_process_may_have_it(start, dump, cc):
    """A mutex in shared memory."""
    program = cc("""
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
	pthread_mutex_t *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	int p[2];
	char c;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(m, &a);
	if (pipe(p)) return 1;
	pid_t child = fork();
	if (!child) {
		if (read(p[0], &c, 1) == 1) pthread_mutex_lock(m);
		return 0;
	}
	pthread_mutex_lock(m);
	if (write(p[1], "x", 1) != 1) return 1;
	printf("%d\\n", child);
	fflush(stdout);
	pause();
}
""", "-g", "-pthread")
    app = start([program])
    try:
        seen = until(dump, int(app.line), lambda d: d["threads"][0]["wait"] and d["threads"][0]["wait"]["holder"])
        holder = seen["threads"][0]["wait"]["holder"]
        assert holder["tid"] == app.pid and holder["other_process"] and holder["known_by"] == "owner"
    finally:
        os.kill(int(app.line), signal.SIGKILL)


WEB = """
import asyncio, sys, threading, urllib.request
import uvicorn
from fastapi import FastAPI
app = FastAPI()
def heavy_cpu_work():
    pow(365, 4 * 10**7)
@app.get("/heavy")
def heavy():
    heavy_cpu_work()
@app.on_event("startup")
async def started():
    threading.Timer(0.5, ask).start()
    asyncio.get_running_loop().create_task(beats())
async def beats():
    while True:
        await asyncio.sleep(0.01)
def ask():
    port = server.servers[0].sockets[0].getsockname()[1]
    threading.Thread(target=urllib.request.urlopen, args=(f"http://127.0.0.1:{port}/heavy",), daemon=True).start()
    print("asked", flush=True)
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", loop="asyncio"))
server.run()
"""


def test_fastapi_under_uvicorn_with_a_gil_hog(start, dump):
    app = start(WEB, python=DEBIAN)

    def hogged(d):
        holder = d["gils"][0]["holder"]
        return holder and "heavy_cpu_work" in python_functions(d.named[holder["thread"]]) and app.pid in d["gils"][0]["waiters"]

    seen = until(dump, app.pid, hogged)
    holder = seen.named[seen["gils"][0]["holder"]["thread"]]
    assert holder["state"] in ("running", "runnable") and holder["thread"].startswith("AnyIO worker")
    main = seen.named["MainThread"]
    assert main["runs_loop"] and main["wait"]["holder"]["tid"] == holder["tid"] and not main["has_gil"]


def test_redis(start, dump, text, tmp_path):
    app = start(["redis-server", "--port", "0", "--save", "", "--unixsocket", str(tmp_path / "socket")])
    seen = until(dump, app.pid, lambda d: any(f["function"] == "aeMain" for t in d["threads"] for f in t["stack"]))
    main = next(t for t in seen["threads"] if t["tid"] == app.pid)
    assert seen["process"]["runtime"]["name"] == "native" and seen["gils"] == []
    assert main["wait"]["for"] == "events" and main["wait"]["syscall"] == "epoll_wait"
    assert "for events: epoll_wait" in text(app.pid)


# --- where less can be had, and where all is a lie ---

PERF_EVENT_OPEN, PROCESS_VM_READV = 298, 310


def test_an_ordinary_user_without_perf_events(ordinary_user, dump, cc, tmp_path):
    deny = cc(PROGRAMS / "deny.c")
    source = ordinary_user.directory / "hog.py"
    source.write_text(HOG)
    deny_copy = ordinary_user.directory / "deny"
    deny_copy.write_bytes(open(deny, "rb").read())
    deny_copy.chmod(0o755)
    user = os.stat(ordinary_user.directory)
    process = subprocess.Popen([DEBIAN, source], stdout=subprocess.PIPE, text=True, user=user.st_uid, group=user.st_gid,
                               extra_groups=[])
    try:
        process.stdout.readline()

        def denied(command, **more):
            return ordinary_user([deny_copy, f"{PERF_EVENT_OPEN},{PROCESS_VM_READV}", *command], **more)

        def look(pid):
            return dump(pid, call=denied, program=ordinary_user.binary)

        seen = until(look, process.pid, lambda d: d.named.get("hog", {}).get("has_gil"))
        hog = seen.named["hog"]
        assert python_functions(hog)[0] == "heavy" and not hog["native"]
        assert "kernel.perf_event_paranoid" in " ".join(seen["notes"])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "python3.12"
    subprocess.run(["gcc", "-w", "-O1", "-DMINOR=12", "-DFREE_THREADED=0", "-I", PROGRAMS.parent.parent, "-rdynamic", "-o", path,
                    PROGRAMS / "pystack_hostile.c"], check=True)
    return str(path)


@pytest.mark.parametrize("mode", ["threads", "interpreters", "string", "lines", "shims", "chunk", "gil", "noise",
                                  "frames"])
def test_lies_about_an_interpreter_cost_no_more_than_moments(binary, start, hostile, mode):
    process = subprocess.Popen([hostile, mode], stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.2)
        done = subprocess.run(["prlimit", "--as=2000000000", "--cpu=20", binary, "dump", "-f", "json", str(process.pid)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["threads"]) == 1
    finally:
        process.kill()
        process.wait()


def test_a_32_bit_program_is_not_misread(start, dump, cc):
    """Its system calls have other numbers: pause() is shmget's."""
    app = start([cc("#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"up\"); fflush(stdout); pause(); }\n",
                    "-m32")])
    seen = until(dump, app.pid, lambda d: d["threads"][0]["state"] == "blocked")
    assert seen["threads"][0]["wait"]["syscall"] is None and seen["threads"][0]["stack"] == []
    assert "32-bit" in seen["notes"][0]


def test_a_static_musl_program(start, dump):
    """Its plain mutexes name no holder: none is invented."""
    source = PROGRAMS / "ring.c"
    import shutil
    import tempfile
    if not shutil.which("musl-gcc"):
        pytest.skip("no musl-gcc here")
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["musl-gcc", "-static", "-w", "-o", f"{place}/ring", source], check=True)
        app = start([f"{place}/ring", 2])
        seen = until(dump, app.pid, lambda d: len(d["threads"]) == 3 and all(t["wait"] for t in d["threads"]))
    assert all(t["wait"]["syscall"] == "futex" and t["wait"]["holder"] is None for t in seen["threads"])
    assert seen["deadlocks"] == []


def test_names_cannot_command_a_terminal(binary, start, dump, cc):
    app = start([cc("""
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(int c, char **v) { prctl(PR_SET_NAME, "\\033[2J\\033]0;x\\a\\n"); puts("up"); fflush(stdout); pause(); }
""", "-g"), "\033[31mred\033[0m", "\xff\xfe"])
    dump(app.pid)
    done = subprocess.run([binary, "dump", str(app.pid)], stdout=subprocess.PIPE)
    assert done.returncode == 0 and b"\033" not in done.stdout and b"\a" not in done.stdout
    done.stdout.decode("utf-8")


def test_a_false_arena_is_not_believed(start, dump, cc):
    """The shared memory of whystall run, as a liar would make it: every byte set."""
    app = start([cc("""
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "record/arena.h"
int main(void) {
	int fd = memfd_create("whystall", 0);
	if (ftruncate(fd, sizeof(struct arena))) return 1;
	struct arena *a = mmap(0, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(a->proc, 0xff, sizeof(a->proc[0]) * 4);
	memset(a->thread, 0xff, sizeof(a->thread[0]) * 4);
	a->magic = ARENA_MAGIC;
	a->version = ARENA_VERSION;
	a->size = sizeof(*a) / 4096;
	a->proc_high = a->thread_high = ~0u;
	a->proc[0].state = PROC_LIVE;
	a->proc[0].pid = getpid();
	for (int i = 0; i < 4; i++) {
		a->thread[i].state = THREAD_LIVE;
		a->thread[i].proc = 0;
		a->thread[i].tid = getpid();
	}
	puts("up"); fflush(stdout); pause();
}
""", "-D_GNU_SOURCE", "-I", str(PROGRAMS.parent.parent))])
    seen = until(dump, app.pid, lambda d: d["threads"][0]["wait"])
    assert seen["threads"][0]["wait"]["syscall"] == "pause" and seen["threads"][0]["tick_s"] is None


def test_threads_that_come_and_go(start, dump, cc):
    app = start([cc("""
#include <pthread.h>
#include <stdio.h>
static void *quick(void *p) { return p; }
static void *again(void *p) {
	for (;;) { pthread_t t; if (!pthread_create(&t, 0, quick, 0)) pthread_join(t, 0); }
	return p;
}
int main(void) { pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, again, 0); puts("up"); fflush(stdout); again(0); }
""", "-pthread")])
    for _ in range(5):
        seen = dump(app.pid)
        assert app.pid in {t["tid"] for t in seen["threads"]} and seen["deadlocks"] == []


def test_a_process_that_ends_or_execs_while_looked_at(binary):
    """Whatever comes, it is a dump or one sentence."""
    for _ in range(6):
        process = subprocess.Popen(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /bin/true; done; exec sleep 0.1"])
        done = subprocess.run([binary, "dump", str(process.pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=30)
        assert (done.returncode == 0 and done.stdout) or (done.returncode == 3 and done.stderr.count("\n") == 1), done
        process.wait()
