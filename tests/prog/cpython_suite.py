# SPDX-License-Identifier: MIT
"""Runs one module of CPython's own tests in this interpreter and appends a line for each test to a file:

    python cpython_suite.py OUT MODULE [CHOICE]

`begin ID`, then `end OUTCOME ID`: what was under way when the process died or hung is told too. CHOICE is a JSON file,
{"only": [...], "not": [...]}: IDs of tests, or their beginnings. unittest's runner rather than CPython's regrtest,
which tells outcomes only at its end."""

import faulthandler
import json
import os
import sys
import tempfile
import unittest

ONE_TEST = 150  # seconds: the longest take 20


class Told(unittest.TextTestResult):
    out = pid = None

    def tell(self, *words):
        if os.getpid() == self.pid:  # a test may fork, and the child come back here
            os.write(self.out, (" ".join(words) + "\n").encode())

    def startTest(self, test):
        super().startTest(test)
        self.outcome = "ok"
        self.tell("begin", test.id())
        faulthandler.dump_traceback_later(ONE_TEST, exit=True)

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        self.tell("end", self.outcome, test.id())
        super().stopTest(test)

    def outcome_of(self, test, outcome):
        if isinstance(test, unittest.TestCase):
            self.outcome = outcome
        else:  # setUpClass or setUpModule
            self.tell("end", outcome, test.id())

    def addError(self, test, err):
        super().addError(test, err)
        self.outcome_of(test, "error")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.outcome_of(test, "failure")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.outcome = "failure"

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if self.outcome_now(test) == "ok":  # of a subtest: the test may have failed already
            self.outcome_of(test, "skip")

    def outcome_now(self, test):
        return self.outcome if isinstance(test, unittest.TestCase) else "ok"

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.outcome = "expected"

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.outcome = "unexpected"


def flat(suite):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from flat(part)
        else:
            yield part


def chosen(suite, choice):
    only, never = tuple(choice.get("only", [""])), tuple(choice.get("not", []))
    return unittest.TestSuite(t for t in flat(suite) if t.id().startswith(only) and not t.id().startswith(never))


def main():
    out, module = sys.argv[1:3]
    choice = {}
    if len(sys.argv) > 3:
        with open(sys.argv[3]) as file:
            choice = json.load(file)
    del sys.argv[1:]
    from test import support

    support.verbose = 1
    support.use_resources = []  # no network, no gigabytes
    Told.out = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    Told.pid = os.getpid()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        suite = chosen(unittest.defaultTestLoader.loadTestsFromName("test." + module), choice)
        unittest.TextTestRunner(verbosity=2, resultclass=Told).run(suite)
        os.chdir("/")
    os.write(Told.out, b"done\n")


if __name__ == "__main__":
    main()
