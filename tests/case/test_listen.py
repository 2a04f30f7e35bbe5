# SPDX-License-Identifier: MIT
"""whystall run --listen: metrics while it runs, for a scraper; a real Prometheus among them."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from conftest import DEBIAN
from fetch import debian

OPEN = {"Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}  # as Prometheus asks

SICK = '''
import asyncio, re, threading, time

def heavy():
    re.match("(a+)+$", "a" * 21 + "b")  # one call that keeps the GIL

def worker():
    while True:
        heavy()
        time.sleep(0.2)

def sleepy():
    time.sleep(0.05)

async def main():
    threading.Thread(target=worker, name="worker", daemon=True).start()
    while True:
        await asyncio.sleep(0.1)
        sleepy()

asyncio.run(main())
'''
LONG = '''
import asyncio, time

def blocked():
    time.sleep(600)

async def main():
    for i in range(5):
        await asyncio.sleep(0.01)
    blocked()

asyncio.run(main())
'''
WORKERS = '''
import asyncio, os, time

def sleepy():
    time.sleep(0.05)

async def main():
    for i in range(5):
        await asyncio.sleep(0.01)
    sleepy()
    await asyncio.sleep(0.01)

for i in range(3):
    pid = os.fork()
    if not pid:
        asyncio.run(main())
        os._exit(0)
    os.waitpid(pid, 0)
print("done", flush=True)
time.sleep(600)
'''
APP = '''
import re, time
from fastapi import FastAPI
api = FastAPI()

@api.get("/heavy")
def heavy():
    re.match("(a+)+$", "a" * 22 + "b")
    return {}

@api.get("/sleepy")
async def sleepy():
    time.sleep(0.1)
    return {}
'''


def eventually(what, seconds=60):
    end = time.monotonic() + seconds
    while True:
        result = what()
        if result or time.monotonic() > end:
            assert result, what
            return result
        time.sleep(0.1)


class Listening:
    """`run --listen` of a command, or `attach --listen` to a process, until the end of the `with`."""

    def __init__(self, binary, place, *words, options=(), address="0", command="run", **more):
        directory = pathlib.Path(tempfile.mkdtemp(dir=place))
        self.record = directory / "record.whystall"
        self.errors = directory / "stderr"
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                [binary, command, "-o", self.record, "--listen", address, *options,
                 *(["--"] if command == "run" else []), *map(str, words)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True, **more)
        self.url = eventually(self.announced)

    def announced(self):
        found = re.search(r"^whystall: metrics at (http://\S+/metrics)\n", self.errors.read_text(), re.M)
        return found and found[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=60)
        self.process.stdout.close()

    @property
    def address(self):
        parts = urllib.parse.urlsplit(self.url)
        return parts.hostname, parts.port

    def get(self, headers=OPEN, **more):
        with urllib.request.urlopen(urllib.request.Request(self.url, headers=headers, **more), timeout=60) as answer:
            return answer.headers, answer.read().decode()

    def raw(self, request):
        """What comes back for these bytes, whole."""
        with socket.create_connection(self.address, timeout=60) as s:
            s.sendall(request)
            return read_all(s).decode()

    def samples(self):
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

        return {(s.name, *sorted(s.labels.items())): s.value for f in parse(self.get()[1]) for s in f.samples}

    def labelled(self, name, **labels):
        return [value for (n, *given), value in self.samples().items()
                if n == name and labels.items() <= dict(given).items()]


def read_all(s):
    got = b""
    while piece := s.recv(65536):
        got += piece
    return got


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("listen")
    for name, text in {"sick": SICK, "long": LONG, "workers": WORKERS, "app": APP}.items():
        (directory / f"{name}.py").write_text(text)
    return directory


@pytest.fixture(scope="module")
def sick(binary, place):
    with Listening(binary, place, DEBIAN, place / "sick.py") as listening:
        eventually(lambda: listening.labelled("whystall_culprit_seconds_total", function="heavy"))
        yield listening


def test_counters_have_cause_and_culprit_and_never_fall(sick, place):
    before, grew = sick.samples(), set()
    for _ in range(12):
        time.sleep(0.3)
        now = sick.samples()
        for key, value in before.items():
            if not key[0].endswith("under_way_seconds"):
                assert now[key] >= value, key
                grew |= {key[0]} if now[key] > value else set()
        before = now
    assert grew >= {"whystall_stalls_total", "whystall_stalled_seconds_total", "whystall_culprit_seconds_total",
                    "whystall_observed_seconds_total", "whystall_tick_seconds_count"}
    one = {"process": "sick.py", "thread": "MainThread", "file": str(place / "sick.py")}
    assert sick.labelled("whystall_culprit_seconds_total", cause="gil", function="heavy", **one)
    assert sick.labelled("whystall_culprit_stalls_total", cause="syscall", function="sleepy", **one)
    total = sum(v for (name, *_), v in before.items() if name == "whystall_stalled_seconds_total")
    parts = sum(v for (name, *_), v in before.items() if name == "whystall_culprit_seconds_total")
    assert total > 0 and abs(total - parts) < 1e-6


def test_a_long_stall_shows_while_it_lasts(binary, place):
    with Listening(binary, place, DEBIAN, place / "long.py") as listening:
        def value():
            return listening.labelled("whystall_stall_under_way_seconds", cause="syscall", function="blocked")

        first = eventually(value)[0]
        eventually(lambda: value()[0] > first)
        assert not listening.labelled("whystall_culprit_seconds_total", function="blocked")


def test_attach_has_it_too(binary, place):
    if os.geteuid() != 0:
        pytest.skip("attach needs privilege")
    program = subprocess.Popen([DEBIAN, place / "sick.py"], stdin=subprocess.DEVNULL)
    try:
        with Listening(binary, place, program.pid, command="attach") as listening:
            eventually(lambda: listening.labelled("whystall_culprit_seconds_total", cause="gil", function="heavy",
                                                  process="sick.py"))
            assert listening.labelled("whystall_info", backend="ebpf") == [1]
        done = subprocess.run([binary, "attach", "--listen", "x", str(program.pid)], stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2 and 'attach: --listen "x" has no port' in done.stderr
    finally:
        program.kill()
        program.wait()


def test_replaced_workers_are_one_series(binary, place):
    with Listening(binary, place, DEBIAN, place / "workers.py") as listening:
        assert listening.process.stdout.readline() == "done\n"
        eventually(lambda: listening.labelled("whystall_culprit_stalls_total", function="sleepy") == [3])


def test_the_body_is_the_export(binary, place):
    """Also when the recording has ended and the command runs on."""
    with Listening(binary, place, DEBIAN, place / "sick.py", options=["-d", "2s"]) as listening:
        def complete():
            done = subprocess.run([binary, "report", "-f", "json", listening.record], stdout=subprocess.PIPE, text=True)
            return done.returncode == 0 and json.loads(done.stdout)["capture"]["complete"]

        eventually(complete)
        exported = subprocess.run([binary, "export", "-f", "openmetrics", listening.record], stdout=subprocess.PIPE,
                                  text=True, check=True).stdout
        eventually(lambda: sorted(listening.get()[1].splitlines()) == sorted(exported.splitlines()))
        assert not os.path.exists(f"{listening.record}-wal")


@pytest.mark.parametrize("accept, kind", [
    (OPEN["Accept"], "openmetrics"),
    ("application/openmetrics-text", "openmetrics"),
    ("text/plain;version=0.0.4;q=0.3, application/openmetrics-text;q=0.9", "openmetrics"),
    ("text/plain, application/openmetrics-text;q=0.1", "plain"),
    ("application/openmetrics-text;q=0, text/plain;q=0.1", "plain"),
    ("text/html,*/*;q=0.8", "plain"),
    ("", "plain"),
    (";;,,;q=;", "plain"),
])
def test_content_negotiation(sick, accept, kind):
    headers, body = sick.get({"Accept": accept})
    if kind == "openmetrics":
        assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert body.endswith("# EOF\n") and "# TYPE whystall_stalls counter" in body
    else:
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "# EOF" not in body and "# TYPE whystall_stalls_total counter" in body
    assert int(headers["Content-Length"]) == len(body) and headers["Vary"] == "Accept"


@pytest.mark.parametrize("request_, status", [
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
    (b"GET /metrics HTTP/1.0\n\n", "200 OK"),
    (b"GET /metrics?name=x HTTP/1.1\r\n\r\n", "200 OK"),
    (b"GET http://some.host:1/metrics HTTP/1.1\r\n\r\n", "200 OK"),
    (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
    (b"GET /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
    (b"GET /../metrics HTTP/1.1\r\n\r\n", "404 Not Found"),
    (b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000, "405 Method Not Allowed"),
    (b"DELETE /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
    (b"get /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
    (b"GET /metrics HTTP/2.0\r\n\r\n", "505 HTTP Version Not Supported"),
    (b"GET /metrics\r\n\r\n", "400 Bad Request"),
    (b"nonsense\r\n\r\n", "400 Bad Request"),
    (b"\x16\x03\x01\x00\xa5\x01\x00\x00", "400 Bad Request"),  # TLS
    (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 10000, "431 Request Header Fields Too Large"),
    (b"G" * 100000, "431 Request Header Fields Too Large"),
], ids=lambda value: value.decode("latin-1").split("\r")[0][:30] if isinstance(value, bytes) else None)
def test_only_get_of_one_path(sick, request_, status):
    answer = sick.raw(request_)
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}\r\n"), head
    assert ("Allow: GET, HEAD" in head) == status.startswith("405")
    assert f"Content-Length: {len(body)}" in head and body


def test_head_has_no_body(sick):
    answer = sick.raw(b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 OK\r\n") and answer.endswith("\r\n\r\n")
    assert re.search(r"Content-Length: [1-9]\d\d+\r\n", answer)


def test_a_request_in_pieces(sick):
    with socket.create_connection(sick.address, timeout=60) as s:
        for byte in b"GET /metrics HTTP/1.1\r\n\r\n":
            s.sendall(bytes([byte]))
            time.sleep(0.005)
        assert read_all(s).startswith(b"HTTP/1.1 200 OK\r\n")


def test_who_is_slow_does_not_keep_others_waiting(sick):
    slow = [socket.create_connection(sick.address, timeout=60) for _ in range(50)]
    try:
        for s in slow:
            s.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert "whystall_stalls_total" in sick.get()[1]
        ended = read_all(slow[-1])  # the last of them got its time, and no more
        assert ended.startswith(b"HTTP/1.1 408 Request Timeout\r\n") or not ended
    finally:
        for s in slow:
            s.close()
    # and one that never reads its answer
    with socket.create_connection(sick.address, timeout=60) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert "whystall_stalls_total" in sick.get()[1]


@pytest.mark.parametrize("address, status, says", [
    ("", 2, 'run: --listen "" has no port'),
    ("localhost", 2, "has no port: 127.0.0.1:9464, or 9464 alone"),
    ("99999", 2, "no port from 0 to 65535"),
    ("127.0.0.1:http", 2, "no port from 0 to 65535"),
    ("::1:9464", 2, "goes in brackets: [::1]:9464"),
    ("[::1]", 2, "is no [IPv6 address]:PORT"),
    ("[::1:9464", 2, "is no [IPv6 address]:PORT"),
    ("192.0.2.1:0", 125, "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
    ("no.such.host.invalid:0", 125, "cannot listen on no.such.host.invalid:0: "),
])
def test_an_address_that_cannot_be_is_told_before_the_start(binary, tmp_path, address, status, says):
    done = subprocess.run([binary, "run", "-o", tmp_path / "record", "--listen", address, "--", "touch", tmp_path / "ran"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert not os.listdir(tmp_path)


def test_an_address_in_use(binary, sick, tmp_path):
    host, port = sick.address
    done = subprocess.run([binary, "run", "--listen", f"{host}:{port}", "--", "touch", tmp_path / "ran"],
                          stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 125 and not os.listdir(tmp_path)
    assert done.stderr == f"whystall: cannot listen on {host}:{port}: Address already in use; name another port, or 0 for any\n"


def test_loopback_unless_told_otherwise(sick, binary, place):
    assert sick.address[0] == "127.0.0.1"
    if not os.path.exists("/proc/net/if_inet6"):
        return
    with Listening(binary, place, "sleep", "600", address="[::1]:0") as listening:
        assert listening.url.startswith("http://[::1]:")
        eventually(lambda: listening.labelled("whystall_info", backend="preload") == [1])


def test_promtool_has_nothing_to_say(sick):
    promtool = debian("prometheus") / "usr" / "bin" / "promtool"
    done = subprocess.run([promtool, "check", "metrics"], input=sick.get({})[1], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_real_prometheus_has_the_stalls_of_a_fastapi_app(binary, place, tmp_path):
    app, port = free_port(), free_port()
    with Listening(binary, place, DEBIAN, "-m", "uvicorn", "app:api", "--port", app, cwd=place) as listening:
        host, at = listening.address
        config = tmp_path / "prometheus.yml"
        config.write_text('scrape_configs: [{job_name: app, scrape_interval: 1s, static_configs: '
                          f'[{{targets: ["{host}:{at}"]}}]}}]\n')
        prometheus = subprocess.Popen(
            [debian("prometheus") / "usr" / "bin" / "prometheus", f"--config.file={config}",
             f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            def api(path, **parameters):
                url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
                try:
                    with urllib.request.urlopen(url, timeout=60) as answer:
                        return json.load(answer)["data"]
                except (urllib.error.URLError, ConnectionError):
                    return None

            def call(path):
                try:
                    return urllib.request.urlopen(f"http://127.0.0.1:{app}/{path}", timeout=60).status == 200
                except (urllib.error.URLError, ConnectionError):
                    return False

            def query(text):
                found = (api("query", query=text) or {"result": []})["result"]
                return found and found[0]["metric"], float(found[0]["value"][1]) if found else 0

            eventually(lambda: call("sleepy"))
            eventually(lambda: query("up")[1] == 1)
            # what comes while it is scraped counts as an increase
            eventually(lambda: call("heavy") and call("sleepy") and
                       query('increase(whystall_culprit_seconds_total{cause="gil",function="heavy"}[1m])')[1] > 0.05)
            labels, _ = query('whystall_culprit_seconds_total{cause="gil",function="heavy"}')
            assert labels["file"] == str(place / "app.py") and labels["process"] == "uvicorn"
            assert labels["job"] == "app" and labels["thread"] == "MainThread"
            eventually(lambda: query('whystall_culprit_stalls_total{cause="syscall",function="sleepy"}')[1] >= 2)
            assert 0 < query("histogram_quantile(0.99, rate(whystall_tick_seconds_bucket[1m]))")[1] <= 10
            (target,) = api("targets")["activeTargets"]
            assert target["health"] == "up" and target["lastError"] == ""
            stalls = api("targets/metadata", metric="whystall_stalls") or api("targets/metadata", metric="whystall_stalls_total")
            assert stalls[0]["type"] == "counter"
        finally:
            prometheus.terminate()
            said = prometheus.communicate(timeout=60)[0]
        assert "level=error" not in said, said
