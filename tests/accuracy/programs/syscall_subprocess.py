# SPDX-License-Identifier: MIT
"""subprocess.run in a coroutine: it polls the child's pipes, or waits for its end."""
import subprocess

import stamp


def convert(seconds):
    with stamp.own("syscall", "poll", syscall="poll"):
        subprocess.run(["sleep", str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # ill: poll


def compress(seconds):
    with stamp.own("syscall", "wait", syscall="wait4"):
        subprocess.run(["sleep", str(seconds)])  # ill: wait


async def main():
    for i, seconds in enumerate(stamp.durations(4, 100, 400)):
        convert(seconds) if i % 2 else compress(seconds)
        await stamp.calm()


stamp.run(main)
