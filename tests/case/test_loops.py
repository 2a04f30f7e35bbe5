# SPDX-License-Identifier: MIT
"""What is a loop and what only looks like one (design: which threads are loops): instances that threads share, loops
that are entered again and again, clients and workers that poll."""

import pytest

from conftest import DEBIAN, PROGRAMS


def only(document):
    return document["processes"][0]


MACHINES = ("runqueue", "unknown")  # a machine that has no CPU to give has none for whystall's looks either


def heaviest(stall):
    """The segment that tells most, but for what is due to the machine."""
    return max((s for s in stall["segments"] if s["cause"] not in MACHINES), key=lambda s: s["seconds"])


def ills(process):
    """Its stalls, without what is due to the machine."""
    return [stall for stall in process["stalls"]
            if sum(s["seconds"] for s in stall["segments"] if s["cause"] not in MACHINES) > 0.02]


@pytest.fixture
def shared(cc, run, report):
    """shared("4", "cpu") -> the report's process, of tests/prog/shared_epoll.c"""
    program = cc(PROGRAMS / "shared_epoll.c", "-D_GNU_SOURCE", "-lpthread")

    def start(*arguments):
        done = run(program, *arguments)
        assert done.returncode == 0, done.stderr
        start.stderr = done.stderr
        return only(report(done.record))

    return start


@pytest.mark.parametrize("how", ["sleep", "cpu", "lock"])
def test_a_shared_instance_ticks_only_while_nobody_waits(shared, how):
    process = shared("3", how)
    loop, = process["loops"]
    assert loop["threads"] == 4
    assert ills(process) == []


@pytest.mark.parametrize("how, cause, function", [("sleep", "syscall", "serve_request"), ("cpu", "cpu", "compute"),
                                                  ("lock", "lock", "rebuild_table")])
def test_a_shared_instance_stalls_when_all_are_busy(shared, how, cause, function):
    process = shared("4", how)
    loop, = process["loops"]
    names = {t["tid"]: t["name"] for t in process["threads"]}
    assert loop["threads"] == 4 and loop["stalls"]["count"] == len(process["stalls"]) >= 3
    assert "and 3 other threads stalled" in shared.stderr
    for stall in process["stalls"]:
        assert stall["loop_tid"] == loop["tid"] and names[stall["tid"]].startswith("server-")
    # a machine with too few CPUs adds some of its own
    right = [s for stall in process["stalls"] for s in stall["segments"]
             if s["cause"] == cause and s["culprit"]["function"] == function]
    assert right
    if how == "lock":
        assert {s["holders"][0]["tid"] for s in right} == {process["pid"]}


def test_a_loop_handed_to_another_thread_is_not_shared(shared):
    process = shared("hand-over")
    assert {loop["threads"] for loop in process["loops"]} == {1}
    assert ills(process) == []


def test_a_thread_cancelled_in_its_wait_waits_no_more(shared):
    process = shared("cancelled")
    assert {heaviest(stall)["culprit"]["function"] for stall in ills(process)} == {"compute"}


def python_run(run, report, tmp_path, source, *arguments):
    script = tmp_path / "program.py"
    script.write_text(source)
    done = run(DEBIAN, script, *arguments)
    assert done.returncode == 0, done.stderr
    return only(report(done.record))


WORK = """
import sys, time
def work(seconds=0.1):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end: pass
"""

SERVER = """
import select, socket, threading
def serve(request): time.sleep(0.1)
server = socket.create_server(("127.0.0.1", 0))
def client():
    for _ in range(6):
        here = socket.create_connection(server.getsockname())
        here.sendall(b"x"); here.recv(1); here.close()
        time.sleep(0.02)
threading.Thread(target=client, daemon=True).start()
clients, served = [], 0
while served < 6:
    ready, _, _ = select.select([server, *clients], [], [], 5)
    for one in ready:
        if one is server: clients.append(server.accept()[0])
        else:
            serve(one.recv(1)); one.sendall(b"y"); one.close(); clients.remove(one); served += 1
"""


def test_a_server_of_one_client_at_a_time(run, report, tmp_path):
    process = python_run(run, report, tmp_path, "import time\n" + SERVER)
    told = [heaviest(s)["culprit"]["function"] for s in ills(process)]
    assert set(told) == {"serve"} and len(told) >= 3


CLIENTS = {
    "its one socket": """
import http.server, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"x" * 1000)
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(8):
    urllib.request.urlopen("http://127.0.0.1:%d/" % server.server_port, timeout=5).read()
    work(0.05)
""",
    "its children's pipes": """
    subprocess.run(["sh", "-c", "for i in 1 2 3 4; do echo a; echo b >&2; sleep 0.01; done"], capture_output=True)
    work()
""",
    "mostly one descriptor": """
import select, socket
a, b = socket.socketpair(); c, d = socket.socketpair()
for i in range(60):
    select.select([a, c], [], [], 0.001) if i % 4 == 0 else select.select([c], [], [], 0.001)
    if i % 10 == 9: work(0.05)
""",
    "for work, in threads": """
import select, socket, threading
def worker():
    a, b = socket.socketpair(); c, d = socket.socketpair()
    for _ in range(5):
        for _ in range(5): select.select([a, c], [], [], 0.001)
        work(0.05)
threads = [threading.Thread(target=worker) for _ in range(3)]
for t in threads: t.start()
for t in threads: t.join()
""",
}


@pytest.mark.parametrize("what", sorted(CLIENTS))
def test_who_polls_is_not_yet_a_loop(run, report, tmp_path, what):
    assert ills(python_run(run, report, tmp_path, WORK + CLIENTS[what])) == []


SELECTS = """
import select, socket, sys, time
def fill(): time.sleep(0.1)
a, b = socket.socketpair(); c, d = socket.socketpair(); e, f = socket.socketpair()
for i in range(40):
    sets = [[a, c, e], [c, e], [a, c], [c]][i % 4]  # they come and go; c stays
    select.select(sets, [], [], 0.002)
    if i % 10 == 5: fill()
"""


def test_sets_that_share_members_are_one_loop(run, report, tmp_path):
    process = python_run(run, report, tmp_path, SELECTS)
    loop, = process["loops"]
    assert loop["wait"] == "pselect6" and loop["ticks"] == 39
    assert [(heaviest(s)["cause"], heaviest(s)["culprit"]["function"]) for s in ills(process)] == [
        ("syscall", "fill")] * 4


POLLED = """
import asyncio, selectors, socket, sys, threading, time
def block(): time.sleep(0.1)
here, there = socket.socketpair()
async def main():
    asyncio.get_running_loop().add_reader(here, block)  # beside the loop's own wake-up descriptor
    for i in range(40):
        await asyncio.sleep(0.002)
        if i == 20: block()
kind = getattr(selectors, sys.argv[1])
def run():
    loop = asyncio.SelectorEventLoop(kind())
    loop.run_until_complete(main())
    loop.close()
thread = threading.Thread(target=run, name="polling")
thread.start(); thread.join()
"""


@pytest.mark.parametrize("selector, wait", [("SelectSelector", "pselect6"), ("PollSelector", "poll")])
def test_a_runtimes_loop_may_poll_in_any_thread(run, report, tmp_path, selector, wait):
    process = python_run(run, report, tmp_path, POLLED, selector)
    loop, = process["loops"]
    assert (loop["thread"], loop["wait"]) == ("polling", wait) and loop["ticks"] > 30
    stall, = ills(process)
    assert (heaviest(stall)["cause"], heaviest(stall)["culprit"]["function"]) == ("syscall", "block")
