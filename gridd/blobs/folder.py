"""Blobs in a folder of this machine.

    <folder>/sha256/ab/<key>           keys that are hashes, by their first two digits
    <folder>/named/cd/<sha256 of key>  every other key, by the hash of the key itself
    <folder>/incoming/                 what is being uploaded; emptied at start

Owns these three rooms; one daemon per folder. A key never becomes part of a path unless it is 64
hex digits, so no key can climb out, clash in letter case or be too long for the file system.
An upload is written to ``incoming``, synced, renamed to its place, and the place's folder is
synced: a crash at any point leaves the old blob, the new one, or a leftover that the next start
removes.
"""

import asyncio
import contextlib
import hashlib
import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from gridd.blobs.base import Blob, Stored, check_stored, is_hash, too_large
from gridd.errors import BlobError, disk_advice
from gridd_protocol.limits import BLOB_BYTES_MAX

# Gathered before each trip to a thread: what one upload holds in memory, beside one chunk.
# A trip costs some 0.1 ms, so at 1 MiB it does not show.
PIECE_BYTES: Final = 1 << 20

# Disk work at a time. More than that queue up; uploads then wait and their peers with them.
THREADS: Final = 4

P = ParamSpec("P")
T = TypeVar("T")


class FolderBlobs:
    """See ``base.Blobs``. Opening it blocks on the disk; raises ``BlobError`` if it can't."""

    def __init__(self, folder: Path, bytes_max: int = BLOB_BYTES_MAX) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._incoming = folder / "incoming"
        self._numbers = itertools.count()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        with _disk_errors(f"open the blob folder {folder}"):
            for room in (folder / "sha256", folder / "named", self._incoming):
                room.mkdir(parents=True, exist_ok=True)
            for leftover in self._incoming.iterdir():
                leftover.unlink()
            _sync_folder(folder)

    def _place(self, key: str) -> Path:
        name = key if is_hash(key) else hashlib.sha256(key.encode()).hexdigest()
        return self._folder / ("sha256" if is_hash(key) else "named") / name[:2] / name

    async def put(self, key: str, chunks: AsyncIterator[bytes], size: int | None) -> Stored:
        if size is not None and size > self._bytes_max:
            raise too_large(key, size, self._bytes_max)
        # Bytes under a hash that is already stored are checked and not written again.
        known = is_hash(key) and await self.exists(key)
        upload = _Upload(None if known else self._incoming / str(next(self._numbers)))
        try:
            await self._receive(upload, key, chunks)
            stored = upload.stored()
            check_stored(key, stored, size)
            await self._run(upload.keep, self._place(key))
        finally:
            # Shielded: a cancelled upload must not leave its file behind either.
            await asyncio.shield(self._run(upload.drop))
        return stored

    async def _receive(self, upload: "_Upload", key: str, chunks: AsyncIterator[bytes]) -> None:
        gathered = bytearray()
        received = 0
        async for chunk in chunks:
            received += len(chunk)
            if received > self._bytes_max:
                raise too_large(key, received, self._bytes_max)
            gathered += chunk
            if len(gathered) >= PIECE_BYTES:
                await self._run(upload.write, gathered)
                gathered = bytearray()
        await self._run(upload.write, gathered)

    async def open(self, key: str, headers: Mapping[str, str] | None = None) -> Blob | None:
        return await self._run(_open, self._place(key), key)

    async def exists(self, key: str) -> bool:
        return await self._run(_is_file, self._place(key))

    async def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            future = self._threads.submit(call, *args, **kwargs)
        except RuntimeError:
            raise BlobError(f"the blob folder {self._folder} is closed") from None
        return await asyncio.wrap_future(future)


class _Upload:
    """One upload on its way in. The methods block.

    Without a ``path`` it only counts and hashes. ``drop`` after ``keep`` does nothing. The lock is
    for a cancelled upload: its last ``write`` may still run in a thread when ``drop`` comes, and
    a file number that is closed under a write may already name another file.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._path = path
        self._file: int | None = None
        self._hash = hashlib.sha256()
        self._size = 0

    def stored(self) -> Stored:
        return Stored(self._size, self._hash.hexdigest())

    def write(self, data: bytearray) -> None:
        self._hash.update(data)
        self._size += len(data)
        if self._path is None:
            return
        with self._lock, _disk_errors(f"write {self._path}"):
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]

    def keep(self, place: Path) -> None:
        if self._path is None or self._file is None:
            return
        with self._lock, _disk_errors(f"store {place}"):
            os.fsync(self._file)
            if not place.parent.is_dir():
                place.parent.mkdir(exist_ok=True)
                _sync_folder(place.parent.parent)
            self._path.rename(place)
            self._path = None
            _sync_folder(place.parent)

    def drop(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._file is not None:
                os.close(self._file)
            if self._path is not None:
                # If this fails too, the next start removes it.
                self._path.unlink(missing_ok=True)


def _open(place: Path, key: str) -> Blob | None:
    with _disk_errors(f"open {place}"):
        try:
            file = place.open("rb", buffering=0)
        except FileNotFoundError:
            return None
        status = os.fstat(file.fileno())
        tag = key if is_hash(key) else f"{status.st_ino:x}-{status.st_mtime_ns:x}"
        return Blob(status.st_size, tag, file)


def _is_file(place: Path) -> bool:
    with _disk_errors(f"look at {place}"):
        return place.is_file()


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BlobError(
            f"can't {doing}: {error.strerror or error}; {disk_advice(error)}"
        ) from error
