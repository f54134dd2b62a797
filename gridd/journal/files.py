"""The journal in a directory of segment files (docs/journal.md).

Owns the order of writes and syncs, the lock, and which files may go. The bytes are
``format``'s, mending at the start is ``opening``'s, snapshots are ``snapshots``'.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from gridd.errors import disk_advice
from gridd.journal.base import (
    START,
    Fenced,
    JournalError,
    Position,
    WriteFailed,
)
from gridd.journal.format import (
    HEADER_BYTES,
    ID_BYTES,
    SEGMENT_MAGIC,
    Header,
    batch_bytes_bound,
    encode_batch,
    encode_header,
)
from gridd.journal.fs import File, Files, Lock, LockHeld, RealFiles
from gridd.journal.held import Held
from gridd.journal.log_reader import LogReader
from gridd.journal.names import (
    LOCK_NAME,
    PART_SUFFIX,
    damaged,
    list_snapshots,
    segment_path,
    snapshot_path,
)
from gridd.journal.opening import Found, cut_back, inspect
from gridd.journal.snapshots import newest_snapshot, write_snapshot

logger = logging.getLogger("gridd.journal")

SEGMENT_BYTES = 64 << 20
SEGMENT_MS = 24 * 3_600_000

ROOM_BYTES = 8 << 20
"""What the disk must take before a journal that could not be written is written again (chosen:
some seconds of a busy grid). A mark alone would fit into the last block of a full disk."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class FileJournal:
    """``Journal`` over files. Opening takes the lock, mends a torn tail and raises the epoch.

    A batch survives a crash whole or not at all. A segment is closed when the next batch would
    take it over ``segment_bytes`` (only a batch that is larger by itself makes a larger one), or
    comes more than ``segment_ms`` after it was begun: what is in it can then grow old together.
    ``synced`` is told how many seconds the sync of each batch took, in whatever thread appends.
    Opening raises ``Fenced`` (someone holds the lock), ``Damaged``, or ``JournalError``.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        fs: Files | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_ms: int = SEGMENT_MS,
        room_bytes: int = ROOM_BYTES,
        random_bytes: Callable[[int], bytes] = os.urandom,
        now_ms: Callable[[], int] = _wall_ms,
        synced: Callable[[float], None] | None = None,
    ) -> None:
        self._directory = os.fspath(directory)
        self._fs: Files = fs or RealFiles()
        self._segment_bytes = segment_bytes
        self._segment_ms = segment_ms
        self._room_bytes = room_bytes
        self._random_bytes = random_bytes
        self._now_ms = now_ms
        self._synced = synced
        # Why appends are refused, or None. Only ``reopen`` clears it: after a failed sync the
        # kernel may drop the pages and call the next sync a success.
        self._refusal: JournalError | None = None
        self._closed = False
        try:
            self._lock = self._take_lock()
            try:
                self._start(inspect(self._fs, self._directory))
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise JournalError(
                f"{self._directory}: can't open the journal: {error}; {disk_advice(error)}"
            ) from error

    # -- opening

    def _take_lock(self) -> Lock:
        self._fs.make_directory(self._directory)
        path = os.path.join(self._directory, LOCK_NAME)
        try:
            return self._fs.lock(path, f"pid {os.getpid()}")
        except LockHeld as held:
            raise Fenced(
                f"{self._directory}: in use by another process ({held.holder or 'unknown'}). "
                "Stop it, or use another data directory."
            ) from None

    def _start(self, found: Found) -> None:
        self._held = Held(found.headers, found.end)
        self._reader = LogReader(self._directory, self._held, self._open_segment)
        self._epoch = found.epoch + 1
        for name in self._fs.list(self._directory):
            if name.endswith(PART_SUFFIX):
                self._fs.remove(os.path.join(self._directory, name))
        if found.headers:
            # A killed writer may have left names unsynced, of the last segment or a snapshot.
            self._fs.sync_directory(self._directory)
            path = segment_path(self._directory, found.end.segment)
            self._file = self._fs.open(path, writable=True)
            # An empty batch makes the epoch durable, and from now on damage before it can't pass
            # for a torn tail.
            self._write([])
        else:
            self._create_segment(1)
        self._marked_end = self._held.end

    def _create_segment(self, number: int) -> None:
        header = Header(
            self._random_bytes(ID_BYTES),
            number,
            self._held.end.offset,
            self._epoch,
            self._now_ms(),
        )
        file = self._fs.create(segment_path(self._directory, number))
        try:
            file.write(encode_header(SEGMENT_MAGIC, header))
            file.sync()
            self._fs.sync_directory(self._directory)
        except BaseException:
            # Taken back for the same reason as in ``_give_up``; nothing was in it.
            file.close()
            with suppress(OSError):
                self._fs.remove(segment_path(self._directory, number))
            raise
        self._file = file
        self._held.begin(number, header)

    # -- writing

    @property
    def end(self) -> Position:
        return self._held.end

    @property
    def epoch(self) -> int:
        """Counts the openings of this journal: the writer generation in every batch mark."""
        return self._epoch

    def append(self, batch: Sequence[bytes], after: Position) -> list[Position]:
        """See ``Journal.append``. One write and one sync; ``ValueError`` for a payload too long."""
        if self._refusal:
            raise type(self._refusal)(str(self._refusal))
        if after != self._held.end:
            raise Fenced(
                f"{self._directory}: the writer believes that the end is {after.segment}/"
                f"{after.offset}, it is {self._held.end.segment}/{self._held.end.offset}"
            )
        if not batch:
            return []
        try:
            self._check_alone()
            if self._is_full(batch_bytes_bound(batch)):
                self._roll()
            return self._write(batch)
        except OSError as error:
            raise self._give_up(error) from error

    def _check_alone(self) -> None:
        """A lock can be got round (its file removed, a network disk). But who opens the journal
        writes a batch mark at once, so a size that is not ours tells."""
        size = self._file.size()
        segment, end = self._held.end
        if size != end:
            self._refusal = Fenced(
                f"{segment_path(self._directory, segment)}: has {size} bytes where this "
                f"writer left {end}: another process has written to it"
            )
            raise self._refusal

    def _is_full(self, batch_bytes: int) -> bool:
        segment, used = self._held.end
        if used == HEADER_BYTES:
            return False
        begun_ms = self._held.headers[segment].created_ms
        return (
            used + batch_bytes > self._segment_bytes
            or self._now_ms() - begun_ms >= self._segment_ms
        )

    def _roll(self) -> None:
        sealed, full = self._file, self._held.end
        try:
            self._create_segment(full.segment + 1)
        except FileExistsError as error:
            self._refusal = Fenced(f"{error.filename}: already made by another process")
            raise self._refusal from None
        sealed.close()
        logger.info("segment %d sealed with %d bytes", full.segment, full.offset)

    def _write(self, batch: Sequence[bytes]) -> list[Position]:
        segment, start = self._held.end
        data, offsets = encode_batch(self._held.headers[segment], self._epoch, start, batch)
        seconds = _write_or_take_back(self._file, data, start)
        if self._synced is not None:
            self._synced(seconds)
        self._held.end = Position(segment, start + len(data))
        return [Position(segment, offset) for offset in offsets]

    def _give_up(self, error: OSError) -> WriteFailed:
        """Refuse all further appends."""
        segment, end = self._held.end
        self._refusal = WriteFailed(
            f"{segment_path(self._directory, segment)}: writing after byte "
            f"{end} failed: {error}. Nothing is written until the disk takes it again"
        )
        return WriteFailed(str(self._refusal))

    def reopen(self) -> None:
        """See ``Journal.reopen``. The lock is kept, so that nobody can come in between, and so is
        the epoch: this is the same writer."""
        if self._refusal is None:
            return
        if self._closed or isinstance(self._refusal, Fenced):
            raise type(self._refusal)(str(self._refusal))
        try:
            self._prove_room()
            file = self._last_segment_again()
        except Fenced as fenced:
            self._refusal = fenced
            raise
        except OSError as error:
            raise WriteFailed(f"{self._directory}: can't be written yet: {error}") from error
        old, self._file = self._file, file
        self._refusal = None
        old.close()

    def _prove_room(self) -> None:
        path = os.path.join(self._directory, "room" + PART_SUFFIX)
        with suppress(FileNotFoundError):
            self._fs.remove(path)
        file = self._fs.create(path)
        try:
            # Random, for disks that store nothing of zeros.
            file.write(self._random_bytes(self._room_bytes))
            file.sync()
        finally:
            file.close()
            self._fs.remove(path)

    def _last_segment_again(self) -> File:
        """On a new descriptor, up to the durable end and one empty batch, which shows that writes
        and syncs work."""
        segment, end = self._held.end
        header = self._held.headers[segment]
        file = cut_back(self._fs, self._directory, header, self._held.end, self._epoch)
        try:
            data, _ = encode_batch(header, self._epoch, end, [])
            _write_or_take_back(file, data, end)
        except BaseException:
            file.close()
            raise
        self._held.end = self._marked_end = Position(segment, end + len(data))
        return file

    # -- reading

    def replay(self, after: Position = START) -> Iterator[tuple[Position, bytes]]:
        """See ``Journal.replay`` and ``LogReader.replay``."""
        return self._reader.replay(after)

    def read(self, position: Position) -> bytes:
        """See ``Journal.read``. ``KeyError`` also for a place that nothing was written to yet."""
        return self._reader.read(position)

    def _open_segment(self, number: int) -> File:
        return self._fs.open(segment_path(self._directory, number))

    def sealed(self) -> list[tuple[int, int]]:
        """See ``Journal.sealed``. The next one is begun in the moment in which one is closed."""
        headers, now_ms = self._held.headers, self._now_ms()
        return [(n, now_ms - headers[n + 1].created_ms) for n in sorted(headers)[:-1]]

    # -- snapshots, and forgetting

    def write_snapshot(self, at: Position, payloads: Iterable[bytes]) -> None:
        """See ``Journal.write_snapshot``. May run beside ``append``. A failure is a
        ``JournalError`` and harms neither the log nor the older snapshots. The last two are kept.
        """
        if at > self._held.end:
            raise ValueError(f"snapshot at {at}, but the journal ends at {self._held.end}")
        drawn = self._random_bytes(ID_BYTES)
        header = Header(drawn, at.segment, at.offset, self._epoch, self._now_ms())
        write_snapshot(self._fs, self._directory, header, payloads)

    def read_snapshot(self) -> tuple[Position, Iterator[bytes]] | None:
        """See ``Journal.read_snapshot``. ``Damaged`` when none is whole though the log relies on
        one, having forgotten its beginning."""
        snapshot = newest_snapshot(self._fs, self._directory)
        first = min(self._held.headers)
        if snapshot is None and first > 1:
            path = snapshot_path(self._directory, Position(first, HEADER_BYTES))
            raise damaged(path, 0, f"no whole snapshot is left, and the log begins with {first}")
        return snapshot

    def forget(self, before: Position) -> None:
        """Drop whole segments that end at or before ``before`` and that the older of the kept
        snapshots covers: without that one the newest would be the only copy."""
        snapshots = list_snapshots(self._fs, self._directory)
        if not snapshots:
            return
        limit = min(before, snapshots[-1])
        for number in sorted(self._held.headers)[:-1]:
            if Position(number, self._held.headers[number + 1].offset) > limit:
                break
            self._drop(number)

    def _drop(self, number: int) -> None:
        header = self._held.drop(number)
        self._reader.drop(number)
        path = segment_path(self._directory, number)
        try:
            # The snapshot's name and the removal before this one are durable first, so that a
            # crash leaves neither a gap in the numbers nor a log without its beginning.
            self._fs.sync_directory(self._directory)
            with suppress(FileNotFoundError):
                self._fs.remove(path)
        except OSError as error:
            # Still held: dropping the one behind it would leave a gap.
            self._held.take_back(number, header)
            raise JournalError(f"{path}: can't be removed: {error}") from error
        logger.info("segment %d forgotten", number)

    # -- closing

    def close(self) -> None:
        """See ``Journal.close``. Ends with an empty batch, so that damage done to the file while
        nothing runs can't pass for a torn tail."""
        if self._closed:
            return
        self._closed = True
        if self._refusal is None and self._held.end != self._marked_end:
            try:
                self._check_alone()
                self._write([])
            except (OSError, Fenced) as error:
                logger.warning("%s: closing without a last mark: %s", self._directory, error)
        self._refusal = self._refusal or WriteFailed(f"{self._directory}: the journal is closed")
        self._file.close()
        self._reader.close()
        self._lock.close()


def _write_or_take_back(file: File, data: bytes, start: int) -> float:
    """Append ``data`` at ``start``, durably; answers the seconds that the sync took. When that
    fails, the bytes are taken back if the disk lets us: else a restart would read them from the
    page cache, perhaps marked as written though they are not, and believe them. Raises
    ``OSError``."""
    try:
        file.write(data)
        began = time.perf_counter()
        file.sync()
        return time.perf_counter() - began
    except OSError:
        with suppress(OSError):
            file.truncate(start)
        raise
