# SPDX-License-Identifier: MIT
"""Tornado: handlers of a web server that asks itself."""

import ills
import tornado.gen
import tornado.httpclient
import tornado.ioloop
import tornado.web


class Handler(tornado.web.RequestHandler):
    async def get(self, name):
        getattr(ills, name, id)() if name != "calm" else None
        self.write(name)


async def calm():
    for _ in range(ills.CALM):
        await tornado.gen.sleep(0.005)


async def main():
    server = tornado.web.Application([(r"/(\w+)", Handler)]).listen(0, "127.0.0.1")
    port = next(iter(server._sockets.values())).getsockname()[1]
    client = tornado.httpclient.AsyncHTTPClient()
    for ill in ["calm"] + [ill.__name__ for ill in ills.SICK]:
        await calm()
        await client.fetch(f"http://127.0.0.1:{port}/{ill}")
    await calm()
    server.stop()


tornado.ioloop.IOLoop.current().run_sync(main)
