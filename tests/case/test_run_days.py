# SPDX-License-Identifier: MIT
"""What a recorder that runs for days must not gather or mix up, and what a target must not do to it."""

import json
import subprocess

import pytest

from conftest import DEBIAN

# Each holder has no slot when it is waited for, gets one as it lets the lock go, and gives it back at its end.
HOLDERS = r"""
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static void *hold(void *to)
{
	pthread_mutex_lock(&m);
	write(*(int *)to, "", 1);
	usleep(30000);
	pthread_mutex_unlock(&m);
	usleep(30000);
	return to;
}
static int descriptors(void)
{
	char path[64];
	int n = 0;
	snprintf(path, sizeof path, "/proc/%d/fd", getppid());
	DIR *d = opendir(path);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
int main(void)
{
	struct epoll_event v;
	int e = epoll_create1(0), p[2];
	char c;
	pipe(p);
	for (int i = 0; i < 5; i++)
		epoll_wait(e, &v, 1, 2);
	int before = descriptors();
	for (int i = 0; i < 40; i++) {
		pthread_t t;
		pthread_create(&t, 0, hold, p + 1);
		read(p[0], &c, 1);
		pthread_mutex_lock(&m);
		pthread_mutex_unlock(&m);
		epoll_wait(e, &v, 1, 2);
		pthread_join(t, 0);
		epoll_wait(e, &v, 1, 2);
	}
	printf("%d\n", descriptors() - before);
}
"""

SHORTEN = """
import os, time
there = f"/proc/{os.getppid()}/fd/"
for name in os.listdir(there):
    if "memfd:whystall" in os.readlink(there + name):
        fd = os.open(there + name, os.O_RDWR)
        try:
            os.ftruncate(fd, 4096)
        except PermissionError:
            print("refused", flush=True)
time.sleep(0.1)
"""


def run(binary, tmp_path, *command):
    return subprocess.run([binary, "run", "-o", tmp_path / "r", "--", *command],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


def test_short_lived_threads_are_told_apart_and_leave_nothing(binary, tmp_path):
    (tmp_path / "holders.c").write_text(HOLDERS)
    subprocess.run(["gcc", "-w", "-pthread", "-o", tmp_path / "holders", tmp_path / "holders.c"], check=True)
    done = run(binary, tmp_path, tmp_path / "holders")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20
    told = subprocess.run([binary, "report", "-f", "json", tmp_path / "r"], stdout=subprocess.PIPE, check=True)
    process, = json.loads(told.stdout)["processes"]
    holders = {h["tid"]: {stall["id"] for stall in process["stalls"] for s in stall["segments"]
                          for other in s["holders"] if other["tid"] == h["tid"]}
               for stall in process["stalls"] for s in stall["segments"] for h in s["holders"]}
    assert len(holders) > 20
    assert max(map(len, holders.values())) <= 2


def test_nobody_can_shorten_the_shared_memory(binary, tmp_path):
    for _ in range(5):  # a descriptor of the recorder may be closed between its listing and its look
        done = run(binary, tmp_path, DEBIAN, "-c", SHORTEN)
        if "FileNotFoundError" not in done.stderr:
            break
        (tmp_path / "r").unlink(missing_ok=True)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_a_pid_namespace_is_not_taken_for_strangers(binary, tmp_path):
    """Its pids are other processes' outside: nothing is said rather than that of process 1."""
    if subprocess.run(["unshare", "-fp", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no pid namespaces here")
    inner = f"import os, subprocess; print(os.getpid()); subprocess.run(['{DEBIAN}', '-c', 'import time; time.sleep(0.1)'])"
    done = run(binary, tmp_path, "unshare", "-fp", DEBIAN, "-c", inner)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    told = subprocess.run([binary, "report", "-f", "json", tmp_path / "r"], stdout=subprocess.PIPE, check=True)
    assert [p["command"][0] for p in json.loads(told.stdout)["processes"]] == ["unshare"]


# Each child stalls, so that its symbols are opened. Prints how much the recorder grew, in kB.
CHILDREN = """
import os, subprocess, sys
STALL = '''
import asyncio
async def main():
    for _ in range(5):
        await asyncio.sleep(0.005)
    sum(range(4000000))
    await asyncio.sleep(0.01)
asyncio.run(main())
'''
def rss():
    return int(next(l for l in open(f"/proc/{os.getppid()}/status") if l.startswith("VmRSS")).split()[1])
def children(n):
    for _ in range(n):
        subprocess.run([sys.executable, "-c", STALL], check=True)
children(8)
before = rss()
children(24)
print(rss() - before)
"""


def test_processes_that_have_ended_are_forgotten(run, report):
    done = run(DEBIAN, "-c", CHILDREN)
    assert done.returncode == 0, done.stderr
    assert sum(len(p["stalls"]) > 0 for p in report(done.record)["processes"]) > 20
    assert int(done.stdout) < 80_000  # 24 times what one program's symbols take is twice that
