"""The directory that an archive is unpacked into: what may get in, under which name, how much.

Files, directories, and links that stay inside; no name leads out, nothing is written through a
link. The readers of the forms (``unpack``) hand everything to it.
"""

import os
import posixpath
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gridd_protocol.errors import shown

_BLOCK_BYTES: Final = 1 << 18
_RATIO_FROM_BYTES: Final = 64 << 20  # small files compress well: below this no ratio is odd
NAME_MAX: Final = 4_096
_DEPTH_MAX: Final = 200  # folders in one another: clearing them away goes down as deep


class UnpackError(Exception):
    """The archive is none, is damaged, or asks for what it may not have. A sentence."""


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """``ratio_max``: unpacked to packed bytes, looked at beyond 64 MiB."""

    entries_max: int = 200_000
    bytes_max: int = 8 << 30
    ratio_max: int = 200


class Tree:
    """The directory that is being filled, and what it may still take."""

    def __init__(
        self, root: Path, limits: UnpackLimits, packed_bytes: int, stopped: threading.Event
    ) -> None:
        self._root = root
        self._limits = limits
        self._bytes_max = limits.bytes_max
        self._ratio_bytes_max = max(_RATIO_FROM_BYTES, packed_bytes * limits.ratio_max)
        self._stopped = stopped
        self._entries = 0
        self._bytes = 0

    def count(self) -> None:
        """One more entry, of whatever kind."""
        if self._stopped.is_set():
            raise UnpackError("unpacking was stopped")
        self._entries += 1
        if self._entries > self._limits.entries_max:
            raise UnpackError(
                f"the archive has more than {self._limits.entries_max} entries, the limit"
            )

    def count_bytes(self, size: int) -> None:
        """As they are read; of a tar its headers, too."""
        self._bytes += size
        if self._bytes > self._bytes_max:
            raise UnpackError(
                f"the archive unpacks to more than {self._bytes_max} bytes, the limit"
            )
        if self._bytes > self._ratio_bytes_max:
            raise UnpackError(
                f"the archive unpacks to more than {self._limits.ratio_max} times its size:"
                " it is taken for a bomb"
            )
        if self._stopped.is_set():
            raise UnpackError("unpacking was stopped")

    def folder(self, name: str, mode: int) -> None:
        if path := self._place(name):
            if not _is_folder(path):
                self._make(path, path.mkdir)
            path.chmod(mode & 0o777 | 0o700)

    def file(self, name: str, mode: int, read: Callable[[int], bytes]) -> None:
        path = self._place(name)
        if path is None:
            raise UnpackError("the archive has a file without a name")
        self._clear(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            while block := read(_BLOCK_BYTES):
                file.write(block)
            os.fchmod(file.fileno(), mode & 0o777 | 0o600)

    def link(self, name: str, to: str) -> None:
        """A symbolic link; where it leads must be inside, by its words. (What later opens a path
        here looks at where it really leads.)"""
        path = self._place(name)
        relative = _plain(name)
        folder = posixpath.dirname(relative or "")
        inside = posixpath.normpath(posixpath.join(folder, to))
        leaves = to.startswith("/") or inside == ".." or inside.startswith("../")
        if path is None or not to or "\0" in to or len(to) > NAME_MAX or leaves:
            raise UnpackError(f"the link {shown(name)} leads to {shown(to)}, out of the archive")
        self._clear(path)
        path.symlink_to(to)

    def hard_link(self, name: str, to: str) -> None:
        """Another name of a file that the archive had before."""
        path, source = self._place(name), self._existing(to)
        if path is None or source is None or not stat.S_ISREG(source.lstat().st_mode):
            raise UnpackError(f"{shown(name)} is a link to {shown(to)}, which is no file before it")
        if path != source:
            self._clear(path)
            os.link(source, path, follow_symlinks=False)

    def _existing(self, name: str) -> Path | None:
        relative = _plain(name)
        if relative is None:
            return None
        path = self._root
        for part in relative.split("/"):
            if not _is_folder(path):
                return None
            path = path / part
        return path if os.path.lexists(path) else None

    def _place(self, name: str) -> Path | None:
        """Where ``name`` belongs, its folders made; None for the root itself."""
        relative = _plain(name)
        if relative is None:
            return None
        path = self._root
        *folders, last = relative.split("/")
        for part in folders:
            path = path / part
            if not _is_folder(path):  # a link to a folder is none
                self._make(path, path.mkdir)
        return path / last

    def _make(self, path: Path, make: Callable[[], None]) -> None:
        if os.path.lexists(path):
            shown_path = shown(str(path.relative_to(self._root)))
            raise UnpackError(
                f"the archive has {shown_path} both as a folder and as something else"
            )
        make()

    def _clear(self, path: Path) -> None:
        """An archive may have a file twice; the later one counts."""
        if _is_folder(path):
            self._make(path, lambda: None)
        path.unlink(missing_ok=True)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _plain(name: str) -> str | None:
    """``name`` without ``.`` and empty parts; None when nothing is left of it."""
    if name.startswith("/") or "\\" in name or "\0" in name:
        raise UnpackError(f"the archive has the name {shown(name)}, which is not relative")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnpackError(f"the archive has the name {shown(name)}, which leads out of it")
    if len(name) > NAME_MAX or any(len(os.fsencode(part)) > 255 for part in parts):
        raise UnpackError(f"the archive has a name that is too long: {shown(name)}")
    if len(parts) > _DEPTH_MAX:
        raise UnpackError(f"the archive has more than {_DEPTH_MAX} folders in one another")
    return "/".join(parts) or None
