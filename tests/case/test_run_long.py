# SPDX-License-Identifier: MIT
"""A native call that never ends, and kills: what is known so far is told, and is in the record."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import DEBIAN, validator
from test_run_tty import Terminal

NEVER = """
import asyncio
def heavy():
    return pow(365, 10**14)
async def main():
    for _ in range(5):
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, heavy)
asyncio.run(main())
"""


def report_of(binary, record):
    done = subprocess.run([binary, "report", "-f", "json", record], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    validator().validate(document)
    return document


def heavy_stall(document):
    stall, = document["processes"][0]["stalls"]
    assert stall["ongoing"]
    segment = max(stall["segments"], key=lambda s: s["seconds"])
    assert (segment["cause"], segment["culprit"]["function"], segment["culprit"]["line"]) == ("gil", "heavy", 4)
    return stall


def test_a_native_call_that_never_ends(binary, tmp_path):
    record = tmp_path / "r"
    t = Terminal(binary, "run", "-o", record, "--", DEBIAN, "-c", NEVER)
    try:
        t.read("ready")
        begin = time.monotonic()
        t.read("GIL held by heavy")
        time.sleep(max(0, begin + 1.6 - time.monotonic()))
        growing = report_of(binary, record)
        assert not growing["capture"]["complete"]
        assert 0.5 < heavy_stall(growing)["duration_s"] < time.monotonic() - begin + 0.1
        t.type("\x03")
        pid = growing["processes"][0]["pid"]
        said = t.read(f"kill -KILL {pid}")
        assert said.count("whystall, so far: ") == 1 and "heavy" in said.split("so far: ")[1]
        t.type("\x03")  # once is enough
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            try:
                t.read("never", timeout=0.2)
            except AssertionError:
                pass
        assert t.seen.count(b"whystall, so far: ") == 1
        os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
        whole = time.monotonic() - begin
        t.read()
        assert t.wait() == 137
    finally:
        t.close()
    document = report_of(binary, record)
    assert document["capture"]["complete"]
    assert abs(heavy_stall(document)["duration_s"] - whole) < 0.2


def test_an_interrupt_that_is_served_says_nothing(binary, tmp_path):
    script = "import asyncio, signal, time\nasync def main():\n" \
             " asyncio.get_running_loop().add_signal_handler(signal.SIGINT, print, 'caught')\n" \
             " print('ready', flush=True)\n for _ in range(200): await asyncio.sleep(0.01)\nasyncio.run(main())"
    whystall = subprocess.Popen([binary, "run", "-o", tmp_path / "r", "--", DEBIAN, "-c", script],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert whystall.stdout.readline() == "ready\n"
    whystall.send_signal(signal.SIGINT)
    out, err = whystall.communicate(timeout=20)
    assert "caught" in out and "so far" not in err and whystall.returncode == 0


STAMPS = """
import asyncio, sys, time
async def main():
    for i in range(int(sys.argv[1])):
        await asyncio.sleep(0.03)
        time.sleep(0.03)
        await asyncio.sleep(0)
        print(i, time.monotonic(), flush=True)
asyncio.run(main())
print("over", flush=True)
raise SystemExit(5)
"""


def stamps(text):
    return [float(line.split()[1]) for line in text.splitlines() if line.count(" ") == 1 and line[:1].isdigit()]


@pytest.mark.parametrize("whom", ["whystall", "command"])
@pytest.mark.parametrize("after", [1.2, pytest.param(None, marks=pytest.mark.all)])
def test_kills_at_any_moment(binary, tmp_path, whom, after):
    for round in range(1 if after else 8):
        record = tmp_path / f"r{round}"
        out = tmp_path / f"out{round}"
        wait = after or random.uniform(0.3, 3)
        with open(out, "w") as stdout:
            whystall = subprocess.Popen([binary, "run", "-o", record, "--", "sh", "-c", 'echo $$; "$@"; echo status $?', "sh",
                                         DEBIAN, "-c", STAMPS, "50"] if whom == "whystall" else
                                        [binary, "run", "-o", record, "--", DEBIAN, "-c", STAMPS, "1000"],
                                        stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE)
        time.sleep(wait)
        if whom == "command":
            pid = int(open(f"/proc/{whystall.pid}/task/{whystall.pid}/children").read().split()[0])
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            assert whystall.wait(10) == 137
        else:
            whystall.kill()
            killed = time.monotonic()
            whystall.wait()
            for _ in range(200):  # the command goes on to its end
                if "status" in out.read_text():
                    break
                time.sleep(0.1)
            lines = out.read_text().splitlines()
            assert lines[-2:] == ["over", "status 5"] and len(lines) == 53
        document = report_of(binary, record)
        assert document["capture"]["complete"] == (whom == "command")
        found = sum(len(p["stalls"]) for p in document["processes"])
        wanted = sum(s < killed - (1 if whom == "whystall" else 0.1) for s in stamps(out.read_text()))
        assert found >= wanted, (wait, found, wanted)
        whystall.stderr.close()
