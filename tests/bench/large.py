# SPDX-License-Identifier: MIT
"""A record as a day of trouble leaves it: `large.py WHYSTALL OUT [STALLS]`.

The tables are those of a record that whystall itself makes here; 100,000 stalls are put into them: a loop that waits
for the GIL behind workers, for a mutex, or blocks in a call, looked at four times, with a few hundred stacks."""

import json
import random
import sqlite3
import subprocess
import sys

MS = 1_000_000
WORKERS, DEPTH, STACKS, FRAMES, LOOKS = 8, 25, 400, 1500, 4



def rows_of(db, table, *rows):
    """Each row a dictionary, all with the same keys."""
    names = list(rows[0])
    db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(':' + n for n in names)})", rows)


def frames(db, rng):
    def frame(i):
        kind = ("python", "python", "native")[i % 3]
        origin = "runtime" if kind == "native" else rng.choice(("user", "package", "package", "runtime"))
        return dict(id=i, kind=kind, origin=origin, function=f"handler_{i}.<locals>.step",
                    module="libpython3.12.so.1.0" if kind == "native" else None,
                    file=f"/srv/app/service/package_{i % 40}/module_{i}.py" if kind == "python" else None,
                    line=i % 900 + 1 if kind == "python" else None, entry=0)

    rows_of(db, "frame", *(frame(i) for i in range(1, FRAMES + 1)))
    rows_of(db, "stack", *(dict(id=i, cut=0) for i in range(1, STACKS + 1)))
    rows_of(db, "stack_frame", *(dict(stack=s, depth=d, frame=rng.randint(1, FRAMES))
                                 for s in range(1, STACKS + 1) for d in range(DEPTH)))


def actors(db, start, end):
    rows_of(db, "process", dict(id=1, pid=4711, ppid=1, ns_pid=4711, command=json.dumps(["python3", "app.py"]),
                                exe="/usr/bin/python3", runtime="cpython", runtime_version="3.12.1", free_threaded=0,
                                switch_interval_s=0.005, backend="preload", start_ns=start, end_ns=end))
    rows_of(db, "thread", *(dict(id=i, process=1, tid=4710 + i, ns_tid=4710 + i, start_ns=start, cpu_ns=MS,
                                 name="MainThread" if i == 1 else f"worker_{i}", gil_known="all", gil_holds=9,
                                 gil_held_ns=MS, gil_longest_ns=MS, gil_waits=9, gil_waited_ns=MS)
                            for i in range(1, WORKERS + 2)))
    rows_of(db, "lock", dict(id=1, process=1, kind="gil", address=0x7f0000001000, name=None),
            dict(id=2, process=1, kind="mutex", address=0x7f0000002000, name=None))


def stall(rows, rng, i, at):
    until, worker = at + rng.randint(21, 60) * MS, rng.randint(2, WORKERS + 1)
    lock = (1, 1, 2, None)[i % 4]
    rows["stall"].append(dict(id=i, loop=1, thread=1, start_ns=at, end_ns=until, ongoing=0, began_before=0, outside=0,
                              ready_after=i % 7, lost=0, cpu_ns=MS, delay_ns=0))
    rows["wait"].append(dict(stall=i, n=0, what="lock" if lock else "call", start_ns=at + MS, end_ns=until - MS,
                             lock=lock, owner=worker if lock else None, self_owned=0,
                             syscall=None if lock else "recvfrom", target=None if lock else "127.0.0.1:5432"))
    if lock:
        rows["hold"].append(dict(stall=i, n=0, lock=lock, thread=worker, start_ns=at, end_ns=until - MS, at_least=0))
    for k in range(LOOKS):
        for thread in (1, worker) if lock else (1,):
            rows["sample"].append(dict(stall=i, time_ns=at + (2 + 5 * k) * MS, thread=thread, native=1, delay_ns=0,
                                       run="blocked" if thread == 1 else "running", cpu_ns=MS + k * 5 * MS,
                                       syscall="futex" if thread == 1 else None, stack=rng.randint(1, STACKS)))


def fill(db, count, rng):
    start, = db.execute("SELECT start_ns FROM capture").fetchone()
    end = start + count * 100 * MS
    for table in ("process", "thread", "loop", "ticks", "lock", "frame", "stack", "stack_frame"):
        db.execute(f"DELETE FROM {table}")
    db.execute("UPDATE capture SET end_ns = ?, complete = 1", (end,))
    frames(db, rng)
    actors(db, start, end)
    rows = {"stall": [], "wait": [], "hold": [], "sample": []}
    rows_of(db, "loop", dict(id=1, thread=1, threads=1, wait="epoll_wait", ticks=count * 10, tick_ns=count * 50 * MS,
                             suppressed=0, tick_max_ns=60 * MS, wait_ns=count * 50 * MS, first_ns=start, last_ns=end))
    rows_of(db, "ticks", *(dict(loop=1, second=s, from_us=us, count=c) for s in range(count // 10)
                           for us, c in ((100, 90), (40960, 10))))
    for i in range(1, count + 1):
        stall(rows, rng, i, start + i * 100 * MS)
    for table, of in rows.items():
        rows_of(db, table, *of)


def make(whystall, out, count=100_000):
    subprocess.run([str(whystall), "run", "-q", "-o", str(out), "--", "/bin/true"], check=True,
                   stdin=subprocess.DEVNULL)
    db = sqlite3.connect(out)
    with db:
        fill(db, count, random.Random(1))
    db.close()


if __name__ == "__main__":
    make(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
