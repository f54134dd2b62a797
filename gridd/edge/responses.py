"""Answers: JSON, text and refusals in upstream's shapes (WIRE 1.1), and headers that keep what
strangers uploaded from running in the name of this grid."""

import mimetypes
from typing import Any, Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from gridd_protocol.errors import ErrorCode, ProtocolError

JSON_TYPE: Final = "application/json; charset=UTF-8"
TEXT_TYPE: Final = "text/plain; charset=UTF-8"
BYTES_TYPE: Final = "application/octet-stream"

# A file that is opened by itself gets no scripts, no forms, and an origin of its own.
SANDBOX: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# Python's own table, without this machine's files: the answer is the same everywhere.
_TYPES = mimetypes.MimeTypes()
_INERT_TYPES = frozenset(
    {"application/json", "application/pdf", "text/csv", "text/plain", "text/tab-separated-values"}
)
_INERT_FAMILIES = ("image/", "audio/", "video/", "font/")

_encoder = msgspec.json.Encoder()


def json_bytes(body: bytes, status: int = 200) -> web.Response:
    """``body`` is JSON already."""
    headers = {"Content-Type": JSON_TYPE, "Cache-Control": "no-cache"}
    return web.Response(body=body, status=status, headers=headers)


def json_value(value: Any, status: int = 200) -> web.Response:
    return json_bytes(_encoder.encode(value), status)


def data(document: bytes | None) -> web.Response:
    """``{"data": …}`` around JSON that is passed on as it is; ``null`` when there is none."""
    return json_bytes(b'{"data":%b}' % (document or b"null"))


def text(words: str, status: int = 200) -> web.Response:
    return web.Response(text=words, status=status, headers={"Content-Type": TEXT_TYPE})


def refusal(error: ProtocolError) -> web.Response:
    return json_value(error.body(), error.code.http)


def not_found(sentence: str) -> ProtocolError:
    return ProtocolError(ErrorCode.NOT_FOUND, sentence)


def file_headers(name: str, content_type: str, *, attached: bool = True) -> dict[str, str]:
    """For bytes that a stranger chose. ``name`` may have folders; its last part is offered."""
    headers = {"Content-Type": content_type, "Content-Security-Policy": SANDBOX}
    if attached:
        headers["Content-Disposition"] = _attachment(name.rsplit("/", 1)[-1])
    return headers


def content_type(name: str) -> str:
    """By the name's ending. What a page could run (scripts, HTML, XML) is plain bytes."""
    guess = _TYPES.guess_type(name.rsplit("/", 1)[-1])[0] or BYTES_TYPE
    inert = guess in _INERT_TYPES or guess.startswith(_INERT_FAMILIES)
    return guess if inert else BYTES_TYPE


def _attachment(name: str) -> str:
    """RFC 6266: a plain form for everyone, and the exact one where they differ."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{exact}'
