# SPDX-License-Identifier: MIT
"""whystall run on a terminal: Ctrl-C, Ctrl-Z, the window's size."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest


class Terminal:
    """A command as the session leader of its own terminal."""

    def __init__(self, *command, **env):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execvpe(command[0], [str(c) for c in command], dict(os.environ, TERM="xterm", **env))
        self.status = None

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, until=None, timeout=10):
        """What came up to (and with) `until`, or to the end."""
        end = time.monotonic() + timeout
        while until is None or until.encode() not in self.seen:
            assert time.monotonic() < end, self.seen
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                more = os.read(self.fd, 65536)
            except OSError:  # nobody has it open any more
                more = b""
            if not more:
                assert until is None, self.seen
                break
            self.seen += more
        return self.seen.decode(errors="replace")

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self):
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self):
        if self.status is None:  # with the command, which is in its process group
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(binary, tmp_path):
    made = []

    def start(*command, options=(), wrapper=()):
        made.append(Terminal(*wrapper, binary, "run", "-o", tmp_path / "r", *options, "--", *command))
        return made[-1]

    yield start
    for t in made:
        t.close()


def test_it_is_a_terminal_of_its_size(terminal):
    t = terminal(sys.executable, "-c", "import os, signal\nprint([os.isatty(i) for i in range(3)], os.tcgetpgrp(0) == "
                 "os.getpgrp(), flush=True)\nsignal.signal(signal.SIGWINCH, lambda *a: print('size', "
                 "os.get_terminal_size(), flush=True))\nprint('ready', flush=True)\nimport select\n"
                 "while not select.select([0], [], [], 0.1)[0]: pass\ninput()")  # a signal just before input() would wait in it
    assert "[True, True, True] True" in t.read("ready")
    t.size(33, 99)
    t.read("columns=99, lines=33")
    t.type("\n")
    t.read()
    assert t.wait() == 0


def test_ctrl_c_ends_a_program_as_without(terminal):
    t = terminal(sys.executable, "-c", "import time\nprint('ready', flush=True)\ntime.sleep(20)")
    t.read("ready")
    t.type("\x03")
    said = t.read()
    assert said.count("Traceback (most recent call last)") == 1 and said.count("KeyboardInterrupt") == 1
    assert t.wait() == 130
    assert said.index("KeyboardInterrupt") < said.index("whystall:")


def test_ctrl_c_ignored_stays_ignored(terminal):
    t = terminal(sys.executable, "-c", "import signal, time\nprint(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "
                 "flush=True)\ntime.sleep(1.5)\nprint('over')", wrapper=["sh", "-c", "trap '' INT; exec \"$@\"", "sh"])
    t.read("True")
    t.type("\x03")
    said = t.read()
    assert "over" in said and "so far" not in said and t.wait() == 0


STOPPER = """
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if not pid:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(pid, os.WUNTRACED)
print("stopped", os.WIFSTOPPED(status), flush=True)
time.sleep(0.3)
states = [open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] for p in os.listdir("/proc") if p.isdigit()
          and os.getpgid(int(p)) == pid]
print("states", "".join(states), flush=True)
os.tcsetpgrp(0, pid)
os.kill(-pid, signal.SIGCONT)
_, status = os.waitpid(pid, 0)
print("status", os.waitstatus_to_exitcode(status), flush=True)
"""


def test_ctrl_z_stops_both_and_cont_resumes_both(terminal, binary, tmp_path):
    script = "import time\nprint('ready', flush=True)\nend = time.monotonic() + 1\n" \
             "while time.monotonic() < end: time.sleep(0.01)\nprint('over', flush=True)\nraise SystemExit(6)"
    t = Terminal(sys.executable, "-c", STOPPER, binary, "run", "-o", tmp_path / "r", "--", sys.executable, "-c", script)
    try:
        t.read("ready")
        t.type("\x1a")
        assert "stopped True" in t.read("states TT")
        said = t.read("status")
        assert "over" in said and t.read("status 6")
        t.wait()
    finally:
        t.close()


def test_a_stop_that_is_not_the_terminals_is_the_commands_alone(binary, tmp_path):
    whystall = subprocess.Popen([binary, "run", "-q", "-o", tmp_path / "r", "--", "sh", "-c",
                                 "(sleep 0.3; kill -CONT $$) & kill -STOP $$; exit 8"])
    time.sleep(0.15)
    assert os.waitid(os.P_PID, whystall.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None
    assert whystall.wait(10) == 8


BUSY = "import asyncio, sys\nasync def main():\n await asyncio.sleep(0.02)\n await asyncio.sleep(0.02)\n" \
       " await asyncio.sleep(0.02)\n loop = asyncio.get_running_loop()\n print('ready', flush=True)\n" \
       " await loop.run_in_executor(None, pow, 365, 10**14)\nasyncio.run(main())"


def test_a_stall_is_one_line_while_it_lasts(terminal):
    import re

    t = terminal(sys.executable, "-c", BUSY.replace("10**14", "2 * 10**6"))
    said = t.read()
    assert t.wait() == 0
    lines = re.findall(r"\r\x1b\[K(\d\d:\d\d:\d\d loop stalled [^\r\n]*)", said)
    assert len(lines) >= 2 and all("GIL held by" in line and len(line) < 80 for line in lines)
    assert "\n" not in said[said.index(lines[0]):said.index(lines[-1])]
    assert said[said.rindex(lines[-1]) + len(lines[-1]):].startswith("\r\x1b[K")


LOCKED = """
import asyncio, threading, time
cache_lock = threading.Lock()
def rebuild(taken):
    with cache_lock:
        taken.set()
        time.sleep(1.8)
async def main():
    for _ in range(5):
        await asyncio.sleep(0.01)
    taken = threading.Event()
    threading.Thread(target=rebuild, args=(taken,)).start()
    while not taken.is_set():
        await asyncio.sleep(0.001)
    with cache_lock:
        pass
    await asyncio.sleep(0.01)
asyncio.run(main())
"""


def test_the_line_has_the_locks_name(terminal):
    t = terminal(sys.executable, "-c", LOCKED)
    said = t.read()
    assert t.wait() == 0
    assert 'rebuild <string>:7 holds threading.' in said
