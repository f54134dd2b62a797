"""What ``gridd`` does for each client command: ``arguments`` names the function, this module has
it. Each takes the parsed line and a console, and returns an exit code; ``UsageError`` and
``GridError`` are for ``gridd.cli`` to tell.
"""

from gridd.client.asking import (
    definition,
    list_jobs,
    open_page,
    queue_new,
    result,
    status,
    worker_status,
)
from gridd.client.changing import cancel, copy, delete
from gridd.client.doctor import doctor
from gridd.client.following import logs, wait
from gridd.client.manual import docs
from gridd.client.old_names import job_add, job_await
from gridd.client.reporting import outputs
from gridd.client.story import story
from gridd.client.submitting import rerun, run, submit, upload, url

__all__ = [
    "cancel",
    "copy",
    "definition",
    "delete",
    "docs",
    "doctor",
    "job_add",
    "job_await",
    "list_jobs",
    "logs",
    "open_page",
    "outputs",
    "queue_new",
    "rerun",
    "result",
    "run",
    "status",
    "story",
    "submit",
    "upload",
    "url",
    "wait",
    "worker_status",
]
