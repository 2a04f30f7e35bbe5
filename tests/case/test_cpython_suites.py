# SPDX-License-Identifier: MIT
"""CPython's own tests give the same results under the shim as without it: nobody tests threads, signals, processes and
sockets more closely. Each module runs bare and under `whystall run`, side by side; a test that came out differently is
tried again both ways, and is ours if it never came out under the shim as it did bare."""

import collections
import functools
import json
import subprocess

import pytest

from conftest import PROGRAMS, pythons

DRIVER = PROGRAMS / "cpython_suite.py"
TRIES = 4
MODULES = ("test_threading", "test_signal", "test_subprocess", "test_socket", "test_asyncio", "test_concurrent_futures",
           "test_multiprocessing_fork", "test_multiprocessing_forkserver", "test_multiprocessing_spawn")
# Hang in a virtual machine, bare too, and would be waited for each time.
NEVER = ["test.test_socket.ThreadedVSOCKSocketStreamTest"]
# Of each kind some, a second long at most; what is not in a version is not run there.
QUICK = {
    "test_signal": ["test.test_signal." + c for c in (
        "PosixTests", "WakeupFDTests", "WakeupSocketSignalTests", "PendingSignalsTests.test_pthread",
        "PendingSignalsTests.test_sigpending", "PendingSignalsTests.test_sigwait_thread", "RaiseSignalTest",
        "PidfdSignalTest")],
    "test_threading": ["test.test_threading." + c for c in (
        "ThreadTests", "LockTests", "CRLockTests", "EventTests", "ThreadJoinOnShutdown", "SubinterpThreadingTests")],
    "test_subprocess": ["test.test_subprocess." + c for c in (
        "POSIXProcessTestCase.test_close_fds", "POSIXProcessTestCase.test_pass_fds",
        "POSIXProcessTestCase.test_preexec", "POSIXProcessTestCase.test_exception", "POSIXProcessTestCase.test_run_abort",
        "POSIXProcessTestCase.test_small_errpipe_write_fd", "POSIXProcessTestCase.test_stopped",
        "ProcessTestCase.test_empty_env", "ProcessTestCase.test_env", "ProcessTestCase.test_one_environment",
        "ProcessTestCase.test_no_leaking", "ProcessTestCase.test_file_not_found", "ProcessTestCase.test_poll")],
}


@functools.lru_cache(None)
def has_tests(python):
    return not subprocess.run([python, "-c", "import test.test_signal, test.test_asyncio"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode


def versions(*names):
    return [name for name in names if name in pythons() and has_tests(pythons()[name])]


class Suite:
    """One module in one Python, bare or not."""

    def __init__(self, binary, python, module, directory):
        self.binary, self.python, self.module, self.directory = binary, python, module, directory
        self.runs = 0

    def start(self, under, choice):
        self.runs += 1
        stem = self.directory / f"{self.runs}"
        stem.with_suffix(".json").write_text(json.dumps(choice))
        command = [self.python, str(DRIVER), str(stem), self.module, str(stem.with_suffix(".json"))]
        if under:
            self.record = stem.with_suffix(".whystall")
            command = [self.binary, "run", "-q", "-o", str(self.record), "--", *command]
        with open(stem.with_suffix(".log"), "wb") as log:
            return stem, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def finish(self, stem, process, outcomes):
        """Adds to {test: {outcome: how often}}; returns the test in which the process died."""
        process.wait(timeout=1800)
        under_way = "(the process)"
        for line in stem.read_text().splitlines() if stem.exists() else []:
            word, *rest = line.split(" ", 2)
            if word == "begin":
                under_way = line.split(" ", 1)[1]
            elif word == "end":
                outcomes[rest[1]][rest[0]] += 1
                under_way = "(between the tests)"
            else:
                return None
        outcomes[under_way]["died"] += 1
        return under_way

    def both(self, choice):
        """({test: {outcome: how often}} bare, the same under the shim). What dies is gone on with, without that test."""
        results = [collections.defaultdict(collections.Counter) for _ in range(2)]
        left = [dict(choice, **{"not": NEVER[:]}) for _ in range(2)]
        while any(left):
            started = [self.start(i == 1, c) if c else None for i, c in enumerate(left)]
            for i, run in enumerate(started):
                dead = self.finish(*run, results[i]) if run else None
                left[i] = dict(left[i], **{"not": NEVER + list(results[i])}) if dead else None
                if dead and dead.startswith("("):
                    left[i] = None
        return results


def differences(suite, choice):
    """{test: (outcomes bare, outcomes under the shim)} of those that never agree, and those that do sometimes."""
    bare, under = suite.both(choice)
    assert len(under) > 10, "hardly a test has run"
    doubtful = [t for t in {**bare, **under} if bare[t] != under[t]]
    for _ in range(TRIES):
        if not doubtful:
            break
        again = suite.both({"only": doubtful})
        for before, now in zip((bare, under), again):
            for test in doubtful:
                before[test] += now[test]
    told = {t: (dict(bare[t]), dict(under[t])) for t in doubtful}
    broken = {t: o for t, o in told.items() if not set(o[0]) & set(o[1])}
    return broken, {t: o for t, o in told.items() if t not in broken}


def compared(binary, python, module, directory, choice):
    suite = Suite(binary, python, module, directory)
    broken, flaky = differences(suite, choice)
    text = subprocess.run([binary, "report", "-f", "json", suite.record], stdout=subprocess.PIPE, check=True).stdout
    process = json.loads(text)["processes"][0]
    assert process["backend"] == "preload" and process["runtime"]["name"] == "cpython" and process["note"] is None
    if flaky:
        print("come out one way or the other:", json.dumps(flaky, indent=1))
    assert not broken, json.dumps(broken, indent=1)


@pytest.mark.parametrize("module", QUICK)
def test_some_of_cpythons_tests_give_the_same_results(binary, tmp_path, module):
    for version in versions("debian", "3.13", "3.8")[:1]:
        compared(binary, pythons()[version], module, tmp_path, {"only": QUICK[module]})


@pytest.mark.all
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("version", versions("3.8", "debian", "3.13"))
def test_cpythons_own_tests_give_the_same_results(binary, tmp_path, version, module):
    compared(binary, pythons()[version], module, tmp_path, {})
