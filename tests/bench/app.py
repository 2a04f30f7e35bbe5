# SPDX-License-Identifier: MIT
"""The server of the overhead measurement: a small JSON answer, as FastAPI makes it."""

from fastapi import FastAPI

api = FastAPI()


@api.get("/items/{item}")
async def item(item: int, q: str = ""):
    return {"item": item, "q": q}
