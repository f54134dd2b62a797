"""A journal's directory read for all that is whole in it, damaged or not. Changes nothing.

Opening stops at the first damage; this goes on, and says where what is missing. It knows no
payload: what the records mean is looked into by ``gridd.inspection``.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from gridd.journal.base import JournalError, Position
from gridd.journal.format import (
    HEADER_BYTES,
    SEGMENT_MAGIC,
    Broken,
    Header,
    SegmentWalk,
    find_later_batch,
    read_frame,
)
from gridd.journal.fs import File, Files, RealFiles
from gridd.journal.names import list_segments, list_snapshots, segment_path, snapshot_path
from gridd.journal.readers import OpenSegments
from gridd.journal.salvage import Hole, find_id, whole_records
from gridd.journal.snapshots import open_snapshot, read_header

DAMAGES_MAX = 1_000
"""Places of damage that are kept to be told; the rest is counted."""


class Damage(NamedTuple):
    """``bytes`` from ``offset`` on do not read back; 0 when nothing is known to be lost there, as
    in a header. ``records``: how many are lost with them, ``None`` when that can't be known."""

    file: str
    offset: int
    bytes: int
    records: int | None
    what: str


@dataclass
class Segment:
    number: int
    path: str
    size: int
    header: Header | None = None  # with a damaged one, what could be learned about it
    end: int = 0  # where its records end

    def at(self, offset: int) -> Position:
        return Position(self.number, offset)


@dataclass
class Snapshot:
    at: Position
    path: str
    size: int
    records: int = 0
    whole: bool = False


