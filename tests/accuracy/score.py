# SPDX-License-Identifier: MIT
"""Runs the labelled programs under `whystall run` on every Python here and compares the reports with what the
programs stamped. Prints one table per Python; exit status 1 where a figure that was promised is missed.

README.md here tells how the truth is made and how each figure is counted."""

import argparse
import collections
import glob
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import sid  # noqa: E402
import truth  # noqa: E402

PROGRAMS = HERE / "programs"
THRESHOLD = 20_000_000
MARGIN = 1_000_000  # ticks so near the threshold count neither way
PROMISED = {"cause": 0.98, "thread": 0.97, "function": 0.95, "line": 0.95}
PYTHONS = ("debian", "3.8", "3.11", "3.12", "3.13", *sid.VERSIONS)
QUICK = ("gil_pow", "gil_short", "gil_convoy", "lock_sleeping", "lock_native", "cpu_python", "syscall_sleep",
         "syscall_read", "gc_explicit", "stopped_by_signal", "mixed_sleep_gil", "healthy_busy", "healthy_fastapi")
QUICK_PYTHONS = ("debian", "3.8", "3.15")


def pythons(wanted):
    found = {"debian": "/usr/bin/python3"} if os.access("/usr/bin/python3", os.X_OK) else {}
    for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13"):
        paths = sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*[0-9]/bin/python{version}")))
        if paths:
            found[version] = paths[-1]
    for version in sid.VERSIONS:
        if version in wanted and not sid.trouble():
            found[version] = sid.python(version)
    return found


def version_of(python):
    text = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:3])"], stdout=subprocess.PIPE,
                          check=True, text=True).stdout
    return tuple(map(int, text.split()))


def lacks(python, program):
    """The module that the program needs and this Python has not got."""
    match = re.search(r"^# needs: (.*)$", program.read_text(), re.M)
    for module in match[1].split() if match else ():
        if subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode:
            return module
    return None


class Score:
    """Counts of one program or, added up, of many."""

    def __init__(self):
        self.expected = self.found = self.false = self.healthy_false = self.programs = 0
        self.errors = []  # (|error| in ns, allowed in ns, duration in ns)
        self.labelled = 0.0  # stalled seconds that have a truth
        self.right = collections.Counter()  # seconds by figure
        self.possible = collections.Counter()  # the same, of those that have that truth
        self.unknown = self.stalled = 0.0  # the tool's own
        self.failures = []  # sentences
        self.notes = []  # sentences about what was wrong, for -v

    def add(self, other):
        for name in ("expected", "found", "false", "healthy_false", "programs", "labelled", "unknown", "stalled"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.errors += other.errors
        self.right.update(other.right)
        self.possible.update(other.possible)
        self.failures += other.failures
        self.notes += other.notes

    def share(self, figure):
        return self.right[figure] / self.possible[figure] if self.possible[figure] else None

    def within(self):
        return sum(e <= a for e, a, _ in self.errors) / len(self.errors) if self.errors else None

    def missed(self):
        """What was promised and is not so."""
        out = list(self.failures)
        if self.found < self.expected:
            out.append(f"{self.expected - self.found} of {self.expected} stalls not found")
        if self.healthy_false:
            out.append(f"{self.healthy_false} stalls invented in healthy programs")
        if self.errors and self.within() < 0.98:
            out.append(f"only {self.within():.1%} of durations within 1 % or 0.5 ms")
        for figure, least in PROMISED.items():
            share = self.share(figure)
            if share is not None and share < least:
                out.append(f"{figure} right in {share:.1%} of stalled seconds, promised {least:.0%}")
        return out


# --- one program ---


def alone(command, environment, binary, record, directory):
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=90, errors="replace")


