"""A job's inputs and outputs by name (WIRE 1.6): what the reference holds is served, whatever
kind of reference it is."""

import base64
import binascii
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from aiohttp import web

from gridd.blobs.base import Blobs, is_hash
from gridd.edge import parameters
from gridd.edge.responses import (
    JSON_TYPE,
    TEXT_TYPE,
    content_type,
    file_headers,
    not_found,
)
from gridd.edge.routes_files import blob_headers
from gridd.edge.sending import send_blob
from gridd.grid import Grid
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.names import check_blob_key

T = TypeVar("T")


class _Reference(msgspec.Struct):
    """A reference without a type is text (WIRE D55)."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    type: str = "utf8"


class _Definition(msgspec.Struct):
    inputs: dict[str, _Reference] | None = None


class _Result(msgspec.Struct):
    outputs: dict[str, _Reference] | None = None


class _Outcome(msgspec.Struct):
    result: _Result | None = None


class _Finished(msgspec.Struct):
    finished: _Outcome | None = None


class JobFileRoutes:
    def __init__(self, grid: Grid, blobs: Blobs, public_url: str | None) -> None:
        self._grid = grid
        self._blobs = blobs
        self._public_host = urlsplit(public_url).netloc.lower() if public_url else None

    async def input(self, request: web.Request) -> web.StreamResponse:
        names = parameters.file_names(request)
        document = await self._grid.definition(*parameters.job_place(request))
        if document is None:
            raise not_found("Job not found")
        inputs = _read(document, _Definition).inputs
        return await self._serve(request, "Input", names, inputs)

    async def output(self, request: web.Request) -> web.StreamResponse:
        names = parameters.file_names(request)
        document = await self._grid.finished(*parameters.job_place(request))
        if document is None:
            raise not_found("Finished job not found")
        finished = _read(document, _Finished).finished
        outputs = finished.result.outputs if finished and finished.result else None
        return await self._serve(request, "Output", names, outputs)

    async def _serve(
        self,
        request: web.Request,
        what: str,
        names: list[str],
        files: dict[str, _Reference] | None,
    ) -> web.StreamResponse:
        name = next((name for name in names if files and name in files), None)
        if name is None or files is None:
            raise not_found(f"{what} file {shown(names[-1])} not found")
        reference = files[name]
        if reference.type == "json":
            headers = file_headers(name, JSON_TYPE, attached=False)
            return web.Response(body=bytes(reference.value), headers=headers)
        value = _text_value(reference)
        match reference.type:
            case "utf8":
                headers = file_headers(name, TEXT_TYPE, attached=False)
                return web.Response(body=value.encode(), headers=headers)
            case "base64":
                headers = file_headers(name, content_type(name))
                return web.Response(body=_decoded(value), headers=headers)
            case "key":
                return await self._blob(request, check_blob_key(value, "value"), name)
            case "url":
                return await self._behind(request, value, name)
        raise ProtocolError(ErrorCode.BAD_REQUEST, "Unknown data type", field="type")

    async def _behind(self, request: web.Request, url: str, name: str) -> web.StreamResponse:
        """Our own blobs are answered here; any other address knowingly by a redirect (D44).

        Bytes under a hash are the same everywhere, so those we hold are served whatever host the
        reference names: a worker may know this grid under another name than its readers do.
        """
        key, own = self._own_key(request, url)
        if key and (own or (is_hash(key) and await self._blobs.exists(key))):
            return await self._blob(request, key, name)
        if not url.startswith(("http://", "https://")) or not url.isprintable():
            raise ProtocolError(
                ErrorCode.BAD_REQUEST, f"{shown(url)} is not an http address", field="value"
            )
        return web.Response(status=302, headers={"Location": url})

    def _own_key(self, request: web.Request, url: str) -> tuple[str | None, bool]:
        """The key when ``url`` ends in ``/f/<key>``, and whether it names this very server."""
        try:
            parts = urlsplit(url)
            room, _, raw = parts.path.rpartition("/")
            key = check_blob_key(unquote(raw, errors="strict"))
        except (ValueError, ProtocolError):
            return None, False
        if room.rpartition("/")[2] != "f":
            return None, False
        here = ("", self._public_host, request.headers.get("Host", "").lower())
        return key, parts.netloc.lower() in here and parts.scheme in ("", "http", "https")

    async def _blob(self, request: web.Request, key: str, name: str) -> web.StreamResponse:
        headers = blob_headers(key, name, content_type(name))
        blob = await self._blobs.open(key, headers)
        if blob is None:
            raise not_found(f"File {shown(key, 80)} not found")
        return await send_blob(request, blob, headers)


def _read(document: bytes, kind: type[T]) -> T:
    """A worker writes results, and one of them may write nonsense."""
    try:
        return msgspec.json.decode(document, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise not_found(f"the job's files can't be read: {error}") from None


def _text_value(reference: _Reference) -> str:
    try:
        value = msgspec.json.decode(reference.value, type=str)
        value.encode()
    except (msgspec.MsgspecError, UnicodeError):
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            f"the value of a {shown(reference.type)} reference must be text",
            field="value",
        ) from None
    return value


def _decoded(value: str) -> bytes:
    """Base64 as browsers read it: blanks anywhere, padding optional (WIRE 5.1)."""
    compact = "".join(value.split()).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(ErrorCode.BAD_REQUEST, "Invalid base64 data", field="value") from None