class Survey:
    """Raises ``JournalError`` when the directory can't be read, or for another format version.

    ``damages`` grows while ``records`` goes on; it is complete when that ended.
    """

    def __init__(self, directory: str | os.PathLike[str], fs: Files | None = None) -> None:
        self.directory = os.fspath(directory)
        self._fs: Files = fs or RealFiles()
        self.damages: list[Damage] = []
        self.damage_count = 0
        self.torn_bytes = 0  # at the end of the last segment; a start cuts them
        self.torn_path = ""
        self.unused_path = ""  # a last segment that a start would remove
        self.bytes = 0
        self.batches = 0
        self.segments: dict[int, Segment] = {}
        self.snapshots: list[Snapshot] = []
        self._readers = OpenSegments(lambda number: self._fs.open(self.segments[number].path))
        try:
            self._read_segments()
            self._read_snapshots()
        except OSError as error:
            raise JournalError(f"{self.directory}: can't be read: {error}") from error

    @property
    def is_journal(self) -> bool:
        """False when there is neither a segment nor a snapshot."""
        return bool(self.segments or self.snapshots or self.unused_path or self.damages)

    def records(self) -> Iterator[tuple[Position, bytes]]:
        """Every whole record, from the oldest on. Memory: about one payload."""
        for number in sorted(self.segments):
            segment = self.segments[number]
            if segment.header is None:
                continue
            try:
                file = self._fs.open(segment.path)
                try:
                    yield from self._records(segment, segment.header, file)
                finally:
                    file.close()
            except OSError as error:
                raise JournalError(f"{segment.path}: {error}") from error

    def _records(
        self, segment: Segment, header: Header, file: File
    ) -> Iterator[tuple[Position, bytes]]:
        batches = [0]
        for found in whole_records(file, header, segment.end, batches):
            if isinstance(found, Hole):
                size = found.end - found.offset
                self._damage(segment.path, found.offset, size, found.records, found.what)
            else:
                yield found
        self.batches += batches[0]

    def read(self, position: Position) -> bytes | None:
        """The record at ``position``; ``None`` when there is no whole one."""
        segment = self.segments.get(position.segment)
        if segment is None or not HEADER_BYTES <= position.offset < segment.end:
            return None
        try:
            with self._readers.borrow(position.segment) as file:
                return read_frame(file, position.offset, segment.end)
        except Broken:
            return None
        except OSError as error:
            raise JournalError(f"{segment.path}: {error}") from error

    def payloads(self, snapshot: Snapshot) -> Iterator[bytes]:
        """Of a snapshot that is whole."""
        try:
            yield from open_snapshot(self._fs, snapshot.path, snapshot.at)
        except Broken as broken:  # it was whole a moment ago
            raise JournalError(f"{snapshot.path}: changed meanwhile: {broken}") from None

    def close(self) -> None:
        self._readers.close()

    # --- what lies there ----------------------------------------------------------------

    def _read_segments(self) -> None:
        numbers = list_segments(self._fs, self.directory)
        before: Segment | None = None
        for number in numbers:
            segment = self._look_at(number, is_last=number == numbers[-1])
            if segment is None:
                continue
            self.segments[number] = segment
            self._check_link(before, segment)
            before = segment
        if before is not None and before.number == numbers[-1]:
            self._find_torn_tail(before)
        if before is None and (len(numbers) > 1 or (numbers and numbers[0] > 1)):
            self._damage(self.unused_path, 0, 0, None, "no segment is left of a used journal")

    def _look_at(self, number: int, *, is_last: bool) -> Segment | None:
        path = segment_path(self.directory, number)
        file = self._fs.open(path)
        try:
            segment = Segment(number, path, file.size())
            segment.end = segment.size
            self.bytes += segment.size
            try:
                segment.header = read_header(file, path, SEGMENT_MAGIC)
            except Broken as broken:
                if is_last and segment.size <= HEADER_BYTES:
                    self.unused_path = path
                    return None
                self._damage(path, 0, 0, 0, broken.reason)
                segment.header = self._guessed_header(segment, file)
        finally:
            file.close()
        if segment.header is not None and segment.header.segment != number:
            what = f"its header says that it is segment {segment.header.segment}"
            self._damage(path, 0, segment.size, None, what)
            segment.header = None
        return segment

    def _guessed_header(self, segment: Segment, file: File) -> Header | None:
        found = find_id(file, segment.end)
        if found is not None:
            return Header(found, segment.number, -1, 0, 0)
        what = "batch marks are damaged too, so that nothing in it can be told apart"
        self._damage(segment.path, HEADER_BYTES, segment.size - HEADER_BYTES, None, what)
        return None

    def _check_link(self, before: Segment | None, segment: Segment) -> None:
        if before is None:
            return
        if segment.number != before.number + 1:
            missing = segment_path(self.directory, before.number + 1)
            count = segment.number - before.number - 1
            lost = "the file is missing" if count == 1 else f"{count} files are missing from here"
            self._damage(missing, 0, 0, None, lost)
            return
        closed = -1 if segment.header is None else segment.header.offset
        if closed in (-1, before.size):
            return
        what = f"it has {before.size} bytes and was closed with {closed}"
        lost_bytes = max(closed - before.size, 0)
        records = None if lost_bytes else 0
        self._damage(before.path, min(before.size, closed), lost_bytes, records, what)
        before.end = min(before.end, max(closed, HEADER_BYTES))

    def _find_torn_tail(self, last: Segment) -> None:
        """As opening does it, without cutting."""
        if last.header is None or last.header.offset == -1:
            return
        file = self._fs.open(last.path)
        walk = SegmentWalk(file, last.header, last.size)
        try:
            with suppress(Broken):
                for _ in walk.records():
                    pass
            if walk.batch < last.size and not self.unused_path:
                later = find_later_batch(file, last.header, walk.batch, last.size)
                if later is None:
                    self.torn_bytes = last.size - walk.batch
                    self.torn_path = last.path
                    last.end = walk.batch
        finally:
            file.close()

    def _read_snapshots(self) -> None:
        for at in list_snapshots(self._fs, self.directory):
            path = snapshot_path(self.directory, at)
            file = self._fs.open(path)
            size = file.size()
            file.close()
            snapshot = Snapshot(at, path, size)
            self.bytes += size
            try:
                for _ in open_snapshot(self._fs, path, at):
                    snapshot.records += 1
                snapshot.whole = True
            except Broken as broken:
                self._damage(path, broken.offset, 0, 0, broken.reason)
            self.snapshots.append(snapshot)
        first = min(self.segments, default=0)
        if first > 1 and not any(snapshot.whole for snapshot in self.snapshots):
            what = f"no whole snapshot is left, and the log begins with segment {first}"
            self._damage(segment_path(self.directory, 1), 0, 0, None, what)
        if self.snapshots and not self.segments:
            path = segment_path(self.directory, 1)
            self._damage(path, 0, 0, None, "no segment is left of a used journal")

    def _damage(self, file: str, offset: int, size: int, records: int | None, what: str) -> None:
        self.damage_count += 1
        if len(self.damages) < DAMAGES_MAX:
            self.damages.append(Damage(file, offset, size, records, what))
