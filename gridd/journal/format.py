"""The bytes of segments and snapshots (docs/journal.md): pack them, walk them, judge them.

Knows no directory and writes nothing: what to do about a broken place is decided by the callers.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

import msgpack  # type: ignore[import-untyped]

from gridd.journal.base import PAYLOAD_BYTES_MAX, JournalError, Position
from gridd.journal.fs import File

FORMAT_VERSION = 1
SEGMENT_MAGIC = b"GRIDDSEG"
SNAPSHOT_MAGIC = b"GRIDDSNP"
ID_BYTES = 8
CHUNK_BYTES = 256 << 10  # read at a time; above this replay gets no faster (measured)

_HEADER = struct.Struct(">8sI8sQQQQ8xI")
HEADER_BYTES = _HEADER.size  # 64, in every version to come
_HEADER_CRC = struct.Struct(">I")

# A frame is msgpack [crc32, body] with a fixed five-byte crc32, so sizes are plain sums.
_FRAME_8 = struct.Struct(">BBIBB")
_FRAME_16 = struct.Struct(">BBIBH")
_FRAME_32 = struct.Struct(">BBIBI")
FRAME_HEAD_BYTES_MAX = _FRAME_32.size  # 11

_EXT_MARK, _EXT_TRAILER = 1, 2
_MARK = struct.Struct(">8sQQQ")  # id, offset of this mark, epoch, bytes of frames that follow
_TRAILER = struct.Struct(">8sQ")  # id, count of payloads
MARK_BYTES = 9 + _MARK.size  # 41
MARK_ID_AT = 9  # where in a mark's frame the id lies


class Broken(Exception):
    """The bytes at ``offset`` are not what the format says. For our own callers only."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class Header(NamedTuple):
    """The first 64 bytes of a file. ``id`` is drawn at random and is in no other file.

    Segment: its number, and the offset where the segment before it ends (0 when it is the first).
    Snapshot: the position whose state it holds. ``created_ms`` is the wall clock's: a
    segment's age is what decides when it is closed and when it may go.
    """

    id: bytes
    segment: int
    offset: int
    epoch: int
    created_ms: int


def encode_header(magic: bytes, header: Header) -> bytes:
    fields = (header.id, header.segment, header.offset, header.epoch, header.created_ms)
    head = _HEADER.pack(magic, FORMAT_VERSION, *fields, 0)[:-4]
    return head + _HEADER_CRC.pack(crc32(head))


def decode_header(magic: bytes, data: bytes) -> Header:
    """Raises ``Broken``; ``JournalError`` when it is whole but of a version that we can't read."""
    if len(data) < HEADER_BYTES:
        raise Broken(0, f"the header has {len(data)} of {HEADER_BYTES} bytes")
    found, version, file_id, segment, offset, epoch, created_ms, crc = _HEADER.unpack(data)
    if crc32(data[:-4]) != crc:
        raise Broken(0, "the checksum of the header does not match")
    if found != magic:
        raise Broken(0, f"the header begins with {found!r}, not {magic!r}")
    if version != FORMAT_VERSION:
        raise JournalError(
            f"written in journal format {version}; this version of gridd reads and writes format "
            f"{FORMAT_VERSION}. Use the version of gridd that wrote it."
        )
    return Header(file_id, segment, offset, epoch, created_ms)


def frame_head(payload: bytes) -> bytes:
    """The bytes before a payload. Raises ``ValueError`` when it is longer than the limit."""
    size = len(payload)
    if size < 1 << 8:
        return _FRAME_8.pack(0x92, 0xCE, crc32(payload), 0xC4, size)
    if size < 1 << 16:
        return _FRAME_16.pack(0x92, 0xCE, crc32(payload), 0xC5, size)
    if size > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload has {size} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    return _FRAME_32.pack(0x92, 0xCE, crc32(payload), 0xC6, size)


def _encode_ext(code: int, body: bytes) -> bytes:
    head = struct.pack(">BBIBBb", 0x92, 0xCE, crc32(body), 0xC7, len(body), code)
    return head + body


