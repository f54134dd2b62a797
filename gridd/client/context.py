"""A folder as the context of an image build: one archive, the same bytes for the same files.

What the folder's ``.dockerignore`` names stays at home: it is the engine's own tool that reads
that file, and a worker's engine is handed the archive as it is.
"""

import gzip
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from gridd.client.errors import UsageError
from gridd.client.files import read_upload
from gridd.client.transfer import Upload

_IGNORE_FILE = ".dockerignore"
_IGNORE_BYTES_MAX = 1 << 20


def pack(folder: Path, scratch: Path, dockerfile: str = "Dockerfile") -> Upload:
    """``folder`` as a gzipped tar in ``scratch``, its files at the root, under its sha256: a
    worker knows the archive by its first bytes (WIRE 6.8). Sorted, without times and owners, so
    that the job id is the same too. ``dockerfile`` is packed whatever is ignored.

    Blocks on the disk. Raises ``UsageError``."""
    if not folder.is_dir():
        raise UsageError(f"--context-dir: {folder} is not a folder")
    archive = scratch / "context.tar.gz"
    ignored = Ignored(_ignore_lines(folder), keep=dockerfile)
    try:
        with (
            gzip.GzipFile(archive, "wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name in _names(folder, ignored):
                tar.add(folder / name, arcname=name, recursive=False, filter=_anonymous)
    except OSError as error:
        raise UsageError(f"--context-dir: {folder} can't be packed ({error})") from error
    return read_upload(str(folder), archive)


def _names(folder: Path, ignored: "Ignored") -> Iterator[str]:
    """What is packed, folders before what they hold. An ignored folder is walked only where a
    later pattern may take something out of it back."""
    for here, folders, files in os.walk(folder):
        folders.sort()
        place = Path(here).relative_to(folder)
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        for name in sorted([*folders, *files]):
            inside = (place / name).as_posix()
            if not ignored.has(inside):
                yield inside
        folders[:] = [
            name
            for name in folders
            if name not in links
            and (ignored.makes_exceptions or not ignored.has((place / name).as_posix()))
        ]


class Ignored:
    """The patterns of a ``.dockerignore``: the last one that fits a path, or a folder above it,
    decides; ``!`` before a pattern takes back. ``keep`` is never ignored."""

    def __init__(self, lines: list[str], keep: str = "Dockerfile") -> None:
        self._keep = keep
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            takes_back = text.startswith("!")
            pattern = os.path.normpath(text.removeprefix("!").strip()).lstrip("/")
            if pattern not in (".", ""):
                self._rules.append((_expression(pattern), not takes_back))
        self.makes_exceptions = any(not ignores for _, ignores in self._rules)

    def has(self, path: str) -> bool:
        """``path``: relative to the folder, with ``/`` between its parts."""
        if path in (self._keep, _IGNORE_FILE):
            return False
        for expression, ignores in reversed(self._rules):
            if expression.fullmatch(path):
                return ignores
        return False


def _expression(pattern: str) -> re.Pattern[str]:
    """Go's file patterns, and ``**`` for any number of folders; also what is below a match."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif (members := re.compile(r"\[(\^?)([^\]]+)\]").match(pattern, at)) is not None:
            inner = members[2].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{members[1]}{inner}]")
            at = members.end()
        else:
            letter = pattern[at]
            if letter == "\\" and at + 1 < len(pattern):
                at += 1
                parts.append(re.escape(pattern[at]))
            else:
                parts.append({"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter))
            at += 1
    try:
        return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)
    except re.error as error:
        raise UsageError(f"{_IGNORE_FILE}: {pattern} is not a pattern ({error})") from error


def _ignore_lines(folder: Path) -> list[str]:
    try:
        with (folder / _IGNORE_FILE).open("rb") as file:
            data = file.read(_IGNORE_BYTES_MAX + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{folder / _IGNORE_FILE} can't be read ({error.strerror})") from error
    if len(data) > _IGNORE_BYTES_MAX:
        raise UsageError(f"{folder / _IGNORE_FILE} is longer than {_IGNORE_BYTES_MAX} bytes")
    return data.decode("utf-8-sig", "replace").splitlines()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member
