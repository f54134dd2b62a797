"""What a request says: path parameters, query members, its body. Owns decoding and the bounds;
everything returned is checked, everything refused is a ``ProtocolError`` with the field's name.

Path parameters are taken from the path as it was sent and percent-decoded exactly once, so that
``%2F`` is a character of a value and never a separator (WIRE 1.1).
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import ClientPayloadError, web
from aiohttp.http import HttpProcessingError

from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import SUBMIT_BODY_BYTES_MAX
from gridd_protocol.names import check_blob_key, check_job_id, check_namespace, check_queue_name

# Silence in the middle of a body after which the request is given up. Chosen: longer than a
# mobile network's pauses, short enough that idle uploads do not pile up.
BODY_STALL_S: Final = 60.0

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

# JavaScript's Number() of a string (WIRE 1.7), less the forms that Python's float() adds.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WITH_BASE = re.compile(r"0([xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_CURSOR_MAX = 1 << 53


def queue_name(request: web.Request) -> str:
    return check_queue_name(_decoded(raw_parameter(request, "queue"), "queue"))


def job_id(request: web.Request) -> str:
    return check_job_id(_decoded(raw_parameter(request, "job"), "job"))


def document_job_id(request: web.Request) -> tuple[str, bool]:
    """The job of ``/j/:id`` or ``/j/:id.json``, and whether it was the latter."""
    name = _decoded(raw_parameter(request, "document"), "job")
    return check_job_id(name.removesuffix(".json")), name.endswith(".json")


def job_place(request: web.Request) -> tuple[str | None, str]:
    """Queue and job id; no queue on the ``/j/…`` routes."""
    queue = queue_name(request) if "queue" in request.match_info else None
    return queue, job_id(request)


def blob_key(request: web.Request) -> str:
    return check_blob_key(_decoded(raw_parameter(request, "key"), "key"))


def file_names(request: web.Request) -> list[str]:
    """The name as sent, then decoded: what stands in a definition may be either (WIRE D42)."""
    raw = raw_parameter(request, "name")
    if not raw:
        raise ProtocolError(ErrorCode.BAD_NAME, "Missing filename", field="name")
    return [raw, _decoded(raw, "name")]


def namespace(request: web.Request) -> str:
    """From the path, else from the query, else ``_``. ``*`` stands for every one (WIRE 1.9)."""
    if "namespace" in request.match_info:
        value = _decoded(raw_parameter(request, "namespace"), "namespace")
    else:
        value = query_text(request, "namespace", "_")
    return value if value == "*" else check_namespace(value, "namespace")


def origin(request: web.Request, public_url: str | None) -> str:
    """How links to this grid begin: as its owner says, else as this peer called it."""
    return public_url or f"{request.scheme}://{request.host}"


def default_queue(open_to_all: bool) -> str:
    """What is meant where no queue is named. A closed grid is somebody's own machine, whose one
    worker serves the queue ``local``."""
    return "public1" if open_to_all else "local"


def query_text(request: web.Request, name: str, default: str) -> str:
    """Empty counts as absent. The request line's own bound (8 KiB) bounds it."""
    value = request.query.get(name) or default
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"{name} {shown(value)} is not UTF-8", field=name
        ) from None
    return value


def since(request: web.Request) -> int:
    """The log cursor: read as JavaScript reads a number, floored, at least 0 (WIRE 1.7)."""
    text = request.query.get("since", "0").strip()
    if text in ("", "-Infinity"):
        return 0
    if text in ("Infinity", "+Infinity"):
        return _CURSOR_MAX
    if _WITH_BASE.fullmatch(text):
        return min(int(text, 0), _CURSOR_MAX)
    if not text.isascii() or not _DECIMAL.fullmatch(text):
        raise ProtocolError(ErrorCode.BAD_REQUEST, "`since` must be a number", field="since")
    return math.floor(min(max(float(text), 0.0), float(_CURSOR_MAX)))


def raw_parameter(request: web.Request, name: str) -> str:
    """The parameter as it stands in the path, still encoded. A last one may hold slashes."""
    resource = request.match_info.route.resource
    assert resource is not None, "routes with parameters have a resource"
    pattern = resource.canonical.split("/")
    at = next(i for i, part in enumerate(pattern) if part.startswith("{" + name + "}"))
    parts = request.rel_url.raw_path.split("/")
    return "/".join(parts[at:]) if at == len(pattern) - 1 else parts[at]


def _decoded(text: str, field: str) -> str:
    try:
        if _BAD_PERCENT.search(text):
            raise ValueError
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise ProtocolError(
            ErrorCode.BAD_NAME, f"{field} {shown(text)} is not percent-encoded UTF-8", field=field
        ) from None


async def chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises ``BAD_REQUEST`` when it breaks off or stalls."""
    try:
        while True:
            async with asyncio.timeout(BODY_STALL_S):
                chunk = await request.content.readany()
            if not chunk:
                return
            yield chunk
    except TimeoutError:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"no byte of the body came for {BODY_STALL_S:g} s", field="body"
        ) from None
    except (ConnectionError, ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, "the body ended early or can't be read", field="body"
        ) from None


async def body(request: web.Request, limit: int = SUBMIT_BODY_BYTES_MAX) -> bytes:
    """The whole body, of at most ``limit`` bytes."""
    gathered = bytearray()
    if (request.content_length or 0) <= limit:
        async for chunk in chunks(request):
            gathered += chunk
            if len(gathered) > limit:
                break
        else:
            return bytes(gathered)
    raise ProtocolError(
        ErrorCode.TOO_LARGE,
        f"the body is over the limit of {limit} bytes",
        field="body",
        limit=limit,
    )