def attached(command, environment, binary, record, directory):
    """The same, joined by `whystall attach` before it begins what it has to do."""
    gate = directory / "gate"
    gate.unlink(missing_ok=True)
    os.mkfifo(gate)
    program = subprocess.Popen(command, env=dict(environment, STAMP_WAIT=str(gate)), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    ready, write = os.pipe()
    watcher = subprocess.Popen([binary, "attach", "-q", "-o", str(record), "--ready-fd", str(write), str(program.pid)],
                               pass_fds=[write], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    os.close(write)
    try:
        os.read(ready, 1)
        gate.write_text("")
        output, _ = program.communicate(timeout=90)
        _, trouble = watcher.communicate(timeout=30)
    finally:
        os.close(ready)
        program.kill()
        watcher.kill()
    return subprocess.CompletedProcess(command, program.returncode or watcher.returncode, output + trouble)


def run_program(binary, python, program, options, directory):
    """(truth's program line, true stalls, report), or a sentence."""
    record, stamps = directory / "record", directory / "stamps"
    for path in (record, stamps):
        path.unlink(missing_ok=True)
    environment = dict(os.environ, STAMP_OUT=str(stamps), STAMP_SEED=str(options.seed), PYTHONPATH=str(HERE),
                       STAMP_LIBRARIES=str(pathlib.Path(options.build).absolute() / "tests" / "accuracy"),
                       PYTHONDONTWRITEBYTECODE="1")
    command = [python, str(program)]
    if binary and options.backend == "preload":
        command = [binary, "run", "-q", "-o", str(record), "--"] + command
    run = attached if binary and options.backend == "ebpf" else alone
    try:
        done = run(command, environment, binary, record, directory)
    except subprocess.TimeoutExpired:
        return "did not end within 90 s"
    if done.returncode == 77:
        return SKIP + done.stdout.strip()[-300:]
    if done.returncode or not stamps.exists():
        return f"exit status {done.returncode}: {done.stdout.strip()[-300:]}"
    about, stalls = truth.read(stamps, program, KEEP)
    if not binary:
        return about, stalls, None
    shown = subprocess.run([binary, "report", "-f", "json", str(record)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if shown.returncode:
        return f"no report: status {shown.returncode}: {shown.stderr.strip()[-300:]}"
    return about, stalls, json.loads(shown.stdout)


KEEP = THRESHOLD - 3 * MARGIN
SKIP = "skipped: "


def clock_of(report, about, pairs_of):
    """The monotonic instant of start_s 0. The report gives the wall clock's; what its digits leave open is taken from
    the matched stalls, as long as it is little: durations do not depend on it."""
    import datetime

    text = re.sub(r"Z$", "+00:00", report["capture"]["started"])
    text = re.sub(r"\.(\d{1,9})", lambda m: "." + (m[1] + "000000")[:6], text)
    started = datetime.datetime.fromisoformat(text).timestamp()
    zero = int(started * 1e9) - about["wall"]
    shifts = [s.end - int(zero + (t["start_s"] + t["duration_s"]) * 1e9) for s, t in pairs_of(zero)]
    shift = int(statistics.median(shifts)) if shifts else 0
    return zero + (shift if abs(shift) < 5_000_000 else 0)


def overlap(a, b, c, d):
    return max(0, min(b, d) - max(a, c))


def score_program(program, about, stalls, report, version):
    score = Score()
    score.programs = 1
    seen = [s for p in report["processes"] if p["pid"] in about["pids"] for s in p["stalls"]]
    everywhere = [s for p in report["processes"] for s in p["stalls"]]

    def pairs_of(zero):
        pairs, left = [], list(seen)
        for stall in stalls:
            best = max(left, key=lambda t: said(stall, t, zero), default=None)
            if best is not None and said(stall, best, zero) > 0.5 * (stall.end - stall.start):
                pairs.append((stall, best))
                left.remove(best)
        return pairs

    def said(stall, t, zero):
        if t["tid"] != stall.tid:
            return 0
        start = zero + int(t["start_s"] * 1e9)
        return overlap(stall.start, stall.end, start, start + int(t["duration_s"] * 1e9))

    zero = clock_of(report, about, pairs_of)
    pairs = pairs_of(zero)
    matched = {id(s): t for s, t in pairs}
    for stall in stalls:
        sure = stall.end - stall.start_max >= THRESHOLD + MARGIN
        score.expected += sure
        if id(stall) in matched:
            score.found += sure
            score_stall(score, program, stall, matched[id(stall)], zero, version)
        elif sure:
            score.notes.append(f"not found: {stall.seconds * 1e3:.1f} ms at {(stall.start - zero) / 1e9:.3f} s")
    for cause, text in re.findall(r"^# why: (\S+) (.*)$", program.read_text(), re.M):
        whys = [c["why"] for p in report["processes"] for l in p["loops"] for c in l["causes"] if c["cause"] == cause]
        if not any(text in why for why in whys):
            score.failures.append(f"{program.stem}: no reason given for {cause} has \"{text}\": {whys}")
    healthy = program.stem.startswith("healthy")
    used = {id(t) for _, t in pairs}
    for t in everywhere:
        if id(t) not in used:
            score.false += 1
            score.healthy_false += healthy
            near = min(stalls, key=lambda s: abs((s.start - zero) / 1e9 - t["start_s"]), default=None)
            score.notes.append(f"invented: {t['duration_s'] * 1e3:.1f} ms at {t['start_s']:.3f} s in {t['tid']}: "
                               + ", ".join(f"{s['cause']} {s['seconds'] * 1e3:.1f}" for s in t["segments"])
                               + (f"; the nearest true one: {(near.start - zero) / 1e9:.3f} s to "
                                  f"{(near.end - zero) / 1e9:.3f}" if near else ""))
    return score


def score_stall(score, program, stall, told, zero, version):
    # the truth's start may be an interval; a duration anywhere in it is right
    duration = told["duration_s"] * 1e9
    low, high = stall.end - stall.start_max, stall.end - stall.start_min
    error = max(0.0, low - duration, duration - high)
    score.errors.append((error, max(500_000, 0.01 * (stall.end - stall.start)), stall.end - stall.start))
    if error > max(500_000, 0.01 * (stall.end - stall.start)):
        score.notes.append(f"duration: {duration / 1e6:.2f} ms told, {low / 1e6:.2f} true")
    score.stalled += told["duration_s"]
    score.unknown += sum(s["seconds"] for s in told["segments"] if s["cause"] == "unknown")
    score.labelled += stall.labelled
    segments = [(zero + int(s["start_s"] * 1e9), zero + int((s["start_s"] + s["seconds"]) * 1e9), s)
                for s in told["segments"]]
    begin = max(stall.start, zero + int(told["start_s"] * 1e9))
    pieces = [p._replace(start=max(p.start, begin)) for p in stall.pieces if p.end > begin]
    for figure in PROMISED:
        score.possible[figure] += sum(p.end - p.start for p in pieces) / 1e9
    told_of = score_parts(score, [p for p in pieces if p.parts], segments)
    told_of["starved"] = sum(p.starved for p in pieces) / 1e9  # when within the stall is not known
    for start, end, segment in segments:
        inside = [(overlap(p.start, p.end, start, end) / 1e9, p) for p in pieces]
        score_segment(score, [(s, p) for s, p in inside if s > 0], segment, version, told_of)


def score_parts(score, pieces, segments):
    """Of pieces of which only the sums by cause are known: {(id of the piece, cause): the share of what was told that is right}."""
    shares = {}
    for piece in pieces:
        told = collections.Counter()
        for start, end, segment in segments:
            told[segment["cause"]] += overlap(piece.start, piece.end, start, end)
        for cause, ns in told.items():
            shares[id(piece), cause] = min(ns, piece.parts.get(cause, 0)) / ns if ns else 0
        if sum(ns * (1 - shares[id(piece), c]) for c, ns in told.items()) > 3e6:
            score.notes.append("parts: told " + ", ".join(f"{c} {ns / 1e6:.1f}" for c, ns in told.items())
                               + "; true " + ", ".join(f"{c} {ns / 1e6:.1f}" for c, ns in piece.parts.items()))
    return shares


def score_segment(score, inside, segment, version, told_of):
    """inside: (seconds, piece) of the truth within this segment."""
    if not inside:
        return
    mixed = [(s * told_of[id(p), segment["cause"]], p._replace(cause=segment["cause"])) for s, p in inside if p.parts]
    inside = [(s, p) for s, p in inside if not p.parts] + [(s, p) for s, p in mixed if s > 0]
    if not inside:
        return
    if segment["cause"] == "runqueue":  # as much of it as the thread was starved is neither right nor wrong
        rest = []
        for seconds, piece in inside:
            out = min(seconds, told_of["starved"]) if piece.cause == "cpu" else 0
            told_of["starved"] -= out
            for figure in PROMISED:
                score.possible[figure] -= out
            rest.append((seconds - out, piece))
        inside = rest
    right = [(s, p) for s, p in inside if p.cause == segment["cause"]]
    seconds = sum(s for s, _ in right)
    score.right["cause"] += seconds
    wrong = sum(s for s, _ in inside) - seconds
    if wrong > 0.003:
        score.notes.append(f"cause: {segment['cause']} told for {wrong * 1e3:.0f} ms of "
                           + "/".join({p.cause for s, p in inside if p.cause != segment["cause"]}))
    if not right:
        return
    if segment["cause"] in ("gil", "lock"):
        score.right["thread"] += holder_seconds(score, right, segment)
    else:
        score.right["thread"] += seconds if segment["culprit"]["tid"] is not None else 0
    score_detail(score, right, segment, seconds)
    culprit = segment["culprit"] or {}
    allowed = [b for _, p in right for b in ([p.blame] + [h[1] for h in p.holders.values()])]
    heaviest = max(right, key=lambda r: r[0])[1]
    if len(heaviest.holders) == 1:  # one holder most of the time: it, and no other, is to be named
        allowed = [heaviest.blame]
    named = [b for b in allowed if culprit.get("function") in ((b.qualname,) if version >= (3, 11) else (b.qualname, b.function))
             and culprit.get("file") == b.file]
    if named:
        score.right["function"] += seconds
        if any(culprit.get("line") in b.lines for b in named):
            score.right["line"] += seconds
        else:
            score.notes.append(f"line: {culprit.get('line')} told, not of {sorted(named[0].lines)}, {seconds * 1e3:.0f} ms")
        wanted = set().union(*[b.native for b in named])
        if wanted:
            score.possible["native"] += seconds
            score.right["native"] += seconds if culprit.get("native") in wanted else 0
            if culprit.get("native") not in wanted:
                score.notes.append(f"native: {culprit.get('native')} told, wanted {sorted(wanted)}")
    else:
        score.notes.append(f"function: {culprit.get('function')} {culprit.get('file')}:{culprit.get('line')} told, not "
                           f"{allowed[0].qualname}, {seconds * 1e3:.0f} ms of {segment['cause']}")


def holder_seconds(score, right, segment):
    """Seconds for which the holder named is the true one. Where several true ones take turns in one segment, each
    counts at most what it had; where they share (a convoy), together at most what they shared."""
    told = collections.Counter()
    for holder in segment["holders"]:
        told[(holder["tid"], holder["thread"])] += holder["seconds"]
    true = collections.Counter()
    for seconds, piece in right:
        true[frozenset((tid, h[0]) for tid, h in piece.holders.items())] += seconds
    good = 0.0
    for who in sorted(true, key=len):
        seconds = true[who]
        if not who:  # nobody is responsible
            good += seconds if not segment["holders"] else 0
            continue
        for key in who:
            part = min(seconds, told[key])
            told[key] -= part
            seconds -= part
            good += part
    wrong = sum(true.values()) - good
    if wrong > 0.003:
        score.notes.append(f"thread: {wrong * 1e3:.0f} of {sum(true.values()) * 1e3:.0f} ms not with "
                           f"{[sorted(w) for w in true]}, told {[(h['tid'], h['thread'], round(h['seconds'], 4)) for h in segment['holders']]}")
    return good


def score_detail(score, right, segment, seconds):
    """The lock's kind, the system call's name."""
    details = {p.detail for _, p in right if p.detail}
    if details:
        told = segment["syscall"] if segment["cause"] == "syscall" else (segment["lock"] or {}).get("kind")
        told = {"ppoll": "poll"}.get(told, told)  # which of the two poll() is depends on the C library
        score.possible["detail"] += seconds
        score.right["detail"] += seconds if told in details else 0
        if told not in details:
            score.notes.append(f"detail: {told} told, wanted {sorted(details)}")


# --- all ---


def percent(value):
    return "    -" if value is None else f"{value:5.1%}"


def row(name, score):
    errors = sorted(e / 1e6 for e, _, _ in score.errors)
    ms = f"{statistics.median(errors):6.2f} {errors[int(len(errors) * 0.95)]:6.2f}" if errors else "     -      -"
    return (f"{name:20} {score.found:4}/{score.expected:<4} {score.false:4} {ms} {percent(score.within()):>6} "
            + " ".join(f"{percent(score.share(f)):>6}" for f in ("cause", "thread", "function", "line", "detail", "native"))
            + f" {score.stalled and score.unknown / score.stalled:7.1%}")


HEADING = (f"{'':20} {'found':>9} {'false':>4} {'error ms':>13} {'<=1%':>6} {'cause':>6} {'thread':>6} {'functn':>6} "
           f"{'line':>6} {'detail':>6} {'native':>6} {'unknown':>7}\n{'':36}median   p95")


def show_truth(name, stalls, program):
    """Without the tool: is the truth complete?"""
    print(name)
    for s in stalls:
        if s.seconds * 1e9 >= THRESHOLD:
            sums = collections.Counter()
            for p in s.pieces:
                sums[f"{p.cause} {p.blame.qualname}"] += p.end - p.start
            parts = ", ".join(f"{ns / 1e6:.1f} {what}" for what, ns in sums.items())
            flag = "" if s.labelled > 0.97 * s.seconds - 0.001 else "   <-- not all labelled"
            print(f"   {s.seconds * 1e3:8.2f} ms (start open by {(s.start_max - s.start_min) / 1e6:.2f}): {parts}{flag}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="where whystall was built")
    parser.add_argument("--binary", help="another whystall")
    parser.add_argument("--python", action="append", help="debian, 3.8 ...: only this one (may be repeated)")
    parser.add_argument("--program", action="append", help="only this one (a part of its name; may be repeated)")
    parser.add_argument("--backend", choices=("preload", "ebpf"), default="preload",
                        help="capture with whystall run, or with whystall attach")
    parser.add_argument("--quick", action="store_true", help="a quarter of the programs, three Pythons")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--truth", action="store_true", help="run bare and show what is known of each stall")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was wrong, stall by stall")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    binary = None if options.truth else options.binary or str(pathlib.Path(options.build).absolute() / "whystall")
    wanted = options.python or (QUICK_PYTHONS if options.quick else PYTHONS)
    programs = [p for p in sorted(PROGRAMS.glob("*.py"))
                if (not options.quick or p.stem in QUICK)
                and (not options.program or any(x in p.stem for x in options.program))]
    figures, failed = {}, False
    for name, python in pythons(wanted).items():
        if name not in wanted:
            continue
        version = version_of(python)
        total, rows = Score(), {}
        print(f"Python {'.'.join(map(str, version))} ({name})", HEADING if binary else "", sep="\n", flush=True)
        for program in programs:
            if lacks(python, program):
                continue
            with tempfile.TemporaryDirectory() as directory:
                result = run_program(binary, python, program, options, pathlib.Path(directory))
            if isinstance(result, str) and result.startswith(SKIP):
                print(f"{program.stem:20} {result}")
                continue
            if isinstance(result, str):
                score = Score()
                score.failures.append(f"{program.stem}: {result}")
                print(f"{program.stem:20} {result.splitlines()[-1]}")
            elif not binary:
                show_truth(program.stem, result[1], program)
                continue
            else:
                score = score_program(program, *result, version)
                print(row(program.stem, score), flush=True)
                if options.verbose:
                    for note in score.notes:
                        print("     ", note)
            rows[program.stem] = score
            total.add(score)
        if not binary:
            continue
        print(row("all", total))
        worst = max(total.errors, default=(0, 0, 1))
        print(f"worst duration error {worst[0] / 1e6:.2f} ms of {worst[2] / 1e6:.0f} ms")
        for sentence in total.missed():
            print(f"MISSED: {sentence}")
        print(flush=True)
        failed = failed or bool(total.missed())
        figures[name] = {
            "version": ".".join(map(str, version)), "expected": total.expected, "found": total.found,
            "false": total.false, "false_in_healthy": total.healthy_false, "within": total.within(),
            **{f: total.share(f) for f in (*PROMISED, "detail", "native")},
            "unknown": total.unknown / total.stalled if total.stalled else None, "missed": total.missed(),
            "programs": {k: {"found": s.found, "expected": s.expected, "false": s.false, "failures": s.failures}
                         for k, s in rows.items()}}
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    if binary and not figures:
        print("no Python to run on")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
