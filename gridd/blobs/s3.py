"""Blobs in a bucket of an S3 service.

    <prefix>sha256/<key>           keys that are hashes
    <prefix>named/<sha256 of key>  every other key, by the hash of the key itself

Owns these two rooms; many daemons may share them. Uploads pass through this process in bounded
parts and are visible when they are whole and checked; downloads go straight to the service, by a
link that is signed for a while.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gridd.blobs.base import Blob, Stored, check_stored, is_hash, too_large
from gridd.blobs.bucket import Bucket, S3Options
from gridd.blobs.s3_expiry import REFRESH_DAYS, set_expiry
from gridd.blobs.s3_service import S3Error, Service, connected
from gridd.blobs.s3_upload import UPLOADS_MAX, Upload
from gridd.errors import BlobError
from gridd_protocol.limits import BLOB_BYTES_MAX

# The service must answer within this when the daemon starts.
START_S: Final = 30.0

# What a service copies in one call. A larger blob is renewed by being uploaded again.
COPY_BYTES_MAX: Final = 5 << 30

_REFRESH_AGE: Final = timedelta(days=REFRESH_DAYS)

# Headers of an answer that a link can carry to the service.
_CARRIED = {
    "Content-Type": "ResponseContentType",
    "Content-Disposition": "ResponseContentDisposition",
    "Cache-Control": "ResponseCacheControl",
}


async def open_s3(
    bucket: Bucket, options: S3Options, retention_ms: int, bytes_max: int = BLOB_BYTES_MAX
) -> "S3Blobs":
    """Looks whether the bucket can be used. Raises ``BlobError`` with one sentence if it can't."""
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(connected(bucket, options))
        # Not HEAD: its answer has no body, so it can't say what is wrong.
        await service.call(
            "list_objects_v2", within_s=START_S, MaxKeys=1, Prefix=f"{bucket.prefix}sha256/"
        )
        rooms = [f"{bucket.prefix}sha256/", f"{bucket.prefix}named/"]
        await set_expiry(service, rooms, retention_ms)
        return S3Blobs(service, stack.pop_all(), options.link_ms, bytes_max)


class S3Blobs:
    """See ``base.Blobs``. Build it with ``open_s3``."""

    def __init__(
        self,
        service: Service,
        connections: contextlib.AsyncExitStack,
        link_ms: int,
        bytes_max: int,
        refresh_age: timedelta = _REFRESH_AGE,
    ) -> None:
        self._service = service
        self._connections = connections
        self._link_s = max(1, link_ms // 1_000)
        self._bytes_max = bytes_max
        self._refresh_age = refresh_age
        self._places = asyncio.Semaphore(UPLOADS_MAX)
        self._closed = False

    def _name(self, key: str) -> str:
        prefix = self._service.bucket.prefix
        if is_hash(key):
            return f"{prefix}sha256/{key}"
        return f"{prefix}named/{hashlib.sha256(key.encode()).hexdigest()}"

    async def put(self, key: str, chunks: AsyncIterator[bytes], size: int | None) -> Stored:
        self._check_open()
        if size is not None and size > self._bytes_max:
            raise too_large(key, size, self._bytes_max)
        # Bytes under a hash that is already stored are checked and not written again.
        known = is_hash(key) and await self.exists(key)
        upload = None if known else Upload(self._service, self._name(key), self._places)
        try:
            stored = await self._receive(upload, key, chunks)
            check_stored(key, stored, size)
            if upload is not None:
                await upload.finish()
        finally:
            # Shielded: a cancelled upload must not leave its parts behind either.
            if upload is not None:
                await asyncio.shield(upload.drop())
        return stored

    async def _receive(
        self, upload: Upload | None, key: str, chunks: AsyncIterator[bytes]
    ) -> Stored:
        digest, received = hashlib.sha256(), 0
        async for chunk in chunks:
            received += len(chunk)
            if received > self._bytes_max:
                raise too_large(key, received, self._bytes_max)
            digest.update(chunk)
            if upload is not None:
                await upload.add(chunk)
        return Stored(received, digest.hexdigest())

    async def open(self, key: str, headers: Mapping[str, str] | None = None) -> Blob | None:
        name = self._name(key)
        found = await self._look(name)
        if found is None:
            return None
        given = headers or {}
        carried = {theirs: given[ours] for ours, theirs in _CARRIED.items() if ours in given}
        location = await self._service.link(name, self._link_s, carried)
        return Blob(found["ContentLength"], found["ETag"].strip('"'), location=location)

    async def exists(self, key: str) -> bool:
        """Of a hash: a blob that was stored long ago is renewed, for whoever asks won't upload
        it, and counts on it. One that is too large for that is to be uploaded again."""
        name = self._name(key)
        found = await self._look(name)
        if found is None:
            return False
        old = datetime.now(UTC) - found["LastModified"] > self._refresh_age
        if not is_hash(key) or not old:
            return True
        return found["ContentLength"] <= COPY_BYTES_MAX and await self._renew(name)

    async def _renew(self, name: str) -> bool:
        """A copy onto itself counts as a write. False when it ended at this very moment."""
        source = {"Bucket": self._service.bucket.name, "Key": name}
        try:
            await self._service.call(
                "copy_object", Key=name, CopySource=source, MetadataDirective="REPLACE"
            )
        except S3Error as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _look(self, name: str) -> dict[str, Any] | None:
        self._check_open()
        try:
            found: dict[str, Any] = await self._service.call("head_object", Key=name)
        except S3Error as error:
            if error.status == 404:
                return None
            raise
        return found

    def _check_open(self) -> None:
        if self._closed:
            raise BlobError(f"the blob store {self._service.bucket} is closed")

    async def close(self) -> None:
        self._closed = True
        await self._connections.aclose()
