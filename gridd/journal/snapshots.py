"""Snapshot files: a whole state in one file, there entirely or not at all.

Written beside under a ``.part`` name, synced, renamed, and the directory synced. Counted by a
trailer, so one that was cut (by a copy, say: the rename rules it out here) is recognised.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress

from gridd.journal.base import JournalError, Position
from gridd.journal.format import (
    HEADER_BYTES,
    SNAPSHOT_MAGIC,
    Broken,
    Header,
    decode_header,
    encode_header,
    encode_trailer,
    frame_head,
    snapshot_payloads,
)
from gridd.journal.fs import File, Files
from gridd.journal.names import PART_SUFFIX, damaged, list_snapshots, snapshot_path

logger = logging.getLogger("gridd.journal")

SNAPSHOTS_KEPT = 2  # the newest, and one more in case its bytes rot
_WRITE_BYTES = 1 << 20  # gathered before each write


def write_snapshot(fs: Files, directory: str, header: Header, payloads: Iterable[bytes]) -> None:
    """Durable when it returns. Raises ``JournalError``; the older snapshots are then untouched."""
    path = snapshot_path(directory, Position(header.segment, header.offset))
    part = path + PART_SUFFIX
    try:
        with suppress(FileNotFoundError):
            fs.remove(part)
        try:
            _write(fs.create(part), header, payloads)
            fs.rename(part, path)
            fs.sync_directory(directory)
        except BaseException:
            with suppress(OSError):
                fs.remove(part)
            raise
        for old in list_snapshots(fs, directory)[SNAPSHOTS_KEPT:]:
            fs.remove(snapshot_path(directory, old))
    except OSError as error:
        raise JournalError(f"{path}: the snapshot was not kept: {error}") from error


def _write(file: File, header: Header, payloads: Iterable[bytes]) -> None:
    try:
        parts, size, count = [encode_header(SNAPSHOT_MAGIC, header)], HEADER_BYTES, 0
        for payload in payloads:
            parts += (frame_head(payload), payload)
            size += len(payload)
            count += 1
            if size >= _WRITE_BYTES:
                file.write(b"".join(parts))
                parts, size = [], 0
        parts.append(encode_trailer(header, count))
        file.write(b"".join(parts))
        file.sync()
    finally:
        file.close()


def newest_snapshot(fs: Files, directory: str) -> tuple[Position, Iterator[bytes]] | None:
    """The newest that is whole, read through once to know it; damaged ones are logged."""
    for at in list_snapshots(fs, directory):
        path = snapshot_path(directory, at)
        try:
            for _ in open_snapshot(fs, path, at):
                pass
        except Broken as broken:
            logger.warning(
                "%s: damaged at byte %d: %s; using an older snapshot",
                path,
                broken.offset,
                broken.reason,
            )
            continue
        return at, _read_again(fs, path, at)
    return None


def _read_again(fs: Files, path: str, at: Position) -> Iterator[bytes]:
    try:
        yield from open_snapshot(fs, path, at)
    except Broken as broken:
        raise damaged(path, broken.offset, broken.reason) from None


def open_snapshot(fs: Files, path: str, at: Position) -> Iterator[bytes]:
    """The payloads of one snapshot, read as they are asked for, so that the end comes last.

    Raises ``Broken``, or ``JournalError`` when it can't be read or is of another version.
    """
    try:
        file = fs.open(path)
        try:
            header = read_header(file, path, SNAPSHOT_MAGIC)
            if (header.segment, header.offset) != at:
                raise Broken(0, f"the header says {header.segment}/{header.offset}, the name not")
            yield from snapshot_payloads(file, header)
        finally:
            file.close()
    except OSError as error:
        raise JournalError(f"{path}: {error}") from error


def read_header(file: File, path: str, magic: bytes) -> Header:
    """Raises ``Broken``, or ``JournalError`` naming the file when the version is unknown."""
    try:
        return decode_header(magic, file.read(0, HEADER_BYTES))
    except JournalError as error:
        raise JournalError(f"{path}: {error}") from None
