"""Puts a job's inputs and config files in place before it starts (WIRE 5.1, 5.4, 5.6).

Every failure is an ``InputError`` with one sentence that names the input. What a sum says is
checked: the ``hash`` of a reference, or the hash in a blob's address.
"""

import asyncio
import errno
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from gridd_protocol.datarefs import DataRef, inline_bytes, read_ref
from gridd_protocol.definitions import Definition
from gridd_protocol.errors import ProtocolError, shown
from gridd_protocol.names import check_file_name, is_job_id
from gridd_worker.cache import FileCache
from gridd_worker.fetch import SERVER_PATIENCE_S, FetchError, fetch, shown_url
from gridd_worker.files import FileLimits, JobDirectories, place
from gridd_worker.http_client import Http

_BLOB_PATH = re.compile(r"/f/([0-9a-f]{64})$")
_INPUTS_INSIDE: Final = "/inputs/"
# Mounting a file there would break the container, the sandbox or the promise of section 5.6.
_CLOSED: Final = ("/inputs", "/outputs", "/job-cache", "/proc", "/sys", "/dev")

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class InputError(Exception):
    """An input can't be put in place. A sentence that names it. ``no_room``: the disk is full, or
    the job asks for more than it has."""

    def __init__(self, message: str, cause: OSError | None = None) -> None:
        super().__init__(message)
        self.no_room = cause is not None and cause.errno in _NO_ROOM


@dataclass(frozen=True, slots=True)
class _Wanted:
    field: str  # as the definition has it: "input 'a.txt'"
    path: Path  # where the file belongs on this machine
    reference: DataRef


class _Budget:
    """What is left of the bytes that all inputs of a job may have together."""

    def __init__(self, limits: FileLimits) -> None:
        self._limits = limits
        self._left = limits.inputs_bytes_max

    @property
    def next_max(self) -> int:
        return min(self._limits.input_bytes_max, self._left)

    def take(self, size: int) -> None:
        if size > self._limits.input_bytes_max:
            raise FetchError(
                f"it has {size} bytes; {self._limits.input_bytes_max} are allowed for one input"
            )
        self._left -= size
        if self._left < 0:
            bound = self._limits.inputs_bytes_max
            raise FetchError(f"all inputs together have more than {bound} bytes, the limit")


async def materialise(
    definition: Definition,
    directories: JobDirectories,
    api: str,
    http: Http,
    cache: FileCache,
    limits: FileLimits | None = None,
) -> dict[str, Path]:
    """Writes all inputs and config files; the answer is ``Task.config_files``: absolute path
    inside → file on this machine.

    ``api`` is the server's address without a final slash, where ``key`` references are found.
    Raises ``InputError``; files may be left over then.
    """
    limits = limits or FileLimits()
    config_files: dict[str, Path] = {}
    wanted = [*_inputs(definition, directories), *_config(definition, directories, config_files)]
    budget = _Budget(limits)
    turns = asyncio.Semaphore(limits.transfers_max)

    async def fill(one: _Wanted) -> None:
        async with turns:
            await _fill(one, api, http, cache, budget)

    try:
        # Without it, a peer that drips a byte a minute would hold the job's share for ever.
        async with asyncio.timeout(limits.inputs_s_max), asyncio.TaskGroup() as group:
            for one in _last_of_each(wanted):
                group.create_task(fill(one))
    except TimeoutError:
        bound = f"{limits.inputs_s_max:g} s"
        raise InputError(f"the inputs were not here within {bound}, this worker's limit") from None
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return config_files


def _inputs(definition: Definition, directories: JobDirectories) -> Iterator[_Wanted]:
    for name, reference in (definition.inputs or {}).items():
        yield _wanted(f"input {shown(name)}", name, reference, directories.inputs)