def encode_batch(
    header: Header, epoch: int, offset: int, payloads: Sequence[bytes]
) -> tuple[bytes, list[int]]:
    """The bytes of one batch that begins at ``offset``, and the offset of each payload's frame."""
    parts: list[bytes] = [b""]
    offsets: list[int] = []
    start = end = offset + MARK_BYTES
    for payload in payloads:
        head = frame_head(payload)
        parts += (head, payload)
        offsets.append(end)
        end += len(head) + len(payload)
    parts[0] = _encode_ext(_EXT_MARK, _MARK.pack(header.id, offset, epoch, end - start))
    return b"".join(parts), offsets


def batch_bytes_bound(payloads: Sequence[bytes]) -> int:
    """At least as much as ``encode_batch`` makes, without making it."""
    return MARK_BYTES + FRAME_HEAD_BYTES_MAX * len(payloads) + sum(map(len, payloads))


class Mark(NamedTuple):
    """A batch mark: where it believes to be, and how many bytes of records follow it."""

    file_id: bytes
    offset: int
    epoch: int
    bytes: int


def mark_of(frame: bytes) -> Mark | None:
    """The batch mark that these ``MARK_BYTES`` bytes are, or ``None`` when they are not one."""
    body = frame[MARK_ID_AT:]
    if len(frame) != MARK_BYTES or _encode_ext(_EXT_MARK, body) != frame:
        return None
    return Mark(*_MARK.unpack(body))


def encode_trailer(header: Header, count: int) -> bytes:
    return _encode_ext(_EXT_TRAILER, _TRAILER.pack(header.id, count))


class _Mark(bytes):
    """The body of a batch mark, told from a payload by its type."""


class _Trailer(bytes):
    """The body of a snapshot's last frame."""


def _ext(code: int, body: bytes) -> bytes:
    if code == _EXT_MARK and len(body) == _MARK.size:
        return _Mark(body)
    if code == _EXT_TRAILER and len(body) == _TRAILER.size:
        return _Trailer(body)
    raise ValueError(f"unknown frame type {code}")


def _unpacker() -> msgpack.Unpacker:
    return msgpack.Unpacker(
        raw=True,
        use_list=False,
        max_array_len=2,
        max_map_len=0,
        max_str_len=0,
        max_ext_len=_MARK.size,
        max_bin_len=PAYLOAD_BYTES_MAX,
        max_buffer_size=PAYLOAD_BYTES_MAX + 2 * CHUNK_BYTES,
        ext_hook=_ext,
    )


def _frames(file: File, end: int) -> Iterator[tuple[int, int, bytes]]:
    """(offset, offset after, body) of each frame between the header and ``end``.

    Holds one chunk and at most one payload. Raises ``Broken`` at the first bad frame.
    """
    unpacker = _unpacker()
    tell = unpacker.tell
    offset = fed = HEADER_BYTES
    while fed < end:
        chunk = file.read(fed, min(CHUNK_BYTES, end - fed))
        if not chunk:
            raise Broken(offset, f"the file ends at {fed}, {end - fed} bytes early")
        fed += len(chunk)
        try:
            unpacker.feed(chunk)
            for crc, body in unpacker:
                after = HEADER_BYTES + tell()
                # 0 is also equal to 0.0, which is one bit away (0xCE, 0xCA).
                if crc32(body) != crc or (not crc and crc.__class__ is not int):
                    raise Broken(offset, "the checksum does not match")
                yield offset, after, body
                offset = after
        except (ValueError, TypeError, msgpack.UnpackException):
            raise Broken(offset, "this is not a frame") from None
    if offset != end:
        raise Broken(offset, f"the frame is cut off after {end - offset} bytes")


