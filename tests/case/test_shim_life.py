# SPDX-License-Identifier: MIT
"""The shim and processes: every way to start one is followed, none is disturbed, nothing of ours shows."""

import os
import resource
import shutil
import subprocess

import pytest

from conftest import pythons
from shim_arena import SHIM, arena_dump, program, same, shim  # noqa: F401


@pytest.fixture
def life(program):
    return program("shim_life", "-w")


@pytest.fixture
def path_of(monkeypatch):
    def prepend(path):
        monkeypatch.setenv("PATH", os.path.dirname(path) + ":" + os.environ["PATH"])

    return prepend


FORKS = ["fork", "_Fork", "vfork-exit"]
EXECS = ["execve", "execv", "execvp", "execvpe", "execl", "execle", "execlp", "fexecve", "vfork", "posix_spawn",
         "posix_spawnp", "system", "popen"]


@pytest.mark.parametrize("how", FORKS)
def test_forks(same, life, how):
    seen = same(life, how)
    parent = seen.processes[0]
    children = [p for p in seen.processes if p["parent_slot"] == 1]
    assert len(children) == (how != "vfork-exit")
    assert all(c["ppid"] == parent["pid"] != c["pid"] for c in children)
    for process in seen.processes:  # each has its own ticks
        assert [t["ticks"] for t in seen.threads if t["pid"] == process["pid"]] == [4]
        assert process["end"] > 0


@pytest.mark.parametrize("how, processes", [("daemon", 3), ("forkpty", 2)])
def test_forks_inside_the_c_library(same, life, how, processes):
    seen = same(life, how)
    assert len(seen.processes) == processes
    last = seen.processes[-1]["pid"]
    assert [t["ticks"] for t in seen.threads if t["pid"] == last] == [4]


def test_a_raw_clone_keeps_away_from_its_parents_slots(same, life):
    seen = same(life, "clone")
    assert len(seen.processes) == 1 and [t["ticks"] for t in seen.threads] == [8]


@pytest.mark.parametrize("how", EXECS)
def test_execs_are_followed(same, life, how, path_of):
    path_of(life)
    seen = same(life, how)
    assert os.path.basename(life)[:15] in {p["image"][:15] for p in seen.processes[1:]}
    # the parent's slot is not ended by its child
    first = seen.processes[0]
    assert first["end"] >= max(p["end"] for p in seen.processes)


@pytest.mark.parametrize("how", ["execve", "posix_spawn", "vfork"])
def test_an_exec_that_fails(same, life, how):
    seen = same(life, how, "/nonexistent/program")
    assert seen.processes[0]["end"] > 0


@pytest.mark.parametrize("kind", ["static", "static-pie", "32", "musl", "setuid", "text"])
@pytest.mark.parametrize("how", ["execve", "posix_spawn", "vfork", "execvp"])
def test_what_cannot_take_the_shim_runs_as_without(same, life, cc, program, kind, how, tmp_path):
    flags = {"static": ["-static"], "static-pie": ["-static-pie"], "32": ["-m32"]}.get(kind, [])
    child = tmp_path / "child"
    if kind == "text":
        child.write_text("echo from a script without an interpreter\n")
        child.chmod(0o755)
    else:
        source = '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { char *p = getenv("LD_PRELOAD"), *a = ' \
                 'getenv("WHYSTALL_ARENA"); printf("child %s %s\\n", p ? p : "-", a ? a : "-"); return 7; }\n'
        try:
            shutil.copy2(cc(source, *flags, compiler="musl-gcc" if kind == "musl" else "gcc"), child)
        except subprocess.CalledProcessError:
            pytest.skip("this compiler cannot")
        if kind == "setuid":
            child.chmod(0o4755)
    seen = same(life, how, child)
    assert "child" not in seen.images
    why = {"static": 2, "static-pie": 2, "32": 3, "musl": 4, "setuid": 5, "text": 8}[kind]
    # the exec of a text fails; "execvp" goes on as the program itself
    assert seen.refusals == ({} if kind == "text" or how == "execvp" else {"child": why})


