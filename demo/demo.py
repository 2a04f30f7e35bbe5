# SPDX-License-Identifier: MIT
"""Shows whystall on a real FastAPI app under uvicorn, and checks that what it says is right: `make demo`.

Two acts: an app that stalls in five ways, with a client that measures what its users would feel; then a stall that
never ends. The servers get a terminal of their own, so that the Ctrl-C in here is a real one."""

import argparse
import datetime
import fcntl
import http.client
import json
import os
import pathlib
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ENDPOINTS = {  # endpoint: (cause, function, native), or nothing to find
    "/gil-blocking": ("gil", "heavy_cpu_work", {"long_pow", "PyNumber_Power"}),
    "/gil-non-blocking": None,
    "/threads": ("gil", "count_primes", None),
    "/sleepy": ("syscall", "sleepy", None),
    "/lock": ("lock", "rebuild_cache", None),
}
wrong = []


def check(fine, sentence):
    if not fine:
        wrong.append(sentence)
        print(f"  WRONG: {sentence}")


def step(text):
    print(f"--- {text}", flush=True)


class Server:
    """uvicorn under `whystall run`, on a terminal of its own."""

    def __init__(self, binary, record, **environment):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.record = record
        record.unlink(missing_ok=True)
        try:
            self.terminal, inside = pty.openpty()
        except OSError as error:
            sys.exit(f"demo: no pseudo-terminal for the server's Ctrl-C: {error} (is /dev/pts mounted?)")
        self.command = ["python3", "-m", "uvicorn", "app:api", "--port", str(self.port), "--log-level", "warning",
                        "--lifespan", "off"]
        self.process = subprocess.Popen(
            [binary, "run", "-o", str(record), "--", "/usr/bin/python3", *self.command[1:]], cwd=HERE, stdin=inside,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1", **environment))
        os.close(inside)
        self.said = ""
        threading.Thread(target=self.listen, daemon=True).start()
        for _ in range(300):
            try:
                if self.get("/health"):
                    return
            except OSError:
                time.sleep(0.1)
            if self.process.poll() is not None:
                break
        self.process.kill()
        sys.exit(f"demo: the server did not come up:\n{self.said}")

    def listen(self):
        for line in iter(lambda: os.read(self.process.stderr.fileno(), 4096), b""):
            self.said += line.decode(errors="replace")

    def get(self, path, timeout=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status == 200

    def ctrl_c(self):
        os.write(self.terminal, b"\x03")

    def report(self, binary, *options):
        return subprocess.run([binary, "report", *options, str(self.record)], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE)


class Client(threading.Thread):
    """Asks /health all the time, as a load balancer would, and keeps (when, latency)."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.seen, self.stop = server, [], False
        self.start()

    def run(self):
        while not self.stop:
            begin = time.time()
            self.server.get("/health")
            self.seen.append((begin, time.time() - begin))
            time.sleep(0.005)

    def worst(self, begin, end):
        return max((latency for at, latency in self.seen if at + latency >= begin and at <= end), default=0)


def figure(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"


def began(report):
    text = re.sub(r"\.(\d+)", lambda m: "." + (m[1] + "000000")[:6], report["capture"]["started"])
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def blamed(report, begin, end):
    """What whystall says of a span of wall clock time: (longest stall, all stalls, a segment of the culprit with
    most seconds)."""
    zero, longest, total, sums = began(report), 0, 0, {}
    for process in report["processes"]:
        for stall in process["stalls"]:
            at = zero + stall["start_s"]
            if at < end and at + stall["duration_s"] > begin:
                longest = max(longest, stall["duration_s"])
                total += stall["duration_s"]
                for segment in stall["segments"]:
                    culprit = segment["culprit"] or {}
                    key = segment["cause"], culprit.get("function"), culprit.get("file")
                    sums.setdefault(key, []).append(segment)
    worst = max(sums.values(), key=lambda segments: sum(s["seconds"] for s in segments), default=[None])
    return longest, total, max(worst, key=lambda s: s and s["seconds"])


def first_act(binary, build):
    step("Starting the app under whystall")
    server = Server(binary, build / "demo.whystall")
    print(f"    whystall run -o {os.path.relpath(server.record)} -- {' '.join(server.command)}")
    client = Client(server)
    time.sleep(0.3)
    spans = {}
    for path in ENDPOINTS:
        step(f"GET {path}")
        begin = time.time()
        check(server.get(path), f"{path} failed")
        spans[path] = begin, time.time()
        time.sleep(0.3)
    client.stop = True
    client.join()
    step("Ctrl-C; whystall's verdict:")
    server.ctrl_c()
    server.process.wait(20)
    time.sleep(0.1)
    print("\n" + server.said.strip() + "\n")

    shown = server.report(binary, "-f", "json")
    check(shown.returncode == 0, f"report: {shown.stderr.strip()}")
    report = json.loads(shown.stdout)
    step("Beside it, what the client saw of GET /health meanwhile:")
    print(f"\n    {'while':17} {'/health took':>12}  whystall: longest stall, cause, culprit")
    for path, expected in ENDPOINTS.items():
        felt = client.worst(*spans[path])
        longest, total, segment = blamed(report, *spans[path])
        line = f"    {path:17} {figure(felt):>12}  "
        if not segment:
            print(line + "none")
            check(not expected, f"{path} stalled the loop, and no stall is told")
            continue
        culprit = segment["culprit"] or {}
        print(line + f"{figure(longest):>7}  {segment['cause']}  {culprit.get('function')} "
              f"{os.path.basename(culprit.get('file') or '?')}:{culprit.get('line')}")
        more = [f"native: {culprit['native']}"] if culprit.get("native") else []
        print(" " * 45 + ", ".join(more + [f"in {culprit.get('thread')}"]))
        if not expected:
            check(total < 0.1, f"{path} is harmless, and a stall of {figure(longest)} is told")
            continue
        cause, function, native = expected
        check(segment["cause"] == cause, f"{path}: cause {cause}, not {segment['cause']}")
        check(culprit.get("function") == function, f"{path}: culprit {function}, not {culprit.get('function')}")
        check((culprit.get("file") or "").endswith("demo/app.py"), f"{path}: file {culprit.get('file')}")
        if native and culprit.get("native"):
            check(culprit["native"] in native, f"{path}: native {culprit['native']}")
        # a request needs several ticks, and may come in the middle of the first
        check(longest < felt + 0.05 and felt < total + 0.1,
              f"{path}: {figure(longest)} at worst, {figure(total)} in all, while the client waited {figure(felt)}")
    check(len(report["processes"]) > 1, "the process pool's processes are not in the report")
    check(all(not p["stalls"] for p in report["processes"][1:]), "stalls in the process pool")
    print("""
    A health check waits for as long as the loop stalls, whoever is to blame: a
    thread that keeps the GIL in one native call (one hold, hundreds of switch
    intervals), threads that hand it round among themselves, a sleep in a
    coroutine, the holder of a lock. The same power in a process pool stalls
    nobody.
""")


def second_act(binary, build):
    step("The same app with a power that never ends")
    server = Server(binary, build / "demo-never.whystall", DEMO_NEVER="1")
    step("GET /never")
    try:
        server.get("/never", timeout=1.5)
    except OSError:
        pass
    step(f"While it goes on, from another process: whystall report {os.path.relpath(server.record)}")
    ongoing = []
    for _ in range(20):
        shown = server.report(binary, "-f", "json")
        report = json.loads(shown.stdout) if shown.returncode == 0 else {"processes": []}
        ongoing = [s for p in report["processes"] for s in p["stalls"] if s["ongoing"]]
        if ongoing and ongoing[0]["segments"] and ongoing[0]["segments"][-1]["cause"] == "gil":
            break
        time.sleep(0.5)
    print("\n" + "\n".join(server.report(binary).stdout.strip().splitlines()[:14]) + "\n    ...\n")
    check(bool(ongoing), "the growing record does not tell the stall that is going on")
    if ongoing:
        last = ongoing[0]["segments"][-1]
        check(last["cause"] == "gil", f"the stall that is going on: cause gil, not {last['cause']}")
        check((last["culprit"] or {}).get("function") == "heavy_cpu_work", f"its culprit: {last['culprit']}")
    step("Ctrl-C, which this process does not hear; whystall says so a second later, and does not kill it:")
    before = len(server.said)
    server.ctrl_c()
    for _ in range(60):
        time.sleep(0.1)
        if "heavy_cpu_work" in server.said[before:]:
            break
    time.sleep(0.5)
    print("\n" + server.said[before:].strip() + "\n")
    check("heavy_cpu_work" in server.said[before:], "no verdict after Ctrl-C")
    check(server.process.poll() is None, "whystall ended while its command runs")
    if server.process.poll() is None and report["processes"]:
        step("Ending it (kill -9)")
        os.kill(report["processes"][0]["pid"], signal.SIGKILL)
        check(server.process.wait(20) == 137, f"whystall's status is {server.process.returncode}, not 137")
    else:
        server.process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    build = pathlib.Path(parser.parse_args().build).absolute()
    binary = str(build / "whystall")
    begin = time.time()
    first_act(binary, build)
    second_act(binary, build)
    took = time.time() - begin
    check(took < 60, f"the demo took {took:.0f} s")
    if wrong:
        print(f"\ndemo: {len(wrong)} things are not as they should be:")
        for sentence in wrong:
            print(f"  {sentence}")
        return 1
    print(f"\ndemo: every verdict is right; {took:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
