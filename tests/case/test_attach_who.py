# SPDX-License-Identifier: MIT
"""whystall attach: with just the capabilities that it asks for, in each of the forms that they are given in; and what
runs no Python, or runs it elsewhere."""

import os
import pathlib
import shutil
import signal
import subprocess
import textwrap
import time

import pytest

from conftest import DEBIAN
from test_attach import SICK, attach, culprits, ended, loop_of, start  # noqa: F401
from test_shim_root import bullseye  # noqa: F401

CAPABILITIES = ("bpf", "perfmon", "sys_ptrace", "dac_read_search")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot give capabilities")


def stalls_of(document, pid):
    return culprits(loop_of(document, pid)[1])


@pytest.fixture
def others_program(tmp_path_factory, ordinary_user):
    """A stalling program of an ordinary user's, and one of root's."""
    path = ordinary_user.directory / "sick.py"
    path.write_text(textwrap.dedent(SICK))
    running = [subprocess.Popen([DEBIAN, path, "3", "1.5"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **who)
               for who in (dict(user="nobody", group="nogroup", extra_groups=[]), {})]
    yield running
    for process in running:
        process.kill()
        process.wait()


def test_capabilities_of_the_file(ordinary_user, others_program, report):
    """setcap, for a group: the caller gets no further than without."""
    own, roots = others_program
    directory = ordinary_user.directory / "capable"
    directory.mkdir(mode=0o755)
    program = directory / "whystall"
    shutil.copy2(ordinary_user.binary, program)
    shutil.chown(program, group="nogroup")
    program.chmod(0o750)
    subprocess.run(["setcap", ",".join(f"cap_{c}" for c in CAPABILITIES) + "=ep", program], check=True)
    record = ordinary_user.directory / "capable.whystall"
    done = ordinary_user([program, "attach", "-o", record, own.pid], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert stalls_of(report(record), own.pid) == {("syscall", "nap"), ("gil", "hold")}
    refused = ordinary_user([program, "attach", roots.pid], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 3 and str(roots.pid) in refused.stderr


@pytest.mark.parametrize("form", ("systemd", "kubernetes"))
def test_capabilities_of_the_process(ordinary_user, others_program, report, binary, form):
    """As a unit with AmbientCapabilities= runs it, and a container's root that has no others."""
    own, _ = others_program
    plus = ",".join(f"+{c}" for c in CAPABILITIES)
    record = ordinary_user.directory / f"{form}.whystall"
    if form == "systemd":
        rights = ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--inh-caps", f"-all,{plus}", "--ambient-caps",
                  f"-all,{plus}"]
    else:
        rights = ["--bounding-set", f"-all,{plus}", "--inh-caps", "-all"]
    environment = dict(os.environ, XDG_STATE_HOME=str(ordinary_user.directory))
    place = [] if form == "systemd" else ["--no-native"]
    if form == "kubernetes":  # such a root may write only what is its own
        record = pathlib.Path(f"/tmp/whystall-test-{os.getpid()}.whystall")
    try:
        done = subprocess.run(["setpriv", *rights, "--", ordinary_user.binary, "attach", *place, "-o", record, str(own.pid)],
                              capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=environment)
        assert done.returncode == 0, done.stderr
        assert stalls_of(report(record), own.pid) == {("syscall", "nap"), ("gil", "hold")}
    finally:
        if form == "kubernetes":
            record.unlink(missing_ok=True)


@pytest.mark.parametrize("lacks", ("bpf", "perfmon"))
def test_what_is_missing_is_named(ordinary_user, others_program, lacks):
    own, _ = others_program
    plus = ",".join(f"+{c}" for c in CAPABILITIES if c != lacks)
    done = subprocess.run(["setpriv", "--bounding-set", f"-all,{plus}", "--inh-caps", "-all", "--", ordinary_user.binary, "attach",
                           str(own.pid)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 3
    first = done.stderr.splitlines()[0]
    assert f"CAP_{lacks.upper()}" in first and "CAP_SYS_PTRACE" not in first


def test_redis(attach, start, report, tmp_path):
    path = tmp_path / "socket"
    server = start(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp_path,
                    "--enable-debug-command", "local"])
    for _ in range(100):
        if path.exists():
            break
        time.sleep(0.05)
    watcher = attach(server.pid)

    def ask(*words):
        return subprocess.run(["redis-cli", "-s", path, *words], stdout=subprocess.PIPE, text=True, check=True).stdout

    time.sleep(0.3)
    ask("debug", "sleep", "0.2")
    ask("eval", "local n = 0 for i = 1, 2e7 do n = n + i end return n", "0")
    ask("set", "a", "b")
    watcher.send_signal(signal.SIGINT)
    ended(watcher)
    process, loop = loop_of(report(watcher.record), server.pid)
    assert process["runtime"]["name"] == "native"
    assert {c for c, _ in culprits(loop)} - {"runqueue"} == {"syscall", "cpu"}
    sleep = next(c for c in loop["causes"] if c["cause"] == "syscall")
    assert 0.19 < sleep["worst_s"] < 0.3 and sleep["culprit"]["tid"] == server.pid


def test_node(attach, start, report, tmp_path):
    program = start(["node", "--perf-basic-prof", "-e", textwrap.dedent("""
        function burn(n) { let sum = 0; for (let i = 0; i < n; i++) sum = (sum + i * i) % 1000003; return sum; }
        let left = 12;
        setTimeout(function again() { burn(2e7); if (--left) setTimeout(again, 30); }, 1200);
    """)], cwd=tmp_path)  # V8 leaves a log there
    watcher = attach(program.pid)
    ended(watcher)
    _, loop = loop_of(report(watcher.record), program.pid)
    assert loop["stalls"]["count"] >= 10 and {c for c, _ in culprits(loop)} <= {"cpu", "runqueue"}
    assert any("burn" in (c["culprit"]["function"] or "") for c in loop["causes"])


@pytest.mark.all
def test_another_root(bullseye, attach, start, report):
    """Debian bullseye's Python 3.9 and glibc 2.31, in a chroot."""
    (bullseye / "root" / "sick.py").write_text(textwrap.dedent(SICK))
    program = start(["chroot", bullseye, "/usr/bin/python3", "/root/sick.py", "3", "1.5"])
    time.sleep(0.3)
    watcher = attach(program.pid)
    ended(watcher)
    process, loop = loop_of(report(watcher.record), program.pid)
    assert process["runtime"]["version"].startswith("3.9")
    assert culprits(loop) == {("syscall", "nap"), ("gil", "hold")}
    nap = next(c for c in loop["causes"] if c["culprit"]["function"] == "nap")
    assert nap["culprit"]["file"] == "/root/sick.py"
