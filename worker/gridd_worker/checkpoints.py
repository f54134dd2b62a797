"""What runs, written down so that the next process of this worker can take it up.

Owns one folder, a file for each attempt whose program runs in something that outlives this process
(a container). Written once, when the program starts; removed when the attempt is over. Not synced:
what it speaks of does not outlive the machine either. Refuses to be needed: an attempt without its
file is run again, elsewhere or here. All calls block: use a thread.
"""

import contextlib
import logging
from pathlib import Path

import msgspec

from gridd_protocol.limits import RETENTION_MS
from gridd_protocol.messages import LogLine, Push, Step
from gridd_worker.files import remove_old
from gridd_worker.logs import LogBuffer

_log = logging.getLogger("gridd_worker")


class Said(msgspec.Struct, frozen=True):
    """Lines of one step."""

    step: Step
    lines: list[LogLine]


class Checkpoint(msgspec.Struct, frozen=True):
    """``cursor`` is that of the first line in ``said``; the program's own lines come behind those
    and are read again from the runtime. ``started_ms`` since the epoch."""

    queue: str
    push: Push
    started_ms: int
    gpus: tuple[str, ...] = ()
    cursor: int = 0
    said: list[Said] = []

    @property
    def key(self) -> tuple[str, str, int]:
        return self.queue, self.push.job, self.push.attempt

    def buffer(self) -> LogBuffer:
        """The log up to the start of the program."""
        buffer = LogBuffer(first=self.cursor)
        for part in self.said:
            buffer.append(part.step, part.lines)
        return buffer


def checkpoint(
    queue: str, push: Push, started_ms: int, gpus: tuple[str, ...], log: LogBuffer
) -> Checkpoint:
    """Copies what is needed out of ``log``: to be called before the program's first line."""
    kept = list(log.parts())
    first = kept[0][0] if kept else log.end
    said = [Said(step, lines) for _, step, lines in kept]
    return Checkpoint(queue, push, started_ms, gpus, first, said)


class Checkpoints:
    """``room`` keeps queues of the same name on different servers apart. Raises ``OSError`` when
    the folder can't be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def prune(self) -> None:
        """Remove what is older than any server keeps a job: of queues not served any more."""
        remove_old(self.folder, RETENTION_MS / 1000)

    def load(self, room: str) -> list[Checkpoint]:
        """All of one room. What can't be read is removed, with a line in the log."""
        found = []
        for path in sorted(self.folder.glob(f"{room}-*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Checkpoint))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                _log.warning("the note %s about a run can't be read: %s", path.name, error)
                with contextlib.suppress(OSError):
                    path.unlink()
        return found

    def save(self, room: str, note: Checkpoint) -> None:
        """A disk that can't take it costs a second run after a crash, so it is only logged."""
        path = self._path(room, note.push.job, note.push.attempt)
        beside = path.with_suffix(".tmp")
        try:
            beside.write_bytes(msgspec.json.encode(note))
            beside.rename(path)
        except OSError as error:
            _log.warning("job %s would be lost with this process: %s", note.push.job[:8], error)

    def remove(self, room: str, job: str, attempt: int) -> None:
        with contextlib.suppress(OSError):
            self._path(room, job, attempt).unlink()

    def _path(self, room: str, job: str, attempt: int) -> Path:
        return self.folder / f"{room}-{job}-{attempt}.json"
