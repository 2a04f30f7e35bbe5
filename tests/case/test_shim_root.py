# SPDX-License-Identifier: MIT
"""The shim in another root with another C library: Debian bullseye's glibc 2.31, where libpthread and libdl are libraries
of their own. Needs root, the network once, and half a minute; the root is kept under build/."""

import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import PROGRAMS, ROOT
from shim_arena import SHIM, Seen, arena_dump  # noqa: F401
from test_shim_life import SCRIPT

pytestmark = pytest.mark.all

BULLSEYE = ROOT / "build" / "roots" / "bullseye"


@pytest.fixture(scope="module")
def bullseye():
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
    if not (BULLSEYE / "usr" / "bin" / "gcc").exists():
        BULLSEYE.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["debootstrap", "--variant=minbase", "--include=python3,gcc,libc6-dev", "bullseye",
                               BULLSEYE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if done.returncode:
            pytest.skip("debootstrap cannot reach its archive")
    inside = BULLSEYE / str(SHIM)[1:]
    inside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(SHIM, inside)
    mounts = [("proc", BULLSEYE / "proc"), ("tmpfs", BULLSEYE / "dev" / "shm")]
    (BULLSEYE / "dev" / "shm").mkdir(exist_ok=True)
    for kind, place in mounts:
        subprocess.run(["mount", "-t", kind, kind, place], check=True)
    yield BULLSEYE
    for _, place in mounts:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def same_in(bullseye, arena_dump, tmp_path):
    def both(*command):
        chroot = ["chroot", str(bullseye), *map(str, command)]
        more = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        out = tmp_path / "events"
        seen = Seen(subprocess.run([arena_dump, str(SHIM), str(out), *chroot], **more), out)
        bare = subprocess.run(chroot, **more)
        assert (seen.stdout, seen.stderr, seen.returncode) == (bare.stdout, bare.stderr, bare.returncode)
        return seen

    return both


def compiled(bullseye, name, *flags):
    shutil.copy2(PROGRAMS / f"{name}.c", bullseye / "root" / f"{name}.c")
    out = pathlib.Path("/root") / f"{name}{len(flags)}"
    subprocess.run(["chroot", bullseye, "gcc", "-D_GNU_SOURCE", "-w", "-o", out, f"/root/{name}.c", *flags], check=True)
    return out


@pytest.mark.parametrize("what", [["kinds"], ["versions"], ["timed"], ["cancel"], ["threads", "1000", "100"], ["storm"]])
def test_locks(bullseye, same_in, what):
    seen = same_in(compiled(bullseye, "shim_lock", "-lpthread", "-ldl"), *what)
    assert "shim_lock2" in seen.images


PLUGIN = """
#include <pthread.h>
#include <semaphore.h>
static sem_t sem;
static void *run(void *unused) { return sem_post(&sem) ? (void *)1 : unused; }
int play(void)
{
	pthread_t t;
	void *result;
	if (sem_init(&sem, 0, 0) || pthread_create(&t, 0, run, 0) || sem_wait(&sem) || pthread_join(t, &result))
		return -1;
	return result ? -2 : sem_destroy(&sem);
}
"""
PLAIN = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void)
{
	void *plugin = dlopen("/root/plugin.so", RTLD_NOW);
	int (*play)(void) = dlsym(plugin, "play");
	printf("%d\\n", play());
	printf("%d\\n", system("exit 3"));
	return 4;
}
"""


def test_libpthread_that_comes_later(bullseye, same_in):
    """The program has none; a plugin brings it, and its references are bound to the shim."""
    for name, text, flags in (("plugin.so", PLUGIN, ["-shared", "-fPIC", "-lpthread"]), ("plain", PLAIN, ["-ldl"])):
        (bullseye / "root" / "source.c").write_text(text)
        subprocess.run(["chroot", bullseye, "gcc", "-o", f"/root/{name}", "/root/source.c", *flags], check=True)
    seen = same_in("/root/plain")
    assert seen.stdout == "0\n768\n" and seen.returncode == 4 and "plain" in seen.images


def test_python(bullseye, same_in):
    (bullseye / "root" / "script.py").write_text(SCRIPT)
    seen = same_in("/usr/bin/python3", "/root/script.py")
    assert seen.returncode == 5 and any(t["ticks"] > 10 for t in seen.threads)
