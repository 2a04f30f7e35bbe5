# SPDX-License-Identifier: MIT
# needs: gunicorn uvicorn
"""gunicorn with a forked uvicorn worker, asked by its own application: a handler that sleeps, one that computes, one
that has its work done by a thread which keeps the GIL."""
import asyncio
import os
import sys
import time

import gunicorn.app.base
from uvicorn.workers import UvicornWorker

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"
POWER = stamp.sized(lambda n: 7 ** n, 100_000, 0.12, 1.585)


def load_template(seconds):
    with stamp.own("syscall", "load_template", syscall=CALL):
        time.sleep(seconds)  # ill: load_template


def render(seconds):
    until = time.monotonic() + seconds
    with stamp.own("cpu", "render"):
        while time.monotonic() < until:  # ill: render
            sum(range(100))  # ill: render


def heavy_cpu_work():
    with stamp.gil("heavy_cpu_work"):
        7 ** POWER  # ill: heavy_cpu_work long_pow


async def app(scope, receive, send):
    assert scope["type"] == "http"
    what, seconds = scope["path"][1:].split("/")
    if what == "offload":
        await asyncio.get_running_loop().run_in_executor(None, heavy_cpu_work)
    else:
        {"load_template": load_template, "render": render}[what](float(seconds))
    await send({"type": "http.response.start", "status": 200, "headers": [[b"connection", b"close"]]})
    await send({"type": "http.response.body", "body": b""})


class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return asyncio.SelectorEventLoop(stamp.NativeSelector())


class Worker(UvicornWorker):
    CONFIG_KWARGS = {"loop": "none", "http": "h11", "lifespan": "off"}

    def init_process(self):
        asyncio.set_event_loop_policy(Policy())
        super().init_process()

    async def _serve(self):
        client = asyncio.ensure_future(ask(self.sockets[0].getsockname()))
        await super()._serve()
        await client
        stamp.write()


async def ask(address):
    stamp.beats(asyncio.get_running_loop().call_later, False)
    await asyncio.sleep(0.5)
    for seconds in stamp.durations(3, 40, 200):
        for what in ("load_template", "render", "offload"):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(f"GET /{what}/{seconds} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b"200 OK" in await reader.read()
            writer.close()
            await stamp.calm()
    os.kill(os.getppid(), 15)


class Server(gunicorn.app.base.BaseApplication):
    def load_config(self):
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("worker_class", "__main__.Worker")
        self.cfg.set("loglevel", "error")

    def load(self):
        return app


if __name__ == "__main__":
    Server().run()
