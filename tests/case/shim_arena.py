# SPDX-License-Identifier: MIT
"""What the test_shim cases share: a command under the shim alone, with tests/prog/arena_dump as its recorder."""

import json
import pathlib
import subprocess

import pytest

from conftest import BINARY, PROGRAMS, ROOT

SHIM = BINARY.parent / "libwhystall.so"


class Seen:
    """What the shim wrote while the command ran, and how the command ended."""

    def __init__(self, done, path):
        self.returncode, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self.events = [r for r in rows if r["what"] == "event"]
        self.threads = [r for r in rows if r["what"] == "thread"]
        self.processes = [r for r in rows if r["what"] == "process"]

    def of(self, kind, **fields):
        return [e for e in self.events if e["kind"] == kind and all(e[k] == v for k, v in fields.items())]

    @property
    def images(self):
        """Of the programs that the shim was in."""
        return [p["image"] for p in self.processes if not p["refusal"]]

    @property
    def refusals(self):
        return {p["image"]: p["refusal"] for p in self.processes if p["refusal"] and p["state"]}


@pytest.fixture(scope="session")
def arena_dump(tmp_path_factory):
    if not SHIM.exists():
        pytest.fail(f"{SHIM} is not there: make first")
    out = tmp_path_factory.mktemp("arena") / "arena_dump"
    subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", f"-I{ROOT}", "-O1", "-o", out, PROGRAMS / "arena_dump.c"],
                   check=True)
    return str(out)


@pytest.fixture
def shim(arena_dump, tmp_path):
    """shim("prog", "arg", options=["-t", "1000"]) -> Seen"""
    made = []

    def start(*command, options=(), path=SHIM, timeout=30, **more):
        out = tmp_path / f"{len(made)}.jsonl"
        made.append(out)
        more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([arena_dump, *options, str(path), str(out), *map(str, command)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=timeout, **more)
        return Seen(done, out)

    return start


@pytest.fixture
def same(shim):
    """same("prog", "arg") -> Seen, after having checked that output and status are those of a bare run."""

    def both(*command, options=(), **more):
        seen = shim(*command, options=options, **more)
        more.setdefault("stdin", subprocess.DEVNULL)
        bare = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=30, **more)
        status = bare.returncode if bare.returncode >= 0 else 128 - bare.returncode
        assert (seen.stdout, seen.stderr, seen.returncode) == (bare.stdout, bare.stderr, status)
        return seen

    return both


@pytest.fixture
def program(cc):
    """program("shim_lock", "-lpthread") -> path of tests/prog/shim_lock.c, compiled."""

    def build(name, *flags, **more):
        return cc(pathlib.Path(PROGRAMS) / f"{name}.c", "-D_GNU_SOURCE", *flags, "-lpthread", **more)

    return build
