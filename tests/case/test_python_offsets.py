# SPDX-License-Identifier: MIT
"""The table of CPython layouts is what tools/python_offsets.c prints for the headers of each version that is here."""

import functools
import glob
import os
import pathlib
import re
import subprocess

import pytest

import sid
from conftest import ROOT

TOOL = ROOT / "tools" / "python_offsets.c"


@functools.lru_cache(None)
def rows():
    """{(minor, free_threaded): row} of the table in the tree."""
    table = (ROOT / "cli" / "interp" / "python_offsets.def").read_text()
    found = re.findall(r"^\{\n.*?^\},\n", table, re.M | re.S)
    return {tuple(int(v) for v in re.search(r"\.minor = (\d+),\n\t\.free_threaded = (\d)", r).groups()): r
            for r in found}


def headers():
    for folder in sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*/include/python3.*"))
                         + glob.glob("/usr/include/python3.*")):
        match = re.search(r"python3\.(\d+)([a-z]*)$", folder)
        if match and (int(match[1]), 0) in rows() and pathlib.Path(folder, "internal").is_dir():
            yield pytest.param(folder, int(match[1]), 0, id=f"{pathlib.Path(folder).name}-{len(folder)}")
            if int(match[1]) >= 13:
                yield pytest.param(folder, int(match[1]), 1, id=f"{pathlib.Path(folder).name}t-{len(folder)}")


def printed(folder, free_threaded, tmp_path):
    program = tmp_path / "offsets"
    options = ["-DPy_GIL_DISABLED=1"] if free_threaded else []
    # Debian's pyconfig.h only points to the machine's own, which is found beside it
    subprocess.run(["cc", "-w", "-DPy_BUILD_CORE", *options, f"-I{folder}", f"-I{folder}/internal", "-idirafter",
                    pathlib.Path(folder).parent, "-o", program, TOOL], check=True)
    return subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize("folder,minor,free_threaded", list(headers()))
def test_row_is_what_the_headers_say(folder, minor, free_threaded, tmp_path):
    assert printed(folder, free_threaded, tmp_path) == rows()[minor, free_threaded]


@pytest.mark.parametrize("free_threaded", [0, 1])
@pytest.mark.parametrize("version", sid.VERSIONS)
def test_row_of_a_version_from_sid(version, free_threaded, tmp_path):
    if sid.trouble():
        pytest.skip(sid.trouble())
    minor = int(version.partition(".")[2])
    assert fixed(printed(sid.headers() / f"python{version}", free_threaded, tmp_path)) == fixed(rows()[minor, free_threaded])


@pytest.mark.parametrize("free_threaded", [0, 1])
def test_a_micro_release_changes_only_what_it_publishes(free_threaded, tmp_path):
    """The row is 3.13.0's; sid has a later one."""
    if sid.trouble():
        pytest.skip(sid.trouble())
    now, row = printed(sid.headers() / "python3.13", free_threaded, tmp_path), rows()[13, free_threaded]
    # the collector's generations begin 4 bytes earlier since their lists' heads are aligned otherwise
    # also what asks for a pause of all interpreters: it counts only where a thread's own state is found there
    now, row = (re.sub(r"\.(gc_(middle|full)_count|runtime_world) = .*", "", text) for text in (now, row))
    assert fixed(now) == fixed(row)


def fixed(row):
    """What a live process does not publish itself: that must be right in the table."""
    fields = dict(re.findall(r"\.(\w+) = (-?\d+)", row))
    return {k: v for k, v in fields.items() if int(fields.get(f"debug_{k}", -1)) < 0}
