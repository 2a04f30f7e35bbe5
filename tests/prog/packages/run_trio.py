# SPDX-License-Identifier: MIT
"""trio."""

import ills
import trio


async def calm():
    for _ in range(ills.CALM):
        await trio.sleep(0.005)


async def main():
    for ill in ills.SICK:
        await calm()
        ill()
    await calm()


trio.run(main)
