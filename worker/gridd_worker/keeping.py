"""What a worker keeps on disk of its attempts, for its next process: results, notes, and how much
of a log was told.

The one thread through which ``Spool``, ``Checkpoints`` and ``Told`` are used while the worker runs.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from gridd_protocol.messages import Finished
from gridd_worker.checkpoints import Checkpoint, Checkpoints
from gridd_worker.conversation import Conversation
from gridd_worker.spool import Spool, spooled
from gridd_worker.told import Told


class Keeping:
    """The three behind one thread: files are written and removed in the order of the calls."""

    def __init__(self, spool: Spool, checkpoints: Checkpoints, told: Told) -> None:
        self._spool = spool
        self._checkpoints = checkpoints
        self._told = told
        self._thread = ThreadPoolExecutor(1, "gridd-worker-spool")
        # The newest count of each attempt (None: it can go), until the thread comes to it: a slow
        # disk is not asked for more than one write of each.
        self._counts: dict[tuple[str, str, int], int | None] = {}
        self._counts_lock = threading.Lock()

    async def write(self, room: str, finished: Finished, conversation: Conversation) -> None:
        log = conversation.log(finished.job, finished.attempt)
        if log is not None:
            record = spooled(room, finished, log)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._spool.write, room, record)

    def remove(self, room: str, job: str, attempt: int) -> None:
        self._thread.submit(self._spool.remove, room, job, attempt)

    def restore(self, room: str, conversation: Conversation) -> int:
        """Announce what is spooled; answers how many. Before anything else of this room."""
        count = 0
        for found in self._spool.load(room):
            count += conversation.restore(found.finished(), found.buffer())
        return count

    def left_over(self, room: str) -> list[Checkpoint]:
        """The runs of an earlier process that have no result yet. Blocks; for the start."""
        left: dict[str, Checkpoint] = {}
        for note in sorted(self._checkpoints.load(room), key=lambda note: -note.push.attempt):
            job, attempt = note.push.job, note.push.attempt
            if job in left or self._spool.holds(room, job, attempt):
                self._checkpoints.remove(room, job, attempt)
            else:
                left[job] = note
        return list(left.values())

    def note(self, room: str, note: Checkpoint) -> None:
        self._thread.submit(self._checkpoints.save, room, note)

    def forget(self, room: str, job: str, attempt: int) -> None:
        """The attempt's run is over, and its result, if it has one, is in the spool."""
        self._thread.submit(self._checkpoints.remove, room, job, attempt)

    def told(self, room: str, job: str, attempt: int, lines: int | None) -> None:
        """So many lines of the log were told; ``None``: nobody will ask again."""
        with self._counts_lock:
            idle = not self._counts
            self._counts[room, job, attempt] = lines
        if idle:
            self._thread.submit(self._write_counts)

    def told_before(self, room: str) -> dict[tuple[str, int], int]:
        """By job and attempt, what an earlier process told. Blocks; for the start."""
        return self._told.load(room)

    def _write_counts(self) -> None:
        while True:
            with self._counts_lock:
                if not self._counts:
                    return
                (room, job, attempt), lines = self._counts.popitem()
            if lines is None:
                self._told.remove(room, job, attempt)
            else:
                self._told.save(room, job, attempt, lines)

    def close(self) -> None:
        self._thread.shutdown()
