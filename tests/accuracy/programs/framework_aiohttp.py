# SPDX-License-Identifier: MIT
# needs: aiohttp
"""An aiohttp server, asked by its own client: handlers that sleep and compute, one that has its work done by a thread
which keeps the GIL."""
import asyncio
import sys
import time

import aiohttp
from aiohttp import web

import stamp

CALL = "clock_nanosleep" if sys.version_info >= (3, 11) else "pselect6"
POWER = stamp.sized(lambda n: 7 ** n, 100_000, 0.12, 1.585)


async def load_template(request):
    with stamp.own("syscall", "load_template", syscall=CALL):
        time.sleep(float(request.query["s"]))  # ill: load_template
    return web.Response()


async def render(request):
    until = time.monotonic() + float(request.query["s"])
    with stamp.own("cpu", "render"):
        while time.monotonic() < until:  # ill: render
            sum(range(100))  # ill: render
    return web.Response()


def heavy_cpu_work():
    with stamp.gil("heavy_cpu_work"):
        7 ** POWER  # ill: heavy_cpu_work long_pow


async def offload(request):
    await asyncio.get_running_loop().run_in_executor(None, heavy_cpu_work)
    return web.Response()


async def main():
    app = web.Application()
    for handler in (load_template, render, offload):
        app.router.add_get("/" + handler.__name__, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = "http://127.0.0.1:%d/" % site._server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as client:
        for seconds in stamp.durations(3, 40, 200):
            for path in ("load_template", "render", "offload"):
                async with client.get(url + path, params={"s": str(seconds)}) as answer:
                    assert answer.status == 200
                await stamp.calm()
    await runner.cleanup()


stamp.run(main, native=True)
