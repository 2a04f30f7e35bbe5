# SPDX-License-Identifier: MIT
"""Data flows one way (the folders' order), so includes point one way."""

import re

from conftest import ROOT

# Within cli/, a file may include what stands above it, never below: what thinks knows no command, no format.
LAYERS = [
    {"part", "util", "frame"},
    {"mem", "observe"},
    {"native", "interp", "store"},
    {"verdict", "format", "cause"},
]


def edges(folder):
    for path in sorted((ROOT / folder).rglob("*.[ch]")):
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M):
            target = (path.parent / name).resolve()
            target = target if target.exists() else (ROOT / name).resolve()
            yield path.relative_to(ROOT), target.relative_to(ROOT)


def test_record_includes_nothing_of_ours():
    assert [e for e in edges("record") if e[1].parts[0] != "record"] == []


def test_the_shim_includes_only_the_record():
    assert [e for e in edges("preload") if e[1].parts[0] not in ("preload", "record")] == []


def test_cli_headers_point_upwards():
    level = {name: i for i, names in enumerate(LAYERS) for name in names}
    wrong = [(str(a), str(b)) for a, b in edges("cli")
             if a.parent.name == "cli" and a.suffix == ".h" and b.parts[0] == "cli"
             and level.get(b.stem, -1) > level.get(a.stem, 99)]
    assert wrong == []


def test_parts_know_only_contracts():
    """A cause, a format, an interpreter includes no command, and none of the capture."""
    allowed = {"cause": {"cause", "verdict", "observe", "frame", "util", "part", "format", "prose", "timeline"},
               "format": {"format", "verdict", "observe", "frame", "util", "part", "writer", "prose", "budget", "compare",
                          "ticks", "metrics"},
               "interp": {"interp", "mem", "frame", "util", "part", "native"}}
    wrong = [(str(a), str(b)) for a, b in edges("cli")
             if a.parent.name in allowed and b.parent.name != a.parent.name
             and b.parts[0] == "cli" and b.stem not in allowed[a.parent.name]]
    assert wrong == []


def test_nobody_includes_the_shim():
    """Except for the one question that both sides ask: does this program take it?"""
    assert [e for e in edges("cli") if e[1].parts[0] == "preload" and e[1].name != "image.h"] == []
