"""What is found in a journal's directory when it is opened, and what is mended.

Mends two things, both of which a crash leaves behind: the torn tail of the last segment, and a
last segment that was created but never used. Everything else out of order is ``Damaged``. And
what is cut when a journal that could not be written is to be written again.
"""

import logging
from dataclasses import dataclass, field

from gridd.journal.base import START, Fenced, Position
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
    unused = _read_headers(fs, directory, found)
    if not found.headers:
        if unused is not None:
            _remove_unused(fs, directory, *unused)
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
            _cut_torn_tail(file, path, walk, broken, unused is not None)
        # What a killed writer left unsynced was read from the page cache. It must be durable
        # before anything follows it, as every batch is.
        file.sync()
        found.end, found.epoch = Position(last, walk.batch), walk.epoch
    finally:
        file.close()
    if unused is not None:  # not before: it is what says that the one before it has no torn tail
        _remove_unused(fs, directory, *unused)
    return found


def _read_headers(fs: Files, directory: str, found: Found) -> tuple[int, int] | None:
    """Fill ``found.headers``. The answer is the number and size of a last segment that was created
    and never used, if there is one."""
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
                _refuse_when_all_is_gone(fs, directory, found, number)
                return number, file.size()
            raise damaged(path, broken.offset, broken.reason) from None
        finally:
            file.close()
        _check_link(directory, found, number, header)
        if size <= HEADER_BYTES and number == numbers[-1] and found.headers:
            # The sync of its header may have failed: read from the page cache, it proves nothing.
            return number, size
        found.headers[number] = header
        found.end = Position(number, size)
    if not numbers:
        _refuse_when_all_is_gone(fs, directory, found, 1)
    return None


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
    # header never held a record.
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


def cut_back(fs: Files, directory: str, header: Header, end: Position, epoch: int) -> File:
    """The last segment on a new descriptor, with nothing after ``end``, the writer's durable end.

    Whatever lies there may read back whole and yet not be on the disk: a failed sync can leave it
    in the page cache, marked as written. Raises ``Fenced`` when another writer was here,
    ``Damaged`` when what was durable does not read back, ``OSError``.
    """
    path = segment_path(directory, end.segment)
    _remove_begun(fs, directory, end.segment)
    file = fs.open(path, writable=True)
    try:
        size = file.size()
        walk = SegmentWalk(file, header, size)
        broken = Broken(size, "the file is cut off")
        try:
            if read_header(file, path, SEGMENT_MAGIC) != header:
                raise Fenced(f"{path}: another process has made this file anew")
            for _ in walk.records():
                pass
        except Broken as found:
            broken = found
        if walk.batch < end.offset:
            raise damaged(path, broken.offset, broken.reason)
        if walk.epoch > epoch:
            raise Fenced(f"{path}: another process has written to it")
        file.truncate(end.offset)
        file.sync()
    except BaseException:
        file.close()
        raise
    return file


def _remove_begun(fs: Files, directory: str, last: int) -> None:
    """A segment after the last one that this writer could not make, nor take back."""
    for number in list_segments(fs, directory):
        if number > last:
            path = segment_path(directory, number)
            file = fs.open(path)
            try:
                size = file.size()
            finally:
                file.close()
            if size > HEADER_BYTES:
                raise Fenced(f"{path}: made by another process")
            _remove_unused(fs, directory, number, size)
