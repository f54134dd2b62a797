"""Collects what a job left in its output directory: small files inline, larger ones uploaded.

The tree is a stranger's: links are never followed, only regular files are read, and everything
is counted before anything is sent (DESIGN 5.11, WIRE 5.2, 5.3, 5.7).
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import aiohttp

from gridd_protocol.datarefs import inline_ref, url_ref
from gridd_protocol.errors import ProtocolError, shown
from gridd_protocol.limits import INLINE_BYTES_MAX
from gridd_protocol.names import check_file_name
from gridd_worker.fetch import NETWORK_ERRORS, SERVER_PATIENCE_S, shown_url, tries
from gridd_worker.files import FileLimits
from gridd_worker.http_client import TIMEOUT

_BLOCK_BYTES: Final = 1 << 20
_REMARKS_MAX: Final = 20


class OutputError(Exception):
    """The outputs could not be collected. A sentence that names the output, or the limit."""


@dataclass(frozen=True, slots=True)
class Collected:
    """``outputs``: name → reference (WIRE 5.1). ``remarks``: what was left out, and why."""

    outputs: dict[str, dict[str, Any]]
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    path: Path
    size: int


async def collect(
    outputs: Path, api: str, http: aiohttp.ClientSession, limits: FileLimits | None = None
) -> Collected:
    """References to all regular files below ``outputs``, by their path with ``/``.

    ``api`` is the server's address without a final slash. Raises ``OutputError``: a limit was
    passed (then nothing was sent), a file can't be read, or an upload failed for good.
    """
    limits = limits or FileLimits()
    found, remarks = await asyncio.to_thread(_walk, outputs, limits)
    turns = asyncio.Semaphore(limits.transfers_max)
    references: dict[str, dict[str, Any]] = {}

    async def refer(file: _Found) -> None:
        async with turns:
            references[file.name] = await _reference(file, api, http)

    try:
        async with asyncio.TaskGroup() as group:
            for file in found:
                group.create_task(refer(file))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return Collected({file.name: references[file.name] for file in found}, remarks)


def _walk(root: Path, limits: FileLimits) -> tuple[list[_Found], list[str]]:
    """All files that count, in the order of their names, and remarks on the others."""
    found: list[_Found] = []
    remarks = _Remarks()
    total = seen = 0
    folders = [root]
    while folders:
        for entry in _entries(folders.pop(), root):
            seen += 1
            if seen > limits.output_entries_max:
                bound = limits.output_entries_max
                raise OutputError(f"the job left more than {bound} files, links and folders")
            relative = os.path.relpath(entry.path, root)
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                what = "a link" if entry.is_symlink() else "not a regular file"
                remarks.add(f"output {shown(relative)} was left out: it is {what}")
            elif (name := _checked_name(relative, remarks)) is not None:
                size = entry.stat(follow_symlinks=False).st_size
                total += size
                found.append(_Found(name, Path(entry.path), size))
                _check_limits(found[-1], len(found), total, limits)
    return sorted(found, key=lambda file: file.name), remarks.told()


class _Remarks:
    """The first few, and how many more there would be."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._more = 0

    def add(self, remark: str) -> None:
        if len(self._first) < _REMARKS_MAX:
            self._first.append(remark)
        else:
            self._more += 1

    def told(self) -> list[str]:
        more = [f"{self._more} more outputs were left out"] if self._more else []
        return sorted(self._first) + more


def _entries(folder: Path, root: Path) -> Iterator[os.DirEntry[str]]:
    """One after the other: a folder may have more than fit into memory."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        name = shown(os.path.relpath(folder, root))
        raise OutputError(f"output folder {name} can't be read: {error.strerror}") from None


def _checked_name(relative: str, remarks: _Remarks) -> str | None:
    try:
        return check_file_name(relative.replace(os.sep, "/"), "output")
    except ProtocolError as error:
        remarks.add(f"{error.message}: it was left out")
        return None


def _check_limits(file: _Found, count: int, total: int, limits: FileLimits) -> None:
    if count > limits.outputs_max:
        raise OutputError(f"the job left more than {limits.outputs_max} output files, the limit")
    if file.size > limits.output_bytes_max:
        raise OutputError(
            f"output {shown(file.name)} has {file.size} bytes;"
            f" {limits.output_bytes_max} are allowed"
        )
    if total > limits.outputs_bytes_max:
        raise OutputError(
            f"the outputs have more than {limits.outputs_bytes_max} bytes together, the limit"
        )


async def _reference(file: _Found, api: str, http: aiohttp.ClientSession) -> dict[str, Any]:
    try:
        with await asyncio.to_thread(_open, file.path) as data:
            if file.size <= INLINE_BYTES_MAX:
                content = data.read(INLINE_BYTES_MAX + 1)
                if len(content) <= INLINE_BYTES_MAX:
                    return inline_ref(content)
            sha256 = await asyncio.to_thread(_hash, data)
    except OSError as error:
        raise OutputError(f"output {shown(file.name)} can't be read: {error.strerror}") from None
    url = f"{api}/f/{sha256}"
    await _upload(file, url, http)
    return url_ref(url, sha256)


def _open(path: Path) -> BinaryIO:
    """Opens a regular file; neither a link in its place nor a pipe, which would hold us up."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "it is not a regular file any more")
    return os.fdopen(file, "rb")


def _hash(data: BinaryIO) -> str:
    data.seek(0)
    digest = hashlib.sha256()
    while block := data.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


async def _upload(file: _Found, url: str, http: aiohttp.ClientSession) -> None:
    """Sends the file unless the server has it. Tried for ``SERVER_PATIENCE_S`` on network errors
    and 5xx: the run is done, and the server may only be on its way back."""
    problem = ""
    async for _ in tries(SERVER_PATIENCE_S):
        try:
            if await _exists(url, http):
                return
            status, text = await _put(file, url, http)
        except NETWORK_ERRORS as error:
            problem = f"failed: {error or type(error).__name__}"
            continue
        if status < 300:
            return
        problem = f"was answered with status {status}: {shown(text, 200)}"
        if status < 500:
            break
    raise OutputError(f"upload of output {shown(file.name)} to {shown_url(url)} {problem}")


async def _exists(url: str, http: aiohttp.ClientSession) -> bool:
    async with http.get(f"{url}/exists", timeout=TIMEOUT) as response:
        await response.read()
        return response.status == 200


async def _put(file: _Found, url: str, http: aiohttp.ClientSession) -> tuple[int, str]:
    # A file, not a generator: it can be sent again when the server redirects the upload.
    with await asyncio.to_thread(_open, file.path) as data:
        headers = {"Content-Type": "application/octet-stream"}
        async with http.put(url, data=data, headers=headers, timeout=TIMEOUT) as response:
            body = await response.content.read(1_000)
            return response.status, body.decode("utf-8", "replace")
