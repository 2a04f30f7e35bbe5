# SPDX-License-Identifier: MIT
"""An ASGI application: "/" answers with the worker's pid, "/NAME" after having done that ill to the loop."""

import os

import ills


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    name = scope["path"][1:]
    if name:
        getattr(ills, name)()
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [[b"content-length", str(len(body)).encode()], [b"connection", b"close"]]})
    await send({"type": "http.response.body", "body": body})
