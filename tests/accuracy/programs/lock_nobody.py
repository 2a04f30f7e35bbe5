# SPDX-License-Identifier: MIT
"""Event, Queue and Condition waited for on the loop: nobody holds them, the loop's own line is to blame."""
import queue
import threading
import time

import stamp


def wait_for_event(event):
    with stamp.own("lock", "event"):
        event.wait()  # ill: event


def wait_for_event_timeout(seconds):
    with stamp.own("lock", "timeout"):
        threading.Event().wait(seconds)  # ill: timeout


def next_job(jobs):
    with stamp.own("lock", "queue"):
        return jobs.get()  # ill: queue


def wait_for_condition(condition, seconds):
    with condition, stamp.own("lock", "condition"):
        condition.wait(seconds)  # ill: condition


def later(action, seconds):
    def act():
        time.sleep(seconds)
        action()

    return stamp.worker(act, name="later")


async def main():
    a, b, c, d = stamp.durations(4, 60, 300)
    event, jobs = threading.Event(), queue.Queue()
    later(event.set, a)
    wait_for_event(event)
    await stamp.calm()
    wait_for_event_timeout(b)
    await stamp.calm()
    later(lambda: jobs.put(1), c)
    next_job(jobs)
    await stamp.calm()
    wait_for_condition(threading.Condition(), d)


stamp.run(main)
