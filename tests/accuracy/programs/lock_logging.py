# SPDX-License-Identifier: MIT
"""A logging handler's lock, kept by a worker whose handler writes to a pipe that nobody reads for a while."""
import fcntl
import logging
import os
import threading
import time

import stamp

PIPE, MESSAGE = 4096, 6000
log = logging.getLogger("service")
writing = threading.Event()


def report(message):
    log.info(message)  # ill: report


def read(fd, seconds):
    """The pipe's reader: comes late."""
    writing.wait()
    time.sleep(seconds)
    left = MESSAGE
    while left > 0:
        left -= len(os.read(fd, PIPE))


def reports(fd, plan):
    for seconds in plan:
        reader = stamp.worker(read, fd, seconds, name="reader")
        with stamp.holding("handler", "report", "sem"):
            writing.set()
            report("x" * MESSAGE)
        reader.join()
        time.sleep(0.08)


def tell():
    with stamp.waiting("handler"):
        log.info("tick")


async def main():
    source, sink = os.pipe()
    fcntl.fcntl(sink, 1031, PIPE)  # F_SETPIPE_SZ
    log.addHandler(logging.StreamHandler(os.fdopen(sink, "w")))
    log.setLevel(logging.INFO)
    log.propagate = False
    thread = stamp.worker(reports, source, stamp.durations(5, 50, 400), name="reporter")
    while thread.is_alive():
        await stamp.calm(0.02)
        if writing.is_set():
            writing.clear()
            tell()


stamp.run(main)
