# SPDX-License-Identifier: MIT
"""pytest --whystall-max-stall=50ms: a test in which an event loop stalls for longer fails, with the cause, the culprit's
file and line, and what to do.

The plugin tells the recorder which test runs (a mark of some bytes in shared memory) and, once a test has ended in which
some loop stalled at all, asks `whystall check` about it. Recording needs the shim in the process from its start: without
one, pytest starts itself again under `whystall run`. Under `whystall run -- pytest` or `whystall check -- pytest` the
tests are named without any option."""

import json
import os
import re
import subprocess
import sys
import types
import xml.etree.ElementTree

import pytest

from . import recorder

AGAIN = "WHYSTALL_PYTEST_AGAIN"  # set for the pytest that this one starts
TIME = re.compile(r"(\d+\.?\d*|\.\d+)(us|ms|s|m|h)$")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
MARK_MAX = 480  # bytes
TITLE = "whystall"


class Verdict:
    """A failure's text, as pytest's reports want it."""

    def __init__(self, item_path, message, text):
        self.text = text
        self.reprcrash = types.SimpleNamespace(path=item_path, lineno=0, message=message)

    def toterminal(self, terminal):
        for line in self.text.splitlines():
            terminal.line(line)

    def __str__(self):
        return self.text


class Budget:
    def __init__(self, max_stall=None, ignore=()):
        self.max_stall = max_stall  # None: no limit
        self.ignore = tuple(ignore)

    def options(self):
        return ["--max-stall", self.max_stall] + (["--ignore", ",".join(self.ignore)] if self.ignore else [])


def seconds(text, name):
    """Of "50ms". Raises UsageError: one sentence."""
    match = TIME.match(text) if isinstance(text, str) else None
    if not match:
        number = isinstance(text, (int, float)) or re.match(r"[\d.]+$", text)
        raise pytest.UsageError("whystall: %s %s" % (name, "%s needs a unit, for instance 50ms" % text if number else
                                                     "%r is no time; write it like 250us, 20ms, 1.5s or 2m" % text))
    value = float(match[1]) * SECONDS[match[2]]
    if not 1e-4 <= value <= 86400:
        raise pytest.UsageError("whystall: %s %s: it has to be from 100us to a day" % (name, text))
    return value


def general_budget(config):
    """The Budget for all tests, None: nothing was asked for."""
    text = config.getoption("whystall_max_stall", None) or config.getini("whystall_max_stall")
    if not text:
        return None
    name = "--whystall-max-stall"
    if text != "none":
        seconds(text, name)
    return Budget(None if text == "none" else text, config.getini("whystall_ignore"))


def mark_budget(item, general):
    """Of one test: its marker's, else the general one."""
    mark = item.get_closest_marker("whystall")
    if mark is None:
        return general or Budget()
    unknown = sorted(set(mark.kwargs) - {"max_stall", "ignore"})
    if mark.args or unknown:
        raise pytest.UsageError("whystall: %s: the marker takes max_stall=\"100ms\" and ignore=[...]%s" %
                                (item.nodeid, ", not " + ", ".join(unknown) if unknown else " by name"))
    max_stall = mark.kwargs.get("max_stall", general and general.max_stall)
    if max_stall is not None:
        seconds(max_stall, "%s: max_stall" % item.nodeid)
    ignore = mark.kwargs.get("ignore", general.ignore if general else ())
    return Budget(max_stall, [ignore] if isinstance(ignore, str) else ignore)


def restart(budget):
    """This pytest again, under whystall run: does not return."""
    whystall = recorder.program()
    if whystall is None:
        raise pytest.UsageError("whystall: the program is not on PATH; pip install whystall brings it")
    with open("/proc/self/cmdline", "rb") as words:
        command = [os.fsdecode(word) for word in words.read().split(b"\0")[:-1]]
    threshold = min(0.02, seconds(budget.max_stall, "--whystall-max-stall") if budget.max_stall else 0.02)
    os.environ[AGAIN] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(whystall, [whystall, "run", "-q", "--threshold", "%gus" % (threshold * 1e6), "--", sys.executable,
                        *command[1:]])


