# SPDX-License-Identifier: MIT
"""whystall export: each format as its readers take it, and the same figures as the report's."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree

import pytest

from conftest import DEBIAN
from fetch import npm, python_path
from perfetto_trace import PerfettoTrace
from test_check import SICK


@pytest.fixture(scope="module")
def record(binary, tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    (place / "sick.py").write_text(SICK)
    subprocess.run([binary, "run", "-q", "-o", place / "record", "--", DEBIAN, place / "sick.py"], check=True,
                   timeout=60)
    return place / "record"


@pytest.fixture(scope="module")
def export(binary, record):
    def call(form):
        done = subprocess.run([binary, "export", "-f", form, record], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=30)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout

    return call


@pytest.fixture
def document(report, record):
    return report(record)


def stalled(document):
    return sum(loop["stalls"]["total_s"] for p in document["processes"] for loop in p["loops"])


def test_jsonl_has_the_stalls_of_the_report(export, document):
    process = document["processes"][0]
    lines = [json.loads(line) for line in export("jsonl").splitlines()]
    assert len(lines) == len(process["stalls"]) >= 2
    for line, stall in zip(lines, process["stalls"]):
        assert {key: line[key] for key in stall} == stall
        assert line["pid"] == process["pid"] and line["command"] == process["command"]
        assert line["thread"] == "MainThread" and line["schema"] == "whystall.stall/1" and len(line["run_id"]) == 36


def test_folded_weighs_the_stalled_time_by_culprit(export, document):
    total = 0
    for line in export("folded").splitlines():
        stack, weight = line.rsplit(" ", 1)
        frames = stack.split(";")
        assert frames[0] in ("gil", "lock", "cpu", "syscall", "runqueue", "gc", "fault", "unknown")
        assert len(frames) >= 3 and all(frames)
        total += int(weight)
        if frames[0] == "gil" and int(weight) > 100000:
            assert frames[1] == "worker" and "heavy (sick.py:6)" in frames
    assert abs(total / 1e6 - stalled(document)) < 0.001
    assert "heavy (sick.py:6)" in export("folded")


def test_speedscope_is_by_its_format(export, document):
    import jsonschema

    trace = json.loads(export("speedscope"))
    schema = json.loads((npm("speedscope", "1.25.0") / "dist" / "release" / "file-format-schema.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(trace)
    wrong = dict(trace, profiles=[dict(trace["profiles"][0], weights="none")])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validators.validator_for(schema)(schema).validate(wrong)
    frames = trace["shared"]["frames"]
    for profile in trace["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"]) > 0
        assert all(index < len(frames) for sample in profile["samples"] for index in sample)
        assert abs(sum(profile["weights"]) - profile["endValue"]) < 1e-6
    assert abs(sum(p["endValue"] for p in trace["profiles"]) - stalled(document)) < 0.001
    named = [[frames[i]["name"] for i in s] for p in trace["profiles"] for s in p["samples"]]
    assert any(s[:2] == ["gil", "worker"] and "heavy" in s for s in named)


def test_perfetto_slices_nest_and_arrows_join_them(export, document):
    events = json.loads(export("perfetto"))["traceEvents"]
    process = document["processes"][0]
    tracks = {}
    for event in events:
        assert {"ph", "pid", "tid", "name"} <= set(event)
        assert event["pid"] == process["pid"]
        if event["ph"] == "X":
            tracks.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"], event))
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} >= {"MainThread", "worker"}
    for slices in tracks.values():
        opened = []
        for start, end, event in slices:  # in order of time, the outer one first
            while opened and opened[-1] <= start + 0.0005:
                opened.pop()
            assert not opened or end <= opened[-1] + 0.0005, event
            opened.append(end)
    stalls = [e for e in events if e.get("cat") == "stall"]
    assert len(stalls) == len(process["stalls"])
    assert abs(sum(e["dur"] for e in stalls) / 1e6 - stalled(document)) < 1e-5

    def around(flow, category):
        return [e for start, end, e in tracks[flow["tid"]]
                if e["cat"] == category and start <= flow["ts"] <= end]

    starts = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    assert starts and set(starts) == set(ends) and all(e["bp"] == "e" for e in ends.values())
    for number, flow in starts.items():
        assert [e["name"] for e in around(flow, "hold")] == ["holds the GIL"]
        assert around(ends[number], "segment")[0]["args"]["cause"] == "gil"
        assert ends[number]["ts"] >= flow["ts"]
    counters = [e["args"]["ms"] for e in events if e["ph"] == "C" and e["name"] == "loop in MainThread: stalled"]
    assert counters == sorted(counters) and abs(counters[-1] / 1e3 - stalled(document)) < 1e-5


def test_perfetto_takes_the_trace_in(export, document, tmp_path):
    """Perfetto's own trace processor: what its user interface then shows."""
    process = document["processes"][0]
    (loop,) = process["loops"]
    with PerfettoTrace(export("perfetto").encode()) as trace:
        assert trace.query("select name, value from stats where severity in ('error', 'data_loss') and value > 0") == []
        threads = trace.query("select t.name thread, p.name process, pid from thread t join process p using (upid)")
        assert {(t["thread"], t["process"], t["pid"]) for t in threads} >= {
            ("MainThread", "sick.py", process["pid"]), ("worker", "sick.py", process["pid"])}
        slices = trace.query("select s.name, category, ts, dur, depth, t.name thread from slice s "
                             "join thread_track k on s.track_id = k.id join thread t using (utid) order by ts")
        stalls = [s for s in slices if s["category"] == "stall"]
        assert len(stalls) == loop["stalls"]["count"] and {s["thread"] for s in stalls} == {"MainThread"}
        assert abs(sum(s["dur"] for s in stalls) / 1e9 - loop["stalls"]["total_s"]) < 1e-6
        assert all(s["depth"] == 1 for s in slices if s["category"] == "segment")
        holds = [s for s in slices if s["category"] == "hold"]
        assert ("worker", "holds the GIL") in [(s["thread"], s["name"]) for s in holds]
        flows = trace.query(
            "select o.name holds, ot.name holder, i.name waits, it.name waiter, o.ts began, o.dur kept, i.ts since "
            "from flow f join slice o on f.slice_out = o.id join slice i on f.slice_in = i.id "
            "join thread_track ok on o.track_id = ok.id join thread ot on ok.utid = ot.utid "
            "join thread_track ik on i.track_id = ik.id join thread it on ik.utid = it.utid")
        assert ("holds the GIL", "worker", "gil: heavy", "MainThread") in [
            (f["holds"], f["holder"], f["waits"], f["waiter"]) for f in flows]
        assert all(f["began"] + f["kept"] > f["since"] for f in flows)
        counters = {}
        for c in trace.query("select k.name, value from counter c join counter_track k on c.track_id = k.id order by ts"):
            counters.setdefault(c["name"], []).append(c["value"])
        assert abs(counters["loop in MainThread: stalled ms"][-1] / 1e3 - loop["stalls"]["total_s"]) < 1e-5
        assert sum(counters["loop in MainThread: ticks a second"]) == loop["ticks"]
        longest = max(counters["loop in MainThread: longest tick ms"])
        assert abs(longest / 1e3 / loop["tick_s"]["max"] - 1) < 0.04
        args = trace.query("select distinct a.flat_key, a.display_value from slice s join args a using (arg_set_id) "
                           "where s.name = 'gil: heavy'")
        assert {"flat_key": "args.line", "display_value": "6"} in args


