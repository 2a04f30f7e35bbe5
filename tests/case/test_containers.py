# SPDX-License-Identifier: MIT
"""What README.md says of containers: whystall as the first process of one, and beside a process with no more capabilities
than it asks for."""

import os
import re
import signal
import subprocess
import time

import pytest

from conftest import DEBIAN, ROOT

SICK = "import asyncio, time\nasync def main():\n for i in range(60):\n  await asyncio.sleep(0.02)\n  time.sleep(0.06)\n" \
       "print('up', flush=True)\nasyncio.run(main())\n"
IN_A_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")


@pytest.fixture
def app(tmp_path):
    (tmp_path / "app.py").write_text(SICK)
    return tmp_path / "app.py"


def test_as_the_first_process_of_a_container(binary, app, tmp_path):
    """SIGTERM, which docker stop sends to it, is the command's; what it was doing is told."""
    process = subprocess.Popen([*IN_A_NAMESPACE, binary, "run", "-o", tmp_path / "record", "--", DEBIAN, app],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    time.sleep(0.5)
    first = int(open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()[0])
    os.kill(first, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "app.py:5" in said and re.search(r"pid \d, CPython", said)


def test_beside_a_process_with_what_the_readme_adds(binary, app, tmp_path):
    """A debug container in the target's pid namespace, as its securityContext has it."""
    added = re.search(r'"add": \[ (.*?) \]', (ROOT / "README.md").read_text())[1].replace('"', "").lower().split(", ")
    asked = subprocess.run([binary, "doctor"], stdout=subprocess.PIPE, text=True, user=65534, group=65534, extra_groups=[],
                           env={"PATH": "/usr/bin:/bin"}).stdout
    assert {f"CAP_{name.upper()}" for name in added} == set(re.findall(r"CAP_\w+", re.search(r"attach +no: needs (.*)", asked)[1]))
    script = (f"{DEBIAN} {app} & sleep 0.5; setpriv --bounding-set=-all,{','.join('+' + name for name in added)} --inh-caps=-all "
              f"{binary} attach -d 1.5s -o {tmp_path}/record $!; kill $!")
    done = subprocess.run([*IN_A_NAMESPACE, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)
    assert "app.py:5" in done.stderr and "clock_nanosleep" in done.stderr, done.stderr
