# SPDX-License-Identifier: MIT
"""gevent: greenlets, of which one is ill."""

import gevent
import ills


def calm():
    for _ in range(ills.CALM):
        gevent.sleep(0.005)


def main():
    for ill in ills.SICK:
        calm()
        ill()
    calm()


gevent.joinall([gevent.spawn(main), gevent.spawn(calm)])
