"""Ended jobs, small: what must be known of each for the weeks that its answer is kept.

The text of a definition, a result and a log stays in the journal; here is only where (two opaque
numbers, see ``Jobs.place``) and the few members of the job's record that lists, answers and the
engine ask for: about 250 bytes a job. An archived job that something happens to is taken out again
and is then a ``Job`` like any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING

from gridd.core import records as r

if TYPE_CHECKING:
    from gridd.core.job import Job

SHARDS = 64
"""Tables that a large archive is split into: growing one moves a 64th of it, so that a million jobs
never make one step long, and a walk over all takes one table at a time."""

SPLIT_AT = 500
"""A smaller archive is one table: most queues have few jobs, and 64 empty tables take 4 kB."""

_REASONS: tuple[r.FinishedReason, ...] = (
    "Success",
    "Error",
    "TimedOut",
    "Cancelled",
    "JobReplacedByClient",
    "Deleted",
)
_CODES = {reason: code for code, reason in enumerate(_REASONS)}

_FIXED = Struct("<QQQQIIIB?B")
"""queued_time, time, definition_at, result_at, sequence (low 32 bits are enough to order what ended
in one ms), attempt, losses, reason, debug, bytes of the worker's name. Then that name, and the
namespaces with a zero byte between them."""

_TIME = Struct("<8xQ")
_PLACES = Struct("<16xQQ")
_DEFINITION_AT = 16  # where in an entry the two places stand
_RESULT_AT = 24
_PLACE = Struct("<Q")


def key_of(job: str) -> bytes:
    """A job id in half the space. Other names (tests have such) keep their letters."""
    if len(job) == 64:
        try:
            return bytes.fromhex(job)
        except ValueError:
            pass
    return b"\0" + job.encode()


def id_of(key: bytes) -> str:
    return key.hex() if len(key) == 32 else key[1:].decode()


def pack(job: Job) -> bytes:
    worker = job.worker.encode()
    namespaces = job.namespaces
    return (
        _FIXED.pack(
            job.queued_time,
            job.time,
            job.definition_at,
            job.result_at,
            job.sequence & 0xFFFFFFFF,
            job.attempt,
            job.losses,
            _CODES[job.reason],  # type: ignore[index]
            job.debug,
            len(worker),
        )
        + worker
        + (namespaces[0] if len(namespaces) == 1 else "\0".join(namespaces)).encode()
    )


def unpack(entry: bytes, job: Job) -> None:
    """Fill ``job`` from its entry. Tags and requirements stay in the definition."""
    queued, time, definition_at, result_at, sequence, attempt, losses, reason, debug, size = (
        _FIXED.unpack_from(entry)
    )
    start = _FIXED.size
    job.queued_time, job.time = queued, time
    job.definition_at, job.result_at = definition_at, result_at
    job.sequence, job.attempt, job.losses, job.debug = sequence, attempt, losses, debug
    job.reason = _REASONS[reason]
    job.state = "Removed" if job.reason == "Deleted" else "Finished"
    job.worker = entry[start : start + size].decode()
    namespaces = entry[start + size :].decode()
    job.namespaces = tuple(namespaces.split("\0")) if namespaces else ()


def time_of(entry: bytes) -> int:
    time: int = _TIME.unpack_from(entry)[0]
    return time


def places_of(entry: bytes) -> tuple[int, int]:
    """``(definition_at, result_at)``."""
    definition_at, result_at = _PLACES.unpack_from(entry)
    return definition_at, result_at


class Archive:
    def __init__(self) -> None:
        self.shards: list[dict[bytes, bytes]] = [{}]  # one, or SHARDS of them
        self._aging: deque[bytes] = deque()  # keys as they came in, oldest first
        self._left: dict[bytes, int] = {}  # how many places of a key there stand for nothing now
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, job: str) -> bool:
        return self.get(job) is not None

    def put(self, job: str, entry: bytes) -> None:
        key = key_of(job)
        shard = self.shards[key[-1] % len(self.shards)]
        if key not in shard:
            self._count += 1
        shard[key] = entry
        self._aging.append(key)
        if self._count > SPLIT_AT and len(self.shards) == 1:
            self._split()

    def get(self, job: str) -> bytes | None:
        key = key_of(job)
        return self.shards[key[-1] % len(self.shards)].get(key)

    def take(self, job: str) -> bytes | None:
        """The entry, which is then no longer here."""
        key = key_of(job)
        entry = self._shard(key).pop(key, None)
        if entry is not None:
            self._count -= 1
            self._left[key] = self._left.get(key, 0) + 1
        return entry

    def move(self, job: str, *, definition_at: int = 0, result_at: int = 0) -> None:
        """The journal keeps them elsewhere now; 0: where it did. The job ages on as before."""
        key = key_of(job)
        shard = self._shard(key)
        entry = bytearray(shard[key])
        if definition_at:
            _PLACE.pack_into(entry, _DEFINITION_AT, definition_at)
        if result_at:
            _PLACE.pack_into(entry, _RESULT_AT, result_at)
        shard[key] = bytes(entry)

    def oldest(self) -> tuple[str, int] | None:
        """``(job, time)`` of the one that came in first. A job that was taken out and came back
        counts from then: it was asked for again."""
        while self._aging:
            key = self._aging[0]
            left = self._left.pop(key, 0)
            if not left:
                return id_of(key), time_of(self._shard(key)[key])
            if left > 1:
                self._left[key] = left - 1
            self._aging.popleft()
        return None

    def sort(self) -> None:
        """Put them in order of their time; for those that were loaded in another."""
        self._aging = deque(key for _, key in sorted((time_of(e), k) for k, e in self._pairs()))
        self._left.clear()

    def newest(self, since_ms: int) -> list[str]:
        """Jobs that ended at ``since_ms`` or later, oldest first. For an archive that was filled in
        order of time, or sorted."""
        found: dict[bytes, None] = {}  # one that was taken out and came back stands there twice
        for key in reversed(self._aging):
            entry = self._shard(key).get(key)
            if entry is None:
                continue
            if time_of(entry) < since_ms:
                break
            found.setdefault(key)
        return [id_of(key) for key in reversed(found)]

    def last(self, most: int) -> list[tuple[str, bytes]]:
        """The ``most`` entries that came in last, the last first. Places that stand for nothing
        any more are looked over, at most as many again."""
        found: dict[bytes, bytes] = {}
        for key in islice(reversed(self._aging), 2 * most):
            entry = self._shard(key).get(key)
            if entry is not None and len(found) < most:
                found.setdefault(key, entry)
        return [(id_of(key), entry) for key, entry in found.items()]

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for key, entry in self._pairs():
            yield id_of(key), entry

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        for shard in self.shards:
            yield from shard.items()

    def _shard(self, key: bytes) -> dict[bytes, bytes]:
        return self.shards[key[-1] % len(self.shards)]

    def _split(self) -> None:
        (whole,) = self.shards
        self.shards = [{} for _ in range(SHARDS)]
        for key, entry in whole.items():
            self._shard(key)[key] = entry
