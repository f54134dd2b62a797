"""What is still whole in a segment behind its first damaged byte (docs/journal.md).

Reads only. It must never take for a record what a submitter wrote into a payload to look like
one: the start of a frame is believed only where a whole mark, the segment's random id, or the end
of the frame before it says so.
"""

from collections.abc import Iterator
from itertools import pairwise, starmap
from typing import Final, NamedTuple

import msgpack  # type: ignore[import-untyped]

from gridd.journal.base import START, Position
from gridd.journal.format import (
    CHUNK_BYTES,
    HEADER_BYTES,
    MARK_BYTES,
    MARK_ID_AT,
    Broken,
    Header,
    Mark,
    SegmentWalk,
    find_later_batch,
    mark_of,
    read_frame,
)
from gridd.journal.fs import File

HOLES_MAX: Final = 1_000
"""In one segment; behind that the rest of it is given up, so that reading ends in bounded time."""
_PROBE_BYTES: Final = 1 << 20  # read at most, to learn from a payload itself how long it is
_TRIES_MAX: Final = 10_000  # places that look like a mark and are not, before an id is given up
_MARK_SIGN: Final = b"\xc7\x20\x01"  # what a mark has after its checksum
_MARK_SIGN_AT: Final = 6


_NOTHING: Final = "a record of 0 bytes, which no server writes"


class Hole(NamedTuple):
    """Bytes from ``offset`` to ``end`` that are not what was written. ``records``: how many are
    lost in it, ``None`` when that can't be known."""

    offset: int
    end: int
    what: str
    records: int | None


def whole_records(
    file: File, header: Header, end: int, count_batches: list[int]
) -> Iterator[tuple[Position, bytes] | Hole]:
    """Every whole record of a segment in order, and the holes between them.

    ``header`` needs only its id and number to be right. ``count_batches[0]`` is raised by the
    batches seen. Memory: as ``SegmentWalk``, and ``_PROBE_BYTES``.
    """
    walk = SegmentWalk(file, header, end)
    last = START
    try:
        for position, payload in walk.records():
            if not payload:
                raise Broken(position.offset, _NOTHING)
            last = position
            yield position, payload
    except Broken as broken:
        salvage = _Salvage(file, header, end, broken.reason)
        for found in salvage.batches(walk.batch):
            if isinstance(found, Hole) or found[0] > last:
                yield found
        count_batches[0] += salvage.marks
    count_batches[0] += walk.batches


def find_id(file: File, end: int) -> bytes | None:
    """The id of a segment whose header is damaged.

    From its first mark; and when that is damaged as well, from the first mark from which the
    batches lead, one behind the other, to exactly the end. A mark that a submitter wrote into a
    payload would have to know its own place in the file, and the id of the others.
    """
    first = _mark_at(file, HEADER_BYTES)
    if first is not None:
        return first.file_id
    at, tries = HEADER_BYTES, 0
    while at < end and tries < _TRIES_MAX:
        chunk = file.read(at, CHUNK_BYTES + MARK_BYTES)
        found = chunk.find(_MARK_SIGN, _MARK_SIGN_AT)
        while 0 <= found < CHUNK_BYTES + _MARK_SIGN_AT and tries < _TRIES_MAX:
            mark = _mark_at(file, at + found - _MARK_SIGN_AT)
            if mark is not None and _leads_to(file, mark, end):
                return mark.file_id
            tries += 1
            found = chunk.find(_MARK_SIGN, found + 1)
        at += CHUNK_BYTES
    return None


def _leads_to(file: File, mark: Mark, end: int) -> bool:
    while True:
        after = mark.offset + MARK_BYTES + mark.bytes
        if after >= end:
            return after == end
        following = _mark_at(file, after)
        if following is None or following.file_id != mark.file_id:
            return False
        mark = following


def _mark_at(file: File, offset: int) -> Mark | None:
    mark = mark_of(file.read(offset, MARK_BYTES))
    return mark if mark is not None and mark.offset == offset else None


