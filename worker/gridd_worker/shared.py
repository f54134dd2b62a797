"""What the queues of one worker share, and what they tell the worker."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gridd_worker.config import Config
from gridd_worker.keeping import Keeping
from gridd_worker.runtime import Runtime, RuntimeUnavailable
from gridd_worker.slots import Slots
from gridd_worker.workspace import Workspaces


@dataclass(slots=True)
class Shared:
    """What all queues of one worker have in common. The callbacks are the agent's; those that get
    a word get the queue's name."""

    config: Config
    worker: str
    runtime: Runtime
    workspaces: Workspaces
    slots: Slots
    spool: Keeping | None
    on_slots: Callable[[], None]  # something was given back
    on_took: Callable[[str], None]  # a job got what it needs
    on_left_over_gone: Callable[[], None]  # a run of an earlier process is over, or given up
    on_no_room: Callable[[str], None]  # a push could not be placed
    on_unavailable: Callable[[RuntimeUnavailable], None]
    disk_is_full: Callable[[], Awaitable[bool]]  # looked at now; true: no more jobs are taken
    on_works: Callable[[], None]  # the runtime started a program
    on_welcome: Callable[[str], None]
    fact_level: int = logging.INFO  # of the lines about single jobs
