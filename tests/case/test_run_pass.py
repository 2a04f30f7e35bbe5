# SPDX-License-Identifier: MIT
"""What the command sees under whystall run is what it sees without: its streams, environment, descriptors, signals."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import DEBIAN, validator

LOOK = r"""
import json, os, re, signal, subprocess, sys, threading
status = open("/proc/self/status").read()
def child(**more):
    return subprocess.run([sys.executable, "-c", "import os, json; print(json.dumps([dict(os.environ), len(os.listdir("
                           "'/proc/self/fd'))]))"], stdout=subprocess.PIPE, **more).stdout.decode()
print(json.dumps({
    "environ": dict(os.environ), "argv": sys.argv[1:], "cwd": os.getcwd(),
    "proc": open("/proc/self/environ").read() if len(sys.argv) > 2 else None,
    "fds": {fd: os.readlink("/proc/self/fd/" + fd) for fd in sorted(os.listdir("/proc/self/fd")) if
            os.path.exists("/proc/self/fd/" + fd)},
    "signals": re.findall(r"^(?:Sig|Shd)(?:Blk|Ign|Cgt).*", status, re.M),
    "threads": re.findall(r"^Threads.*", status, re.M), "groups": re.findall(r"^[UG]id.*", status, re.M),
    "group": os.getpgrp() - os.getppid() if False else None, "session": os.getsid(0), "umask": os.umask(0),
    "limits": open("/proc/self/limits").read(), "nice": os.nice(0), "affinity": sorted(os.sched_getaffinity(0)),
    "seen": sorted(k for k in os.environ if "WHYSTALL" in k or "PRELOAD" in k),
    "child": child(), "emptied": child(env={}), "own": child(env={"A": "b", "LD_PRELOAD": ""}),
    "system": os.popen("env | sort; echo $0; ls /proc/self/fd | wc -l").read()}, sort_keys=True))
"""


def ignoring():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGRTMIN + 3})


@pytest.mark.parametrize("how", ["plain", "signals", "descriptors"])
def test_the_command_sees_what_it_sees_without(binary, tmp_path, how):
    extra = os.open("/dev/null", os.O_RDONLY)
    more = {"plain": {}, "signals": {"preexec_fn": ignoring}, "descriptors": {"pass_fds": [extra]}}[how]
    command = [DEBIAN, "-c", LOOK, "a b", "", "ü"]
    bare, under = (subprocess.run([*wrapper, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, timeout=20, check=True, **more)
                   for wrapper in ([], [binary, "run", "-q", "-o", tmp_path / "r", "--"]))
    os.close(extra)
    bare, under = json.loads(bare.stdout), json.loads(under.stdout)
    for document in (bare, under):
        document["fds"].pop("1")
        document["proc"] = document["proc"].rstrip("\0")  # where a variable was taken out
    assert under == bare


@pytest.mark.parametrize("preload", ["libm.so.6", "libm.so.6:libdl.so.2", "libm.so.6 libdl.so.2", ""])
def test_the_users_own_preload_stays(binary, tmp_path, preload):
    env = dict(os.environ, LD_PRELOAD=preload)
    script = "import os; print(os.environ['LD_PRELOAD'], os.popen('echo $LD_PRELOAD').read())"
    bare, under = (subprocess.run([*wrapper, DEBIAN, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=env, text=True)
                   for wrapper in ([], [binary, "run", "-q", "-o", tmp_path / "r", "--"]))
    assert (under.stdout, under.stderr, under.returncode) == (bare.stdout, bare.stderr, bare.returncode)


def test_streams_pass_untouched(binary, tmp_path):
    data = os.urandom(3_000_000) + b"\0\xff\n\r\n"
    done = subprocess.run([binary, "run", "-o", tmp_path / "r", "--", "sh", "-c", "tee /dev/stderr"], input=data,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert done.stdout == data and done.stderr.startswith(data)
    assert done.stderr[len(data):].startswith(b"whystall: sh -c")
    done = subprocess.run([binary, "run", "-q", "-o", tmp_path / "r", "--", "cat"], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=30)
    assert (done.stdout, done.stderr) == (data, b"")


def test_closed_streams(binary, tmp_path):
    for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        statuses = [subprocess.run(["sh", "-c", f'{wrapper} {DEBIAN} -c "import os; os._exit(sum(1 << i for i in range(3)'
                                    f' if os.path.exists(\'/proc/self/fd/%d\' % i)))" {closed}', binary],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20).returncode
                    for wrapper in ("", f'"$0" run -o {tmp_path}/r --')]
        assert statuses[0] == statuses[1], closed


STALL = "import asyncio, time\nasync def main():\n for _ in range(5): await asyncio.sleep(0.01)\n time.sleep(0.1)\n" \
        " await asyncio.sleep(0.01)\nasyncio.run(main())\nprint('out')\n"


def test_the_report_and_its_colours(binary, tmp_path):
    def start(*options, **env):
        return subprocess.run([binary, "run", "-o", tmp_path / "r", *options, "--", DEBIAN, "-c", STALL],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, **env), timeout=20)

    plain = start()
    assert plain.stdout == "out\n" and "\x1b" not in plain.stderr
    assert "clock_nanosleep" in plain.stderr or "select" in plain.stderr
    assert "\x1b[" in start("--color=always").stderr and "\x1b[" in start(CLICOLOR_FORCE="1").stderr
    assert "\x1b[" not in start("--color=never", CLICOLOR_FORCE="1").stderr
    quiet = start("-q", "--report", str(tmp_path / "report.json"), "-f", "json")
    assert (quiet.stdout, quiet.stderr) == ("out\n", "")
    document = json.loads((tmp_path / "report.json").read_text())
    validator().validate(document)
    assert document["capture"]["complete"] and len(document["processes"][0]["stalls"]) == 1
    broken = start("--report", str(tmp_path / "missing" / "report"))
    assert broken.returncode == 0 and "cannot write the report" in broken.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP", "SIGINT", "SIGQUIT", "SIGWINCH", "SIGRTMIN"])
def test_signals_sent_to_whystall_reach_the_command(binary, tmp_path, name):
    number = getattr(signal, name)
    command = [binary, "run", "-q", "-o", tmp_path / "r", "--", sys.executable, "-c",
               "import signal, sys, time\n"
               "seen = []\n"
               f"signal.signal({int(number)}, lambda *a: (print('caught', flush=True), sys.exit(9)))\n"
               "print('ready', flush=True)\ntime.sleep(20)"]
    whystall = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert whystall.stdout.readline() == "ready\n"
    whystall.send_signal(number)
    assert whystall.communicate(timeout=10)[0] == "caught\n"
    assert whystall.returncode == 9


def test_a_signal_that_is_not_caught_ends_both(binary, tmp_path):
    whystall = subprocess.Popen([binary, "run", "-o", tmp_path / "r", "--", "sleep", "20"], stderr=subprocess.PIPE)
    time.sleep(0.2)
    whystall.terminate()
    assert b"Record" in whystall.communicate(timeout=10)[1]
    assert whystall.returncode == 143