class _Salvage:
    def __init__(self, file: File, header: Header, end: int, reason: str) -> None:
        self._file = file
        self._header = header
        self._end = end
        self._reason = reason  # of the first hole; the walk has said it better than we could
        self._holes = 0
        self.marks = 0

    def batches(self, start: int) -> Iterator[tuple[Position, bytes] | Hole]:
        at = start
        while at < self._end:
            if self._holes >= HOLES_MAX:
                yield Hole(at, self._end, f"more than {HOLES_MAX} places are damaged", None)
                return
            mark = _mark_at(self._file, at)
            if mark is not None and mark.file_id == self._header.id:
                self.marks += 1
                after = at + MARK_BYTES + mark.bytes
            else:
                after = self._next_mark(at)
                yield self._hole(at, min(at + MARK_BYTES, after), "no batch mark", 0)
            yield from self._records(at + MARK_BYTES, min(after, self._end))
            at = after

    def _next_mark(self, at: int) -> int:
        """By the id, which no payload can hold. It may be closer than a mark is long when bytes
        were taken out of the file."""
        before = at + MARK_ID_AT + 1 - MARK_BYTES
        later = find_later_batch(self._file, self._header, before, self._end)
        return self._end if later is None else max(later, at + 1)

    def _records(self, start: int, end: int) -> Iterator[tuple[Position, bytes] | Hole]:
        at = start
        while at < end:
            try:
                payload = _record_at(self._file, at, end)
            except Broken as broken:
                after, records = self._after_broken(at, end)
                yield self._hole(at, after, broken.reason, records)
                at = after
            else:
                yield Position(self._header.segment, at), payload
                at += _head_bytes(self._file, at) + len(payload)

    def _after_broken(self, at: int, end: int) -> tuple[int, int | None]:
        """Where the frame behind a broken one begins, and how many records are lost until there.

        Its head says how long it is, and so does its payload, which is one MessagePack value.
        Damage to one of the two leaves the other, so one of them is right, and the other may lead
        to what a submitter wrote into the payload. Where they lead to two places, the nearer one
        is given up, and both are unless the frames from the nearer lead on to the farther.
        """
        if self._holes >= HOLES_MAX:
            return end, None
        head = self._file.read(at, 11)
        candidates = set()
        if len(head) == 11 and 0xC4 <= head[6] <= 0xC6:
            width = 1 << (head[6] - 0xC4)
            candidates.add(7 + width + int.from_bytes(head[7 : 7 + width], "big"))
        for width in (1, 2, 4):
            size = self._value_bytes(at + 7 + width, end)
            if size is not None:
                candidates.add(7 + width + size)
        good = sorted(at + size for size in candidates if self._is_start(at + size, end))
        if not good or not all(starmap(self._lead_to, pairwise(good))):
            return end, None
        return good[-1], 1 if len(good) == 1 else None

    def _lead_to(self, at: int, later: int) -> bool:
        while at < later:
            try:
                at += len(_record_at(self._file, at, later)) + _head_bytes(self._file, at)
            except Broken:
                return False
        return at == later

    def _is_start(self, at: int, end: int) -> bool:
        if at >= end:
            return at == end
        try:
            _record_at(self._file, at, end)
        except Broken:
            return False
        return True

    def _value_bytes(self, start: int, end: int) -> int | None:
        """The length of the MessagePack array at ``start``."""
        first = self._file.read(start, 1)
        if not first or first[0] & 0xF0 != 0x90:
            return None
        unpacker = msgpack.Unpacker(raw=True, max_buffer_size=2 * _PROBE_BYTES)
        fed = start
        limit = min(end, start + _PROBE_BYTES)
        while fed < limit:
            chunk = self._file.read(fed, min(64 << 10, limit - fed))
            if not chunk:
                break
            fed += len(chunk)
            unpacker.feed(chunk)
            try:
                unpacker.skip()
            except msgpack.OutOfData:
                continue
            except (ValueError, msgpack.UnpackException):
                return None
            return int(unpacker.tell())
        return None

    def _hole(self, offset: int, end: int, what: str, records: int | None) -> Hole:
        self._holes += 1
        if self._holes == 1:
            what = self._reason
        return Hole(offset, end, what, records)


def _record_at(file: File, offset: int, end: int) -> bytes:
    """As ``read_frame``. An empty record is one of eight bytes that any damage may leave, and a
    server writes none: beside damage it is not believed."""
    payload = read_frame(file, offset, end)
    if not payload:
        raise Broken(offset, _NOTHING)
    return payload


def _head_bytes(file: File, offset: int) -> int:
    """Of a frame that was read whole."""
    return 7 + int(1 << (file.read(offset + 6, 1)[0] - 0xC4))
