# SPDX-License-Identifier: MIT
"""A Celery application whose broker is a directory; each task leaves a file."""

import ills
from celery import Celery

app = Celery("tasks", broker="filesystem://")
app.conf.update(broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue"},
                task_ignore_result=True)


@app.task
def work(n):
    ills.compute()
    ills.compute()
    open(f"done{n}", "w").close()
