# SPDX-License-Identifier: MIT
"""`make check`: builds and tests everything, goes on after a failure, and ends with one line that sums it up.

Each unit test, each pytest case and each program of the accuracy set on each Python counts as one; so does a step that
only passes or fails (a build, a linter)."""

import argparse
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

# The cases that whystall also goes through under sanitizers, with --all all of them but CPython's, which are the shim's.
SANITIZED = ("check", "cli", "diff", "export", "large")
SUITES = "tests/case/test_cpython_suites.py"
ROOT = pathlib.Path(__file__).resolve().parent.parent


def shortened(text):
    """Its beginning and its end."""
    return text if len(text) < 12000 else f"{text[:6000]}\n[...]\n{text[-6000:]}"


class Check:
    def __init__(self, options):
        self.build, self.make = options.build, options.make.split()
        self.all = options.all
        self.passed = self.failed = self.skipped = 0
        self.trouble = []
        self.log = pathlib.Path(tempfile.mkdtemp(prefix="whystall-check."))

    def count(self, name, passed=0, failed=0, skipped=0, seconds=0.0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        if failed:
            self.trouble.append(name)
        skip = f", {skipped} skipped" if skipped else ""
        print(f"=== {name}: {passed} passed, {failed} failed{skip} ({seconds:.0f} s)", flush=True)

    def step(self, name, command, **more):
        """A command that passes or fails; says what it said only if it fails."""
        begin = time.time()
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", **more)
        if done.returncode:
            print(shortened(done.stdout), flush=True)
        self.count(name, int(done.returncode == 0), int(done.returncode != 0), 0, time.time() - begin)
        return done.returncode == 0

    def built(self, name, build, *goals, **variables):
        settings = [f"{k}={v}" for k, v in variables.items()]
        return self.step(name, [*self.make, "--no-print-directory", f"BUILD={build}", *settings, *goals])

    def units(self, name, build, **environment):
        begin, passed, failed, skipped = time.time(), 0, 0, 0
        for program in sorted(glob.glob(str(ROOT / build / "tests" / "unit" / "*_test"))):
            done = subprocess.run([program], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace", timeout=600,
                                  env=dict(os.environ, CMOCKA_MESSAGE_OUTPUT="STDOUT", **environment))
            fine = len(re.findall(r"^\[ +OK +\]", done.stdout, re.M))
            skip = len(re.findall(r"^\[  SKIPPED \] \w+$", done.stdout, re.M))
            bad = len(set(re.findall(r"^\[  FAILED  \] (\w+)$", done.stdout, re.M)))
            if done.returncode and not bad:
                bad = 1  # it crashed, or a sanitizer spoke
            if bad:
                print(f"--- {os.path.basename(program)}: status {done.returncode}\n{shortened(done.stdout)}", flush=True)
            passed, failed, skipped = passed + fine, failed + bad, skipped + skip
        self.count(name, passed, failed, skipped, time.time() - begin)

    def cases_run(self, out, *which):
        """(how many, how many were skipped, the names of those that failed) of pytest's cases."""
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-rfE", f"--junitxml={out}", *which]
                       + ([] if self.all else ["-m", "not all"]), cwd=ROOT, stdin=subprocess.DEVNULL,
                       env=dict(os.environ, WHYSTALL=str((ROOT / self.build / "whystall").resolve()),
                                PYTHONDONTWRITEBYTECODE="1"))
        try:
            suite = xml.etree.ElementTree.parse(out).getroot().find("testsuite")
        except (OSError, xml.etree.ElementTree.ParseError):
            return 1, 0, ["pytest"]
        failed = [f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}" for case in suite.iter("testcase")
                  if case.find("failure") is not None or case.find("error") is not None]
        return int(suite.get("tests")), int(suite.get("skipped")), failed

    def cases(self):
        """One to three of a thousand that fail, as a machine that other work shares makes some that are about time: each is
        run three times more, and has failed unless it passes every time. Told either way: a race that is ours is no noise."""
        begin = time.time()
        tests, skipped, failed = self.cases_run(self.log / "cases.xml")
        if 0 < len(failed) <= 3 and tests > 100:
            first, failed = failed, set()
            for k in range(3):
                failed.update(self.cases_run(self.log / f"again{k}.xml", *first)[2])
            for name in sorted(set(first) - failed):
                print(f"=== failed once, and then passed three times: {name}", flush=True)
        self.count("cases", tests - len(failed) - skipped, len(failed), skipped, time.time() - begin)

    def cases_sanitized(self, build):
        """Cases with a whystall that watches itself, as one that fails if a sanitizer speaks or hardly a case passes: the
        figures that some expect are not to be had so slowly. The shim lives in other programs and has no room for it."""
        begin = time.time()
        shutil.copy2(ROOT / self.build / "libwhystall.so", ROOT / build / "libwhystall.so")
        options = f"detect_leaks=0:log_path={self.log / 'sanitizer'}"
        files = [] if self.all else [f"tests/case/test_{n}.py" for n in SANITIZED]
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "not all", "--ignore", SUITES, *files], cwd=ROOT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
                              env=dict(os.environ, WHYSTALL=str((ROOT / build / "whystall").resolve()),
                                       PYTHONDONTWRITEBYTECODE="1", ASAN_OPTIONS=options,
                                       UBSAN_OPTIONS="print_stacktrace=1:" + options))
        said = "".join(p.read_text(errors="replace") for p in sorted(self.log.glob("sanitizer.*")))
        said += "".join(re.findall(r".*runtime error:.*\n(?:.*\n){0,20}", done.stdout))  # gcc's UBSan knows no log_path
        passed, failed = (int((re.search(rf"(\d+) {w}", done.stdout) or (0, 0))[1]) for w in ("passed", "failed"))
        if said or passed < 5 * failed:
            print(shortened(said or done.stdout), flush=True)
        wrong = bool(said) or not passed or passed < 5 * failed
        self.count(f"{passed} cases under ASan and UBSan", int(not wrong), int(wrong), 0, time.time() - begin)

    def recorder_under_tsan(self, build):
        """Its two threads: one watches, one writes."""
        if not self.built("build whystall with TSan", build, f"{build}/whystall", CC="clang", CFLAGS="-O1 -g -fsanitize=thread"):
            return
        shutil.copy2(ROOT / self.build / "libwhystall.so", ROOT / build / "libwhystall.so")
        self.step("the recorder under TSan", [f"{build}/whystall", "run", "-q", "-o", str(self.log / "tsan.whystall"), "--",
                                              "/usr/bin/python3", "tests/bench/stalls.py"],
                  env=dict(os.environ, TSAN_OPTIONS="halt_on_error=1 exitcode=66"))
        said = subprocess.run([f"{build}/whystall", "report", str(self.log / "tsan.whystall")], cwd=ROOT,
                              stdout=subprocess.PIPE, text=True).stdout
        self.count("the record that it made", int(" stalled " in said), int(" stalled " not in said))

    def accuracy(self, backend):
        begin, out = time.time(), self.log / f"accuracy-{backend}.json"
        subprocess.run([sys.executable, "tests/accuracy/score.py", "--build", self.build, "--backend", backend, "--json",
                        str(out)] + ([] if self.all else ["--quick"]), cwd=ROOT, stdin=subprocess.DEVNULL)
        passed = failed = 0
        try:
            for figures in json.loads(out.read_text()).values():
                programs = figures["programs"].values()
                bad = sum(bool(p["failures"]) or p["found"] < p["expected"] for p in programs)
                passed += len(programs) - bad
                # what is promised of all programs together is one more case
                failed += bad
                failed, passed = (failed + 1, passed) if figures["missed"] else (failed, passed + 1)
        except (OSError, ValueError):
            failed = 1
        self.count(f"accuracy of {'run' if backend == 'preload' else 'attach'}", passed, failed or int(not passed), 0, time.time() - begin)

    def run(self):
        begin = time.time()
        # what a sanitizer adds leads gcc astray about lengths
        sanitize = ("-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -Wno-format-truncation "
                    "-Wno-maybe-uninitialized")
        fixtures = [f"{self.build}/tests/accuracy/hold.so", f"{self.build}/tests/bench/lock", f"{self.build}/tests/bench/waits"]
        if self.built("build with gcc", self.build, "all", *fixtures, "CC=gcc"):
            if self.built("build the units", self.build, "unit-build"):
                self.units("units", self.build)
            self.cases()
            self.accuracy("preload")
            if os.geteuid() == 0:
                self.accuracy("ebpf")
        self.built("build with clang", f"{self.build}/clang", "all", "CC=clang")
        if self.built("build the units with ASan and UBSan", f"{self.build}/asan", "unit-build", CFLAGS=sanitize):
            self.units("units under ASan and UBSan", f"{self.build}/asan", UBSAN_OPTIONS="print_stacktrace=1")
        asan = f"{self.build}/asan"
        if self.built("build whystall with ASan and UBSan", asan, f"{asan}/whystall", CFLAGS=sanitize):
            self.cases_sanitized(asan)
        ring = f"{self.build}/ring_tsan"
        if self.step("build the ring's test with TSan", ["clang", "-std=gnu11", "-D_GNU_SOURCE", "-I.", "-g", "-O1", "-fsanitize=thread",
                                                    "-o", ring, "tests/unit/ring_test.c", "-lcmocka"]):
            self.step("the ring under TSan", [ring])
        if self.all:
            self.recorder_under_tsan(f"{self.build}/tsan")
        self.built("lint", self.build, "lint")
        if self.all:
            self.step("fuzzers, 20 s each", [*self.make, "--no-print-directory", f"BUILD={self.build}", "fuzz", "ARGS=--seconds 20"])
            self.step("demo", [sys.executable, "demo/demo.py", "--build", self.build])
        for name in self.trouble:
            print(f"FAILED: {name}")
        print(f"{(time.time() - begin) / 60:.1f} minutes")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed else 0


def main():
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:  # as a shell's `&` has it: the cases send these
            signal.signal(number, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--make", default="make")
    parser.add_argument("--all", action="store_true", help="and what takes long")
    return Check(parser.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
