# SPDX-License-Identifier: MIT
"""What the programs here do to their loops, each a known function that stalls it for 0.1 s or more."""

import socket
import sys
import threading
import time


def hog():
    7**hog.power  # long_pow keeps the GIL


hog.power = 1_200_000


def wait_for_hog():
    threading.Thread(target=hog, name="hog", daemon=True).start()


def sleepy():
    time.sleep(0.1)


def compute():
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass


def ask():
    here, there = socket.socketpair()
    threading.Timer(0.1, there.send, (b"x",)).start()
    here.recv(1)


ILLS = [sleepy, compute, ask, wait_for_hog]
CALM = 25  # ticks of 5 ms between them
HEALTHY = "healthy" in sys.argv
SICK = [] if HEALTHY else ILLS
