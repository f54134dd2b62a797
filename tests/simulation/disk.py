"""A disk that keeps apart what was written and what is durable, and that fails on request.

``Disk`` outlives the server's processes; ``SimFiles`` is what one process sees of it (the door of
``gridd/journal/fs.py``). After a kill the page cache is still there; after a power cut only what
was synced is, and of the rest any names, any blocks, and any length (docs/journal.md, "What is
assumed of the disk").
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gridd.journal.fs import LockHeld

Fall = Literal["kill", "power"]
OPEN_FILES_MAX = 40  # of one process: a leak of descriptors would go over it


class Died(BaseException):
    """The process is gone: nothing after this line of its code ever happens."""

    def __init__(self, fall: Fall = "kill") -> None:
        super().__init__(fall)
        self.fall = fall


@dataclass(slots=True, eq=False)
class Inode:
    data: bytearray = field(default_factory=bytearray)  # as read through the page cache
    durable: bytes = b""
    # Written, called clean by the kernel after a failed sync, and never to reach the disk.
    dropped: list[tuple[int, int]] = field(default_factory=list)

    def sync(self) -> None:
        if not self.dropped:
            self.durable = bytes(self.data)
            return
        durable = bytearray(self.data)
        for low, high in self.dropped:
            before = self.durable[low:high]
            durable[low:high] = before + bytes(len(durable[low:high]) - len(before))
        self.durable = bytes(durable)

    def truncate(self, size: int) -> None:
        del self.data[size:]
        self.dropped = [(low, min(high, size)) for low, high in self.dropped if low < size]


class Disk:
    """``trouble``: ``full``, ``sick`` (any operation may fail), or ``readonly`` (only a reboot
    helps); ``None`` when all is well."""

    def __init__(self, chance: random.Random, block_bytes: int) -> None:
        self.chance = chance
        self.block_bytes = block_bytes
        self.names: dict[str, Inode] = {}
        self.durable_names: dict[str, Inode] = {}
        self.locks: dict[str, SimFiles] = {}
        self.trouble: Literal["full", "sick", "readonly"] | None = None
        self.failures = 0
        self.watch: Callable[[str], None] | None = None  # told of each operation
        self.rotten: tuple[Inode, int, int] | None = None  # file, place, bit

    def power_cut(self) -> None:
        if self.trouble == "readonly":
            self.trouble = None
        self.locks.clear()
        names: dict[str, Inode] = {}
        for path in {**self.durable_names, **self.names}:
            inode = self.durable_names.get(path)
            if self.names.get(path) is not inode and self.chance.random() < 0.5:
                inode = self.names.get(path)
            if inode is not None:
                names[path] = inode
        for inode in dict.fromkeys(names.values()):
            inode.data = self._torn(inode)
            inode.durable = bytes(inode.data)
            inode.dropped = []
        self.names = names
        self.durable_names = dict(names)

    def _torn(self, inode: Inode) -> bytearray:
        durable, written = inode.durable, bytes(inode.data)
        if len(written) <= len(durable):
            return bytearray(self.chance.choice((durable, written)))
        chance, data = self.chance, bytearray(durable + bytes(len(written) - len(durable)))
        arrives = chance.choice((0.0, 0.5, 0.5, 1.0))
        blocks = range(len(durable) // self.block_bytes, len(written) // self.block_bytes + 1)
        for low in (block * self.block_bytes for block in blocks):
            if chance.random() < arrives:
                data[low : low + self.block_bytes] = written[low : low + self.block_bytes]
        for low, high in inode.dropped:
            data[max(low, len(durable)) : high] = bytes(max(0, high - max(low, len(durable))))
        lengths = (len(durable), len(written), len(written))
        if chance.random() < 0.3:
            lengths = (chance.randint(len(durable), len(written)),) * 3
        return data[: chance.choice(lengths)]

    def beside(self) -> list[str]:
        """Files that are no segments."""
        return [name for name in self.names if not name.endswith(".seg")]

    # --- rot --------------------------------------------------------------------------

    def rot(self, path: str) -> None:
        """Flip one bit somewhere in a file."""
        self.heal()
        inode = self.names[path]
        if not inode.data:
            return
        place = self.chance.randrange(len(inode.data))
        self.rotten = (inode, place, 1 << self.chance.randrange(8))
        self._flip()

    def heal(self) -> None:
        """Put the bit back, as from a backup."""
        self._flip()
        self.rotten = None

    def lift_rot(self) -> Callable[[], None]:
        """As if it were healthy, until what is answered is called."""
        self._flip()
        return self._flip

    def _flip(self) -> None:
        if self.rotten is None:
            return
        inode, place, bit = self.rotten
        if place < len(inode.data):
            inode.data[place] ^= bit
        if place < len(inode.durable):
            durable = bytearray(inode.durable)
            durable[place] ^= bit
            inode.durable = bytes(durable)


class SimFile:
    def __init__(self, files: SimFiles, inode: Inode, path: str) -> None:
        self.files, self.inode, self.path = files, inode, path
        self.closed = False
        files.open_files += 1
        assert files.open_files <= OPEN_FILES_MAX, f"{files.open_files} files are open at once"

    def read(self, offset: int, size: int) -> bytes:
        self.files.step("read", self.path)
        return bytes(self.inode.data[offset : offset + size])

    def write(self, data: bytes) -> None:
        inode = self.inode

        def part() -> None:
            inode.data += data[: self.files.disk.chance.randrange(len(data) + 1)]

        self.files.step("write", self.path, part)
        inode.data += data

    def size(self) -> int:
        return len(self.inode.data)

    def truncate(self, size: int) -> None:
        self.files.step(
            "truncate",
            self.path,
            lambda: self.inode.truncate(size),
            doubted=bool(self.inode.dropped),
        )
        self.inode.truncate(size)

    def sync(self) -> None:
        inode, files = self.inode, self.files
        try:
            files.step("sync", self.path, inode.sync)
        except OSError:
            if files.serving and len(inode.data) > len(inode.durable):
                inode.dropped.append((len(inode.durable), len(inode.data)))
            raise
        inode.sync()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.files.open_files -= 1


class SimLock:
    def __init__(self, files: SimFiles, path: str) -> None:
        self.files, self.path = files, path

    def close(self) -> None:
        if self.files.disk.locks.get(self.path) is self.files:
            del self.files.disk.locks[self.path]


# What fails in which trouble, and how often.
FAULTS = {
    "full": {
        "write": (errno.ENOSPC, 1.0),
        "create": (errno.ENOSPC, 0.5),
        "sync": (errno.ENOSPC, 0.1),
    },
    "readonly": dict.fromkeys(
        ("write", "create", "rename", "remove", "truncate", "sync", "sync_directory"),
        (errno.EROFS, 1.0),
    ),
    "sick": {
        "write": (errno.EIO, 0.1),
        "sync": (errno.EIO, 0.2),
        "create": (errno.EIO, 0.2),
        "rename": (errno.EIO, 0.2),
        "remove": (errno.EIO, 0.2),
        "sync_directory": (errno.EIO, 0.2),
        "read": (errno.EIO, 0.01),
        "open": (errno.EIO, 0.02),
    },
}


class SimFiles:
    """``Files`` for one process. ``pause`` is called before each operation and lets time pass when
    the caller is a thread. ``light(n, fall)``: the process ends ``n`` operations on."""

    def __init__(self, disk: Disk, pause: Callable[[], None]) -> None:
        self.disk = disk
        self.pause = pause
        self.dead = False
        self.serving = False  # the journal is open: a failed sync loses what it should have kept
        self.open_files = 0
        self._fuse: tuple[int, Fall] | None = None

    def light(self, operations: int, fall: Fall) -> None:
        self._fuse = (operations, fall)

    def step(
        self,
        operation: str,
        path: str,
        lands: Callable[[], None] | None = None,
        *,
        doubted: bool = False,
    ) -> None:
        """One operation: may be the last one, and may fail. ``lands`` does (a part of) it.

        ``doubted``: bytes that the kernel dropped are about to be taken back. Killed just before,
        a successor would find them in the page cache and could not tell. Nothing can be done about
        that but a reboot, so a kill waits for the next operation.
        """
        if not self.dead:
            self.pause()
        if self.dead:
            raise Died
        if self.disk.watch is not None:
            self.disk.watch(f"{operation} {os.path.basename(path)}")
        if self._fuse is not None:
            left, fall = self._fuse
            self._fuse = (left - 1, fall)
            if left <= 0 and not (doubted and fall == "kill"):
                if lands is not None and self.disk.chance.random() < 0.5:
                    lands()
                self.dead = True
                raise Died(fall)
        if self.disk.trouble is not None:
            code, rate = FAULTS[self.disk.trouble].get(operation, (0, 0.0))
            if rate and self.disk.chance.random() < rate:
                self.disk.failures += 1
                if self.disk.watch is not None:
                    self.disk.watch(f"that fails: {os.strerror(code)}")
                if operation == "write" and lands is not None:
                    lands()
                raise OSError(code, os.strerror(code))

    # --- gridd.journal.fs.Files -------------------------------------------------------

    def make_directory(self, path: str) -> None:
        pass

    def list(self, directory: str) -> list[str]:
        return [os.path.basename(path) for path in self.disk.names]

    def create(self, path: str) -> SimFile:
        names, inode = self.disk.names, Inode()
        self.step("create", path, lambda: names.update({path: inode}))
        if path in names:
            raise FileExistsError(errno.EEXIST, "exists", path)
        names[path] = inode
        return SimFile(self, inode, path)

    def open(self, path: str, *, writable: bool = False) -> SimFile:
        self.step("open", path)
        if path not in self.disk.names:
            raise FileNotFoundError(errno.ENOENT, "missing", path)
        return SimFile(self, self.disk.names[path], path)

    def rename(self, old: str, new: str) -> None:
        self.step("rename", new)
        if old not in self.disk.names:
            raise FileNotFoundError(errno.ENOENT, "missing", old)
        self.disk.names[new] = self.disk.names.pop(old)

    def remove(self, path: str) -> None:
        names = self.disk.names
        if path not in names:
            raise FileNotFoundError(errno.ENOENT, "missing", path)
        self.step("remove", path, lambda: names.pop(path, None))  # type: ignore[arg-type]
        names.pop(path, None)

    def sync_directory(self, path: str) -> None:
        self.step("sync_directory", path, self._keep_names)
        self._keep_names()

    def _keep_names(self) -> None:
        self.disk.durable_names = dict(self.disk.names)

    def lock(self, path: str, holder: str) -> SimLock:
        if path in self.disk.locks:
            raise LockHeld(holder)
        self.disk.locks[path] = self
        return SimLock(self, path)

    def let_go(self) -> None:
        """The process is gone, and with it its locks."""
        self.dead = True
        for path in [path for path, files in self.disk.locks.items() if files is self]:
            del self.disk.locks[path]