def test_folded_is_what_a_flame_graph_is_made_of(export, document):
    """inferno, which flamegraph.pl's users moved to."""
    script = "import sys, pyinferno; sys.stdout.write(pyinferno.flamegraph_from_lines(sys.stdin.read().splitlines()))"
    done = subprocess.run([DEBIAN, "-c", script], input=export("folded"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=dict(os.environ, PYTHONPATH=python_path("pyinferno==0.2.6")))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    svg = xml.etree.ElementTree.fromstring(done.stdout)
    titles = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}title")]
    (everything,) = [t for t in titles if t.startswith("all (")]
    assert abs(int(re.sub(r"\D", "", everything.split(" samples")[0])) / 1e6 - stalled(document)) < 0.001
    assert any(t.startswith("heavy (sick.py:6) (") for t in titles)


def test_openmetrics_is_what_a_scraper_takes(export, document):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    text = export("openmetrics")
    assert text.endswith("# EOF\n")
    families = {f.name: f for f in parser.text_string_to_metric_families(text)}
    assert families["whystall_tick_seconds"].type == "histogram"
    loop = document["processes"][0]["loops"][0]
    stalls = families["whystall_stalls"].samples
    assert [s.value for s in stalls] == [loop["stalls"]["count"]]
    assert stalls[0].labels["thread"] == "MainThread"
    seconds = {(s.labels["cause"], s.labels["function"]): s.value
               for s in families["whystall_culprit_seconds"].samples}
    assert abs(sum(seconds.values()) - stalled(document)) < 0.001
    assert seconds[("gil", "heavy")] > 0.1
    count = [s.value for s in families["whystall_tick_seconds"].samples if s.name.endswith("_count")]
    assert count == [loop["ticks"]]


def test_formats_are_offered_where_they_make_sense(binary, record, tmp_path):
    def call(*arguments):
        return subprocess.run([binary, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=30)

    for arguments in (["export", "-f", "text"], ["report", "-f", "folded"], ["check", "-f", "json"], ["export"],
                      ["export", "-f", "folded", record]):
        done = call(*arguments, record)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, arguments
    out = tmp_path / "out"
    assert call("export", "-f", "folded", "-o", out, record).returncode == 0 and out.read_text()
    assert call("export", "-f", "folded", __file__).returncode == 4
    with open("/dev/full", "w") as full:
        done = subprocess.run([binary, "export", "-f", "jsonl", record], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 125 and "No space left" in done.stderr


def test_a_record_without_stalls_is_exported_too(binary, tmp_path):
    record = tmp_path / "record"
    subprocess.run([binary, "run", "-q", "-o", record, "--", "true"], check=True, timeout=30)
    for form in ("jsonl", "folded", "speedscope", "perfetto", "openmetrics"):
        done = subprocess.run([binary, "export", "-f", form, record], stdout=subprocess.PIPE, text=True, timeout=30)
        assert done.returncode == 0
        if form in ("speedscope", "perfetto"):
            json.loads(done.stdout)


