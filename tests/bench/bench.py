# SPDX-License-Identifier: MIT
"""What whystall costs: each measurement bare and under `whystall run` in turn, interleaved, and the median of the
paired ratios with its 95 % interval (bootstrap). `make bench`, ARGS=--quick for a rough one."""

import argparse
import glob
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
REPORTS = ("text", "json", "markdown", "html", "junit")
EXPORTS = ("perfetto", "speedscope", "folded", "openmetrics", "jsonl")
ENVIRONMENT = dict(os.environ, PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
rng = random.Random(1)


def interval(ratios):
    """Median and the middle 95 % of the medians of resampled ratios."""
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return statistics.median(ratios), medians[50], medians[1949]


def told(name, bare, under, unit, limit):
    ratio, low, high = interval([u / b for b, u in zip(bare, under)])
    verdict = f"at most {limit}: {'ok' if ratio <= limit else 'MISSED'}" if limit else ""
    print(f"{name:30} {statistics.median(bare):8.2f} -> {statistics.median(under):8.2f} {unit:4} "
          f"x{ratio:5.3f} [{low:.3f}, {high:.3f}]  {verdict}", flush=True)


def pairs(count, measure):
    """measure(under: bool) -> figure; which of the two comes first alternates."""
    bare, under = [], []
    for i in range(count):
        for which in (False, True) if i % 2 else (True, False):
            (under if which else bare).append(measure(which))
    return bare, under


class Bench:
    def __init__(self, build, directory):
        self.build, self.directory = build, directory
        self.records = 0

    def command(self, command, under):
        if not under:
            return command
        self.records += 1
        return [str(self.build / "whystall"), "run", "-q", "-o", str(self.directory / f"{self.records}"), "--", *command]

    def output(self, command, under):
        return subprocess.run(self.command(command, under), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                              stdin=subprocess.DEVNULL, text=True, env=ENVIRONMENT).stdout

    def start(self, command, under, **more):
        """(the process that we started, the pid of the command itself)"""
        process = subprocess.Popen(self.command(command, under), stdin=subprocess.DEVNULL, env=ENVIRONMENT,
                                   stderr=subprocess.DEVNULL, **more)
        pid = process.pid
        while under and pid == process.pid:
            time.sleep(0.02)
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            pid = int(children[0]) if children else pid
            if process.poll() is not None:
                sys.exit("bench: whystall ended at once")
        return process, pid


def stop(*started):
    for process, pid in started:
        os.kill(pid, signal.SIGKILL)
        process.wait(20)


def cpu(pid):
    """Seconds on a CPU, of all threads: /proc/PID/stat counts in hundredths only."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            total += int(pathlib.Path(path).read_text().split()[0])
        except OSError:
            pass
    return total / 1e9


# --- the measurements ---


def locks(bench, quick):
    lock = str(bench.build / "tests" / "bench" / "lock")
    bare, under = pairs(5 if quick else 15, lambda u: float(bench.output([lock, "1000000", "4"], u)))
    told("uncontended lock + unlock", bare, under, "ns", 1.4)


def handovers(bench, quick):
    script = [PYTHON, str(HERE / "handover.py"), "30000"]
    bare, under = pairs(5 if quick else 15, lambda u: float(bench.output(script, u)))
    told("GIL hand-over", bare, under, "us", None)


def serve(bench, under):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    started = bench.start([PYTHON, "-m", "uvicorn", "app:api", "--port", str(port), "--log-level", "critical",
                           "--no-access-log"], under, cwd=HERE, stdout=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return started, port
        except OSError:
            time.sleep(0.05)
    sys.exit("bench: the server did not come up")


def load(server, seconds):
    """(CPU in us per request, p99 in ms) of a burst of load."""
    (_, pid), port = server
    before = cpu(pid)
    text = subprocess.run(["wrk", "-t1", "-c8", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}/items/3?q=x"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    used = cpu(pid) - before
    requests = int(re.search(r"(\d+) requests in", text)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
    return used / requests * 1e6, float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def server_load(bench, quick):
    """Both servers stand side by side and are loaded in turn; each pair of servers is used for a few pairs only, for
    two processes of the same program differ by themselves."""
    seconds, servers, each = (1, 2, 3) if quick else (2, 5, 4)
    figures = {False: [], True: []}
    for _ in range(servers):
        running = {under: serve(bench, under) for under in (False, True)}
        for server in running.values():
            load(server, 1)
        for i in range(each):
            for under in (False, True) if i % 2 else (True, False):
                figures[under].append(load(running[under], seconds))
        stop(*(started for started, _ in running.values()))
    told("uvicorn, CPU per request", *([x for x, _ in figures[u]] for u in (False, True)), "us", 1.02)
    told("uvicorn, p99 of latency", *([x for _, x in figures[u]] for u in (False, True)), "ms", None)


class Attached:
    """whystall attach on a process, for a while."""

    def __init__(self, bench, pid, *options):
        bench.records += 1
        self.record = bench.directory / f"{bench.records}"
        ready, write = os.pipe()
        begin = time.monotonic()
        self.process = subprocess.Popen([bench.build / "whystall", "attach", "-q", "-o", self.record, *options, "--ready-fd",
                                         str(write), str(pid)], pass_fds=[write], stdin=subprocess.DEVNULL, env=ENVIRONMENT)
        os.close(write)
        if os.read(ready, 1) != b"\n":
            sys.exit("bench: whystall could not attach")
        self.took = time.monotonic() - begin
        os.close(ready)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


def attach_load(bench, quick):
    """One server, loaded in turn with and without whystall beside it."""
    seconds, servers, each = (1, 1, 5) if quick else (2, 4, 5)
    figures, shares, starts = {False: [], True: []}, [], []
    for _ in range(servers):
        server = serve(bench, False)
        load(server, 1)
        pid = server[0][1]
        for i in range(each):
            for under in (False, True) if i % 2 else (True, False):
                attached = Attached(bench, pid) if under else None
                before, begin = cpu(attached.process.pid) if under else 0, time.monotonic()
                figures[under].append(load(server, seconds))
                if under:
                    shares.append((cpu(attached.process.pid) - before) / (time.monotonic() - begin))
                    starts.append(attached.took)
                    attached.stop()
        stop(server[0])
    told("attached: CPU per request", *([x for x, _ in figures[u]] for u in (False, True)), "us", 1.03)
    told("attached: p99 of latency", *([x for _, x in figures[u]] for u in (False, True)), "ms", None)
    share, start = statistics.median(shares), statistics.median(starts)
    print(f"{'attached: whystall itself':30} {share:8.2%} of a core beside that server"
          f"{'':14}below 5 %: {'ok' if share < 0.05 else 'MISSED'}", flush=True)
    print(f"{'attached: start to recording':30} {start * 1e3:8.0f} ms, worst {max(starts) * 1e3:.0f}"
          f"{'':24}below 300 ms: {'ok' if start < 0.3 else 'MISSED'}", flush=True)


def attach_idle(bench, quick):
    started, _ = serve(bench, False)
    attached = Attached(bench, started[1])
    time.sleep(3)
    seconds, before = 5 if quick else 20, cpu(attached.process.pid)
    time.sleep(seconds)
    share = (cpu(attached.process.pid) - before) / seconds
    attached.stop()
    stop(started)
    print(f"{'attached to an idle uvicorn':30} {share:8.2%} of a core over {seconds} s"
          f"{'':14}below 0.5 %: {'ok' if share < 0.005 else 'MISSED'}", flush=True)


def attach_waits(bench, quick):
    """A loop that does nothing but wait, and how much of it was lost."""
    process = subprocess.Popen([bench.build / "tests" / "bench" / "waits", "6"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.2)
    attached = Attached(bench, process.pid, "-d", "3s")
    attached.process.wait(30)
    report = json.loads(subprocess.run([bench.build / "whystall", "report", "-f", "json", attached.record],
                                       stdout=subprocess.PIPE, check=True).stdout)
    process.kill()
    process.wait(10)
    loop, lost = report["processes"][0]["loops"][0], report["capture"]["lost_events"]
    rate = loop["ticks"] / loop["observed_s"]
    print(f"{'attached: readiness waits':30} {rate:8,.0f} a second, {lost} events lost"
          f"{'':14}0 at 200,000: {'ok' if not lost and rate > 200000 else 'MISSED'}", flush=True)


def attach_pause(bench, quick):
    """The longest that a running thread was held up while whystall came and went, beside the same bare."""
    worst = {}
    for under in (False, True):
        longest = []
        for _ in range(2 if quick else 5):
            process = subprocess.Popen([bench.build / "tests" / "bench" / "pause", "4"], stdout=subprocess.PIPE, text=True)
            time.sleep(0.3)
            for _ in range(4 if under else 0):
                attached = Attached(bench, process.pid)
                time.sleep(0.2)
                attached.stop()
            longest.append(float(process.communicate()[0]))
        worst[under] = statistics.median(longest)
    print(f"{'attached: longest pause':30} {worst[False]:8.0f} -> {worst[True]:8.0f} us"
          f"{'':14}below 1000: {'ok' if worst[True] < 1000 else 'MISSED'}", flush=True)


def idle(bench, quick):
    started, _ = serve(bench, True)
    time.sleep(3)
    seconds, before = 5 if quick else 20, cpu(started[0].pid)
    time.sleep(seconds)
    share = (cpu(started[0].pid) - before) / seconds
    stop(started)
    print(f"{'whystall beside an idle uvicorn':30} {share:8.2%} of a core over {seconds} s"
          f"{'':14}at most 0.5 %: {'ok' if share < 0.005 else 'MISSED'}", flush=True)


def kilobytes(path, field, only=""):
    """The sum of a field of smaps over the maps whose head line has `only` in it."""
    total, counts = 0, not only
    for line in pathlib.Path(path).read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = only in line
        elif counts and line.startswith(field + ":"):
            total += int(line.split()[1])
    return total


def memory(bench, quick):
    """PSS of the target less that of the same program beside it, bare, at the same moment: pages of files are shared
    with whoever runs then. Of the arena, which the target shares with whystall so that each is charged a part, all
    resident pages are counted instead of the target's part."""
    added, arena = [], []
    for _ in range(1 if quick else 3):
        running = [bench.start([PYTHON, str(HERE / "fifty.py")], under, stdout=subprocess.PIPE)
                   for under in (False, True)]
        for process, _ in running:
            process.stdout.readline()
        (_, bare), (whystall, target) = running
        fds = [f for f in glob.glob(f"/proc/{whystall.pid}/fd/*") if "memfd:whystall" in os.readlink(f)]
        arena.append(os.stat(fds[0]).st_blocks // 2)
        added.append(kilobytes(f"/proc/{target}/smaps", "Pss") - kilobytes(f"/proc/{bare}/smaps", "Pss")
                     - kilobytes(f"/proc/{target}/smaps", "Pss", "/memfd:whystall") + arena[-1])
        stop(*running)
    mb = statistics.median(added) / 1024
    print(f"{'PSS added to 50 threads':30} {mb:8.2f} MB, {statistics.median(arena) / 1024:.2f} MB of it the shared arena"
          f"{'':7}at most 4 MB: {'ok' if mb < 4 else 'MISSED'}", flush=True)


def forget(*paths):
    """Takes files out of the page cache, as after a boot."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def verdict(bench, quick):
    """From the command's end to whystall's, its summary printed: nothing of the target's code has been read before, and
    debug files come from the disk."""
    times = []
    for _ in range(2 if quick else 5):
        forget(*glob.glob("/usr/lib/debug/.build-id/*/*.debug"))
        bench.records += 1
        process = subprocess.Popen([bench.build / "whystall", "run", "-o", bench.directory / f"{bench.records}", "--",
                                    PYTHON, HERE / "stalls.py"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=ENVIRONMENT)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text().split():
            time.sleep(0.02)
        end = os.pidfd_open(int(children.read_text().split()[0]))
        select.select([end], [], [])
        begin = time.monotonic()
        process.wait(60)
        times.append(time.monotonic() - begin)
        os.close(end)
    worst = max(times)
    print(f"{'verdict after the end':30} {statistics.median(times):8.2f} s, worst {worst:.2f}: 100 stalls of 10 samples"
          f"{'':7}at most 0.5 s: {'ok' if worst < 0.5 else 'MISSED'}", flush=True)


def formats(bench, quick):
    """Each format on a record of 100,000 stalls: the best of three, for it is the disk's and the neighbours' time too."""
    record, out = bench.directory / "large", bench.directory / "out"
    # in a process of its own: what this one ever took would count as its children's memory
    subprocess.run([sys.executable, HERE / "large.py", bench.build / "whystall", record], check=True)
    for command, names in (("report", REPORTS), ("export", EXPORTS)):
        for name in names:
            best, cpu_s, most = None, None, 0
            for _ in range(1 if quick else 3):
                begin = time.monotonic()
                process = subprocess.Popen([bench.build / "whystall", command, "-f", name, "-o", out, record],
                                           stdin=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = status
                if status:
                    sys.exit(f"bench: {command} -f {name} failed")
                took = time.monotonic() - begin
                used = usage.ru_utime + usage.ru_stime
                best, cpu_s, most = min(best or took, took), min(cpu_s or used, used), max(most, usage.ru_maxrss / 1024)
            print(f"{command + ' -f ' + name:30} {best:8.2f} s, {cpu_s:.2f} s of CPU, {most:.0f} MB; writes "
                  f"{out.stat().st_size / 1e6:.1f} MB  at most 2 s, 300 MB: {'ok' if best < 2 and most < 300 else 'MISSED'}", flush=True)
            out.unlink()


def suite(bench, quick):
    """500 tests that do nothing, from the start of the command to its end: bare, and with the plugin and a budget, which
    starts its recorder; then under whystall run."""
    tests = bench.directory / "suite"
    tests.mkdir()
    (tests / "test_trivial.py").write_text("".join(f"def test_{i}():\n    pass\n\n\n" for i in range(500)))
    shutil.copytree(HERE.parent.parent / "python" / "whystall", bench.directory / "python" / "whystall")
    environment = dict(ENVIRONMENT, PYTHONPATH=str(bench.directory / "python"), WHYSTALL=str(bench.build / "whystall"),
                       XDG_STATE_HOME=str(bench.directory / "state"))
    del environment["PYTHONDONTWRITEBYTECODE"]  # an installed plugin is compiled once
    plugin = ["-p", "whystall.pytest_plugin", "--whystall-max-stall=50ms"]

    def seconds(under, run=False):
        pytest = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(plugin if under else [])]
        begin = time.perf_counter()
        subprocess.run(bench.command(pytest, under and run), cwd=tests, env=environment, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin

    seconds(True)
    for name, run, limit in (("pytest, 500 trivial tests", False, 1.05), ("  under whystall run", True, None)):
        bare, under = pairs(7 if quick else 25, lambda under: seconds(under, run))
        told(name, [1e3 * t for t in bare], [1e3 * t for t in under], "ms", limit)


MEASUREMENTS = {"lock": locks, "handover": handovers, "memory": memory, "idle": idle, "server": server_load,
                "verdict": verdict, "formats": formats, "pytest": suite,
                "attach": attach_load, "attach-idle": attach_idle, "attach-waits": attach_waits,
                "attach-pause": attach_pause}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("only", nargs="*", help=", ".join(MEASUREMENTS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(pathlib.Path(options.build).absolute(), pathlib.Path(directory))
        for name, measure in MEASUREMENTS.items():
            if not options.only or name in options.only:
                measure(bench, options.quick)


if __name__ == "__main__":
    main()
