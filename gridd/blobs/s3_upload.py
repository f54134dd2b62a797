"""One upload on its way to S3: small ones in one call, others in parts as they arrive.

Nothing is visible before ``finish``, and ``drop`` leaves nothing. Parts that a crash left behind
are removed by the bucket's lifecycle rule (``s3_expiry``).
"""

import asyncio
import logging
from typing import Any, Final

from gridd.blobs.s3_service import S3Error, Service
from gridd.errors import BlobError

log = logging.getLogger("gridd.blobs")

# Every part but the last has this size: some stores (Cloudflare's) refuse others. S3 takes 10,000
# parts of at least 5 MiB; BLOB_BYTES_MAX fits 1.25 times.
PART_BYTES: Final = 8 << 20
PARTS_IN_FLIGHT: Final = 2

# An upload holds at most (1 + PARTS_IN_FLIGHT) parts in memory, so all of them 384 MiB.
UPLOADS_MAX: Final = 16
# Below this an upload needs no place among those: a small file never waits for large ones.
FREE_BYTES: Final = 1 << 20
PLACE_S: Final = 60.0

# Joining the parts of a large blob takes a service long; it sends blanks meanwhile.
_JOIN_S: Final = 300.0


class Upload:
    """``places`` bounds the uploads that hold more than ``FREE_BYTES``.

    Raises ``S3Error`` or ``BlobError``; then, and always, call ``drop`` at the end.
    """

    def __init__(self, service: Service, name: str, places: asyncio.Semaphore) -> None:
        self._service = service
        self._name = name
        self._places = places
        self._placed = False
        self._gathered = bytearray()
        self._begun: asyncio.Task[str] | None = None
        self._parts: list[asyncio.Task[str]] = []
        self._joined = False

    async def add(self, chunk: bytes) -> None:
        self._gathered += chunk
        if len(self._gathered) > FREE_BYTES and not self._placed:
            await self._take_place()
        # One more byte must follow: the last part may be small, but not empty.
        while len(self._gathered) > PART_BYTES:
            with memoryview(self._gathered) as view:
                part = bytes(view[:PART_BYTES])
            del self._gathered[:PART_BYTES]
            await self._send(part)

    async def finish(self) -> None:
        """The object is whole and durable on return."""
        rest = bytes(self._gathered)
        self._gathered.clear()
        if self._begun is None:
            await self._service.call("put_object", Key=self._name, Body=rest)
            return
        await self._send(rest)
        tags = await asyncio.gather(*self._parts)
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        await self._service.call(
            "complete_multipart_upload",
            within_s=_JOIN_S,
            Key=self._name,
            UploadId=await self._id(),
            MultipartUpload={"Parts": parts},
        )
        self._joined = True

    async def drop(self) -> None:
        """Release everything; what was not finished is given up at the service, too."""
        self._gathered.clear()
        for part in self._parts:
            part.cancel()
        await asyncio.gather(*self._parts, return_exceptions=True)
        if self._placed:
            self._placed = False
            self._places.release()
        if self._begun is not None and not self._joined:
            try:
                upload = await self._begun
                await self._service.call("abort_multipart_upload", Key=self._name, UploadId=upload)
            except S3Error as error:
                log.warning("parts of an upload stay until the bucket's rule ends: %s", error)

    async def _take_place(self) -> None:
        try:
            async with asyncio.timeout(PLACE_S):
                await self._places.acquire()
        except TimeoutError:
            raise BlobError(
                f"{UPLOADS_MAX} uploads go on and none ended within {PLACE_S:g} s",
                "too many uploads at once",
            ) from None
        self._placed = True

    async def _send(self, part: bytes) -> None:
        going = [task for task in self._parts if not task.done()]
        if len(going) >= PARTS_IN_FLIGHT:
            await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
        for task in self._parts:
            if task.done():
                task.result()  # one that failed ends the upload here, not at its end
        upload = await self._id()
        number = len(self._parts) + 1
        self._parts.append(asyncio.create_task(self._store(upload, number, part)))

    async def _store(self, upload: str, number: int, part: bytes) -> str:
        answer: dict[str, Any] = await self._service.call(
            "upload_part", Key=self._name, UploadId=upload, PartNumber=number, Body=part
        )
        return str(answer["ETag"])

    async def _id(self) -> str:
        # Shielded: cancelled in between, nobody would know what to give up.
        if self._begun is None:
            self._begun = asyncio.create_task(self._begin())
        return await asyncio.shield(self._begun)

    async def _begin(self) -> str:
        answer = await self._service.call("create_multipart_upload", Key=self._name)
        return str(answer["UploadId"])
