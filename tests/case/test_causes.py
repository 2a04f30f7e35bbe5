# SPDX-License-Identifier: MIT
"""Each cause of a stall that is not a lock or a call, by a program that has it; and what holds for all: the segments add
up, neighbours are merged, and `if_fixed` is what the stalls say."""

import os
import pathlib
import re
import subprocess

import pytest

from conftest import PROGRAMS, pythons

START = """
import asyncio, gc, os, sys, threading, time
async def calm(n=6):
    for _ in range(n):
        await asyncio.sleep(0.01)
"""


def whose(x):
    return (x["culprit"] or {}).get("function"), (x["culprit"] or {}).get("file")


def seconds(stalls, cause):
    return sum(s["seconds"] for stall in stalls for s in stall["segments"] if s["cause"] == cause)


def checked(document):
    """The stalls of all processes, whose segments are as they must be."""
    for process in document["processes"]:
        for stall in process["stalls"]:
            segments = stall["segments"]
            whole = sum(s["seconds"] for s in segments)
            assert abs(whole - stall["duration_s"]) <= max(2e-4, 2e-3 * stall["duration_s"]), stall
            at = stall["start_s"]
            for s in segments:
                assert abs(s["start_s"] - at) < 1e-4, stall
                at = s["start_s"] + s["seconds"]
            for a, b in zip(segments, segments[1:]):
                assert (a["cause"], a["lock"], a["syscall"]) != (b["cause"], b["lock"], b["syscall"]), stall
        for loop in process["loops"]:
            fixed_adds_up(document["capture"]["threshold_s"], loop,
                          [s for s in process["stalls"] if s["tid"] == loop["tid"]])
    return [s for p in document["processes"] for s in p["stalls"]]


def fixed_adds_up(threshold, loop, stalls):
    """What would be left without a culprit, from the segments, where these say whose they are."""
    for cause in loop["causes"]:
        if cause["cause"] in ("gil", "lock") or whose(cause)[0] is None:
            continue
        rest = []
        for stall in stalls:
            mine = sum(s["seconds"] for s in stall["segments"] if s["cause"] == cause["cause"]
                       and whose(s) == whose(cause))
            rest.append(stall["duration_s"] - mine)
        left = [r for r in rest if r >= threshold]
        near = sum(abs(r - threshold) < 1e-6 for r in rest)
        if not near:
            assert abs(cause["if_fixed"]["stalled_s"] - sum(left)) < 1e-5, cause
        assert cause["if_fixed"]["max_tick_s"] >= max(rest, default=0) - 1e-6


def causes(document, name):
    return [c for p in document["processes"] for l in p["loops"] for c in l["causes"] if c["cause"] == name]


