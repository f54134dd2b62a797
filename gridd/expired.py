"""What is still known of jobs whose retention has passed: that they were there, and until when.

In memory and bounded: it is a courtesy to whoever asks late (410 instead of 404), not a promise.
Snapshots carry it over a restart.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from gridd.core.archive import id_of, key_of
from gridd.core.records import Expired

EXPIRED_KEPT_MAX: Final = 100_000
"""Jobs remembered, the newest ones; about 25 MB when full (measured: 250 bytes each)."""


class ExpiredJobs:
    def __init__(self, kept_max: int = EXPIRED_KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._times: dict[str, dict[bytes, int]] = {}  # queue -> job -> ms since the epoch
        self._oldest_first: deque[tuple[str, bytes]] = deque()

    def __len__(self) -> int:
        return len(self._oldest_first)

    def add(self, queue: str, job: str, time_ms: int) -> None:
        key = key_of(job)
        jobs = self._times.setdefault(queue, {})
        if key not in jobs:
            self._oldest_first.append((queue, key))
        jobs[key] = time_ms
        if len(self._oldest_first) > self._kept_max:
            self._forget(*self._oldest_first.popleft())

    def when(self, queue: str | None, job: str) -> int | None:
        """``queue=None`` looks in every queue and answers with the newest."""
        key = key_of(job)
        if queue is not None:
            return self._times.get(queue, {}).get(key)
        found = (jobs.get(key) for jobs in self._times.values())
        return max((time for time in found if time is not None), default=None)

    def records(self) -> Iterator[Expired]:
        """One for each, oldest first. What is added while they are taken is not among them."""
        return (
            Expired(queue, id_of(key), time)
            for queue, key in list(self._oldest_first)
            if (time := self._times.get(queue, {}).get(key)) is not None
        )

    def _forget(self, queue: str, key: bytes) -> None:
        jobs = self._times[queue]
        del jobs[key]
        if not jobs:
            del self._times[queue]
