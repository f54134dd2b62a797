"""Writing to a peer that may have stopped reading, and sending a blob in parts.

A write that was given up must be the last one on its connection (FACTS 4: a cancelled send
spoils every later one). One handler writes to a connection, and what it raises after its answer
began makes ``app`` abort the connection.
"""

import asyncio
import re
from typing import Final

from aiohttp import web

from gridd.blobs.base import Blob
from gridd.edge.responses import json_value
from gridd.errors import BlobError
from gridd_protocol.errors import ErrorCode
from gridd_protocol.limits import OUTBOX_STALL_MS

# One read and one write. Small enough that a peer on a line of 4 KB/s passes the stall bound.
PIECE_BYTES: Final = 64 << 10

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


async def send(
    response: web.StreamResponse, data: bytes, stall_s: float = OUTBOX_STALL_MS / 1_000
) -> None:
    """Write all of ``data``. Raises ``ConnectionError`` when the peer is gone, or takes nothing
    for ``stall_s`` seconds; nothing may be written after that."""
    for start in range(0, len(data), PIECE_BYTES):
        try:
            async with asyncio.timeout(stall_s):
                await response.write(data[start : start + PIECE_BYTES])
        except TimeoutError:
            raise ConnectionAbortedError("the peer does not read") from None


async def send_blob(
    request: web.Request, blob: Blob, headers: dict[str, str]
) -> web.StreamResponse:
    """The blob, or the part that ``Range`` asks for. Closes it."""
    with blob:
        if blob.location is not None:
            return web.Response(status=302, headers={"Location": blob.location})
        headers = headers | {"ETag": f'"{blob.tag}"', "Accept-Ranges": "bytes"}
        if blob.tag in _tags(request.headers.get("If-None-Match", "")):
            return web.Response(status=304, headers=headers)
        part = _part(request, blob)
        if part is not None and not part:
            return _unsatisfiable(blob)
        status = 200 if part is None else 206
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{blob.size}"
        else:
            part = range(blob.size)
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(part)
        await response.prepare(request)
        if request.method != "HEAD":
            await _send_part(response, blob, part)
        await response.write_eof()
        return response


async def _send_part(response: web.StreamResponse, blob: Blob, part: range) -> None:
    assert blob.file is not None, "a blob has a file or a location"
    await asyncio.to_thread(blob.file.seek, part.start)
    left = len(part)
    while left:
        piece = await asyncio.to_thread(blob.file.read, min(PIECE_BYTES, left))
        if not piece:
            raise BlobError(f"blob {blob.tag} ends {left} bytes early; check the disk")
        await send(response, piece)
        left -= len(piece)


def _part(request: web.Request, blob: Blob) -> range | None:
    """The offsets that one well-formed range asks of these very bytes; empty when they lie
    outside. Without such a range ``None``: the whole (RFC 9110: other forms may be ignored)."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    changed = request.headers.get("If-Range", f'"{blob.tag}"') != f'"{blob.tag}"'
    if match is None or changed or not (match[1] or match[2]):
        return None
    whole = range(blob.size)
    if not match[1]:
        return whole[-int(match[2]) :] if int(match[2]) else range(0)
    first = int(match[1])
    last = int(match[2]) if match[2] else first + blob.size  # open: to the end, if it begins inside
    return None if last < first else whole[first : last + 1]


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]


def _unsatisfiable(blob: Blob) -> web.Response:
    body = {
        "error": f"Range lies outside the file's {blob.size} bytes",
        "code": ErrorCode.BAD_REQUEST.value,
        "field": "range",
    }
    response = json_value(body, 416)
    response.headers["Content-Range"] = f"bytes */{blob.size}"
    return response
