# SPDX-License-Identifier: MIT
"""pytest --whystall-max-stall=50ms: a test in which an event loop stalls for longer fails, with the cause, the culprit's
file and line, and what to do.

The plugin tells the recorder which test runs (a mark of some bytes in shared memory) and, once a test has ended in which
some loop stalled at all, asks `whystall check` about it. With a budget it starts a recorder beside pytest; under
`whystall run -- pytest` or `whystall check -- pytest` there is one, and the tests are named without any option."""

import os

import pytest

from . import recorder

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}  # us and ms before s
MARK_MAX = 480  # bytes
TITLE = "whystall"  # of the marker, and of what reports have of ours


def shown(path):
    """As a shell takes it, and short."""
    home = os.path.expanduser("~")
    return "~" + path[len(home):] if len(home) > 1 and path.startswith(home + "/") else path


class Stall(pytest.fail.Exception):
    """What is raised in a test for its loop's sake."""

    __module__ = "builtins"  # as pytest's own: reports say "Stall: ..."

    def __init__(self, text):
        super().__init__(text, pytrace=False)

    def info(self):
        try:
            raise self
        except Stall:
            return pytest.ExceptionInfo.from_current()


class Budget:
    def __init__(self, max_stall=None, ignore=()):
        self.max_stall = max_stall  # None: no limit
        self.ignore = tuple(ignore)

    def options(self):
        # what the machine is to blame for never counts
        return ["--max-stall", self.max_stall, "--ignore", ",".join(("runqueue", "stopped", *self.ignore))]


def seconds(text, name):
    """Of "50ms". Raises UsageError: one sentence."""
    text = str(text)
    unit = next((unit for unit in SECONDS if text.endswith(unit)), "")
    number = text[:len(text) - len(unit)]
    if not unit or not number.isascii() or not number.replace(".", "", 1).isdigit():
        raise pytest.UsageError("whystall: %s %s" % (name, "%s needs a unit, for instance 50ms" % text
                                                     if text.replace(".", "", 1).isdigit() else
                                                     "%r is no time; write it like 250us, 20ms, 1.5s or 2m" % text))
    value = float(number) * SECONDS[unit]
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
    mark = item.get_closest_marker(TITLE)
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


def marked(items):
    """Those with a marker of their own or their class's or module's (asked once for all in it)."""
    parents = {}
    for item in items:
        if item.parent not in parents:
            parents[item.parent] = item.parent.get_closest_marker(TITLE) is not None
        if parents[item.parent] or any(mark.name == TITLE for mark in item.own_markers):
            yield item


def attempt(config, call, *arguments):
    """What the recorder's call returns; None if it cannot: no reason for a suite not to run unless its command line asks."""
    try:
        return call(*arguments)
    except recorder.Trouble as trouble:
        if config.known_args_namespace.whystall_max_stall:
            raise pytest.UsageError("whystall: %s" % trouble)
        config.whystall_trouble = str(trouble)
        return None


def mark_text(nodeid, tests):
    """At most MARK_MAX bytes that none of these tests has."""
    raw = nodeid.encode("utf-8", "backslashreplace")
    text = nodeid if len(raw) <= MARK_MAX else raw[:MARK_MAX - 16].decode("utf-8", "ignore") + "...#%d" % len(tests)
    if text in tests:  # once more, by a plugin that does so
        text += " (run %d)" % (2 + sum(n == nodeid for t, n in tests.items() if t.startswith(text + " (run ")))
    return text