class SegmentWalk:
    """One pass over a segment up to ``end``, checking frames and batches.

    ``batch`` is where the first batch begins that is not known to be whole (``end`` when all
    are), ``epoch`` that of the newest mark seen, ``batches`` how many marks were; they are for
    reading after ``records`` ended or raised ``Broken``. Memory: one chunk and one payload.
    """

    def __init__(self, file: File, header: Header, end: int) -> None:
        self.header = header
        self.batch = HEADER_BYTES
        self.epoch = header.epoch
        self.batches = 0
        self._file = file
        self._end = end
        self._batch_end = HEADER_BYTES

    def records(self, start: int = 0) -> Iterator[tuple[Position, bytes]]:
        """Records from ``start``, which must be a place where a frame begins or the end."""
        number, batch_end = self.header.segment, HEADER_BYTES
        made, new = Position, tuple.__new__  # a third of the time of calling it (one for a record)
        try:
            for offset, after, body in _frames(self._file, self._end):
                if offset < start < after:
                    raise Broken(start, "no record begins here")
                if body.__class__ is bytes:
                    if after > batch_end:
                        raise Broken(offset, "this record belongs to no batch")
                    if offset >= start:
                        yield new(made, (number, offset)), body
                    continue
                if offset != batch_end:
                    raise Broken(offset, f"a batch begins inside one that ends at {batch_end}")
                self.batch = offset
                self._batch_end = batch_end = self._check_mark(offset, after, body)
            self._check_end(start)
        except Broken as broken:
            if broken.offset >= self._batch_end:
                self.batch = self._batch_end
            raise
        self.batch = self._end

    def _check_end(self, start: int) -> None:
        batch_end = self._batch_end
        if batch_end != self._end:
            raise Broken(self._end, f"the batch goes on to {batch_end}")
        if start > self._end:
            raise Broken(start, f"the segment ends at {self._end}")

    def _check_mark(self, offset: int, after: int, body: bytes) -> int:
        if body.__class__ is not _Mark:
            raise Broken(offset, "a snapshot's frame in a segment")
        file_id, at, epoch, size = _MARK.unpack(body)
        if (file_id, at) != (self.header.id, offset):
            raise Broken(offset, "the batch mark belongs to another place")
        if epoch < self.epoch:
            raise Broken(offset, f"epoch {epoch} after epoch {self.epoch}")
        if after + size > self._end:
            raise Broken(offset, f"the batch has {self._end - after} of its {size} bytes")
        self.epoch = epoch
        self.batches += 1
        return after + int(size)


def find_later_batch(file: File, header: Header, batch: int, end: int) -> int | None:
    """Where a batch begins after the one at ``batch``, found without trusting any length.

    The segment's random id is in its header and in its marks and nowhere else, so one more of
    it, though the mark around it be damaged, shows that a later batch was begun.
    """
    at = batch + MARK_BYTES
    tail = b""
    while at < end:
        chunk = file.read(at, min(CHUNK_BYTES, end - at))
        if not chunk:
            break
        found = (tail + chunk).find(header.id)
        if found >= 0:
            return at - len(tail) + found - MARK_ID_AT
        at += len(chunk)
        tail = (tail + chunk)[-(ID_BYTES - 1) :]
    return None


def snapshot_payloads(file: File, header: Header) -> Iterator[bytes]:
    """The payloads of a snapshot. Raises ``Broken`` unless the trailer closes it and counts."""
    end, count, closed = file.size(), 0, False
    for offset, _, body in _frames(file, end):
        if closed:
            raise Broken(offset, "bytes after the trailer")
        if body.__class__ is bytes:
            count += 1
            yield body
        elif body != _TRAILER.pack(header.id, count):
            raise Broken(offset, f"the trailer does not belong to these {count} payloads")
        else:
            closed = True
    if not closed:
        raise Broken(end, "the trailer is missing")


def read_frame(file: File, offset: int, end: int) -> bytes:
    """The payload of the record at ``offset``, without reading past ``end``. May raise ``Broken``.

    Small records take one read.
    """
    data = file.read(offset, min(4096, end - offset))
    if len(data) < _FRAME_8.size or data[:2] != b"\x92\xce" or not 0xC4 <= data[6] <= 0xC6:
        raise Broken(offset, "no record begins here")
    width = 1 << (data[6] - 0xC4)
    start = 7 + width
    size = int.from_bytes(data[7:start], "big")
    if size > PAYLOAD_BYTES_MAX or offset + start + size > end:
        raise Broken(offset, f"a record of {size} bytes does not fit before {end}")
    if start + size > len(data):
        data += file.read(offset + len(data), start + size - len(data))
    payload = data[start : start + size]
    if len(payload) != size or crc32(payload) != int.from_bytes(data[2:6], "big"):
        raise Broken(offset, "the checksum does not match")
    return payload
