# SPDX-License-Identifier: MIT
"""Children of the command: forked, spawned, exec'd, left behind; which loop is whose."""

import os
import subprocess
import time

import pytest

from conftest import DEBIAN

LOOP = """
import asyncio, time
async def main(length):
    for _ in range(5):
        await asyncio.sleep(0.005)
    time.sleep(length)
    await asyncio.sleep(0.005)
"""


def lengths(process):
    return [s["duration_s"] for s in process["stalls"]]


def near(*wanted):
    """Sleeps take a little longer where the machine is busy."""
    return pytest.approx(list(wanted), abs=0.025)


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(LOOP + text)
        return path

    return write


@pytest.mark.parametrize("version", ["debian", "3.8", "3.12"])
def test_a_fork_has_its_own_loop(run, report, script, python_of, version):
    path = script("import os\npid = os.fork()\nasyncio.run(main(0.15 if pid else 0.08))\nif pid: os.waitpid(pid, 0)\n")
    parent, child = report(run(python_of(version), path).record)["processes"]
    assert child["ppid"] == parent["pid"]
    assert lengths(parent) == near(0.15) and lengths(child) == near(0.08)
    assert parent["loops"][0]["ticks"] < 20 and child["loops"][0]["ticks"] < 20


def test_a_fork_inside_a_running_loop(run, report, script):
    path = script("import os\nasync def forks():\n await main(0.05)\n pid = os.fork()\n if not pid:\n  time.sleep(0.1)\n"
                  "  os._exit(0)\n await main(0.06)\n os.waitpid(pid, 0)\nasyncio.run(forks())")
    parent, child = report(run(DEBIAN, path).record)["processes"]
    assert lengths(parent)[:1] + lengths(parent)[-1:] == near(0.05, 0.06) and lengths(child) == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(run, report, script, method):
    path = script(f"import multiprocessing, concurrent.futures\ndef work(n):\n asyncio.run(main(n))\n return n\n"
                  f"if __name__ == '__main__':\n context = multiprocessing.get_context('{method}')\n"
                  " with concurrent.futures.ProcessPoolExecutor(2, context) as pool:\n"
                  "  print(list(pool.map(work, [0.06, 0.07])))\n")
    done = run(DEBIAN, path)
    assert done.stdout == "[0.06, 0.07]\n"
    document = report(done.record)
    workers = [p for p in document["processes"] if p["loops"]]
    assert sorted(n for p in workers for n in lengths(p)) == near(0.06, 0.07)
    assert all(p["runtime"]["name"] == "cpython" for p in workers)
    first = document["processes"][0]
    assert all(p["ppid"] == first["pid"] for p in workers) or method == "forkserver"


def test_subprocess_and_exec_of_another_python(run, report, script, python_of):
    other = python_of("3.12")
    path = script("import subprocess, sys, os\nif len(sys.argv) > 2:\n asyncio.run(main(0.05))\n"
                  " subprocess.run([sys.executable, sys.argv[0]])\n os.execv(sys.argv[1], sys.argv[1:2] + sys.argv[:1])\n"
                  "asyncio.run(main(0.09))\n")
    first, child = report(run(DEBIAN, path, other, "go").record)["processes"]
    assert first["runtime"]["version"].startswith("3.12") and child["runtime"]["version"].startswith("3.11")
    assert lengths(first) == near(0.05, 0.09) and lengths(child) == near(0.09)


def test_a_daemon_left_behind(run, report, script, tmp_path):
    path = script(f"import os, sys\nasyncio.run(main(0.05))\nif os.fork():\n os.wait()\n sys.exit(4)\nos.setsid()\n"
                  f"if os.fork(): os._exit(0)\nfor fd in range(3): os.close(fd)\nasyncio.run(main(0.03))\ntime.sleep(0.7)\n"
                  f"asyncio.run(main(0.03))\nopen({str(tmp_path / 'out')!r}, 'w').write('daemon')\n")
    begin = time.monotonic()
    done = run(DEBIAN, path)
    assert done.returncode == 4 and time.monotonic() - begin < 0.7
    document = report(done.record)
    assert document["capture"]["complete"] and lengths(document["processes"][0]) == near(0.05)
    for _ in range(50):
        if (tmp_path / "out").exists():
            break
        time.sleep(0.1)
    assert (tmp_path / "out").read_text() == "daemon"


def test_many_short_children(run, report):
    done = run("sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i + 1)); done; exit 3")
    assert done.returncode == 3
    document = report(done.record)
    assert len(document["processes"]) == 301 and document["capture"]["lost_events"] == 0
    assert all(p["command"] for p in document["processes"])


@pytest.mark.all
def test_more_processes_at_once_than_there_is_room_for(run, report):
    done = run("sh", "-c", "i=0; while [ $i -lt 600 ]; do sleep 3 & i=$((i + 1)); done; wait; exit 3", timeout=120)
    assert done.returncode == 3
    document = report(done.record)
    assert len(document["processes"]) >= 300
    assert any("processes were not recorded" in note for note in document["capture"]["notes"]), document["capture"]["notes"]
