"""A directory to look at and not to change: what would be written is kept in memory.

A ``FileJournal`` opened over it does all that a start does, cutting a torn tail included, and the
files stay as they are. For questions of what a start would do; not for appending much.
"""

import os

from gridd.journal.fs import File, Lock, RealFile


class _Shadow:
    """``File``: a real file, its first ``kept`` bytes at least, and what was appended since."""

    def __init__(self, descriptor: int | None) -> None:
        self._real = None if descriptor is None else RealFile(descriptor)
        self._kept = 0 if self._real is None else self._real.size()
        self._more = bytearray()

    def read(self, offset: int, size: int) -> bytes:
        data = b""
        if self._real is not None and offset < self._kept:
            data = self._real.read(offset, min(size, self._kept - offset))
        behind = max(offset - self._kept, 0)
        return data + bytes(self._more[behind : behind + size - len(data)])

    def write(self, data: bytes) -> None:
        self._more += data

    def size(self) -> int:
        return self._kept + len(self._more)

    def truncate(self, size: int) -> None:
        del self._more[max(size - self._kept, 0) :]
        self._kept = min(self._kept, size)

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass  # shared by all who open it; ``UnchangedFiles.close`` does

    def release(self) -> None:
        if self._real is not None:
            self._real.close()


class _NoLock:
    def close(self) -> None:
        pass


class UnchangedFiles:
    """``Files`` of one directory. Holds every file open that was asked for until ``close``,
    ``OPEN_MAX`` of them at most that were not written to."""

    OPEN_MAX = 32

    def __init__(self) -> None:
        self._changed: dict[str, _Shadow] = {}  # created, or opened for writing
        self._looked_at: dict[str, _Shadow] = {}
        self._removed: set[str] = set()

    def make_directory(self, path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(f"{path} is not a directory")

    def list(self, directory: str) -> list[str]:
        made = [p for p in self._changed if os.path.dirname(p) == directory]
        names = {os.path.basename(path) for path in made} | set(os.listdir(directory))
        return [name for name in names if os.path.join(directory, name) not in self._removed]

    def create(self, path: str) -> File:
        if path not in self._removed and (path in self._changed or os.path.exists(path)):
            raise FileExistsError(path)
        self._removed.discard(path)
        self._changed[path] = _Shadow(None)
        return self._changed[path]

    def open(self, path: str, *, writable: bool = False) -> File:
        if path in self._removed:
            raise FileNotFoundError(path)
        known = self._changed.get(path)
        if known is None:
            known = self._looked_at.pop(path, None) or _Shadow(os.open(path, os.O_RDONLY))
            (self._changed if writable else self._looked_at)[path] = known
            while len(self._looked_at) > self.OPEN_MAX:
                self._looked_at.pop(next(iter(self._looked_at))).release()
        return known

    def rename(self, old: str, new: str) -> None:
        raise OSError(f"{old}: this directory is only looked at")

    def remove(self, path: str) -> None:
        self._changed.pop(path, None)
        self._removed.add(path)

    def sync_directory(self, path: str) -> None:
        pass

    def lock(self, path: str, holder: str) -> Lock:
        return _NoLock()

    def close(self) -> None:
        for shadow in (*self._changed.values(), *self._looked_at.values()):
            shadow.release()
        self._changed.clear()
        self._looked_at.clear()
