"""Downloaded files by their sha256, kept for the next job that names the same content.

A file gets in only after its bytes were hashed, and jobs get copies: nothing that a job does to
its inputs reaches another job. Bounded in bytes; what was not used for longest goes first.
"""

import asyncio
import logging
import os
import re
import secrets
from collections import OrderedDict
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from gridd_worker.files import copy_file
from gridd_worker.locks import NamedLocks

_log = logging.getLogger("gridd_worker")
_HASH = re.compile(r"[0-9a-f]{64}")


class FileCache:
    """``bytes_max`` 0 keeps nothing. One worker process owns the directory."""

    def __init__(self, directory: Path, bytes_max: int = 20 << 30) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._sizes: OrderedDict[str, int] = OrderedDict()  # oldest use first
        self._bytes = 0
        self._locks = NamedLocks()

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def open(self) -> None:
        """Takes stock of what an earlier process left; half-written files go.

        Raises ``OSError``."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for path in self._directory.iterdir():
            if not _HASH.fullmatch(path.name):
                path.unlink()
                continue
            info = path.stat()
            found.append((info.st_mtime_ns, path.name, info.st_size))
        for _, name, size in sorted(found):
            self._sizes[name] = size
            self._bytes += size
        self._shrink()

    def scratch(self) -> Path:
        """A new name in the cache's directory, for a download for ``keep`` or ``forget``."""
        return self._directory / f"part-{secrets.token_hex(8)}"

    def forget(self, part: Path) -> None:
        """Removes what a download left behind, if it was not kept."""
        part.unlink(missing_ok=True)

    def lock(self, source: str) -> AbstractAsyncContextManager[None]:
        """One job fetches from ``source``, the others wait and then find it."""
        return self._locks.lock(source)

    async def copy_to(self, sha256: str, target: Path) -> bool:
        """Puts a copy at ``target`` if the content is here. Raises ``OSError`` (disk full, say)."""
        if sha256 not in self._sizes:
            return False
        # All in the thread: it goes on after a cancel, and must not find its file closed then.
        if not await asyncio.to_thread(_copy, self._directory / sha256, target):
            self._drop(sha256)
            return False
        if sha256 in self._sizes:
            self._sizes.move_to_end(sha256)
        return True

    async def keep(self, sha256: str, part: Path, target: Path) -> None:
        """Takes in ``part`` (from ``scratch``), whose bytes were found to have this hash, and puts
        a copy at ``target``. What is larger than the whole cache is moved to ``target`` instead."""
        size = await asyncio.to_thread(_settle, part, target, self._bytes_max)
        if size is None:
            return
        part.replace(self._directory / sha256)  # noqa: ASYNC240 (a rename waits for nothing)
        self._bytes += size - self._sizes.pop(sha256, 0)
        self._sizes[sha256] = size
        self._shrink()

    def clear(self) -> int:
        """Keeps nothing of what it has, because its room is needed; how many bytes that were."""
        freed = self._bytes
        for sha256 in list(self._sizes):
            self._drop(sha256)
        return freed

    def passing(self) -> "FileCache":
        """For downloads in the same directory of which nothing is kept: half the room is enough."""
        return FileCache(self._directory, 0)

    def _shrink(self) -> None:
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._sizes)))

    def _drop(self, sha256: str) -> None:
        self._bytes -= self._sizes.pop(sha256, 0)
        (self._directory / sha256).unlink(missing_ok=True)


def _copy(path: Path, target: Path) -> bool:
    """False when the cached file can't be read. Raises ``OSError`` when ``target`` can't be
    written."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        _log.warning("cached file %s can't be read: %s", path.name, error)
        return False
    try:
        copy_file(source, target)
        os.utime(source)  # the order of use outlives this process
    finally:
        os.close(source)
    return True


def _settle(part: Path, target: Path, bytes_max: int) -> int | None:
    """Copies ``part`` and makes it durable; its size, or None when it was moved, being too large.

    A name that promises a hash must not point to bytes that a power cut took away.
    """
    source = os.open(part, os.O_RDONLY)
    try:
        size = os.fstat(source).st_size
        if size > bytes_max:
            part.replace(target)
            return None
        copy_file(source, target)
        os.fsync(source)
        return size
    finally:
        os.close(source)
