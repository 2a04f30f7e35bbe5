# SPDX-License-Identifier: MIT
"""The shim and loops: ticks, nested waits, deadlines, ends, the interpreter's lock."""

import pytest

from shim_arena import arena_dump, program, same, shim  # noqa: F401

MS = 1_000_000
POLLED = 1 << 32


def loop_thread(seen):
    return max(seen.threads, key=lambda t: t["ticks"])


def length(event):
    return event["time"] - event["start"]


def test_epoll_ticks(shim, program):
    seen = shim(program("shim_loop"), "ticks")
    tick, = seen.of("tick")
    assert abs(length(tick) - int(seen.stdout)) < 500 * MS and tick["hook"] == "epoll_wait"
    ready, = seen.of("ready")
    assert ready["arg"] == 1 and ready["start"] == tick["time"]
    thread = loop_thread(seen)
    # three waits, three, epoll_pwait, epoll_pwait2: a tick before each but the first
    assert thread["ticks"] == thread["counted"] == 7 and thread["loop_waits"] == 8
    assert thread["tick_max"] == length(tick) and thread["loop_object"] == 4


def test_nested_waits_are_calls_until_they_take_over(shim, program):
    seen = shim(program("shim_loop"), "nested")
    calls = seen.of("call")
    assert [(c["hook"], c["object"]) for c in calls][:3] == [("epoll_wait", 4), ("poll", 5), ("usleep", 0)]
    assert all(25 * MS < length(c) < 5000 * MS for c in calls[:3])
    assert len(seen.of("tick")) == 3
    end, = seen.of("loop_end")
    assert end["object"] == 4  # the descriptor 3
    assert loop_thread(seen)["loop_object"] == 5 and loop_thread(seen)["loop_waits"] == 3


@pytest.mark.parametrize("how", ["poll", "ppoll", "select", "pselect"])
def test_loops_that_poll(shim, program, how):
    seen = shim(program("shim_loop"), "polls", how)
    thread = loop_thread(seen)
    assert thread["loop_object"] == 4 | POLLED and thread["loop_waits"] == 6 and thread["loop_hook"] == how
    ticks = seen.of("tick")
    assert len(ticks) == 2 and all(29 * MS < length(t) < 5000 * MS for t in ticks)
    call, = [c for c in seen.of("call") if length(c) > 29 * MS]
    assert call["hook"] == "poll" and ticks[1]["start"] <= call["start"]


def test_a_tick_begins_at_the_deadline_of_its_wait(shim, program):
    seen = shim(program("shim_loop"), "deadline")
    result, start, end = map(int, seen.stdout.split())
    assert result == 0 and end - start > 100 * MS
    tick, = seen.of("tick")
    assert abs(tick["start"] - (start + 30 * MS)) < 60 * MS and abs(tick["time"] - end) < 500 * MS


@pytest.mark.parametrize("elsewhere", [0, 1])
def test_closing_its_descriptor_ends_the_loop(shim, program, elsewhere):
    seen = shim(program("shim_loop"), "closes", elsewhere)
    assert seen.of("tick") == []
    end, = seen.of("loop_end")
    assert end["object"] == 4
    assert loop_thread(seen)["loop_object"] == 5


def test_the_interpreters_lock(shim, program, tmp_path):
    watch = tmp_path / "watch"
    seen = shim(program("shim_loop"), "gil", watch, options=["-g", watch])
    lock = int(seen.stdout)
    wait = max(seen.of("wait", object=lock), key=length)
    hold = max(seen.of("hold", object=lock), key=length)
    assert hold["tid"] == hold["arg"] == wait["arg"] != wait["tid"]
    assert 55 * MS < length(wait) < 5000 * MS and hold["start"] < wait["start"]
    assert 60 * MS <= length(hold) < 5000 * MS
    threads = {t["tid"]: t for t in seen.threads}
    assert threads[wait["tid"]]["lock_holds"] == 1 and threads[wait["tid"]]["lock_waits"] == 1
    assert threads[hold["tid"]]["lock_holds"] == 11
    assert threads[hold["tid"]]["lock_longest_ns"] == length(hold)
    process = seen.processes[0]
    assert process["holder"] == 0 and process["waiters"] == 0


def test_a_full_ring_counts_what_it_drops(shim, program):
    seen = shim(program("shim_loop"), "many", options=["-n", "-t", "0"])
    thread = loop_thread(seen)
    assert len(seen.events) == 512 and thread["ticks"] == thread["counted"] == 1999
    assert thread["dropped"] == 2 * 1999 - 512  # of every wait but the first, its tick and its return