def test_a_script_is_followed(same, life, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho $LD_PRELOAD $WHYSTALL_ARENA script\nls /nonexistent\nenv | grep -c WHYSTALL\n")
    script.chmod(0o755)
    assert "script" in same(life, "execve", script).images[-1] or "sh" in same(life, "execve", script).images


def test_the_users_own_preload_stays(same, life, monkeypatch):
    libm = next(p for p in ("/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6") if os.path.exists(p))
    monkeypatch.setenv("LD_PRELOAD", libm)
    for how in ("execv", "posix_spawn", "system", "popen"):
        assert len(same(life, how).processes) > 1


def test_closefrom(same, life):
    assert same(life, "closefrom").threads[0]["ticks"] == 4


def test_a_tight_seccomp_filter(same, life):
    seen = same(life, "tight")
    assert seen.stdout == "alive\n" and seen.processes[0]["end"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")
def test_a_chroot_without_proc(same, life, cc, tmp_path):
    root = tmp_path / "root"
    for path in {life, *subprocess.run(["ldd", life], stdout=subprocess.PIPE, text=True).stdout.split()}:
        if path.startswith("/"):
            (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, root / path[1:])
    seen = same(life, "chroot", root, life)
    assert seen.threads[0]["ticks"] == 8 and life.split("/")[-1][:15] not in seen.images[2:]


def test_little_address_space(same, life):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (64 << 20, 64 << 20))

    path = ["/bin/sh", "-c", f"ulimit -v 65536; exec {life} fork"]
    assert os.path.basename(life)[:15] not in [p["image"][:15] for p in same(*path).processes]


@pytest.mark.parametrize("variable", ["", "1", "1:", "x:3", "1:2:3", "999999999999:4", "1:1", "4194304:5"])
def test_a_variable_that_is_nonsense(life, variable):
    for _ in range(2):
        env = dict(os.environ, LD_PRELOAD=str(SHIM), WHYSTALL_ARENA=variable)
        done = subprocess.run([life, "fork"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        bare = subprocess.run([life, "fork"], stdout=subprocess.PIPE, text=True)
        assert (done.stdout, done.stderr, done.returncode) == (bare.stdout, "", bare.returncode)


def test_the_recorder_may_die(arena_dump, program, tmp_path):
    path = program("shim_lock")
    out = tmp_path / "stdout"
    with open(out, "w") as stdout:
        done = subprocess.run([arena_dump, "-k", str(SHIM), str(tmp_path / "o"), "/bin/sh", "-c",
                               f"{path} storm; echo status $?"], stdout=stdout, timeout=30)
    assert done.returncode == 0
    for _ in range(100):
        if "status" in out.read_text():
            break
        subprocess.run(["sleep", "0.1"])
    assert out.read_text() == "value 5\nstatus 0\n"


@pytest.mark.parametrize("sanitizer", ["address", "thread", "undefined"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sanitizers(same, program, sanitizer, compiler):
    try:
        path = program("shim_lock", f"-fsanitize={sanitizer}", "-w", compiler=compiler)
    except subprocess.CalledProcessError:
        pytest.skip("this compiler has no such sanitizer")
    for what in ("timed", "threads"):
        seen = same("/usr/bin/env", path, what, 500, 50)
        # gcc's libasan must be the first: it is left alone
        assert len(seen.processes) == (1 if (sanitizer, compiler) == ("address", "gcc") else 2)


def test_jemalloc(same, program, monkeypatch):
    library = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
    if not os.path.exists(library):
        pytest.skip("no jemalloc here")
    monkeypatch.setenv("LD_PRELOAD", library)
    same(program("shim_lock"), "threads", 1000, 100)
    same(program("shim_lock"), "kinds")


SCRIPT = """
import asyncio, concurrent.futures, multiprocessing, os, subprocess, sys, threading, time
def work(n):
    return sum(i * i for i in range(n))
async def main():
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print(sum(await asyncio.gather(*(loop.run_in_executor(pool, work, 30000) for _ in range(20)))))
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        print(sum(await asyncio.gather(*(loop.run_in_executor(pool, work, 30000) for _ in range(4)))))
    p = await asyncio.create_subprocess_exec(sys.executable, "-c", "import os; print(len(os.environ))", env={})
    print(await p.wait())
    lock = threading.Lock()
    def hold():
        with lock:
            time.sleep(0.02)
    threads = [threading.Thread(target=hold) for _ in range(5)]
    [t.start() for t in threads]
    with lock:
        await asyncio.sleep(0.01)
    [t.join() for t in threads]
    print(subprocess.run(["true"]).returncode, os.system("exit 3"), os.popen("echo hi").read())
if __name__ == "__main__":
    asyncio.run(main())
    print(sorted(k for k in os.environ if "PRELOAD" in k or "WHYSTALL" in k))
    sys.exit(5)
"""


@pytest.mark.parametrize("version", sorted(pythons()))
def test_python(same, version, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    seen = same(pythons()[version], script)
    assert seen.returncode == 5 and len(seen.processes) > 5
    assert any(t["ticks"] > 10 and t["loop_hook"] == "epoll_wait" for t in seen.threads)
