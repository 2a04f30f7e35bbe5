# SPDX-License-Identifier: MIT
# needs: tornado
"""A Tornado server, asked by its own client: handlers that sleep and compute, one that has its work done by a thread
which keeps the GIL."""
import sys
import time

import tornado.httpclient
import tornado.ioloop
import tornado.web

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"
POWER = stamp.sized(lambda n: 7 ** n, 100_000, 0.12, 1.585)


class Template(tornado.web.RequestHandler):
    def get(self, seconds):
        with stamp.own("syscall", "template", syscall=CALL):
            time.sleep(float(seconds))  # ill: template


class Render(tornado.web.RequestHandler):
    async def get(self, seconds):
        until = time.monotonic() + float(seconds)
        with stamp.own("cpu", "render"):
            while time.monotonic() < until:  # ill: render
                sum(range(100))  # ill: render


def heavy_cpu_work():
    with stamp.gil("heavy_cpu_work"):
        7 ** POWER  # ill: heavy_cpu_work long_pow


class Offload(tornado.web.RequestHandler):
    async def get(self, seconds):
        await tornado.ioloop.IOLoop.current().run_in_executor(None, heavy_cpu_work)


async def main():
    paths = {"template": Template, "render": Render, "offload": Offload}
    app = tornado.web.Application([(f"/{name}/(.*)", handler) for name, handler in paths.items()])
    server = app.listen(0, "127.0.0.1")
    port = next(iter(server._sockets.values())).getsockname()[1]
    client = tornado.httpclient.AsyncHTTPClient()
    for seconds in stamp.durations(3, 40, 200):
        for path in paths:
            await client.fetch(f"http://127.0.0.1:{port}/{path}/{seconds}")
            await stamp.calm()
    server.stop()


stamp.run(main, native=True)
