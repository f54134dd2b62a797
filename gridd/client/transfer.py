"""Bytes to and from a grid: streamed, checked against their sha256, begun again when they break.

Uploads are named by their hash, so an upload that was cut off is simply sent again, and one that
the grid already has is not sent at all.
"""

import asyncio
import hashlib
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin

import aiohttp
from yarl import URL

from gridd.client.errors import GridError
from gridd.client.progress import Progress
from gridd.client.transport import (
    BROKEN,
    CONNECT_SECONDS,
    TRIES,
    Transport,
    backoff_seconds,
    is_passing,
    raise_for,
    unreachable,
)
from gridd_protocol.errors import ErrorCode

CHUNK_BYTES = 256 << 10
STALL_SECONDS = 120.0  # an upload that moves no byte for so long is broken
_REDIRECTS_MAX = 3
_MOVED = frozenset({301, 302, 307, 308})
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes to send: a file, or a text given on the command line. ``key`` is usually the hash."""

    name: str
    source: Path | bytes
    size: int
    sha256: str
    key: str

    def reference(self, api: str) -> dict[str, str]:
        """What stands for the bytes in a definition (WIRE 5.3)."""
        url = f"{api}/f/{quote(self.key, safe='')}"
        return {"type": "url", "value": url, "hash": self.sha256}


async def send(transport: Transport, upload: Upload, progress: Progress) -> None:
    """Returns once the grid has the bytes. Raises ``GridError``."""
    path = f"/f/{quote(upload.key, safe='')}"
    failures = 0
    while True:
        # asked again before each try: the answer to the last one may have been lost on the way
        if await transport.call("GET", f"{path}/exists", missing_is_answer=True) is not None:
            return
        try:
            progress.restart()
            await _put(transport, transport.url(path), upload, progress)
            return
        except GridError as error:
            if error.code == ErrorCode.HASH_MISMATCH.value:
                raise GridError(
                    f"{upload.name} changed while it was sent; try again", 422, error.code
                ) from error
            if not is_passing(error):
                raise
            trouble = error
        except BROKEN as error:
            trouble = unreachable(transport.api, error)
        failures += 1
        if failures >= TRIES:
            raise trouble
        await asyncio.sleep(backoff_seconds(failures))


async def _put(transport: Transport, url: URL, upload: Upload, progress: Progress) -> None:
    for _ in range(_REDIRECTS_MAX + 1):
        async with asyncio.timeout(STALL_SECONDS) as deadline:
            with _Body(upload, progress, deadline) as body:
                try:
                    moved_to = await _put_once(transport, url, body)
                except BROKEN:
                    if body.trouble is not None:
                        raise body.trouble from None  # aiohttp shows it as a lost connection
                    raise
        if moved_to is None:
            return
        url = URL(urljoin(str(url), moved_to), encoded=True)
    raise GridError(f"the upload of {upload.name} was redirected {_REDIRECTS_MAX} times", 310)


async def _put_once(transport: Transport, url: URL, body: "_Body") -> str | None:
    """Where to send it instead, or ``None`` when it was taken."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(body.upload.size),
    }
    async with transport.session.put(
        url,
        data=body.pieces(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        allow_redirects=False,  # aiohttp can't send a streamed body a second time
    ) as response:
        await raise_for(response)
        return response.headers.get("Location") if response.status in _MOVED else None


class _Body:
    """What is sent, piece by piece; each piece gives the deadline its full time again.

    Holds the file itself: aiohttp does not close the iterator of a request that breaks.
    """

    def __init__(self, upload: Upload, progress: Progress, deadline: asyncio.Timeout) -> None:
        self.upload = upload
        self.trouble: GridError | None = None
        self._progress = progress
        self._deadline = deadline
        self._file: BinaryIO

    def __enter__(self) -> "_Body":
        source = self.upload.source
        try:
            self._file = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        except OSError as error:
            raise GridError(f"{source!s} can't be read ({error.strerror})", 422) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        left = self.upload.size
        while left:
            piece = await self._read(min(CHUNK_BYTES, left))
            left -= len(piece)
            yield piece
            self._progress.add(len(piece))
            self._deadline.reschedule(asyncio.get_running_loop().time() + STALL_SECONDS)

    async def _read(self, size: int) -> bytes:
        name = self.upload.name
        try:
            piece = await asyncio.to_thread(self._file.read, size)
        except (OSError, ValueError) as error:
            self.trouble = GridError(f"{name} can't be read ({error})", 422)
            raise self.trouble from error
        if not piece:
            self.trouble = GridError(f"{name} changed while it was sent; try again", 422)
            raise self.trouble
        return piece


def expected_hash(reference: Mapping[str, Any]) -> str | None:
    """The sha256 that a reference promises: its ``hash``, or the key of its blob URL."""
    stated = reference.get("hash")
    if isinstance(stated, str) and _HASH.fullmatch(stated):
        return stated
    value = reference.get("value")
    if reference.get("type") == "url" and isinstance(value, str):
        key = URL(value).path.rpartition("/f/")[2]
        return key if _HASH.fullmatch(key) else None
    return None


async def receive(
    transport: Transport, path: str, name: str, reference: Mapping[str, Any], progress: Progress
) -> AsyncGenerator[bytes, None]:
    """The pieces of a download, one try. Raises ``GridError``, also at the end when the bytes do
    not have the promised hash: what was yielded until then must be thrown away."""
    digest, promised = hashlib.sha256(), expected_hash(reference)
    try:
        async with transport.open(path) as response:
            progress.total = response.content_length
            async for piece in response.content.iter_chunked(CHUNK_BYTES):
                digest.update(piece)
                progress.add(len(piece))
                yield piece
    except BROKEN as error:
        raise unreachable(transport.api, error) from error
    if promised and digest.hexdigest() != promised:
        raise GridError(
            f"output {name} does not have the hash it should (sha256 {promised[:12]}…); "
            "nothing was saved",
            422,
        )
