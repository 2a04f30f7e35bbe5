# SPDX-License-Identifier: MIT
"""Programs that the shim cannot enter run as if nothing were there, and are listed with the reason."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import DEBIAN

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
	printf("hello %d %s %s\n", argc, getenv("LD_PRELOAD") ? "preload" : "-", getenv("WHYSTALL_ARENA") ? "arena" : "-");
	fprintf(stderr, "err\n");
	return 7;
}
"""
KINDS = {"static": "statically linked", "static-pie": "statically linked", "32": "word size", "musl": "not glibc",
         "setuid": "setuid or setgid", "unreadable": "not read"}


@pytest.fixture
def program(cc, tmp_path):
    def build(kind, directory=tmp_path):
        flags = {"static": ["-static"], "static-pie": ["-static-pie"], "32": ["-m32"]}.get(kind, [])
        path = directory / kind
        try:
            shutil.copy2(cc(SOURCE, *flags, compiler="musl-gcc" if kind == "musl" else "gcc"), path)
        except subprocess.CalledProcessError:
            pytest.skip("this compiler cannot")
        path.chmod({"setuid": 0o4755, "unreadable": 0o711}.get(kind, 0o755))
        return path

    return build


def same(done, bare):
    """Output and status are those of the bare run; what whystall says comes after it, and ld.so says nothing."""
    assert (done.stdout, done.returncode) == (bare.stdout, bare.returncode)
    assert done.stderr.startswith(bare.stderr)
    assert "ld.so" not in done.stderr
    return " ".join(done.stderr[len(bare.stderr):].split())


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "unreadable"])
@pytest.mark.parametrize("script", [False, True])
def test_the_command_itself(run, report, program, tmp_path, kind, script):
    path = program(kind)
    if script:
        path = tmp_path / "script"
        path.write_text(f"#!{tmp_path / kind} argument\n")
        path.chmod(0o755)
    bare = subprocess.run([path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    done = run(path)
    said = same(done, bare)
    assert re.search(f"could not be recorded: it is .*{KINDS[kind]}|could not be recorded: its C.*{KINDS[kind]}", said)
    process, = report(done.record)["processes"]
    assert process["command"][-1] == str(path) and KINDS[kind] in process["note"] and not process["loops"]


@pytest.mark.parametrize("kind", ["setuid", "unreadable"])
def test_as_an_ordinary_user(ordinary_user, program, kind):
    path = program(kind, ordinary_user.directory)
    bare = ordinary_user([path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert bare.returncode == 7
    done = ordinary_user([ordinary_user.binary, "run", "--", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
    assert KINDS[kind] in same(done, bare)


STARTS = """
import os, subprocess, sys
path, how = sys.argv[1:]
if how == "vfork":
    sys.exit(subprocess.run([path]).returncode)
if how == "fork":
    sys.exit(subprocess.run([path], preexec_fn=lambda: None).returncode)
if how == "spawn":
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(path, [path], os.environ), 0)[1]))
if how == "system":
    sys.exit(os.waitstatus_to_exitcode(os.system(path + "; exit $?")))
if how == "exec":
    os.execv(path, [path])
if how == "retry":
    for missing in ("/nonexistent", "/etc/passwd"):
        try:
            os.execv(missing, [missing])
        except OSError:
            pass
    try:
        subprocess.run(["/nonexistent"])
    except OSError:
        pass
    sys.exit(subprocess.run([path]).returncode)
"""


@pytest.mark.parametrize("kind", ["static", "32", "musl"])
@pytest.mark.parametrize("how", ["vfork", "fork", "spawn", "system", "exec", "retry"])
def test_children_are_listed(run, report, program, kind, how):
    path = program(kind)
    command = [DEBIAN, "-c", STARTS, str(path), how]
    bare = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    done = run(*command)
    said = same(done, bare)
    assert KINDS[kind] in said
    processes = report(done.record)["processes"]
    noted = [p for p in processes if p["note"]]
    assert len(noted) == 1 and KINDS[kind] in noted[0]["note"]
    assert os.path.basename(noted[0]["command"][0]) == kind
    assert len(processes) == {"exec": 1, "system": 3}.get(how, 2)


LOOP_THEN_EXEC = """
import asyncio, os, sys, time
async def main():
    for _ in range(5):
        await asyncio.sleep(0.01)
    os.execv(sys.argv[1], [sys.argv[1], "0.4"])
asyncio.run(main())
"""


def test_an_exec_in_a_tick_is_no_stall(run, report, cc):
    sleeper = cc("#include <unistd.h>\n#include <stdlib.h>\n"
                 "int main(int n, char **v) { usleep(atof(v[n - 1]) * 1e6); return 3; }\n", "-static")
    done = run(DEBIAN, "-c", LOOP_THEN_EXEC, sleeper)
    assert done.returncode == 3
    process, = report(done.record)["processes"]
    assert process["stalls"] == [] and process["loops"][0]["ticks"] >= 4
    assert process["command"] == [sleeper, "0.4"] and "went on" in process["note"]


def test_an_exec_that_fails_changes_nothing(run, report):
    done = run(DEBIAN, "-c", "import asyncio, os, time\n"
               "async def main():\n"
               " for i in range(40):\n"
               "  await asyncio.sleep(0.005)\n"
               "  try: os.execv('/etc/passwd', ['x'])\n"
               "  except OSError: pass\n"
               " time.sleep(0.1)\n await asyncio.sleep(0.01)\n"
               "asyncio.run(main())")
    process, = report(done.record)["processes"]
    assert process["note"] is None and process["loops"][0]["ticks"] > 40
    assert [round(s["duration_s"], 1) for s in process["stalls"]] == [0.1]


def test_no_children(run, report):
    script = "import os, subprocess, sys\nsubprocess.run(['true'])\nos.system('true')\n" \
             "if not os.fork(): os._exit(0)\nos.wait()\nsys.argv.pop() == 'x' and os.execv(sys.executable, " \
             "[sys.executable, '-c', 'import time; time.sleep(0.1)'])"
    for last, marker in (("-", "subprocess"), ("x", "time.sleep(0.1)")):  # the command's own exec is followed
        process, = report(run(DEBIAN, "-c", script, last, options=["--no-children"]).record)["processes"]
        assert marker in process["command"][2] and process["note"] is None
        assert process["runtime"]["name"] == "cpython"
    assert len(report(run(DEBIAN, "-c", script, "x").record)["processes"]) == 4


def test_a_place_that_ld_so_cannot_name(binary, tmp_path):
    for name in ("with space", "with:colon"):
        place = tmp_path / name
        place.mkdir()
        for file in ("whystall", "libwhystall.so"):
            shutil.copy2(os.path.join(os.path.dirname(binary), file), place / file)
        done = subprocess.run([place / "whystall", "run", "-o", tmp_path / "r", "--", sys.executable, "-c", "import time; time.sleep(0.7); print(1)"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert (done.stdout, done.returncode) == ("1\n", 0)
        assert "ld.so" not in done.stderr and "CPython" in done.stderr
