# SPDX-License-Identifier: MIT
"""Two threads hand a token back and forth, and the GIL with it: prints microseconds per hand-over."""

import sys
import threading
import time

ROUNDS = int(sys.argv[1])


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
