"""The server's numbers made small, and the few things of Python's that it must not use here."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import gridd.core.archive
import gridd.daemon
import gridd.journal.readers
import gridd.recovery
import gridd.segments
import gridd.trouble
import gridd.upkeep
from tests.simulation.disk import Died

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Small:
    snapshot_records: int
    recent_ms: int


class _Queue(queue.Queue[Any]):
    """A thread that waits for it lets the world go on meanwhile."""

    world: World

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        errand = self.world.errand
        assert errand is not None
        while self.empty():
            errand.pause()
            if errand.life.dead:
                raise Died
        return super().get(block=False)


class _Lock:
    """Among threads that only move one at a time, and may be stopped while they hold it."""

    world: World

    def __init__(self) -> None:
        self._held = False

    def __enter__(self) -> None:
        while self._held:
            errand = self.world.errand
            assert errand is not None, "the world itself would wait for ever"
            errand.pause()
            if errand.life.dead:
                raise Died
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False


def _nothing() -> None:
    pass


@contextmanager
def simulated(world: World, small: Small) -> Iterator[None]:
    queues = SimpleNamespace(
        Queue=type("_QueueOfThisWorld", (_Queue,), {"world": world}), Full=queue.Full
    )
    # The collector is everybody's; a thousand worlds in one process must not freeze it.
    collector = SimpleNamespace(
        freeze=_nothing, unfreeze=_nothing, enable=_nothing, disable=_nothing, collect=_nothing
    )
    logging.disable(logging.CRITICAL)
    try:
        with (
            patch.multiple(
                gridd.upkeep,
                queue=queues,
                SNAPSHOT_RECORDS=small.snapshot_records,
                RECENT_MS=small.recent_ms,
                SLICE=3,
                TIDY_S=7.0,
            ),
            patch.multiple(
                gridd.segments, LOOKED_AT_ONCE=5, FOUND_MAX=6, CARRIED_AT_ONCE=3, CARRIED_BYTES=99
            ),
            patch.multiple(gridd.recovery, gc=collector, RECENT_MS=small.recent_ms),
            patch.multiple(gridd.core.archive, SHARDS=4, SPLIT_AT=3),
            patch.object(gridd.daemon, "gc", collector),
            patch.object(gridd.trouble, "monotonic", lambda: world.now / 1000),
            patch.object(
                gridd.journal.readers, "Lock", type("_LockHere", (_Lock,), {"world": world})
            ),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)
