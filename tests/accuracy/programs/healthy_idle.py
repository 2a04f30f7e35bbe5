# SPDX-License-Identifier: MIT
"""Nothing happens but a beat every 5 ms."""
import stamp


async def main():
    await stamp.calm(1.5)


stamp.run(main)
