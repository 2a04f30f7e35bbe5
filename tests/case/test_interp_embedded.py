# SPDX-License-Identifier: MIT
"""CPython in other programs, linked in every way: found, read and told of as in its own executable."""

import functools
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import PROGRAMS, pythons
from test_interp_python import SICK, look, main_stack, pystack_dump, settle, stack_of, start  # noqa: F401

VERSIONS = [v for v in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13") if v in pythons()]
LEARNED = [v for v in VERSIONS if int(v.partition(".")[2]) >= 11]


@functools.lru_cache(None)
def paths(version):
    """(prefix, folder of headers, folder of the library, folder of the static one)"""
    code = ("import sys, sysconfig as s; print(sys.base_prefix, s.get_path('include'), s.get_config_var('LIBDIR'), "
            "s.get_config_var('LIBPL'), s.get_config_var('LIBS'), sep='\\n')")
    return subprocess.run([pythons()[version], "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


@pytest.fixture
def embedded(tmp_path):
    """embedded(version, "static", "stripped" ...) -> the program and the environment that it needs."""

    def build(version, *how):
        prefix, include, library, static, libs = paths(version)
        program = tmp_path / "service"
        if "static" in how:
            archive = pathlib.Path(static, f"libpython{version}.a")
            if not archive.exists():
                pytest.skip(f"no {archive.name} here")
            link = [archive, *libs.split(), "-lm", "-ldl", "-lutil", "-lpthread"]
        else:
            link = [f"-L{library}", f"-lpython{version}", f"-Wl,-rpath,{library}"]
        if "exported" in how:
            link.append("-rdynamic")
        subprocess.run(["gcc", "-w", "-I", include, "-o", program, PROGRAMS / "embed.c", *link], check=True)
        if "stripped" in how:
            subprocess.run(["strip", program], check=True)
        return program, {**os.environ, "PYTHONHOME": prefix}

    return build


# Nothing here needs an extension module: those find no interpreter in a program that exports nothing.
SCRIPT = """
import sys, threading

class Keeper:
    def keep(self):
        while True:
            sum(range(100000))

def work():
    Keeper().keep()

threading.Thread(target=work, name="worker-ü", daemon=True).start()
print("ready")
sys.stdout.flush()
threading.Event().wait()
"""


WAYS = [(v, how) for v in VERSIONS for how in ((), ("static",))]
WAYS += [(v, ("static", "stripped")) for v in LEARNED]
WAYS += [("3.12", ("static", "exported", "stripped"))] if "3.12" in VERSIONS else []
FEW = [(v, how) for v, how in WAYS if "stripped" in how or (v, how) in (("3.8", ("static",)), ("3.10", ()))]


@pytest.mark.parametrize("version,how", [
    pytest.param(v, how, id="-".join((v, *(how or ("shared",)))), marks=() if (v, how) in FEW else pytest.mark.all) for v, how in WAYS])
def test_an_embedded_interpreter(version, how, embedded, start, look, tmp_path):
    program, environment = embedded(version, *how)
    script = tmp_path / "app.py"
    script.write_text(SCRIPT)
    process = start([program, script], env=environment)

    def both(a):
        return a["error"] == 0 and any(t["name"] == "worker-ü" and len(t["stack"]) > 1 for t in a["threads"]) and \
            "Event.wait" in [f["function"] for f in stack_of(a, process.pid)["stack"]]

    answer = settle(look, process.pid, both)
    assert answer["error"] == 0, answer["why"]
    assert answer["version"].startswith(version + ".")
    assert len(answer["locks"]) == 1
    worker = next(t for t in answer["threads"] if t["name"] == "worker-ü")
    assert [(f["function"], f["line"], f["file"]) for f in worker["stack"][:2]] == [
        ("Keeper.keep", 7, str(script)), ("work", 10, str(script))]
    assert "Event.wait" in [f["function"] for f in stack_of(answer, process.pid)["stack"]]


def test_old_frames_without_any_symbol_are_refused(embedded, start, look, tmp_path):
    """To 3.10 nothing tells where _PyRuntime is."""
    if "3.10" not in VERSIONS:
        pytest.skip("no Python 3.10 here")
    program, environment = embedded("3.10", "static", "stripped")
    (tmp_path / "app.py").write_text(SCRIPT)
    process = start([program, tmp_path / "app.py"], env=environment)
    assert look(process.pid)["error"] < 0


def test_a_venv(start, look, tmp_path):
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    process = start([tmp_path / "venv" / "bin" / "python", SICK, "deep", 3])
    answer, main = main_stack(look, process, "deep")
    assert answer["error"] == 0 and len(main["stack"]) == 6


APPLICATION = """
import sys, threading, time
def application(environ, start_response):
    return []
def spin():
    while True:
        sum(range(1000))
threading.Thread(target=spin, name="spinner", daemon=True).start()
"""


def test_uwsgi(start, look, tmp_path):
    """Debian's, whose Python is a plugin."""
    if not shutil.which("uwsgi"):
        pytest.skip("no uwsgi here")
    (tmp_path / "app.py").write_text(APPLICATION)
    process = start(["uwsgi", "--plugin", "python3", "--socket", tmp_path / "socket", "--module", "app", "--enable-threads",
                     "--chdir", tmp_path, "--need-app", "--die-on-term"], ready=False)
    answer = settle(look, process.pid, lambda a: a["error"] == 0 and any(t["name"] == "spinner" for t in a["threads"]))
    assert answer["error"] == 0 and answer["version"].startswith("3.")
    spinner = next(t for t in answer["threads"] if t["name"] == "spinner")
    assert "spin" in [f["function"] for f in spinner["stack"]]
