"""File names in a journal's directory, and what is said about a damaged file."""

import os
import re

from gridd.journal.base import Damaged, Position
from gridd.journal.fs import Files

LOCK_NAME = "lock"
PART_SUFFIX = ".part"  # a snapshot that is still being written

# As we write them: with no more zeros in front than these widths ask for.
_SEGMENT = re.compile(r"([0-9]{8}|[1-9][0-9]{8,})\.seg")
_SNAPSHOT = re.compile(r"snapshot-([0-9]{8}|[1-9][0-9]{8,})-([0-9]{12}|[1-9][0-9]{12,})\.snap")


def segment_path(directory: str, number: int) -> str:
    return os.path.join(directory, f"{number:08d}.seg")


def snapshot_path(directory: str, at: Position) -> str:
    return os.path.join(directory, f"snapshot-{at.segment:08d}-{at.offset:012d}.snap")


def list_segments(fs: Files, directory: str) -> list[int]:
    """Numbers, ascending. Files with other names are not ours and are left alone."""
    matches = map(_SEGMENT.fullmatch, fs.list(directory))
    return sorted(int(match[1]) for match in matches if match)


def list_snapshots(fs: Files, directory: str) -> list[Position]:
    """Positions, newest first."""
    matches = map(_SNAPSHOT.fullmatch, fs.list(directory))
    return sorted((Position(int(m[1]), int(m[2])) for m in matches if m), reverse=True)


def damaged(path: str, offset: int, what: str) -> Damaged:
    return Damaged(
        f"{path}: damaged at byte {offset}: {what}. Acknowledged records may be lost, so gridd "
        "does not go on by itself: restore the directory from a backup, or keep what is whole with "
        "`gridd journal repair`; `gridd journal check` says what that is."
    )
