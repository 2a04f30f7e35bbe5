# SPDX-License-Identifier: MIT
"""SIGSTOP and SIGCONT from another process: while the loop computes, while it is in a call, while it sleeps and a
timer is due. The other process stamps the signals."""
import json
import os
import signal
import sys
import time

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"


def stopper(orders, answers, pid):
    """Another process: for each line "name before for" stops pid, and answers with the stamps."""
    for order in orders:
        name, before, seconds = order.split()
        time.sleep(float(before))
        os.kill(pid, signal.SIGSTOP)
        start = stamp.now()
        time.sleep(float(seconds))
        end = stamp.now()
        os.kill(pid, signal.SIGCONT)
        answers.write(json.dumps(dict(cause="stopped", name=name, start=start, end=end)) + "\n")
        answers.flush()


class Stopper:
    def __init__(self):
        (orders, self.orders), (self.answers, answers) = os.pipe(), os.pipe()
        pid = os.getpid()
        if not os.fork():
            os.close(self.orders)
            stopper(os.fdopen(orders), os.fdopen(answers, "w"), pid)
            os._exit(0)
        os.close(orders)
        os.close(answers)

    def stop(self, name, before, seconds):
        os.write(self.orders, f"{name} {before} {seconds}\n".encode())

    def stamps(self):
        import threading

        os.close(self.orders)
        with os.fdopen(self.answers) as answers:
            for line in answers:
                stamp.add("own", tid=threading.get_native_id(), **json.loads(line))


def crunch(seconds):
    until = time.monotonic() + seconds
    n = 0
    with stamp.own("cpu", "crunch"):
        while time.monotonic() < until:  # ill: crunch
            n += len(str(n))  # ill: crunch


def nap(seconds):
    with stamp.own("syscall", "nap", syscall=CALL):
        time.sleep(seconds)  # ill: nap


async def main():
    other = Stopper()
    await stamp.calm()
    a, b, c, d = stamp.durations(4, 60, 400)
    other.stop("crunch", 0.1, a)
    crunch(0.3 + a)
    await stamp.calm()
    other.stop("nap", 0.1, b)
    nap(0.2 + b)
    await stamp.calm()
    for seconds in (c, d):
        other.stop("stamp.py:asleep", 0.1, seconds)
        await stamp.calm(0.2)
    other.stamps()


stamp.run(main)
