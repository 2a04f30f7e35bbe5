# SPDX-License-Identifier: MIT
"""aiohttp: handlers of a web server that asks itself."""

import asyncio

import aiohttp
import ills
from aiohttp import web


async def handle(request):
    name = request.match_info["name"]
    if name != "calm":
        getattr(ills, name)()
    return web.Response(text=name)


async def main():
    app = web.Application()
    app.router.add_get("/{name}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as client:
        for ill in ["calm"] + [ill.__name__ for ill in ills.SICK]:
            for _ in range(ills.CALM):
                await asyncio.sleep(0.005)
            async with client.get(f"http://127.0.0.1:{port}/{ill}") as answer:
                assert await answer.text() == ill
    for _ in range(ills.CALM):
        await asyncio.sleep(0.005)
    await runner.cleanup()


asyncio.run(main())
