# SPDX-License-Identifier: MIT
"""whystall run and the command's exit status; trouble found before the start, and after it."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from conftest import DEBIAN


@pytest.fixture
def cli(binary, tmp_path):
    def call(*arguments, env=None, **more):
        environment = dict(os.environ, XDG_STATE_HOME=str(tmp_path / "state"), **(env or {}))
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([binary, "run", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=30, env=environment, **more)

    return call


@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137),
                                            ("kill -TERM $$", 143), ("kill -INT $$", 130), ("kill -SEGV $$", 139)])
def test_the_commands_own_status(run, script, status):
    assert run("sh", "-c", script).returncode == status


def test_a_command_that_cannot_run(cli, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("echo not executable\n")
    for command, status in [("/nonexistent", 127), ("nonexistent", 127), (plain, 126), (tmp_path, 126)]:
        record = tmp_path / "record"
        for options in (["-o", record], []):
            done = cli(*options, "--", command)
            assert done.returncode == status
            assert re.fullmatch(r"whystall: cannot run \S+: [A-Z][a-z ]+\n", done.stderr)
        assert not record.exists()
    assert list((tmp_path / "state" / "whystall").iterdir()) == []  # a run of nothing leaves no record


def test_a_text_without_an_interpreter_is_the_shells(cli, tmp_path):
    text = tmp_path / "text"
    text.write_text("echo from the shell\nexit 4\n")
    text.chmod(0o755)
    done = cli("--", text)
    assert (done.stdout, done.returncode) == ("from the shell\n", 4)


@pytest.mark.parametrize("arguments, words", [
    ([], "no command given"),
    (["--"], "no command given"),
    (["--treshold", "3ms", "--", "true"], "did you mean --threshold?"),
    (["--threshold", "20", "--", "true"], "needs a unit, for instance 20ms"),
    (["-d", "5", "--", "true"], "needs a unit"),
    (["--threshold", "1us", "--", "true"], "--threshold wants 100us or more"),
    (["--rate", "0", "--", "true"], "--rate wants 1 to 1000"),
    (["--rate", "1001", "--", "true"], "--rate wants 1 to 1000"),
    (["--rate", "fast", "--", "true"], "whole number"),
    (["-f", "json", "--", "true"], "--report FILE"),
    (["--report", "x", "-f", "yaml", "--", "true"], "json"),
    (["--color", "pink", "--", "true"], "auto, always or never"),
])
def test_usage_errors(cli, arguments, words):
    done = cli(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_an_output_that_cannot_be_made_starts_nothing(cli, tmp_path):
    (tmp_path / "other").write_text("somebody's text\n" * 1000)
    for output in (tmp_path / "missing" / "record", tmp_path, "/proc/record", tmp_path / "other"):
        done = cli("-o", output, "--", "touch", tmp_path / "started")
        assert done.returncode == 125, output
        assert done.stderr.startswith("whystall: ") and done.stderr.count("\n") == 1 and str(output) in done.stderr
        assert not (tmp_path / "started").exists()
    assert (tmp_path / "other").read_text().startswith("somebody's")


@pytest.fixture
def as_user(ordinary_user):
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv")
    return ordinary_user


def test_a_default_place_that_cannot_be_written(as_user):
    closed = {"XDG_STATE_HOME": "/proc", "TMPDIR": "/proc"}
    done = as_user([as_user.binary, "run", "--", "sh", "-c", "echo out; echo err >&2; exit 3"],
                   env=dict(os.environ, **closed), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (3, "out\n")
    # there is always another: HOME
    assert done.stderr.startswith("err\n") and "Record ~/.local/state/whystall/" in done.stderr


def test_no_place_at_all(as_user):
    command = ["setpriv", "--reuid=nobody", "--clear-groups", "env", "-i", "PATH=/usr/bin:/bin", "TMPDIR=/proc",
               "XDG_STATE_HOME=/proc", "HOME=/nonexistent", as_user.binary, "run", "--", "sh", "-c",
               "echo out; echo err >&2; exit 3"]
    mounted = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o mode=755 none /tmp && mkdir /tmp/d && exec \"$@\"", "sh"]
    if str(as_user.directory).startswith("/tmp/"):  # the program must stay in reach
        mounted[4] = f"mkdir -p /run/whystall-test && mount --bind {as_user.directory} /run/whystall-test && " + mounted[4]
        command = [c.replace(str(as_user.directory), "/run/whystall-test") for c in command]
    try:
        done = subprocess.run(mounted + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=30)
    finally:
        if os.path.isdir("/run/whystall-test"):
            os.rmdir("/run/whystall-test")
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert (done.returncode, done.stdout) == (3, "out\n"), done.stderr
    assert done.stderr.startswith("err\nwhystall: ") and done.stderr.count("\n") == 2
    assert "nothing was recorded" in done.stderr and "-o FILE" in done.stderr


def in_namespace(script, *arguments, **more):
    """Runs a shell script with mounts of its own; skips where that cannot be."""
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no mount namespaces here")
    return subprocess.run(["unshare", "-m", "sh", "-ec", script, "sh", *map(str, arguments)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **more)


STALLS = """
import asyncio, time
async def main():
    for i in range(60):
        time.sleep(0.021)
        await asyncio.sleep(0.001)
        print(i)
asyncio.run(main())
raise SystemExit(5)
"""


@pytest.mark.parametrize("where", ["output", "default"])
def test_a_disk_that_fills_up(binary, tmp_path, where):
    disk = tmp_path / "disk"
    disk.mkdir()
    place = f"-o {disk}/record" if where == "output" else ""
    done = in_namespace(
        f"mount -t tmpfs -o size=200k none {disk}; export XDG_STATE_HOME={disk} HOME={disk} TMPDIR={disk};"
        f'status=0; {binary} run {place} -- "$@" || status=$?; exit $status', DEBIAN, "-c", STALLS)
    assert done.returncode == 5, done.stderr
    assert done.stdout == "".join(f"{i}\n" for i in range(60))
    assert "full" in done.stderr or "No space left" in done.stderr, done.stderr


@pytest.mark.parametrize("shm", [
    "mkdir $1/dev; mount -t tmpfs none $1/dev; for d in null urandom tty; do touch $1/dev/$d; mount --bind /dev/$d $1/dev/$d;"
    " done; mount --move $1/dev /dev",  # no /dev/shm at all
    "mount -t tmpfs -o size=4k none /dev/shm; cat /dev/zero >/dev/shm/full 2>/dev/null || true",
    "mount -t tmpfs -o ro none /dev/shm"])
def test_a_missing_or_full_shared_memory(binary, tmp_path, report, shm):
    record = tmp_path / "record"
    done = in_namespace(f'{shm}; shift; exec "$@"', tmp_path, binary, "run", "-o", record, "--", DEBIAN, "-c", STALLS)
    assert done.returncode == 5 and done.stdout.endswith("59\n"), done.stderr
    assert len(report(record)["processes"][0]["stalls"]) == 60


def test_sigchld_ignored_at_the_start(binary, tmp_path):
    done = subprocess.run([binary, "run", "-q", "-o", tmp_path / "r", "--", "grep", "-E", "Sig(Ign|Blk)",
                           "/proc/self/status"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          timeout=10, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.returncode == 0
    assert int(re.search(r"SigIgn:\s*(\w+)", done.stdout).group(1), 16) & 1 << signal.SIGCHLD - 1
