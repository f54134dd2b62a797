"""Unpacks a stranger's archive into a fresh directory: gzip tar, plain tar or zip, told by its
first bytes.

What comes out are files, directories and links that stay inside, nothing else; no name leads out,
nothing is written through a link, and count, size and ratio are bounded while the bytes come, not
after. Runs in a thread; ``stopped`` ends it early, for a cancelled thread can't be ended.
"""

import gzip
import io
import os
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Final

from gridd_protocol.errors import shown
from gridd_worker.images.unpack_tree import NAME_MAX, Tree, UnpackError, UnpackLimits

__all__ = ["UnpackError", "UnpackLimits", "only_folder", "unpack"]

_HEADER_BYTES_MAX: Final = 1 << 20  # of a long name or of a tar's extended headers
_DIRECTORY_BYTES_MAX: Final = 64 << 20  # of a zip, which is read as a whole
# What the readers raise, besides their own errors, for headers that make no sense.
_SENSELESS: Final = (ValueError, LookupError, ArithmeticError, RuntimeError, struct.error)
_EXTENDED: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def unpack(
    archive: Path,
    target: Path,
    limits: UnpackLimits | None = None,
    stopped: threading.Event | None = None,
) -> None:
    """Fills the empty directory ``target``. Raises ``UnpackError``, ``OSError`` for this disk.

    Something may be left in ``target`` on failure.
    """
    limits = limits or UnpackLimits()
    tree = Tree(target, limits, archive.stat().st_size, stopped or threading.Event())
    with archive.open("rb") as file:
        kind = _kind(file)
        try:
            if kind == "zip":
                _check_directory(file)
                _unzip(file, tree)
            elif kind == "gzip":
                with gzip.GzipFile(fileobj=file) as plain:
                    _untar(plain, tree)
            else:
                _untar(file, tree)
        except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error) as error:
            raise UnpackError(f"the archive is damaged: {error}") from None
        except EOFError:
            raise UnpackError("the archive is damaged: it ends too early") from None
        except _SENSELESS as error:
            raise UnpackError(f"the archive can't be read: {error}") from None


def only_folder(root: Path) -> Path:
    """``root``, or the one directory that is all that there is in it (WIRE 6.8)."""
    entries = list(os.scandir(root))
    if len(entries) == 1 and entries[0].is_dir(follow_symlinks=False):
        return Path(entries[0].path)
    return root


def _kind(file: IO[bytes]) -> str:
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head[257:262] == b"ustar" or (len(head) == 512 and _is_old_tar(head)):
        return "tar"
    raise UnpackError("it is neither a gzip tar, a tar nor a zip archive, by its first bytes")


def _is_old_tar(head: bytes) -> bool:
    """A header of before POSIX has nothing but its checksum to be known by."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


# --- tar --------------------------------------------------------------------------------


class _CheckedEntry(tarfile.TarInfo):
    """The reader takes extended headers into memory whole, whatever size they claim."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise UnpackError("the archive has a sparse file; write it without")
        if self.type in _EXTENDED and self.size > _HEADER_BYTES_MAX:
            raise UnpackError(
                f"the archive has a header of {self.size} bytes; {_HEADER_BYTES_MAX} are allowed"
            )
        return super()._proc_member(tar)  # type: ignore[misc]


class _Counted(io.RawIOBase):
    """Counts what is read, headers and skipped entries too: no part of a bomb is free."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, tree: Tree) -> None:
        self._file = file
        self._tree = tree

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._tree.count_bytes(len(data))
        return data


def _untar(file: IO[bytes] | gzip.GzipFile, tree: Tree) -> None:
    counted = _Counted(file, tree)
    with tarfile.open(fileobj=counted, mode="r|", tarinfo=_CheckedEntry) as tar:
        while (entry := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            tree.count()
            _take(tar, entry, tree)


def _take(tar: tarfile.TarFile, entry: tarfile.TarInfo, tree: Tree) -> None:
    if entry.issparse():
        raise UnpackError("the archive has a sparse file; write it without")
    if entry.isdir():
        tree.folder(entry.name, entry.mode)
    elif entry.issym():
        tree.link(entry.name, entry.linkname)
    elif entry.islnk():
        tree.hard_link(entry.name, entry.linkname)
    elif entry.isreg():
        content = tar.extractfile(entry)
        assert content is not None
        left = entry.size

        def read(size: int) -> bytes:
            nonlocal left
            data = content.read(min(size, left))
            left -= len(data)
            return data

        tree.file(entry.name, entry.mode, read)
        if left:
            raise UnpackError("the archive is damaged: it ends too early")
    else:
        raise UnpackError(f"the archive has a device or pipe: {shown(entry.name)}")


# --- zip --------------------------------------------------------------------------------


def _check_directory(file: IO[bytes]) -> None:
    """The reader takes a zip's directory into memory as a whole: its size is looked at first, in
    every record that could be its end."""
    file.seek(0, os.SEEK_END)
    start = max(0, file.tell() - (1 << 16) - 64)
    file.seek(start)
    tail = file.read()
    file.seek(0)
    if b"PK\x06\x07" in tail:
        raise UnpackError("zip archives of the 64-bit form are not read; make it a tar")
    at = tail.find(b"PK\x05\x06")
    while at >= 0:
        size = int.from_bytes(tail[at + 12 : at + 16], "little")
        if size > _DIRECTORY_BYTES_MAX:
            raise UnpackError(
                f"the zip's directory has {size} bytes; {_DIRECTORY_BYTES_MAX} are allowed"
            )
        at = tail.find(b"PK\x05\x06", at + 1)


def _unzip(file: IO[bytes], tree: Tree) -> None:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            tree.count()
            _take_zipped(archive, entry, tree)


def _take_zipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, tree: Tree) -> None:
    # Other methods ask for as much memory as the archive says.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnpackError(f"the zip packs {shown(entry.filename)} in a way that is not read")
    if entry.flag_bits & 1:
        raise UnpackError("the zip is encrypted")
    mode = entry.external_attr >> 16 if entry.create_system == 3 else 0  # 3: Unix
    if entry.is_dir() or stat.S_ISDIR(mode):
        tree.folder(entry.filename, mode or 0o755)
        return
    kind = stat.S_IFMT(mode)
    with archive.open(entry) as content:

        def read(size: int) -> bytes:
            data = content.read(size)
            tree.count_bytes(len(data))  # what really comes, not what the directory claims
            return data

        if kind == stat.S_IFLNK:
            to = content.read(NAME_MAX + 1)
            tree.link(entry.filename, to.decode("utf-8", "surrogateescape"))
        elif kind in (0, stat.S_IFREG):
            tree.file(entry.filename, mode or 0o644, read)
        else:
            raise UnpackError(f"the archive has a device or pipe: {shown(entry.filename)}")
