"""The client of a grid, for programs (``Queue``, ``AsyncQueue``) and people (``commands``).

What a program needs is named here, and loaded when it is first asked for: the command line reads
this package before it knows whether it will talk to a grid at all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gridd.client.blocking import Job, Output, Queue
    from gridd.client.errors import GridError, UsageError
    from gridd.client.jobs import AsyncJob, AsyncOutput, AsyncQueue, Result

__all__ = [
    "AsyncJob",
    "AsyncOutput",
    "AsyncQueue",
    "GridError",
    "Job",
    "Output",
    "Queue",
    "Result",
    "UsageError",
]

_PLACES = {
    "blocking": ("Job", "Output", "Queue"),
    "errors": ("GridError", "UsageError"),
    "jobs": ("AsyncJob", "AsyncOutput", "AsyncQueue", "Result"),
}


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"gridd.client.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
