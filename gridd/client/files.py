"""The local side of transfers: reading what is sent, and saving outputs where they belong.

Output names come from a stranger's program by way of a grid. A name that would leave the output
folder is refused, and no link in that folder is followed out of it.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import Any

from gridd.client.api import GridClient
from gridd.client.errors import GridError, UsageError
from gridd.client.progress import Progress
from gridd.client.transfer import CHUNK_BYTES, Upload
from gridd.client.transport import TRIES, backoff_seconds, is_passing
from gridd_protocol import limits
from gridd_protocol.errors import shown

_SEGMENT_BYTES_MAX = 255
_NOT_IN_NAMES = frozenset('\\:*?"<>|' if os.name == "nt" else "")


def read_upload(name: str, path: Path) -> Upload:
    """Hash a file without holding it in memory. Raises ``UsageError`` when it can't be read."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise UsageError(f"{name}: {path} can't be read ({error.strerror})") from error
    if size > limits.BLOB_BYTES_MAX:
        raise UsageError(f"{name}: {path} has {size} bytes; the limit is {limits.BLOB_BYTES_MAX}")
    sha256 = digest.hexdigest()
    return Upload(name, path, size, sha256, sha256)


def text_upload(name: str, data: bytes) -> Upload:
    sha256 = hashlib.sha256(data).hexdigest()
    return Upload(name, data, len(data), sha256, sha256)


def safe_path(folder: Path, name: str) -> Path:
    """Where output ``name`` is saved in ``folder``. Raises ``GridError`` for a name that is
    absolute, climbs, is empty, or holds what no file name may hold."""
    parts = name.split("/")
    fits = (
        name
        and len(name.encode("utf-8", "surrogatepass")) <= limits.FILE_NAME_BYTES_MAX
        and all(part not in ("", ".", "..") for part in parts)
        and all(len(part.encode("utf-8", "surrogatepass")) <= _SEGMENT_BYTES_MAX for part in parts)
        and not any(ord(c) < 32 or ord(c) == 127 or c in _NOT_IN_NAMES for c in name)
    )
    if not fits:
        raise GridError(f"output name {shown(name)} is not safe to save; it is left out")
    return folder.joinpath(*PurePosixPath(name).parts)


async def save_output(
    grid: GridClient,
    job: str,
    name: str,
    reference: Mapping[str, Any],
    folder: Path,
    *,
    quiet: bool,
) -> Path:
    """Download one output beside its place, check it, then put it there. Raises ``GridError``."""
    path = safe_path(folder, name)
    progress = Progress(name, None, enabled=not quiet)
    failures = 0
    try:
        while True:
            progress.restart()
            try:
                await _save(grid.download(job, name, reference, progress), path, folder)
            except GridError as error:
                failures += 1
                if not is_passing(error) or failures >= TRIES:
                    raise
                await asyncio.sleep(backoff_seconds(failures))
            except OSError as error:
                raise GridError(f"{path} can't be written ({error.strerror})", 507) from error
            else:
                return path
    finally:
        progress.close()


async def _save(pieces: AsyncGenerator[bytes, None], path: Path, folder: Path) -> None:
    _make_parent(path, folder)
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with beside.open("xb") as file:
            async with aclosing(pieces):
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _make_parent(path: Path, folder: Path) -> None:
    """Make the folders down to ``path``, one by one, refusing to walk through a link."""
    folder.mkdir(parents=True, exist_ok=True)
    here = folder
    for part in path.relative_to(folder).parts[:-1]:
        here = here / part
        if here.is_symlink():
            raise GridError(f"{here} is a link; outputs are not saved through links", 409)
        here.mkdir(exist_ok=True)
