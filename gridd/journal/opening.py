"""What is found in a journal's directory when it is opened, and what is mended.

Mends two things, both of which a crash leaves behind: the torn tail of the last segment, and a
last segment that was created but never used. Everything else out of order is ``Damaged``.
"""

import logging
from dataclasses import dataclass, field

from gridd.journal.base import START, Position
from gridd.journal.format import (
    HEADER_BYTES,
    SEGMENT_MAGIC,
    Broken,
    Header,
    SegmentWalk,
    find_later_batch,
)
from gridd.journal.fs import File, Files
from gridd.journal.names import damaged, list_segments, list_snapshots, segment_path
from gridd.journal.snapshots import read_header

logger = logging.getLogger("gridd.journal")


@dataclass
class Found:
    """``headers`` by segment number, without a gap; ``end`` is where the last whole batch ends."""

    headers: dict[int, Header] = field(default_factory=dict)
    end: Position = START
    epoch: int = 0


def inspect(fs: Files, directory: str) -> Found:
    """Look, mend, and answer. Raises ``Damaged``, ``OSError``, ``JournalError`` (a version)."""
    found = Found()
    sealed = _read_headers(fs, directory, found)
    if not found.headers:
        return found
    last = max(found.headers)
    path = segment_path(directory, last)
    file = fs.open(path, writable=True)
    try:
        walk = SegmentWalk(file, found.headers[last], file.size())
        try:
            for _ in walk.records():
                pass
        except Broken as broken:
            _cut_torn_tail(file, path, walk, broken, sealed)
        # What a killed writer left unsynced was read from the page cache. It must be durable
        # before anything follows it, as every batch is.
        file.sync()
        found.end, found.epoch = Position(last, walk.batch), walk.epoch
    finally:
        file.close()
    return found


def _read_headers(fs: Files, directory: str, found: Found) -> bool:
    """Fill ``found.headers``. True when the last segment was followed by a never used one."""
    numbers = list_segments(fs, directory)
    for number in numbers:
        path = segment_path(directory, number)
        if number != numbers[0] + len(found.headers):
            missing = segment_path(directory, numbers[0] + len(found.headers))
            raise damaged(missing, 0, f"the file is missing, though {path} follows it")
        file = fs.open(path)
        try:
            header = read_header(file, path, SEGMENT_MAGIC)
            size = file.size()
        except Broken as broken:
            if number == numbers[-1] and file.size() <= HEADER_BYTES:
                _remove_unused(fs, directory, number, file.size())
                _refuse_when_all_is_gone(fs, directory, found, number)
                return True
            raise damaged(path, broken.offset, broken.reason) from None
        finally:
            file.close()
        _check_link(directory, found, number, header)
        found.headers[number] = header
        found.end = Position(number, size)
    if not numbers:
        _refuse_when_all_is_gone(fs, directory, found, 1)
    return False


def _check_link(directory: str, found: Found, number: int, header: Header) -> None:
    path = segment_path(directory, number)
    if header.segment != number:
        raise damaged(path, 0, f"its header says that it is segment {header.segment}")
    if found.headers and found.end.offset != header.offset:
        before = segment_path(directory, number - 1)
        at = min(found.end.offset, header.offset)
        what = f"it has {found.end.offset} bytes and was closed with {header.offset}"
        raise damaged(before, at, what)


def _remove_unused(fs: Files, directory: str, number: int, size: int) -> None:
    # A segment's header is durable before its first batch is written. So a file of at most a
    # header, and that not whole, never held a record.
    path = segment_path(directory, number)
    logger.warning("%s: created but never used (%d bytes), removed", path, size)
    fs.remove(path)
    fs.sync_directory(directory)


def _refuse_when_all_is_gone(fs: Files, directory: str, found: Found, number: int) -> None:
    if not found.headers and (number > 1 or list_snapshots(fs, directory)):
        raise damaged(segment_path(directory, number), 0, "no segment is left of a used journal")


def _cut_torn_tail(file: File, path: str, walk: SegmentWalk, broken: Broken, sealed: bool) -> None:
    """Cut the last batch when a crash may have torn it; otherwise raise ``Damaged``."""
    size = file.size()
    if sealed:
        raise damaged(path, broken.offset, f"{broken.reason}, and a later segment was begun")
    later = find_later_batch(file, walk.header, walk.batch, size)
    if later is not None:
        what = f"{broken.reason}, and a later batch begins at byte {later}"
        raise damaged(path, broken.offset, what)
    logger.warning(
        "%s: torn tail: cut %d bytes after byte %d (%s at byte %d)",
        path,
        size - walk.batch,
        walk.batch,
        broken.reason,
        broken.offset,
    )
    file.truncate(walk.batch)
