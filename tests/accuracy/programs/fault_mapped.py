# SPDX-License-Identifier: MIT
"""A handler reads here and there in a mapped file whose pages are not in memory."""
import mmap
import os
import random
import tempfile

import stamp

PAGE = 4096
PAGES = 64 << 8  # 64 MiB


def search(index, pages):
    found = 0
    with stamp.parts("search", "fault"):
        for page in pages:
            found += index[page * PAGE]  # ill: search
    return found


async def main():
    order = list(range(PAGES))
    random.Random(1).shuffle(order)
    with tempfile.NamedTemporaryFile(dir=os.environ.get("TMPDIR", "/var/tmp")) as file:
        for _ in range(PAGES >> 8):
            file.write(os.urandom(PAGE << 8))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        index = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        index.madvise(mmap.MADV_RANDOM)
        for n in (1200, 2500, 4000, 6000):
            mine, order = order[:n], order[n:]
            search(index, mine)
            await stamp.calm()


stamp.run(main)
