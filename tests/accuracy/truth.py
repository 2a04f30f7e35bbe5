# SPDX-License-Identifier: MIT
"""Reads what a program stamped (stamp.py) and makes of it what a perfect report would say: stalls, and within them
pieces with a cause, a holder, a function and its lines."""

import ast
import collections
import functools
import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent

Blame = collections.namedtuple("Blame", "file function qualname lines native")
# holders: {tid: (thread, Blame)}, empty where nobody else is to blame (then blame is the loop's own)
# parts: {cause: ns} where only the sums of several causes are known, not their order; then cause is "parts"
# starved: ns of it for which the loop thread had no CPU, which a report may call runqueue
Piece = collections.namedtuple("Piece", "start end cause holders blame detail starved parts", defaults=(None,))


class Stall:
    def __init__(self, tick):
        self.tid, self.start, self.end = tick["tid"], tick["start"], tick["end"]
        self.start_min, self.start_max = self.start - tick.get("slack", 0), self.start + tick.get("slack", 0)
        self.pieces = []

    seconds = property(lambda self: (self.end - self.start) / 1e9)
    labelled = property(lambda self: sum(p.end - p.start for p in self.pieces) / 1e9)


@functools.lru_cache(None)
def blames(path):
    """{name: Blame} from the "# ill: NAME [NATIVE|NATIVE]" comments of a source file."""
    text = path.read_text()
    tags = collections.defaultdict(lambda: (set(), set()))
    pattern = r"/\* ill: (\S+)(?: (\S+))? \*/" if path.suffix == ".c" else r"# ill: (\S+)(?: (\S+))?$"
    for number, line in enumerate(text.splitlines(), 1):
        match = re.search(pattern, line)
        if match:
            tags[match[1]][0].add(number)
            tags[match[1]][1].update((match[2] or "").split("|") if match[2] else ())
    return {name: Blame(str(path), *functions(path, text, min(lines)), frozenset(lines), frozenset(native))
            for name, (lines, native) in tags.items()}


def functions(path, text, line):
    """The name and the qualified name of the innermost function at a line."""
    if path.suffix == ".c":
        name = [m[1] for m in (re.match(r"[a-z].*?(\w+)\([^()]*\)$", x) for x in text.splitlines()[:line]) if m][-1]
        return name, name
    found = ("<module>", "<module>")

    def walk(node, prefix):
        nonlocal found
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inside = child.lineno <= line <= child.end_lineno
                if isinstance(child, ast.ClassDef):
                    inner = prefix + child.name + "."
                else:
                    if inside:
                        found = (child.name, prefix + child.name)
                    inner = prefix + child.name + ".<locals>."
            walk(child, inner)

    walk(ast.parse(text), "")
    return found


def blame_of(program, name):
    if ":" in name:
        file, name = name.split(":")
        return blames(HERE / file)[name]
    return blames(program)[name]


def without(start, end, taken):
    """What is left of start..end."""
    left = [(start, end)] if end > start else []
    for a, b in taken:
        left = [(x, y) for s, e in left for x, y in ((s, min(e, a)), (max(s, b), e)) if y > x]
    return left


def read(path, program, least):
    """(the program's line, its ticks of at least `least` ns as stalls with their pieces)"""
    lines = [json.loads(line) for line in open(path)]
    kinds = collections.defaultdict(list)
    for line in lines:
        kinds[line["type"]].append(line)
    stalls = []
    for tick in kinds["tick"]:
        stall = Stall(tick)
        if stall.end - stall.start_min >= least:
            stall.pieces = pieces(stall, kinds, program)
            stalls.append(stall)
    return kinds["program"][0], stalls


def pieces(stall, kinds, program):
    made, taken = [], []

    def take(start, end, cause, holders, name, detail, starved=0, parts=None):
        for s, e in without(max(start, stall.start_min), min(end, stall.end), taken):
            mine = parts and {c: ns * (e - s) / (end - start) for c, ns in parts.items()}
            made.append(Piece(s, e, cause, holders, blame_of(program, name), detail, starved, mine))
            taken.append((s, e))

    for own in sorted(kinds["own"], key=lambda o: o["cause"] != "stopped"):  # whatever it did, it was stopped
        if own["tid"] == stall.tid:
            take(own["start"], own["end"], own["cause"], {}, own["name"], own.get("syscall"),
                 own.get("starved", 0) if own["cause"] == "cpu" else 0, own.get("parts"))
    for wait in kinds["wait"]:
        for hold in kinds["hold"]:
            if wait["tid"] == stall.tid and hold.get("lock") == wait["lock"]:
                holder = {hold["tid"]: (hold["thread"], blame_of(program, hold["name"]))}
                take(max(wait["start"], hold["start"]), min(wait["end"], hold["end"]), "lock", holder, hold["name"],
                     hold["kind"])
    for hold in kinds["hold"]:
        if hold["cause"] == "gil" and hold["tid"] != stall.tid:
            take(hold["start"], hold["end"], "gil", {hold["tid"]: (hold["thread"], blame_of(program, hold["name"]))},
                 hold["name"], "gil")
    runs = [r for r in kinds["run"] if r["tid"] != stall.tid and r["start"] < stall.end and r["end"] > stall.start_min]
    if runs:
        holders = {r["tid"]: (r["thread"], blame_of(program, r["name"])) for r in runs}
        take(min(r["start"] for r in runs), max(r["end"] for r in runs), "gil", holders, runs[0]["name"], "gil")
    return sorted(made)
