# SPDX-License-Identifier: MIT
"""The shim and read-write locks, spin locks, C11's mutexes, joins, barriers, opens and connects: what it must not
change, and what it sees."""

import pytest

from shim_arena import arena_dump, program, same, shim  # noqa: F401

MS = 1_000_000


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def waits(program):
    return program("shim_wait")


@pytest.mark.parametrize("what", ["returns", "calls", "cancel"])
def test_calls_mean_what_they_meant(same, waits, what):
    assert same(waits, what).stdout.count("\n") > 4


def test_fortified_opens_mean_what_they_meant(same, program):
    same(program("shim_wait", "-O2", "-D_FORTIFY_SOURCE=2", "-w"), "calls")


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_sanitizers(same, program, sanitizer):
    same("/usr/bin/env", program("shim_wait", f"-fsanitize={sanitizer}", "-w", compiler="clang"), "calls")


@pytest.mark.parametrize("kind, hook, owner", [
    ("ww", "pthread_rwlock_wrlock", True), ("wr", "pthread_rwlock_rdlock", True),
    ("rw", "pthread_rwlock_wrlock", False),  # readers are listed in their threads' slots
    ("spin", "pthread_spin_lock", False), ("mtx", "mtx_lock", True)])
def test_a_wait_names_the_owner_and_the_owner_its_hold(shim, waits, kind, hook, owner):
    seen = shim(waits, "contend", kind)
    lock, tid = map(int, seen.stdout.split())
    wait, = seen.of("wait", object=lock)
    assert wait["hook"] == hook and wait["arg"] == (tid if owner else 0) and wait["tid"] != tid
    assert 50 * MS < wait["time"] - wait["start"] < 5000 * MS
    hold, = seen.of("hold", object=lock, arg=tid)
    assert hold["tid"] == hold["arg"] == tid and hold["start"] == 0
    assert abs(hold["time"] - wait["time"]) < 500 * MS


@pytest.mark.parametrize("kind, hook", [("join", "pthread_join"), ("barrier", "pthread_barrier_wait"),
                                        ("futex", "syscall")])
def test_waits_for_a_thread(shim, waits, kind, hook):
    seen = shim(waits, "contend", kind)
    what, tid = map(int, seen.stdout.split())
    wait, = seen.of("wait", object=what)
    assert wait["hook"] == hook and 50 * MS < wait["time"] - wait["start"] < 5000 * MS
    holds = [h["start"] for h in seen.of("hold", object=what, arg=tid)]
    assert holds == ([0] if kind == "futex" else [])  # whoever wakes a loop had it
    assert len(seen.of("hold")) == len(holds)
    assert wait["arg"] == (tid if kind == "join" else 0)


def test_uncontended_locks_make_no_event(shim, waits):
    seen = shim(waits, "uncontended")
    assert seen.of("hold") == [] and seen.of("wait") == []
    assert seen.threads[-1]["dropped"] == 0
    assert [t["held"] for t in seen.threads] == [0] * len(seen.threads)


def test_more_reads_than_are_listed_are_counted(shim, waits):
    assert shim(waits, "returns").processes[0]["held_lost"] > 0
