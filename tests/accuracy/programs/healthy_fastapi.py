# SPDX-License-Identifier: MIT
# needs: fastapi uvicorn
"""FastAPI under uvicorn with a light load from another process."""
import asyncio
import socket
import subprocess
import sys

import fastapi
import uvicorn

import stamp

api = fastapi.FastAPI()
CLIENT = """
import sys, time, urllib.request
for _ in range(60):
    urllib.request.urlopen("http://127.0.0.1:%s/items/3?q=x" % sys.argv[1]).read()
    time.sleep(0.02)
"""


@api.get("/items/{item}")
async def item(item: int, q: str = ""):
    await asyncio.sleep(0.001)
    return {"item": item, "q": q}


async def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(CONFIG)
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(listener.getsockname()[1])])
    serving = asyncio.ensure_future(server.serve([listener]))
    while client.poll() is None:
        await asyncio.sleep(0.05)
    server.should_exit = True
    await serving


CONFIG = uvicorn.Config(api, log_level="warning", lifespan="off")
CONFIG.load()  # its imports take longer than a tick may
stamp.run(main, native=True)
