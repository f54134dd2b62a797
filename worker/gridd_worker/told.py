"""How many log lines of each attempt a server was told that keeps no count itself (upstream's).

Owns one folder, a file for each attempt with one number in it, written over in place: a process
that is killed leaves the number of a moment ago, and the next one goes on from there. Not synced.
Refuses to be needed: without its file a log is told from its beginning. All calls block: use a
thread.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from gridd_protocol.limits import RETENTION_MS
from gridd_worker.files import remove_old

DIGITS = 12  # of a number on disk: always as many, so that one write replaces another

_log = logging.getLogger("gridd_worker")


class Told:
    """``room`` keeps queues of the same name on different servers apart. Raises ``OSError`` when
    the folder can't be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def prune(self) -> None:
        """Remove what is older than any server keeps a job: of queues not served any more."""
        remove_old(self.folder, RETENTION_MS / 1000)

    def load(self, room: str) -> dict[tuple[str, int], int]:
        """By job and attempt, all of one room. What can't be read is left out."""
        found = {}
        for path in self.folder.glob(f"{room}-*"):
            with contextlib.suppress(OSError, ValueError):
                _, job, attempt = path.name.rsplit("-", 2)
                found[job, int(attempt)] = int(path.read_text())
        return found

    def save(self, room: str, job: str, attempt: int, lines: int) -> None:
        """A disk that can't take it costs lines told twice after a crash: logged at debug."""
        with _reported(job):
            flags = os.O_WRONLY | os.O_CREAT
            file = os.open(self._path(room, job, attempt), flags, 0o600)
            try:
                os.pwrite(file, f"{lines:0{DIGITS}}".encode(), 0)
            finally:
                os.close(file)

    def remove(self, room: str, job: str, attempt: int) -> None:
        with _reported(job):
            self._path(room, job, attempt).unlink(missing_ok=True)

    def _path(self, room: str, job: str, attempt: int) -> Path:
        return self.folder / f"{room}-{job}-{attempt}"


@contextlib.contextmanager
def _reported(job: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _log.debug("how far the log of job %s was told is not kept: %s", job[:8], error)
