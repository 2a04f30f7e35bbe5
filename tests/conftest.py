# SPDX-License-Identifier: MIT
"""What the cases share: the binary, a record made by it, its report checked against its own schema, the Pythons
that are here, and an ordinary user to be (CI and containers run as root, where much is easier).

The binary is $WHYSTALL, else build/whystall of this checkout."""

import functools
import glob
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import sys

import pytest

import sid

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "tests" / "prog"
BINARY = pathlib.Path(os.environ.get("WHYSTALL", ROOT / "build" / "whystall")).absolute()
DEBIAN = "/usr/bin/python3"


@functools.lru_cache(None)
def pythons():
    """{"debian": path, "3.8": path, ...}: Debian's own and pyenv's, those that whystall must know."""
    found = {"debian": DEBIAN} if os.access(DEBIAN, os.X_OK) else {}
    for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13"):
        pattern = os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python{version}")
        matches = [path for path in sorted(glob.glob(pattern)) if "t/bin/" not in path]
        if matches:
            found[version] = matches[-1]
    return found


@functools.lru_cache(None)
def free_threaded_pythons():
    """{"3.14t": path}: builds without the GIL, where pyenv has any. No package registry has one, so most machines lack
    them."""
    found = {}
    for path in sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1*t/bin/python3.1[0-9]t"))):
        found[os.path.basename(path)[len("python"):]] = path
    return found


@pytest.fixture(scope="session")
def binary():
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is not there: make first")
    return str(BINARY)


def python_path(version):
    """Of a Python here, or of one in sid's root, which is made when it is first wanted; else the case is skipped."""
    if version in sid.VERSIONS:
        if sid.trouble():
            pytest.skip(sid.trouble())
        return sid.python(version)
    if version not in pythons():
        pytest.skip(f"no Python {version} here")
    return pythons()[version]


EVERY_PYTHON = (*sorted(pythons()), *sid.VERSIONS)


@pytest.fixture(params=EVERY_PYTHON)
def python(request):
    """Every Python, one after the other."""
    return python_path(request.param)


@pytest.fixture
def python_of():
    """python_of("3.12"): its path; skips where it cannot be had."""
    return python_path


@pytest.fixture
def run(binary, tmp_path):
    """run("python3", "app.py", options=["--threshold", "5ms"], ...) -> the finished process, its .record the path."""
    made = []

    def start(*command, options=(), record=None, timeout=60, **more):
        record = record or tmp_path / f"{len(made)}.whystall"
        made.append(record)
        more.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [binary, "run", "-o", str(record), *options, "--", *map(str, command)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, **more)
        done.record = record
        return done

    return start


@functools.lru_cache(None)
def validator():
    import jsonschema

    text = subprocess.run([str(BINARY), "report", "--json-schema"], stdout=subprocess.PIPE, check=True).stdout
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def report(binary):
    """report(record) -> the JSON report, valid by its schema."""

    def read(record):
        done = subprocess.run([binary, "report", "-f", "json", str(record)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        validator().validate(document)
        return document

    return read


@pytest.fixture(scope="session")
def ordinary_user(tmp_path_factory):
    """ordinary_user(["cmd", ...], **subprocess.run's) runs it as nobody, with a copy of the binary that nobody can
    read. Its .directory is one where that user may write, its .binary the copy. Skips where we are not root: then
    everything runs as an ordinary user anyway."""
    if os.geteuid() != 0:
        pytest.skip("not root: the other cases run as an ordinary user already")
    user = pwd.getpwnam("nobody")
    directory = tmp_path_factory.mktemp("nobody")

    def open_up():  # again and again: another pytest of the same user closes their common parent as it starts
        for parent in (directory, *directory.parents):
            if parent == pathlib.Path("/"):
                break
            if parent.stat().st_mode & 0o001 == 0:
                parent.chmod(parent.stat().st_mode | 0o055)

    open_up()
    copy = directory / "bin"
    copy.mkdir()
    shutil.copy2(BINARY, copy / "whystall")
    shutil.copy2(BINARY.parent / "libwhystall.so", copy / "libwhystall.so")
    os.chown(directory, user.pw_uid, user.pw_gid)

    def as_user(command, **more):
        environment = dict(more.pop("env", os.environ), HOME=str(directory), USER="nobody", TMPDIR=str(directory))
        more.setdefault("cwd", directory)
        more.setdefault("stdin", subprocess.DEVNULL)
        open_up()
        return subprocess.run([str(c) for c in command], env=environment, user=user.pw_uid, group=user.pw_gid,
                              extra_groups=[], **more)

    as_user.directory = directory
    as_user.open_up = open_up
    as_user.binary = str(copy / "whystall")
    return as_user


@pytest.fixture
def cc(tmp_path):
    """cc(source text or path, *flags, compiler="gcc") -> path of the program; skips without the compiler."""
    made = []

    def compile(source, *flags, compiler="gcc"):
        if not shutil.which(compiler):
            pytest.skip(f"no {compiler} here")
        if isinstance(source, str) and "\n" in source:
            path = tmp_path / f"prog{len(made)}.c"
            path.write_text(source)
        else:
            path = pathlib.Path(source)
        out = tmp_path / f"{path.stem}.{len(made)}.out"
        made.append(out)
        subprocess.run([compiler, "-g", "-O1", "-o", out, path, *flags], check=True, stdin=subprocess.DEVNULL)
        return str(out)

    return compile


def pytest_report_header():
    return f"whystall: {BINARY}; pythons: {', '.join(sorted(pythons()))}; {sys.executable}"