def test_own_collection(run, report, python, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(START + """
alive = [[i] for i in range(400000)]
def tidy():
    gc.collect()
async def main():
    await calm()
    for _ in range(3):
        tidy()
        await calm()
asyncio.run(main())
""")
    done = run(python, program)
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    stalls = checked(document)
    assert seconds(stalls, "gc") > 3 * seconds(stalls, "cpu"), stalls
    cause = causes(document, "gc")[0]
    assert cause["culprit"]["function"] == "tidy" and cause["culprit"]["line"] == 9
    version = document["processes"][0]["runtime"]["version"]
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (3, 14):  # later ones do not say which generation
        assert "generation 2" in cause["why"], cause
    assert "garbage collector" in cause["why"] and "gc." in cause["advice"], cause


def test_a_workers_collection_keeps_the_gil(run, report, tmp_path):
    python = next(pythons()[v] for v in ("3.12", "3.11", "3.13", "debian") if v in pythons())
    program = tmp_path / "app.py"
    program.write_text(START + """
alive = [[i] for i in range(500000)]
def compact():
    for _ in range(3):
        time.sleep(0.1)
        gc.collect()
async def main():
    worker = threading.Thread(target=compact, name="reporter")
    worker.start()
    while worker.is_alive():
        await calm(1)
asyncio.run(main())
""")
    done = run(python, program)
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    stalls = checked(document)
    assert seconds(stalls, "gil") > 0.05 and seconds(stalls, "gc") == 0, stalls
    cause = causes(document, "gil")[0]
    assert cause["culprit"]["function"] == "compact" and cause["culprit"]["thread"] == "reporter"
    assert cause["culprit"]["native"] == "gc_collect", cause


STOPPER = """
def stops(*plan):
    import signal
    pid, (read, write) = os.getpid(), os.pipe()
    if os.fork():
        return read
    for before, length in plan:
        time.sleep(before)
        os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        time.sleep(length)
        os.write(write, b"%.6f " % (time.monotonic() - start))
        os.kill(pid, signal.SIGCONT)
    os._exit(0)
def told(read):
    print(*[os.read(read, 64).decode()])
"""


@pytest.mark.parametrize("shell", [False, True], ids=["command", "its child"])
@pytest.mark.parametrize("while_it", ["computes", "sleeps in a call", "waits, with a timer due"])
def test_stopped(run, report, tmp_path, while_it, shell):
    busy = {"computes": "end = time.monotonic() + 0.6\n    while time.monotonic() < end: pass",
            "sleeps in a call": "time.sleep(0.6)", "waits, with a timer due": "await calm(60)"}[while_it]
    program = tmp_path / "app.py"
    program.write_text(START + STOPPER + f"""
async def main():
    await calm()
    read = stops((0.2, 0.25))
    {busy}
    await calm(20)
    told(read)
asyncio.run(main())
""")
    python = pythons()["debian"]
    done = run("sh", "-c", f"{python} {program}; exit $?") if shell else run(python, program)
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    stopped, true = seconds(checked(document), "stopped"), float(done.stdout)
    # the kernel may stop and wake it a little later than it is told to; looks are some ms apart
    assert abs(stopped - true) < 0.02 + (0.05 * true if shell else 0), (stopped, true)
    cause = causes(document, "stopped")[0]
    assert "SIGSTOP" in cause["why"] and cause["culprit"]["tid"], cause
    if while_it == "sleeps in a call":  # it is one call, before the stop and after it
        assert any(c["why"].startswith("One call of") for c in causes(document, "syscall")), document


def test_frozen(run, report, tmp_path):
    """docker pause: the process is as good as stopped, though no signal says so."""
    group = None
    for line in open("/proc/self/mountinfo"):
        point, (kind, _, options) = line.split()[4], line.split(" - ")[1].split()[:3]
        made = pathlib.Path(point) / f"whystall-test-{os.getpid()}"
        if kind == "cgroup2" or (kind == "cgroup" and "freezer" in options.split(",")):
            try:
                made.mkdir()
            except OSError:
                continue
            group = made
            break
    if group is None:
        pytest.skip("no control group can be made")
    switch = ("cgroup.freeze", "1", "0") if (group / "cgroup.freeze").exists() else ("freezer.state", "FROZEN", "THAWED")
    program = tmp_path / "app.py"
    program.write_text(START + """
group, parent, file, on, off = sys.argv[1:]
open(group + "/cgroup.procs", "w").write(str(os.getpid()))
read, write = os.pipe()
if not os.fork():
    open(parent + "/cgroup.procs", "w").write(str(os.getpid()))
    time.sleep(0.4)
    open(group + "/" + file, "w").write(on)
    start = time.monotonic()
    time.sleep(0.3)
    os.write(write, b"%.6f" % (time.monotonic() - start))
    open(group + "/" + file, "w").write(off)
    os._exit(0)
def crunch():
    end = time.monotonic() + 0.9
    while time.monotonic() < end:
        pass
async def main():
    await calm()
    crunch()
    await calm()
asyncio.run(main())
open(parent + "/cgroup.procs", "w").write(str(os.getpid()))
print(os.read(read, 64).decode())
os.wait()
""")
    try:
        done = run(pythons()["debian"], program, group, group.parent, *switch)
    finally:
        group.rmdir()
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    stopped, true = seconds(checked(document), "stopped"), float(done.stdout)
    assert abs(stopped - true) < 0.03 + 0.1 * true, (stopped, true)
    assert seconds(checked(document), "fault") == 0


def test_stopped_while_nothing_is_due(run, report, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(START + STOPPER + """
async def main():
    await calm()
    read = stops((0.3, 0.3), (0.3, 0.2))
    await asyncio.sleep(1.5)
    told(read)
asyncio.run(main())
""")
    done = run(pythons()["debian"], program)
    assert done.returncode == 0, done.stderr
    assert seconds(checked(report(done.record)), "stopped") == 0


def test_page_faults(run, report, cc):
    """Pages that come after 50 ms each."""
    program = cc(PROGRAMS / "slow_fault.c")
    done = run(program, "4", "50")
    if done.returncode == 77:
        pytest.skip("userfaultfd is not allowed here")
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    true, stalls = sum(map(float, done.stdout.split())) / 1e3, checked(document)
    told = seconds(stalls, "fault")
    assert len(stalls) >= 4 and true * 0.85 - 0.01 < told < true + 0.01, (told, true, stalls)
    cause, = [c for c in causes(document, "fault") if c["culprit"]["function"] == "look_up"]
    assert re.search(r"[4-9] major page faults", cause["why"]), cause


def test_a_cold_file(run, report, tmp_path):
    """Pages of a mapped file that are on a disk only."""
    program = tmp_path / "app.py"
    program.write_text(START + """
import mmap, random, resource
size = 48 << 20
with open(sys.argv[1], "wb") as f:
    for _ in range(size >> 20):
        f.write(os.urandom(1 << 20))
    f.flush()
    os.fsync(f.fileno())
    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
f = open(sys.argv[1], "rb")
index = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
index.madvise(mmap.MADV_RANDOM)
def search(pages):
    for page in pages:
        index[page << 12]
async def main():
    await calm()
    pages = list(range(size >> 12))
    random.Random(1).shuffle(pages)
    search(pages)
    await calm()
asyncio.run(main())
print(resource.getrusage(resource.RUSAGE_SELF).ru_majflt)
""")
    done = run(pythons()["debian"], program, tmp_path / "index")
    assert done.returncode == 0, done.stderr
    if int(done.stdout) < 1000:
        pytest.skip("the kernel kept the file in memory: no disk below it?")
    document = report(done.record)
    stalls = checked(document)
    assert seconds(stalls, "fault") > 0.01, stalls
    cause = max(causes(document, "fault"), key=lambda c: c["total_s"])
    assert cause["culprit"]["function"] == "search", cause
    if ", in " in cause["why"] or os.geteuid() == 0:  # an ordinary user may not be told of faults
        assert str(tmp_path / "index") in cause["why"], cause


def quota_group():
    """A new CPU control group with 8 ms in every 100, or None and why not."""
    why = "no CPU control group is mounted"
    for line in open("/proc/self/mountinfo"):
        point, (kind, _, options) = line.split()[4], line.split(" - ")[1].split()[:3]
        made = pathlib.Path(point) / f"whystall-test-{os.getpid()}"
        if kind not in ("cgroup", "cgroup2") or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        try:
            if kind == "cgroup2":
                if "cpu" not in (made.parent / "cgroup.controllers").read_text().split():
                    continue
                (made.parent / "cgroup.subtree_control").write_text("+cpu")
            made.mkdir()
        except OSError as trouble:
            why = f"no control group can be made: {trouble}"
            continue
        if kind == "cgroup2":
            (made / "cpu.max").write_text("8000 100000")
        else:
            (made / "cpu.cfs_period_us").write_text("100000")
            (made / "cpu.cfs_quota_us").write_text("8000")
        return made, None
    return None, why


def test_quota(run, report, tmp_path):
    group, why = quota_group()
    if group is None:
        pytest.skip(why)
    program = tmp_path / "app.py"
    program.write_text(START + """
def crunch(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
async def main():
    await asyncio.sleep(0.2)
    open(sys.argv[1], "w").write(str(os.getpid()))  # in the group only now, long after it began to be watched
    await asyncio.sleep(0.6)
    for _ in range(2):
        crunch(0.03)
        await asyncio.sleep(0.2)
asyncio.run(main())
open(sys.argv[2], "w").write(str(os.getpid()))
""")
    try:
        done = run(pythons()["debian"], program, group / "cgroup.procs", group.parent / "cgroup.procs")
    finally:
        group.rmdir()
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    stalls = checked(document)
    assert seconds(stalls, "runqueue") > 2 * seconds(stalls, "cpu"), stalls
    cause, = [c for c in causes(document, "runqueue") if whose(c)[0] == "crunch"]
    assert "quota of 8.0 ms of CPU in every 100 ms" in cause["why"] and '"8000 100000"' in cause["advice"], cause


def test_several_causes_in_one_tick(run, report, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(START + """
alive = [[i] for i in range(400000)]
def handler():
    end = time.thread_time() + 0.06
    while time.thread_time() < end:
        pass
    time.sleep(0.08)
    gc.collect()
async def main():
    await calm()
    for _ in range(2):
        handler()
        await calm()
asyncio.run(main())
""")
    done = run(pythons()["debian"], program)
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    long = [s for s in checked(document) if s["duration_s"] > 0.14]
    assert len(long) == 2
    for stall in long:
        kinds = [s["cause"] for s in stall["segments"] if s["seconds"] > 0.005 and s["cause"] != "runqueue"]
        assert kinds[0] == "cpu" and kinds[1:3] == ["syscall", "gc"], stall
        assert abs(sum(s["seconds"] for s in stall["segments"] if s["cause"] == "cpu") - 0.06) < 0.03, stall


def test_what_is_stopped_passes_on(binary, tmp_path):
    """Stops of the command are told to whystall alone: the command's own parent-child relations stay as they are."""
    program = tmp_path / "app.py"
    program.write_text("""
import os, signal, time
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(7)
pid, status = os.waitpid(child, os.WUNTRACED)
assert os.WIFSTOPPED(status)
os.kill(child, signal.SIGCONT)
pid, status = os.waitpid(child, os.WCONTINUED)
while not os.WIFEXITED(status):
    pid, status = os.waitpid(child, 0)
raise SystemExit(os.WEXITSTATUS(status))
""")
    done = subprocess.run([binary, "run", "-q", "-o", tmp_path / "record", "--", pythons()["debian"], program], timeout=30,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 7


def test_a_loop_on_io_uring(run, report, cc):
    done = run(cc(PROGRAMS / "uring_loop.c"), "60", "3")
    if done.returncode == 77:
        pytest.skip("no io_uring here")
    assert done.returncode == 0, done.stderr
    document = report(done.record)
    checked(document)
    process, = [p for p in document["processes"] if p["loops"]]
    loop, = process["loops"]
    assert loop["wait"] == "io_uring_enter" and loop["ticks"] >= 8
    assert len([s for s in process["stalls"] if s["duration_s"] > 0.055]) >= 3
    assert all(s["ready_after"] in (None, 0) for s in process["stalls"])  # how many completions there were is not known