def _config(
    definition: Definition, directories: JobDirectories, config_files: dict[str, Path]
) -> Iterator[_Wanted]:
    """An absolute name is mounted at that path; any other is one more input. The file of an
    absolute name has a number for a name here, so that no name can lead out of the directory."""
    for number, (name, reference) in enumerate((definition.config_files or {}).items()):
        field = f"config file {shown(name)}"
        if not name.startswith("/"):
            yield _wanted(field, name, reference, directories.inputs)
        elif name.startswith(_INPUTS_INSIDE):
            inside = name.removeprefix(_INPUTS_INSIDE)
            yield _wanted(field, inside, reference, directories.inputs)
        else:
            inside = _checked_absolute(field, name)
            one = _wanted(field, str(number), reference, directories.config)
            config_files[inside] = one.path
            yield one


def _checked_absolute(field: str, name: str) -> str:
    try:
        inside = "/" + check_file_name(name, field)
    except ProtocolError as error:
        raise InputError(error.message) from None
    if ":" in inside or "\n" in inside:
        raise InputError(f"{field} can't be mounted: its path has a colon or a newline")
    for closed in _CLOSED:
        if posixpath.commonpath((inside, closed)) == closed:
            raise InputError(f"{field} can't be mounted: nothing may be put under {closed}")
    return inside


def _wanted(field: str, name: str, reference: Any, root: Path) -> _Wanted:
    try:
        relative = check_file_name(name, field)
        read = read_ref(reference, field)
    except ProtocolError as error:
        raise InputError(error.message) from None
    try:
        return _Wanted(field, place(root, relative), read)
    except OSError as error:
        raise InputError(f"{field} can't be written: {error.strerror}", error) from None


def _last_of_each(wanted: list[_Wanted]) -> list[_Wanted]:
    """A config file may take the place of an input of the same name (WIRE 5.6): the later wins."""
    return list({one.path: one for one in wanted}.values())


async def _fill(one: _Wanted, api: str, http: Http, cache: FileCache, budget: _Budget) -> None:
    try:
        if one.reference.is_inline:
            data = inline_bytes(one.reference, one.field)
            budget.take(len(data))
            await asyncio.to_thread(_write, one.path, data)
        else:
            url, sha256 = _address(one.reference, api)
            # Our own server may be on its way back; any other is asked a few times.
            patience_s = SERVER_PATIENCE_S if url.startswith(f"{api}/") else 0.0
            await _download(url, sha256, one.path, http, cache, budget, patience_s)
    except ProtocolError as error:
        raise InputError(error.message) from None
    except FetchError as error:
        raise InputError(f"{one.field}: {error}") from None
    except OSError as error:
        problem = f"{one.field} can't be written: {error.strerror or error}"
        raise InputError(problem, error) from None


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        path.chmod(0o644)
        file.write(data)


def _address(reference: DataRef, api: str) -> tuple[str, str | None]:
    """Where the bytes are, and their sha256 if anything states it."""
    if reference.type == "key":
        key = reference.value
        sha256 = key if is_job_id(key) else None
        return f"{api}/f/{quote(key, safe='')}", sha256
    try:
        path = urlsplit(reference.value).path
    except ValueError:
        raise FetchError(f"{shown(reference.value)} is not a usable address") from None
    in_path = _BLOB_PATH.search(path)
    return reference.value, reference.hash or (in_path[1] if in_path else None)


async def _download(
    url: str,
    sha256: str | None,
    target: Path,
    http: Http,
    cache: FileCache,
    budget: _Budget,
    patience_s: float,
) -> None:
    if sha256 is None:
        fetched = await fetch(http, url, target, budget.next_max, patience_s)
        budget.take(fetched.size)
        return
    # Not for the hash alone: who says that a slow place of his has it would hold up all others.
    async with cache.lock(f"{sha256} {url}"):
        if not await cache.copy_to(sha256, target):
            await _download_checked(url, sha256, target, http, cache, budget, patience_s)
    budget.take(os.stat(target).st_size)


async def _download_checked(
    url: str,
    sha256: str,
    target: Path,
    http: Http,
    cache: FileCache,
    budget: _Budget,
    patience_s: float,
) -> None:
    part = cache.scratch()
    try:
        fetched = await fetch(http, url, part, budget.next_max, patience_s)
        if fetched.sha256 != sha256:
            raise FetchError(
                f"{shown_url(url)} has the sha256 {fetched.sha256}, not {sha256} as it should"
            )
        await cache.keep(sha256, part, target)
    finally:
        cache.forget(part)
