# SPDX-License-Identifier: MIT
"""A control group with a small CPU quota: computing that takes some milliseconds of CPU takes hundreds of them."""
# why: runqueue quota
import os
import pathlib
import time

import stamp


def group():
    """A new CPU control group below our own, its quota 8 ms in every 100, or None."""
    ours = {}
    for line in open("/proc/self/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        ours.update({name: path for name in controllers.split(",")})
    for line in open("/proc/self/mountinfo"):
        fields, _, more = line.partition(" - ")
        root, point = fields.split()[3:5]
        kind, _, options = more.split()[:3]
        name = "" if kind == "cgroup2" else "cpu"
        if kind not in ("cgroup", "cgroup2") or name not in ours or (name and name not in options.split(",")):
            continue
        path = ours[name]
        here = pathlib.Path(point + (path[len(root):] if root != "/" and path.startswith(root) else path))
        try:
            made = here / f"whystall-test-{os.getpid()}"
            made.mkdir()
        except OSError:
            continue
        try:
            if name:
                (made / "cpu.cfs_period_us").write_text("100000")
                (made / "cpu.cfs_quota_us").write_text("8000")
            else:
                (made / "cpu.max").write_text("8000 100000")
            (made / "cgroup.procs").write_text(str(os.getpid()))
            return made
        except OSError:  # v2: its parent does not hand on the CPU controller, or has processes of its own
            made.rmdir()
    return None


def crunch(seconds):
    n, until = 0, time.thread_time() + seconds
    with stamp.parts("crunch", "cpu"):
        while time.thread_time() < until:  # ill: crunch
            n += len(str(n))  # ill: crunch


async def main():
    await stamp.calm(0.2)
    for seconds in (0.02, 0.03, 0.04, 0.02):
        crunch(seconds)
        await stamp.calm(0.2)


made = group()
if not made:
    stamp.skip("no control group with a CPU quota can be made here")
try:
    stamp.run(main, beat=False)
finally:
    (made.parent / "cgroup.procs").write_text(str(os.getpid()))
    made.rmdir()