class Watch:
    """Registered where somebody records this process."""

    running = ""  # the latest mark of this process; a pytest inside a test puts back what it found

    def __init__(self, config, seen, budget):
        self.config, self.seen, self.budget = config, seen, budget
        self.tests = {}  # nodeids by mark
        self.told = set()  # marks of those that stalled for too long
        self.silent = False  # the recorder does not answer any more
        self.lost = False
        self.before = Watch.running
        self.stalls = self.first = seen.stalls()
        self.program = recorder.program() if seen.record else None

    # --- which test runs (plain hooks that do little: a suite of trivial tests has little to do either) ---

    def pytest_runtest_logstart(self, nodeid):
        text = nodeid
        if 4 * len(nodeid) > MARK_MAX or nodeid in self.tests:
            text = mark_text(nodeid, self.tests)
        self.tests[text] = nodeid
        Watch.running = text
        self.seen.mark(text)

    # --- whether it stalled ---

    def ask(self, *words):
        """(status, stdout, stderr) of the program"""
        import subprocess

        done = subprocess.run([self.program, *words, self.seen.record], stdin=subprocess.DEVNULL, encoding="utf-8",
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.returncode, done.stdout, done.stderr.strip()

    def sync(self):
        self.silent = self.silent or not self.seen.sync()
        return not self.silent

    def verdict(self, text, item):
        """What is wrong with the test of this mark, a Stall; None: nothing."""
        budget = mark_budget(item, self.budget)
        if budget.max_stall is None or self.program is None:
            return None
        status, out, trouble = self.ask("check", "-f", "junit", "--test", text, *budget.options())
        if status == 0 or "no event loop was seen" in trouble:
            return None
        if "check: no test " in trouble:  # the mark did not come through
            self.lost = True
            return None
        if status != 1:
            return Stall(trouble)
        import xml.etree.ElementTree

        case = xml.etree.ElementTree.fromstring(out).find(".//failure/..")
        failure, place = case.find("failure"), case.get("file")
        if place:
            near = os.path.relpath(place, str(item.config.rootdir))
            place = ": %s:%s" % (os.path.basename(place) if near.startswith("..") else near, case.get("line"))
        return Stall("loop stalled %s%s\n%s" % (failure.get("message"), place or "", failure.text.strip()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        if call.when == "setup":
            return
        stalls = self.seen.stalls()
        if stalls == self.stalls or Watch.running in self.told:
            return
        self.stalls = stalls
        stall = self.verdict(Watch.running, item) if self.sync() else None
        if stall is None:
            return
        self.told.add(Watch.running)
        item.user_properties.append((TITLE, stall.msg.splitlines()[0]))
        if call.excinfo is None:
            call.excinfo = stall.info()
        else:
            item.add_report_section(call.when, TITLE, stall.msg)

    # --- the session ---

    def budget_check(self, budget, who):
        """Can it be judged by what is recorded? Raises UsageError: one sentence."""
        if budget.max_stall is None:
            return
        if self.program is None:
            raise pytest.UsageError("whystall: the program is not on PATH; pip install whystall brings it")
        if seconds(budget.max_stall, who) < self.seen.threshold:
            raise pytest.UsageError("whystall: %s %s is below the %gms from which on a tick is recorded as a stall; whystall "
                                    "run --threshold %s -- pytest" % (who, budget.max_stall, self.seen.threshold * 1e3,
                                                                      budget.max_stall))
        status, _, trouble = self.ask("check", "--test", "", *budget.options()) if budget.ignore else (0, "", "")
        if status == 2:
            raise pytest.UsageError("%s (%s)" % (trouble, who))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        checked = set()
        if self.budget is not None:
            self.budget_check(self.budget, "--whystall-max-stall")
        for item in marked(items):
            budget = mark_budget(item, self.budget)
            key = budget.max_stall, budget.ignore
            if key not in checked:
                self.budget_check(budget, item.nodeid + ": max_stall")
            checked.add(key)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtestloop(self, session):
        yield
        Watch.running = self.before  # not after each test: nothing of the suite's runs between two
        self.seen.mark(self.before)
        if self.seen.stalls() != self.first and self.program and not hasattr(self.config, "workerinput"):
            self.sweep({item.nodeid: item for item in session.items})

    def sweep(self, items):
        """Tests whose stall had not ended when they had: known only now."""
        import json

        status, out, _ = self.ask("report", "-f", "json") if self.sync() else (1, "", "")
        processes = [] if status else json.loads(out)["processes"]
        stalled = {stall.get("test") for process in processes for stall in process["stalls"]}
        for text in self.tests:
            item = items.get(self.tests[text])
            stall = self.verdict(text, item) if text in stalled and item and text not in self.told else None
            if stall is not None:
                self.told.add(text)
                self.config.hook.pytest_runtest_logreport(report=pytest.TestReport(
                    item.nodeid, item.location, {}, "failed", stall.info().getrepr(style="value"), "teardown",
                    user_properties=[(TITLE, stall.msg.splitlines()[0])]))

    def pytest_report_header(self):
        if self.budget is not None and self.budget.max_stall:
            return "whystall: at most %s a stall, record %s" % (self.budget.max_stall, shown(self.seen.record))
        return None

    def pytest_terminal_summary(self, terminalreporter):
        if self.silent or self.lost:
            terminalreporter.write_line("whystall: the recorder %s: not all tests were judged" %
                                        ("does not answer any more" if self.silent else "did not get every test's name"))
        if self.told:
            terminalreporter.write_line("whystall: in %d test%s an event loop stalled for too long; see also whystall "
                                        "report %s" % (len(self.told), "" if len(self.told) == 1 else "s",
                                                       shown(self.seen.record)))


class Gather:
    """Registered instead of Watch where other processes run the tests (pytest-xdist)."""

    def __init__(self, seen):
        self.seen, self.told, self.silent, self.lost = seen, set(), False, False

    def pytest_runtest_logreport(self, report):
        if any(name == TITLE for name, _ in report.user_properties):
            self.told.add(report.nodeid)

    pytest_terminal_summary = Watch.pytest_terminal_summary


class Unwatched:
    """Registered where nobody records: says so if a test has a budget all the same."""

    def __init__(self, budget, trouble):
        self.budget, self.trouble, self.budgets = budget, trouble, 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        chosen = items if self.budget and self.budget.max_stall else marked(items)
        self.budgets = sum(mark_budget(item, self.budget).max_stall is not None for item in chosen)

    def pytest_terminal_summary(self, terminalreporter):
        if self.budgets:
            terminalreporter.write_line("whystall: %d test%s a stall budget, but nobody records: %s" %
                                        (self.budgets, " has" if self.budgets == 1 else "s have",
                                         self.trouble or "pytest --whystall-max-stall=none, or whystall run -- COMMAND"))


def pytest_addoption(parser):
    group = parser.getgroup("whystall", "event loops that stall")
    group.addoption("--whystall-max-stall", metavar="TIME", dest="whystall_max_stall",
                    help="a test in which an event loop stalls for longer fails, with the culprit (50ms, 1.5s; none: "
                         "only tests that have a marker)")
    parser.addini("whystall_max_stall", "the same", default="")
    parser.addini("whystall_ignore", "causes that do not count (runqueue and stopped never do)", type="args",
                  default=[])


def runs_tests(options):
    return not (options.help or options.version or options.collectonly)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config):
    """As early as can be: the recorder comes up while pytest does."""
    options = early_config.known_args_namespace
    text = getattr(options, "whystall_max_stall", None) or early_config.getini("whystall_max_stall")
    if text and runs_tests(options) and recorder.find() is None:
        limit = 0.02 if text == "none" else min(0.02, seconds(text, "--whystall-max-stall"))
        early_config.whystall_start = attempt(early_config, recorder.Start, limit)
    yield


def pytest_configure(config):
    config.addinivalue_line("markers", "whystall(max_stall=\"100ms\", ignore=[\"syscall\"]): the longest stall of an event "
                                       "loop allowed in this test, and causes that do not count")
    start = getattr(config, "whystall_start", None)
    seen, budget = attempt(config, start.ready) if start else recorder.find(), general_budget(config)
    if seen is not None:
        gathers = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
        config.pluginmanager.register(Gather(seen) if gathers else Watch(config, seen, budget), "whystall-watch")
    elif runs_tests(config.option):
        trouble = getattr(config, "whystall_trouble", None)
        config.pluginmanager.register(Unwatched(budget, trouble), "whystall-unwatched")
