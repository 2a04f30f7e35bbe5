# SPDX-License-Identifier: MIT
"""CONTRIBUTING.md's recipes, carried out as they stand there in a copy of the tree: all that is needed is in them."""

import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

import pytest

from conftest import BINARY, DEBIAN, ROOT, pythons

pytestmark = [pytest.mark.all, pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a copy is made of what git knows")]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
STALL = "import asyncio, os, signal, threading, time\nasync def main():\n for i in range(4): await asyncio.sleep(0.001)\n {}\n" \
        " await asyncio.sleep(0.001)\nasyncio.run(main())\n"


def blocks(section):
    """[(path, how, text)] of a recipe: the fenced blocks that say which file they are of."""
    part = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)[1]
    return re.findall(r"^`(\S+)`, (.*?):\n```\w+\n(.*?)^```$", part, re.M | re.S)


class Tree:
    """A copy of the tree with what is built of it, so that only what changes is built again."""

    def __init__(self, place):
        self.place = place
        names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                               stdout=subprocess.PIPE).stdout.decode()
        for name in filter(None, names.split("\0")):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
        shutil.copytree(BINARY.parent, place / "build", ignore=shutil.ignore_patterns("asan", "clang", "roots", "tests", "tools", "fuzz"))
        self.binary = place / "build" / "whystall"

    def apply(self, section):
        done = blocks(section)
        assert done
        for path, how, text in done:
            path = self.place / path
            assert path.exists() == (how == "at the end")
            path.write_text((path.read_text() if how == "at the end" else "") + text)
        self.make()

    def make(self, *goals):
        done = subprocess.run(["make", *goals], cwd=self.place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout

    def replace(self, path, old, new):
        text = (self.place / path).read_text()
        assert text.count(old) == 1, (path, old)
        (self.place / path).write_text(text.replace(old, new))

    def run(self, *arguments, status=0, **more):
        done = subprocess.run([self.binary, *map(str, arguments)], cwd=self.place, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, **more)
        assert done.returncode == status, done.stderr
        return done.stdout

    def record(self, code):
        self.run("run", "-q", "-o", "out.whystall", "--", DEBIAN, "-c", STALL.format(code))
        return "out.whystall"

    def cases(self, *names):
        """Its own tests pass."""
        self.make("man")
        env = dict(os.environ, WHYSTALL=str(self.binary))
        done = subprocess.run([DEBIAN, "-m", "pytest", "-q", "-m", "not all", *(f"tests/case/{n}.py" for n in names)],
                              cwd=self.place, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stdout
        names = [str(p) for p in (self.place / "cli").rglob("*.c")]
        assert subprocess.run(["clang-format", "--dry-run", "-Werror", *names], cwd=self.place).returncode == 0


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


def test_a_hook(tree):
    code = "signal.sigtimedwait([signal.SIGUSR1], 0.1)"

    def calls():
        with sqlite3.connect(tree.place / tree.record(code)) as record:
            return [call for call, in record.execute("SELECT syscall FROM wait WHERE what = 'call'")]

    assert calls() == []
    tree.apply("Add a hook")
    assert calls() == ["rt_sigtimedwait"]
    tree.cases("test_shim_wait", "test_includes")


def test_a_cause(tree):
    tree.apply("Add a cause")
    words = re.search(r"#define CAUSE_WORDS (\d+)", (tree.place / "cli/budget.h").read_text())[1]
    tree.replace("cli/budget.h", f"#define CAUSE_WORDS {words}", f"#define CAUSE_WORDS {int(words) + 1}")
    tree.replace("cli/budget.c", '"unknown"};', '"unknown", "pipe"};')
    tree.replace("doc/report.schema.json", '"stopped", "unknown"]', '"stopped", "unknown", "pipe"]')
    subprocess.run(["clang-format", "-i", "cli/budget.c"], cwd=tree.place, check=True)
    tree.make()
    record = tree.record("r, w = os.pipe(); threading.Timer(0.15, os.write, (w, b'x')).start(); os.read(r, 1)")
    document = json.loads(tree.run("report", "-f", "json", record))
    cause = document["processes"][0]["loops"][0]["causes"][0]
    assert cause["cause"] == "pipe" and cause["why"].startswith("It waited 1")
    assert "pipe" in tree.run("check", "--fail-on", "pipe", record, status=1)
    tree.cases("test_cli", "test_includes")


def test_a_version_of_cpython(tree, tmp_path):
    """The newest that is here, taken out of the table and put in again."""
    version = sorted((v for v in pythons() if v != "debian"), key=lambda v: int(v.split(".")[1]))[-1:]
    if not version:
        pytest.skip("no CPython but Debian's here")
    minor = int(version[0].split(".")[1])
    table = tree.place / "cli/interp/python_offsets.def"
    rows = re.findall(r"^\{\n.*?^\},\n", table.read_text(), re.M | re.S)
    kept = [r for r in rows if int(re.search(r"\.minor = (\d+)", r)[1]) != minor]
    table.write_text("".join(kept))
    script = re.search(r"^## Add a version of CPython\n.*?```sh\n(.*?)^```$", TEXT, re.M | re.S)[1].replace("3.14", version[0])
    if minor < 13:
        script = "\n".join(script.splitlines()[:3]) + "\n"
    subprocess.run(["sh", "-e"], input=script, text=True, check=True, cwd=tree.place,
                   env=dict(os.environ, PATH=f"{pathlib.Path(pythons()[version[0]]).parent}:{os.environ['PATH']}"))
    assert sorted(re.findall(r"^\{\n.*?^\},\n", table.read_text(), re.M | re.S)) == \
        sorted(kept + [r for r in rows if r not in kept])
    tree.make()
    tree.run("run", "-q", "-o", "out.whystall", "--", pythons()[version[0]], "-c", STALL.format("time.sleep(0.1)"))
    document = json.loads(tree.run("report", "-f", "json", "out.whystall"))
    assert document["processes"][0]["runtime"]["version"].startswith(version[0])


def test_a_format(tree):
    tree.apply("Add a format")
    record = tree.record("time.sleep(0.1)")
    head, line = tree.run("export", "-f", "csv", record).splitlines()
    assert head == "pid,stall,seconds" and re.fullmatch(r"\d+,\d+,0\.\d{6}", line)
    tree.cases("test_cli", "test_includes")


def test_a_command(tree, tmp_path):
    tree.apply("Add a command")
    env = dict(os.environ, XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path), TMPDIR=str(tmp_path))
    tree.run("where", status=4, env=env)
    tree.run("run", "-q", "--", "true", env=env)
    assert os.path.exists(tree.run("where", env=env).strip())
    assert "where" in tree.run("help", "--completion", "bash")
    tree.cases("test_cli", "test_includes", "test_completion")
