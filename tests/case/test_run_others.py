# SPDX-License-Identifier: MIT
"""Other people's programs do under `whystall run` what they do without it: Node with its threads, children and pipes;
Redis with jemalloc, its forks and its threads for I/O."""

import shutil
import socket
import subprocess
import time

import pytest

NODE = r"""
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
if (!isMainThread) {
  const cell = new Int32Array(workerData);
  Atomics.wait(cell, 0, 0, 5000);
  parentPort.postMessage(Atomics.add(cell, 1, 1) >= 0);
} else {
  const { execFileSync, spawnSync, spawn, fork } = require('child_process');
  const fs = require('fs'), net = require('net'), os = require('os'), zlib = require('zlib'), crypto = require('crypto');
  const say = (what, value) => console.log(what, JSON.stringify(value));
  const main = async () => {
    say('descriptors', fs.readdirSync('/proc/self/fd').length);
    say('preloaded', [process.env.LD_PRELOAD, process.env.WHYSTALL_ARENA]);
    say('threads', fs.readdirSync('/proc/self/task').length);
    say('exec', execFileSync('sh', ['-c', 'echo out; ls /proc/self/fd | wc -l; env | grep -c PRELOAD || true']).toString());
    say('status', [spawnSync('sh', ['-c', 'exit 3']).status, spawnSync('sh', ['-c', 'kill -9 $$']).signal]);
    say('missing', spawnSync('/no/such').error.code);
    say('timeout', spawnSync('sleep', ['30'], { timeout: 50 }).signal);
    const cat = spawn('cat');
    let echoed = '';
    cat.stdout.on('data', (d) => { echoed += d; });
    const ended = new Promise((done) => cat.on('close', done));
    cat.stdin.end('x'.repeat(200000));
    say('cat', [await ended, echoed.length]);
    const shared = new SharedArrayBuffer(8), cell = new Int32Array(shared);
    const workers = [0, 1, 2, 3].map(() => new Promise((done, fail) => {
      const w = new Worker(__filename, { workerData: shared });
      w.on('message', done); w.on('error', fail);
    }));
    await new Promise((done) => setTimeout(done, 100));
    Atomics.store(cell, 0, 1); Atomics.notify(cell, 0);
    say('workers', [await Promise.all(workers), cell[1]]);
    const packed = await new Promise((done) => zlib.gzip('y'.repeat(1e6), (e, b) => done(b)));
    say('zlib', zlib.gunzipSync(packed).length);
    say('scrypt', (await new Promise((done) => crypto.scrypt('a', 'b', 16, (e, k) => done(k)))).toString('hex'));
    const server = net.createServer((s) => s.pipe(s)).listen(0, '127.0.0.1');
    await new Promise((done) => server.on('listening', done));
    const reply = await new Promise((done) => {
      const c = net.connect(server.address().port, '127.0.0.1', () => c.end('hello'));
      let all = ''; c.on('data', (d) => { all += d; }); c.on('close', () => done(all));
    });
    server.close();
    say('echo', reply);
    let caught = 0;
    process.on('SIGUSR2', () => { caught++; });
    process.kill(process.pid, 'SIGUSR2');
    await new Promise((done) => setTimeout(done, 50));
    say('signal', caught);
    const before = process.hrtime.bigint();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60);
    say('waited', process.hrtime.bigint() - before > 55000000n);
    process.exitCode = 5;
  };
  main().catch((e) => { console.log(e); process.exitCode = 9; });
}
"""


def both(run, *command, **more):
    bare = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, **more)
    under = run(*command, options=["-q"], **more)
    assert (under.stdout, under.stderr, under.returncode) == (bare.stdout, bare.stderr, bare.returncode)
    return under


def test_node(run, report, tmp_path):
    if not shutil.which("node"):
        pytest.skip("no Node here")
    script = tmp_path / "all.js"
    script.write_text(NODE)
    done = both(run, "node", str(script))
    assert done.returncode == 5 and "workers [[true,true,true,true],4]" in done.stdout
    process = next(p for p in report(done.record)["processes"] if p["command"][0] == "node")
    assert process["loops"][0]["wait"] in ("epoll_wait", "epoll_pwait")  # which of them is libuv's affair


REDIS = """
SET a 1
INCR a
RPUSH l x y z
DEBUG SLEEP 0.05
DEBUG RELOAD
GET a
BGSAVE
CONFIG SET appendonly yes
EVAL "for i = 1, 1000 do redis.call('SET', 'k' .. i, i) end return redis.call('DBSIZE')" 0
BGREWRITEAOF
DEBUG CHANGE-REPL-ID
UNLINK l
FLUSHALL ASYNC
MEMORY PURGE
LATENCY DOCTOR
SAVE
"""


def redis(command, directory):
    """(the replies, the server's status, its log's complaints)"""
    directory.mkdir()
    path = directory / "socket"
    server = subprocess.Popen([*command, "redis-server", "--port", "0", "--unixsocket", str(path), "--dir", str(directory),
                               "--io-threads", "3", "--enable-debug-command", "yes", "--logfile", str(directory / "log")],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as s:
                if s.connect_ex(str(path)) == 0:
                    break
            time.sleep(0.1)
        replies = []
        for line in REDIS.strip().splitlines():
            if line in ("BGREWRITEAOF", "FLUSHALL ASYNC"):  # one fork at a time
                for _ in range(300):
                    info = client(path, "INFO persistence")
                    if "bgsave_in_progress:0" in info and "aof_rewrite_in_progress:0" in info:
                        break
                    time.sleep(0.05)
            replies.append((line, client(path, line)))
        client(path, "SHUTDOWN")
        status = server.wait(30)
    finally:
        server.kill()
        server.wait()
    log = (directory / "log").read_text()
    return replies, status, [word for word in ("crash", "Assert", "BUG", "terminated by signal", "error") if word in log]


def client(path, line):
    return subprocess.run(["redis-cli", "-s", str(path)], input=line + "\n", stdout=subprocess.PIPE, text=True,
                          timeout=60).stdout


def test_redis(binary, report, tmp_path):
    if not shutil.which("redis-server"):
        pytest.skip("no Redis here")
    record = tmp_path / "record"
    bare = redis([], tmp_path / "bare")
    under = redis([binary, "run", "-q", "-o", str(record), "--"], tmp_path / "under")
    assert under == bare and bare[1] == 0 and len(bare[0]) == 16
    process = report(record)["processes"][0]
    assert [loop["wait"] for loop in process["loops"]][:1] == ["epoll_wait"]
    slept = [s for stall in process["stalls"] for s in stall["segments"] if s["syscall"] == "clock_nanosleep"]
    assert len(slept) == 1 and 0.05 < slept[0]["seconds"] < 5
