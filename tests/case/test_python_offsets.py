# SPDX-License-Identifier: MIT
"""The table of CPython layouts is what tools/python_offsets.c prints for the headers of each version that is here."""

import functools
import glob
import os
import pathlib
import re
import subprocess

import pytest

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


@pytest.mark.parametrize("folder,minor,free_threaded", list(headers()))
def test_row_is_what_the_headers_say(folder, minor, free_threaded, tmp_path):
    program = tmp_path / "offsets"
    options = ["-DPy_GIL_DISABLED=1"] if free_threaded else []
    subprocess.run(["cc", "-w", "-DPy_BUILD_CORE", *options, f"-I{folder}", f"-I{folder}/internal", "-o", program,
                    TOOL], check=True)
    assert subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout == rows()[minor, free_threaded]
