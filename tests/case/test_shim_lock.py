# SPDX-License-Identifier: MIT
"""The shim and locks: what it must not change, and what it sees."""

import pytest

from shim_arena import arena_dump, program, same, shim  # noqa: F401

MS = 1_000_000


@pytest.mark.parametrize("what", ["kinds", "timed", "cancel", "versions"])
def test_locks_mean_what_they_meant(same, program, what):
    same(program("shim_lock"), what)


@pytest.mark.parametrize("kind", ["normal", "recursive", "check", "adaptive", "robust", "inherit", "sem"])
def test_a_wait_names_the_owner_and_the_owner_its_hold(shim, program, kind):
    seen = shim(program("shim_lock"), "contend", kind)
    lock, tid = map(int, seen.stdout.split())
    wait, = seen.of("wait", object=lock)
    assert wait["arg"] == tid != wait["tid"]
    assert 50 * MS < wait["time"] - wait["start"] < 5000 * MS
    holds = seen.of("hold", object=lock, arg=tid)
    assert len(holds) == 1 and abs(holds[0]["time"] - wait["time"]) < 500 * MS
    if kind == "sem":  # each take is seen; a mutex's is only after a wait
        assert holds[0]["start"] < wait["start"]
    else:
        assert holds[0]["start"] == 0
    tick, = seen.of("tick")
    assert tick["start"] <= wait["start"] < wait["time"] <= tick["time"]


def test_uncontended_locks_make_no_event(shim, program):
    seen = shim(program("shim_lock"), "uncontended")
    assert seen.of("hold") == [] and [w["hook"] for w in seen.of("wait")] in ([], ["pthread_join"])
    assert seen.threads[-1]["dropped"] == 0


def test_a_storm_of_signals(same, program):
    seen = same(program("shim_lock"), "storm")
    assert len(seen.processes) == 2


def test_a_thousand_threads_at_once(same, program):
    seen = same(program("shim_lock"), "threads", 1000, 1000)
    assert seen.processes[0]["threads_refused"] == 0


def test_ten_thousand_threads_one_after_the_other(same, program):
    seen = same(program("shim_lock"), "threads", 10000, 10)
    assert seen.processes[0]["threads_refused"] == 0
    assert len({t["tid"] for t in seen.threads}) <= 10001
