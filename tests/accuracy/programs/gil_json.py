# SPDX-License-Identifier: MIT
"""A worker writes JSON of a big document: C code below a standard library function below the user's."""
import json
import time

import stamp


def export(document):
    with stamp.gil("dumps"):
        text = json.dumps(document)  # ill: dumps
    return text


def exporter(documents):
    for document in documents:
        export(document)
        time.sleep(0.07)


def document(n):
    return {"rows": [{"id": i, "name": "row %d" % i, "tags": ["a", "b"]} for i in range(n)]}


async def main():
    await stamp.ended(stamp.worker(exporter, DOCUMENTS, name="exporter"))


SIZE = stamp.sized(lambda n, d={}: json.dumps(d.setdefault(n, document(n))), 10_000, 1.0)
DOCUMENTS = [document(int(SIZE * s)) for s in stamp.durations(4, 40, 250)]
stamp.run(main, native=True)
