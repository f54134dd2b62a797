"""Results on disk from before they are sent until the server has acknowledged them.

Owns one folder. A result that is here survives the end of this process, and is announced and sent
again by the next one. A file is ``<queue hash>-<job>-<attempt>.json``, written beside, synced,
then renamed. Refuses to hold more than a bound: beyond it results are only kept in memory, which
the caller is told. Damaged files are removed with a line in the log. All calls block: use a thread.
"""

import hashlib
import logging
import os
import time
from pathlib import Path

import msgspec

from gridd_protocol.limits import RETENTION_MS
from gridd_protocol.messages import Finished, LogLine, Reason, Step
from gridd_worker.logs import LogBuffer

FILES_MAX = 10_000
BYTES_MAX = 1 << 30

_log = logging.getLogger("gridd_worker")


class SpooledLines(msgspec.Struct, frozen=True):
    """Lines of one step, as far as the worker keeps them."""

    step: Step
    lines: list[LogLine]


class Spooled(msgspec.Struct, frozen=True):
    """What a file holds. ``cursor`` is that of the first line in ``logs``."""

    queue: str
    job: str
    attempt: int
    reason: Reason
    result: str
    cursor: int = 0
    logs: list[SpooledLines] = []

    def finished(self) -> Finished:
        return Finished(self.job, self.attempt, self.reason, self.result)

    def buffer(self) -> LogBuffer:
        buffer = LogBuffer(first=self.cursor)
        for part in self.logs:
            buffer.append(part.step, part.lines)
        return buffer


def spooled(queue: str, finished: Finished, log: LogBuffer) -> Spooled:
    """Copies what is needed out of ``log``: call it on the loop, write the outcome elsewhere."""
    kept = list(log.parts())
    first = kept[0][0] if kept else log.end
    parts = [SpooledLines(step, lines) for _, step, lines in kept]
    return Spooled(
        queue, finished.job, finished.attempt, finished.reason, finished.result, first, parts
    )


def queue_hash(api_address: str, queue: str) -> str:
    """Keeps queues of the same name on different servers apart; safe in a file name."""
    return hashlib.sha256(f"{api_address}\n{queue}".encode()).hexdigest()[:16]


class Spool:
    """``folder`` is made when it is missing. Raises ``OSError`` when that can't be."""

    def __init__(
        self, folder: Path, files_max: int = FILES_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self.folder = folder
        self.files_max = files_max
        self.bytes_max = bytes_max
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sizes: dict[str, int] = {}
        for path in sorted(self.folder.iterdir()):
            if path.suffix == ".tmp":  # never announced, so nobody waits for it
                path.unlink()
            elif path.suffix == ".json":
                self._sizes[path.name] = path.stat().st_size

    def load(self, queue_hash: str) -> list[Spooled]:
        """Everything that is spooled for one queue, one attempt per job: the newest."""
        newest: dict[str, Spooled] = {}
        for name in [name for name in self._sizes if name.startswith(f"{queue_hash}-")]:
            found = self._read(name)
            if found is None:
                continue
            other = newest.get(found.job)
            if other is None or other.attempt < found.attempt:
                newest[found.job], found = found, other
            if found is not None:
                self.remove(queue_hash, found.job, found.attempt)
        return list(newest.values())

    def holds(self, queue_hash: str, job: str, attempt: int) -> bool:
        return _name(queue_hash, job, attempt) in self._sizes

    def prune(self, now_s: float | None = None) -> None:
        """Remove what is older than any server keeps a job; queues that are not served any more
        would otherwise fill the bound for ever."""
        oldest_s = (time.time() if now_s is None else now_s) - RETENTION_MS / 1000
        for name in list(self._sizes):
            if (self.folder / name).stat().st_mtime < oldest_s:
                _log.warning("removed the spooled result %s: it is older than 28 days", name)
                self._unlink(name)

    def write(self, queue_hash: str, result: Spooled) -> bool:
        """True once the result is durable. False, with a line in the log, when it is not: the
        spool is full or the disk fails."""
        name = _name(queue_hash, result.job, result.attempt)
        data = msgspec.json.encode(result)
        if len(self._sizes) >= self.files_max or self.size_bytes + len(data) > self.bytes_max:
            _log.warning(
                "result of job %s is kept in memory only: the spool %s holds %d files of %d bytes "
                "and %d files of %d bytes are allowed",
                *(result.job[:8], self.folder, len(self._sizes), self.size_bytes),
                *(self.files_max, self.bytes_max),
            )
            return False
        try:
            self._store(name, data)
        except OSError as error:
            _log.warning("result of job %s is kept in memory only: %s", result.job[:8], error)
            return False
        self._sizes[name] = len(data)
        return True

    def remove(self, queue_hash: str, job: str, attempt: int) -> None:
        """Nothing happens when it is not there."""
        name = _name(queue_hash, job, attempt)
        if name in self._sizes:
            self._unlink(name)

    @property
    def size_bytes(self) -> int:
        return sum(self._sizes.values())

    def _store(self, name: str, data: bytes) -> None:
        beside = self.folder / f"{name}.tmp"
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(self.folder / name)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename is durable only with the folder
        finally:
            os.close(folder)

    def _read(self, name: str) -> Spooled | None:
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=Spooled)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("removed the spooled result %s: it can't be read: %s", name, error)
            self._unlink(name)
            return None

    def _unlink(self, name: str) -> None:
        self._sizes.pop(name, None)
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the spooled result %s can't be removed: %s", name, error)


def _name(queue_hash: str, job: str, attempt: int) -> str:
    return f"{queue_hash}-{job}-{attempt}.json"
