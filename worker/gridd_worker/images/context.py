"""A build's files, from an unpacked tree (or none) to the tar that the engine gets.

Owns what ``buildContext``, ``filename`` and ``dockerfile`` mean together (WIRE 6.8), and that
none of them leads out of the tree, by its words or by a link in it. Nothing here follows a link.
"""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gridd_protocol.definitions import Build
from gridd_protocol.errors import shown
from gridd_worker.images.dockerfile import DOCKERFILE_BYTES_MAX
from gridd_worker.images.dockerignore import TEXT_BYTES_MAX, read_rules
from gridd_worker.images.error import ImageError
from gridd_worker.images.source import inside_name

_IGNORE: Final = ".dockerignore"


@dataclass(frozen=True, slots=True)
class Context:
    """``root``: the folder that ``COPY`` copies from. ``dockerfile``: its text; ``name``: what it
    is called in the tar. ``ignore``: the text of ``NAME.dockerignore`` beside it, which counts in
    the place of the folder's own; None where there is none."""

    root: Path
    dockerfile: str
    name: str
    ignore: str | None = None


def arrange(build: Build, tree: Path, directory: str | None = None) -> Context:
    """``tree``: the unpacked source, an empty folder for none; the text of ``build.dockerfile`` is
    written into it. ``directory``: the part of it that the source's address names.

    Raises ``ImageError``, and ``OSError`` for this disk.
    """
    base = _inside(tree.resolve(), directory, "the directory in build.context")
    inside = inside_name(build.build_context or "", "build.buildContext")
    filename = inside_name(build.filename or "", "build.filename")
    if build.dockerfile:
        _write(base, filename or "Dockerfile", build.dockerfile)
    root = _inside(base, inside, "build.buildContext")
    if build.dockerfile:
        file, text = base / (filename or "Dockerfile"), build.dockerfile
    else:
        places = [base / filename, root / filename] if filename else [root / "Dockerfile"]
        file, text = _found(base, places, filename or "Dockerfile")
    ignore = _ignore_text(file.with_name(file.name + _IGNORE))
    if file.is_relative_to(root):
        return Context(root, text, file.relative_to(root).as_posix(), ignore)
    digest = hashlib.sha256(_bytes(text)).hexdigest()
    return Context(root, text, f".dockerfile-{digest[:16]}", ignore)


def write_tar(
    context: Context, target: Path, stopped: Callable[[], bool], *, buildkit: bool = False
) -> None:
    """The tar for the engine, without what ``.dockerignore`` leaves out. Raises ``ImageError``,
    ``OSError``; ends early, with less in it, once ``stopped``.

    ``buildkit`` reads no ``.dockerignore`` in a tar; there the Dockerfile itself can be copied,
    also where it is left out."""
    text = context.ignore
    if text is None:
        text = _ignore_text(context.root / _IGNORE) or ""
    ours = (context.name,) if buildkit else (context.name, _IGNORE)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in _files(context.root, text):
            if stopped():
                return
            if name not in ours:
                tar.add(path, name, recursive=False, filter=_plain_owner)
        _add(tar, context.name, context.dockerfile)
        if buildkit:
            return
        ignore = text
        if not (context.root / context.name).exists():  # it is ours, and not to be copied
            ignore = f"{text}\n{context.name}\n"
            ignore += "" if os.path.lexists(context.root / _IGNORE) else f"{_IGNORE}\n"
        if ignore:
            _add(tar, _IGNORE, ignore)


def _files(root: Path, ignore_text: str) -> Iterator[tuple[str, Path]]:
    rules = read_rules(ignore_text)
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            path = Path(entry.path)
            name = path.relative_to(root).as_posix()
            ignored = rules.ignores(name)
            if entry.is_dir(follow_symlinks=False) and (not ignored or rules.looks_into_all):
                waiting.append(path)
            if not ignored:
                yield name, path


def _plain_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Files in an image do not belong to whom the worker runs as."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = _bytes(text)
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _ignore_text(path: Path) -> str | None:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
    except FileNotFoundError:
        return None
    return _read(path, path.name, TEXT_BYTES_MAX)


def _write(base: Path, name: str, text: str) -> None:
    """In the place of whatever file or link is there."""
    path = base.joinpath(*name.split("/"))
    folder = base
    for part in name.split("/")[:-1]:
        folder = folder / part
        if not os.path.lexists(folder):
            folder.mkdir()
        elif folder.is_symlink() or not folder.is_dir():
            raise ImageError(f"build.filename is {shown(name)}: there is no such folder",
                             building=True)  # fmt: skip
    if path.is_dir() and not path.is_symlink():
        raise ImageError(f"build.filename is {shown(name)}: that is a folder", building=True)
    path.unlink(missing_ok=True)
    path.write_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    """What was read comes out as it was; half a surrogate pair of a definition has no bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _found(base: Path, places: list[Path], name: str) -> tuple[Path, str]:
    for place in places:
        if os.path.lexists(place):
            real = _real(base, place, f"the Dockerfile {shown(name)}")
            if real.is_file():
                return real, _read(real, name, DOCKERFILE_BYTES_MAX)
    raise ImageError(f"there is no {shown(name)} in the build's context", building=True)


def _read(path: Path, name: str, bytes_max: int) -> str:
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise ImageError(f"{name} has more than {bytes_max} bytes, the limit", building=True)
    return data.decode("utf-8", "surrogateescape")


def _inside(root: Path, name: str | None, field: str) -> Path:
    if name is None:
        return root
    real = _real(root, root.joinpath(*name.split("/")), f"{field} {shown(name)}")
    if not real.is_dir():
        raise ImageError(f"{field} is {shown(name)}: there is no such folder", building=True)
    return real


def _real(root: Path, path: Path, what: str) -> Path:
    """Where ``path`` really leads, links and all."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError):  # a circle of links
        raise ImageError(f"{what} can't be opened", building=True) from None
    if not real.is_relative_to(root.resolve()):
        raise ImageError(f"{what} leads out of the build's context", building=True)
    return real
