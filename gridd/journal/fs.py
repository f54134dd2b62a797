"""The few things a journal asks of a file system: the door that tests and simulations stand in.

Owns system calls and nothing else: it knows no format. Every call blocks. Linux and macOS (the
lock is ``flock``); an ``OSError`` comes out as it is, for the caller to judge.
"""

import errno
import fcntl
import os
import sys
from contextlib import suppress
from typing import Protocol


class LockHeld(Exception):
    """Another open file holds the lock. ``holder`` is what the holder wrote into it, or ''."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class File(Protocol):
    """An open file. ``read`` may run in other threads beside the rest."""

    def read(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes; fewer only where the file ends."""
        ...

    def write(self, data: bytes) -> None:
        """Append all of ``data``, or raise ``OSError`` with any part of it written."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def sync(self) -> None:
        """Data and size are on the disk when this returns."""
        ...

    def close(self) -> None: ...


class Lock(Protocol):
    def close(self) -> None: ...


class Files(Protocol):
    """Paths are plain strings. Names become durable with ``sync_directory`` alone."""

    def make_directory(self, path: str) -> None:
        """With missing parents, durably. Fine when it is there."""
        ...

    def list(self, directory: str) -> list[str]: ...

    def create(self, path: str) -> File:
        """A new empty file to append to. ``FileExistsError`` when the name is taken."""
        ...

    def open(self, path: str, *, writable: bool = False) -> File: ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, path: str) -> None: ...

    def sync_directory(self, path: str) -> None: ...

    def lock(self, path: str, holder: str) -> Lock:
        """Take the lock or raise ``LockHeld``. The system frees it when the process ends."""
        ...


class RealFile:
    """``File`` over one descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def write(self, data: bytes) -> None:
        # One call is the rule. The kernel takes less when the disk is nearly full (the next call
        # then says so) or above 2 GiB.
        written = os.write(self._descriptor, data)
        while written < len(data):
            more = os.write(self._descriptor, memoryview(data)[written:])
            if not more:
                raise OSError(errno.EIO, f"only {written} of {len(data)} bytes were taken")
            written += more

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        if sys.platform == "darwin":
            # fsync there stops at the drive's cache.
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class RealFiles:
    """``Files`` over the operating system."""

    def make_directory(self, path: str) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(os.path.abspath(path))
        self.make_directory(parent)
        with suppress(FileExistsError):
            os.mkdir(path, 0o750)
        self.sync_directory(parent)

    def list(self, directory: str) -> list[str]:
        return os.listdir(directory)

    def create(self, path: str) -> RealFile:
        return RealFile(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640))

    def open(self, path: str, *, writable: bool = False) -> RealFile:
        return RealFile(os.open(path, os.O_RDWR | os.O_APPEND if writable else os.O_RDONLY))

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def sync_directory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: str, holder: str) -> RealFile:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
        except BlockingIOError:
            text = os.pread(descriptor, 100, 0).decode("utf-8", "replace")
            os.close(descriptor)
            raise LockHeld(text) from None
        except BaseException:
            os.close(descriptor)
            raise
        return RealFile(descriptor)
