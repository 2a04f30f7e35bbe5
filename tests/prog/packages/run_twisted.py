# SPDX-License-Identifier: MIT
"""Twisted, on the reactor that is named: epoll, poll, select or asyncio."""

import sys

import twisted.internet
from twisted.internet import asyncioreactor, defer, epollreactor, pollreactor, selectreactor

import ills

{"epoll": epollreactor, "poll": pollreactor, "select": selectreactor, "asyncio": asyncioreactor}[sys.argv[1]].install()
from twisted.internet import reactor, task


def sleep(seconds):
    return task.deferLater(reactor, seconds, lambda: None)


@defer.inlineCallbacks
def main():
    for ill in ills.SICK:
        for _ in range(ills.CALM):
            yield sleep(0.005)
        ill()
    for _ in range(ills.CALM):
        yield sleep(0.005)
    reactor.stop()


reactor.callWhenRunning(main)
reactor.run()
