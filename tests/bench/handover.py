# SPDX-License-Identifier: MIT
"""Two threads hand a token back and forth, and the GIL with it: prints microseconds per hand-over. On one CPU: where
the kernel puts two threads on two, what it costs to wake one decides, and that differs tenfold by the moment."""

import os
import sys
import threading
import time

ROUNDS = int(sys.argv[1])
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def play(mine, other):
    for _ in range(ROUNDS):
        mine.acquire()
        other.release()


a, b = threading.Lock(), threading.Lock()
a.acquire()
b.acquire()
players = [threading.Thread(target=play, args=pair) for pair in ((a, b), (b, a))]
for player in players:
    player.start()
begin = time.perf_counter()
a.release()
for player in players:
    player.join()
print((time.perf_counter() - begin) / ROUNDS / 2 * 1e6)
