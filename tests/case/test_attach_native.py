# SPDX-License-Identifier: MIT
"""whystall attach: programs in C, their threads that share an instance, and --hooks pthread."""

import os
import shutil
import subprocess

import pytest

from conftest import PROGRAMS
from test_attach import SICK, attach, culprits, ended, loop_of, start  # noqa: F401


LOOP = """
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *hog(void *arg)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		usleep(60000);
		pthread_mutex_unlock(&lock);
		usleep(40000);
	}
	return arg;
}
int main(void)
{
	struct epoll_event event;
	int fd = epoll_create1(0);
	pthread_t thread;
	pthread_create(&thread, NULL, hog, NULL);
	puts("up");
	fflush(stdout);
	for (;;) {
		epoll_wait(fd, &event, 1, 5);
		pthread_mutex_lock(&lock);
		pthread_mutex_unlock(&lock);
	}
}
"""


def test_threads_that_share_an_instance_are_one_loop(attach, start, report, cc):
    """A tick runs while none of them waits, and is the thread's that took the last events."""
    program = cc(PROGRAMS / "shared_epoll.c", "-D_GNU_SOURCE", "-pthread")
    process = start(["sh", "-c", f"sleep 1; exec {program} 4 sleep 4"])
    watcher = attach(process.pid)
    ended(watcher)
    document = report(watcher.record)
    seen = next(p for p in document["processes"] if p["loops"])
    loop, = seen["loops"]
    names = {t["tid"]: t["name"] for t in seen["threads"]}
    assert loop["threads"] == 4 and loop["stalls"]["count"] == len(seen["stalls"]) >= 3
    for stall in seen["stalls"]:
        assert stall["loop_tid"] == loop["tid"] and names[stall["tid"]].startswith("server-")
    assert ("syscall", "serve_request") in culprits(loop)


TURNS = """
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <stdint.h>
#include <unistd.h>
static int ep, request[2];
static void brief(void) { usleep(70000); }
static void slow(void) { usleep(200000); }
static void *serve(void *arg)
{
	for (;;) {
		struct epoll_event e;
		uint64_t n;
		if (epoll_wait(ep, &e, 1, -1) != 1 || read(request[e.data.u32], &n, 8) != 8)
			continue;
		if (e.data.u32)
			slow();
		else
			brief();
	}
	return arg;
}
int main(void)
{
	pthread_t threads[2];
	uint64_t one = 1;
	ep = epoll_create1(0);
	for (unsigned i = 0; i < 2; i++) {
		struct epoll_event e = {EPOLLIN | EPOLLET, {.u32 = i}};
		request[i] = eventfd(0, EFD_NONBLOCK);
		epoll_ctl(ep, EPOLL_CTL_ADD, request[i], &e);
	}
	usleep(800000);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], 0, serve, 0);
	for (int i = 0; i < 8; i++) {
		if (write(request[0], &one, 8) != 8)
			return 1;
		usleep(20000);
		if (write(request[1], &one, 8) != 8)
			return 1;
		usleep(400000);
	}
	return 0;
}
"""


def test_a_shared_tick_is_that_of_who_took_the_last_events(attach, start, report, cc):
    """Not of the thread whose coming ends it."""
    process = start([cc(TURNS, "-pthread", "-fno-inline")])
    watcher = attach(process.pid)
    ended(watcher)
    seen, loop = loop_of(report(watcher.record), process.pid)
    assert loop["threads"] == 2 and 6 <= loop["stalls"]["count"] <= 9
    assert culprits(loop) == {("syscall", "slow")}


@pytest.mark.parametrize("how", ("plain", "static", "deleted", "musl"))
def test_a_program_in_c(attach, start, report, cc, how):
    if how == "musl" and not shutil.which("musl-gcc"):
        pytest.skip("no musl-gcc here")
    program = cc(LOOP, "-pthread", *(["-static"] if how in ("static", "musl") else []),
                 compiler="musl-gcc" if how == "musl" else "gcc")
    process = start([program], stdout=subprocess.PIPE)
    process.stdout.readline()
    if how == "deleted":
        os.unlink(program)
    watcher = attach(process.pid, options=["-d", "1500ms"])
    ended(watcher)
    seen, loop = loop_of(report(watcher.record), process.pid)
    assert loop["stalls"]["count"] >= 3 and loop["wait"] == ("epoll_pwait" if how == "musl" else "epoll_wait")
    assert {c for c, _ in culprits(loop)} == {"lock"}
    holders = [h for s in seen["stalls"] for g in s["segments"] for h in g["holders"]]
    assert holders and all(h["tid"] != process.pid for h in holders)
    assert process.poll() is None
    if how != "musl":  # its calls of the kernel have no unwind information
        assert "hog" in {f["function"] for h in holders for f in h["stack"]}


def test_hooks_see_every_hold(attach, start, report):
    program = start(SICK, 2)
    watcher = attach(program.pid, options=["--hooks", "pthread"])
    _, err = ended(watcher)
    assert "functions of" in err and "--hooks-limit" in err
    process, loop = loop_of(report(watcher.record), program.pid)
    assert culprits(loop) == {("syscall", "nap"), ("gil", "hold")}
    assert not any(t["gil"]["contended_only"] for t in process["threads"])
    holds = [h for s in process["stalls"] for g in s["segments"] if g["cause"] == "gil" for h in g["holders"]]
    assert any(h["longest_hold_s"] == pytest.approx(0.25, abs=0.05) and not h["at_least"] for h in holds)


@pytest.mark.parametrize("how", ("plain", "static"))
def test_hooks_know_since_when_a_mutex_was_held(attach, start, report, cc, how):
    process = start([cc(LOOP, "-pthread", *(["-static"] if how == "static" else []))], stdout=subprocess.PIPE)
    process.stdout.readline()
    watcher = attach(process.pid, options=["-d", "1500ms", "--hooks", "pthread"])
    ended(watcher)
    seen, loop = loop_of(report(watcher.record), process.pid)
    holders = [h for s in seen["stalls"] for g in s["segments"] for h in g["holders"] if g["cause"] == "lock"]
    known = [h for h in holders if not h["at_least"]]
    assert len(known) >= 3
    assert all(0.059 < h["longest_hold_s"] for h in known)


def test_hooks_take_themselves_out(attach, start, report):
    program = start("""
        import threading, time
        lock, until = threading.Lock(), time.monotonic() + 4
        while time.monotonic() < until:
            with lock:
                pass
    """)
    watcher = attach(program.pid, options=["--hooks", "pthread", "--hooks-limit", "1000", "-d", "2s"])
    _, err = ended(watcher)
    assert "--hooks pthread ended early" in err and "1000" in err
    assert program.wait(20) == 0
