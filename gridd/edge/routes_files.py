"""Blobs under ``/f/:key`` (WIRE 1.10, DESIGN 5.15): uploads are always taken here, as a stream.

Also the two older forms, which answer with an address instead (WIRE 1.12). The one for an upload
is ours on every store: a bucket would take any bytes under a hash (DESIGN 5.6).
"""

from urllib.parse import quote

from aiohttp import web

from gridd.blobs.base import Blobs, is_hash
from gridd.edge import parameters
from gridd.edge.responses import BYTES_TYPE, file_headers, json_value, not_found, text
from gridd.edge.sending import send_blob


class FileRoutes:
    def __init__(self, blobs: Blobs, public_url: str | None) -> None:
        self._blobs = blobs
        self._public_url = public_url

    async def upload(self, request: web.Request) -> web.Response:
        key = parameters.blob_key(request)
        # A coded body (gzip) is decoded on the way in: its announced length is another one.
        size = None if "Content-Encoding" in request.headers else request.content_length
        stored = await self._blobs.put(key, parameters.chunks(request), size)
        return text(f"file saved as {key}, {stored.size} bytes")

    async def download(self, request: web.Request) -> web.StreamResponse:
        key = parameters.blob_key(request)
        headers = blob_headers(key, key, _content_type(key))
        blob = await self._blobs.open(key, headers)
        if blob is None:
            raise not_found("File not found")
        return await send_blob(request, blob, headers)

    async def exists(self, request: web.Request) -> web.Response:
        known = await self._blobs.exists(parameters.blob_key(request))
        return json_value({"exists": known}, 200 if known else 404)

    async def upload_address(self, request: web.Request) -> web.Response:
        """``/upload/:key``, deprecated: where to ``PUT`` the bytes, and how jobs name them."""
        key = parameters.blob_key(request)
        return json_value(
            {"url": self._address(request, key), "ref": {"value": key, "type": "key"}}
        )

    async def download_address(self, request: web.Request) -> web.Response:
        """``/download/:key``, deprecated: where to ``GET`` the bytes. A missing file is told
        here, where upstream signs an address behind which there is nothing."""
        key = parameters.blob_key(request)
        blob = await self._blobs.open(key, blob_headers(key, key, _content_type(key)))
        if blob is None:
            raise not_found("File not found")
        with blob:
            url = blob.location or self._address(request, key)
        return json_value({"url": url, "ref": {"value": url, "type": "url"}})

    def _address(self, request: web.Request, key: str) -> str:
        return f"{parameters.origin(request, self._public_url)}/f/{quote(key, safe='')}"


def _content_type(key: str) -> str:
    return "application/json" if key.endswith(".json") else BYTES_TYPE


def blob_headers(key: str, name: str, content_type: str) -> dict[str, str]:
    """Bytes under a hash never change; a name may get others, so it is asked for each time."""
    lasting = "public, max-age=31536000, immutable" if is_hash(key) else "no-cache"
    return file_headers(name, content_type) | {"Cache-Control": lasting}