def mark_text(nodeid, count):
    """At most MARK_MAX bytes that no other test has."""
    raw = nodeid.encode("utf-8", "backslashreplace")
    if len(raw) <= MARK_MAX:
        return nodeid
    return raw[:MARK_MAX - 16].decode("utf-8", "ignore") + "...#%d" % count


class Watch:
    """Registered where somebody records this process."""

    running = ""  # the mark, for a pytest inside a test to put back

    def __init__(self, config, seen, budget):
        self.config, self.seen, self.budget = config, seen, budget
        self.tests = {}  # by mark: (nodeid, location, budget)
        self.told = set()  # nodeids of those that stalled for too long
        self.stalls = self.before = seen.stalls()
        self.budgets = budget is not None and budget.max_stall is not None

    # --- which test runs ---

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        before, text = Watch.running, mark_text(item.nodeid, len(self.tests))
        self.tests[text] = item.nodeid, item.location, mark_budget(item, self.budget)
        self.text, self.stalls, Watch.running = text, self.seen.stalls(), text
        self.seen.mark(text)
        yield
        self.seen.mark(before)
        Watch.running = before

    # --- whether it stalled ---

    def check(self, text, *options):
        """(status, stdout, stderr) of whystall check"""
        done = subprocess.run([self.program, "check", *options, "--test", text, self.seen.record],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              encoding="utf-8", errors="replace")
        return done.returncode, done.stdout, done.stderr.strip()

    def verdict(self, text):
        """What is wrong with the test of this mark, None: nothing."""
        nodeid, (path, _, _), budget = self.tests[text]
        if budget.max_stall is None:
            return None
        status, out, trouble = self.check(text, "-f", "junit", *budget.options())
        if status in (0, 4):  # 4: there was no loop
            return None
        if status != 1:
            return Verdict(path, trouble, trouble)
        case = xml.etree.ElementTree.fromstring(out).find(".//failure/..")
        failure = case.find("failure")
        message = "an event loop stalled for " + failure.get("message")
        text = "%s\n%s" % (message[0].upper() + message[1:], failure.text.strip())
        if case.get("file"):
            message += ": %s:%s" % (os.path.basename(case.get("file")), case.get("line"))
        return Verdict(path, message, text)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        if call.when == "setup":
            return
        stalls = self.seen.stalls()
        if stalls == self.stalls or self.program is None:
            return
        self.stalls = stalls
        self.seen.sync()
        verdict = self.verdict(self.text)
        if verdict is None or item.nodeid in self.told:
            return
        report = outcome.get_result()
        self.told.add(item.nodeid)
        report.user_properties.append((TITLE, verdict.reprcrash.message))
        if report.passed and not hasattr(report, "wasxfail"):
            report.outcome, report.longrepr = "failed", verdict
        else:
            report.sections.append((TITLE, verdict.text))

    # --- the session ---

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtestloop(self, session):
        yield
        split = hasattr(self.config, "workerinput") or self.config.getoption("dist", "no") != "no"
        if self.seen.stalls() != self.before and self.program and not split:
            self.sweep()

    def sweep(self):
        """Tests whose stall had not ended when they had: known only now."""
        self.seen.sync()
        done = subprocess.run([self.program, "report", "-f", "json", self.seen.record], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode:
            return
        stalled = {stall.get("test") for process in json.loads(done.stdout)["processes"] for stall in process["stalls"]}
        for text in self.tests:
            nodeid, location, _ = self.tests[text]
            verdict = self.verdict(text) if text in stalled and nodeid not in self.told else None
            if verdict is not None:
                self.config.hook.pytest_runtest_logreport(report=pytest.TestReport(
                    nodeid, location, {}, "failed", verdict, "teardown",
                    user_properties=[(TITLE, verdict.reprcrash.message)]))

    def pytest_runtest_logreport(self, report):
        if any(name == TITLE for name, _ in report.user_properties):
            self.told.add(report.nodeid)  # also those of other processes' tests

    def pytest_sessionstart(self):
        self.program = recorder.program() if self.seen.record else None
        if self.budgets and self.program is None:
            raise pytest.UsageError("whystall: the program is not on PATH; pip install whystall brings it")
        if self.budgets:
            self.seen.sync()
            self.judge(self.budget, "--whystall-max-stall")

    def judge(self, budget, who):
        """Whether the program takes it: a cause that is none, a limit below what is recorded."""
        options = budget.options()
        status, _, trouble = self.check("", *options)
        if status == 2:
            raise pytest.UsageError("%s (%s)" % (trouble, who))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        judged = set()
        for item in items:
            if item.get_closest_marker("whystall") is None:
                continue
            budget = mark_budget(item, self.budget)
            key = tuple(budget.options()) if budget.max_stall else None
            if key and key not in judged and self.program:
                judged.add(key)
                self.judge(budget, item.nodeid)

    def pytest_report_header(self):
        if self.budgets:
            return "whystall: at most %s a stall, record %s" % (self.budget.max_stall, self.seen.record)
        return None

    def pytest_terminal_summary(self, terminalreporter):
        if self.told:
            terminalreporter.write_line("whystall: in %d test%s an event loop stalled for too long; see also whystall "
                                        "report %s" % (len(self.told), "" if len(self.told) == 1 else "s",
                                                       self.seen.record))


class Unwatched:
    """Registered where nobody records, and nobody asked for it: says so if a test has a budget of its own."""

    def __init__(self):
        self.budgets = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        self.budgets = sum(mark_budget(item, None).max_stall is not None for item in items
                           if item.get_closest_marker("whystall"))

    def pytest_terminal_summary(self, terminalreporter):
        if self.budgets:
            terminalreporter.write_line("whystall: %d test%s a stall budget, but nobody records: pytest "
                                        "--whystall-max-stall=none, or whystall run -- pytest" %
                                        (self.budgets, " has" if self.budgets == 1 else "s have"))


def pytest_addoption(parser):
    group = parser.getgroup("whystall", "event loops that stall")
    group.addoption("--whystall-max-stall", metavar="TIME", dest="whystall_max_stall",
                    help="a test in which an event loop stalls for longer fails, with the culprit (50ms, 1.5s; none: "
                         "only tests that have a marker)")
    parser.addini("whystall_max_stall", "the same", default="")
    parser.addini("whystall_ignore", "causes that do not count (default: runqueue and stopped)", type="args",
                  default=[])


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config):
    """Before anything is captured, collected or imported: the one moment for starting again."""
    options = early_config.known_args_namespace
    text = getattr(options, "whystall_max_stall", None) or early_config.getini("whystall_max_stall")
    if text and not (options.help or options.version) and AGAIN not in os.environ and recorder.find() is None:
        budget = Budget(None if text == "none" else text)
        if budget.max_stall:
            seconds(budget.max_stall, "--whystall-max-stall")
        if list(early_config.invocation_params.args) == sys.argv[1:]:
            restart(budget)
    yield


def pytest_configure(config):
    config.addinivalue_line("markers", "whystall(max_stall=\"100ms\", ignore=[\"runqueue\"]): the longest stall of an event "
                                       "loop allowed in this test, and causes that do not count")
    again = os.environ.pop(AGAIN, None)
    seen, budget = recorder.find(), general_budget(config)
    if seen is not None:
        config.pluginmanager.register(Watch(config, seen, budget), "whystall-watch")
    elif budget is None:
        config.pluginmanager.register(Unwatched(), "whystall-unwatched")
    elif again:
        raise pytest.UsageError("whystall: it cannot be loaded into %s; whystall run -- %s says why" %
                                (sys.executable, sys.executable))
    elif not (config.option.help or config.option.version):
        raise pytest.UsageError("whystall: --whystall-max-stall wants a pytest that was started as a command; "
                                "start this one with whystall run -- COMMAND")
