"""A real directory on a disk that fails when it is told to."""

import errno
import os
from collections.abc import Callable

import pytest

from gridd.journal.fs import RealFile, RealFiles


class FailingFiles(RealFiles):
    """``fail("sync", ENOSPC, after=2)``: two more syncs work, every one after them fails, until
    ``heal``. Of a write that fails, ``lands`` bytes are written. ``room`` is what a full disk still
    takes in one write, in bytes."""

    def __init__(self) -> None:
        self.failing: dict[str, OSError] = {}
        self.left: dict[str, int] = {}
        self.lands = 0
        self.room: int | None = None
        self.failures = 0

    def fail(
        self, operation: str, code: int = errno.EIO, *, after: int = 0, lands: int = 0
    ) -> None:
        self.left[operation] = after
        self.lands = lands
        self.failing[operation] = OSError(code, os.strerror(code))

    def heal(self) -> None:
        self.failing.clear()
        self.room = None

    def step(self, operation: str) -> None:
        error = self.failing.get(operation)
        if error is None:
            return
        if self.left[operation] > 0:
            self.left[operation] -= 1
            return
        self.failures += 1
        raise error

    def create(self, path: str) -> "FailingFile":
        self.step("create")
        return FailingFile(self, os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL))

    def open(self, path: str, *, writable: bool = False) -> "FailingFile":
        self.step("open")
        return FailingFile(
            self, os.open(path, os.O_RDWR | os.O_APPEND if writable else os.O_RDONLY)
        )

    def remove(self, path: str) -> None:
        self.step("remove")
        super().remove(path)


class FailingFile(RealFile):
    def __init__(self, disk: FailingFiles, descriptor: int) -> None:
        super().__init__(descriptor)
        self.disk = disk

    def read(self, offset: int, size: int) -> bytes:
        self.disk.step("read")
        return super().read(offset, size)

    def write(self, data: bytes) -> None:
        if self.disk.room is not None and len(data) > self.disk.room:
            self.disk.failures += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            self.disk.step("write")
        except OSError:
            super().write(data[: self.disk.lands])
            raise
        super().write(data)

    def sync(self) -> None:
        self.disk.step("sync")
        super().sync()

    def truncate(self, size: int) -> None:
        self.disk.step("truncate")
        super().truncate(size)


@pytest.fixture
def failing_disk() -> Callable[[], FailingFiles]:
    return FailingFiles
