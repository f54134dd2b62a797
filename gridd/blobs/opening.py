"""Which blob store the settings ask for. The S3 library takes half a second to import, and is an
extra: it is asked for only when it is needed."""

import asyncio
from pathlib import Path

from gridd.blobs.base import Blobs
from gridd.blobs.bucket import Bucket, S3Options
from gridd.blobs.folder import FolderBlobs
from gridd.errors import BlobError


async def open_blobs(place: Path | Bucket, options: S3Options, retention_ms: int) -> Blobs:
    """Raises ``BlobError`` with one sentence when the store can't be used."""
    if isinstance(place, Path):
        return await asyncio.to_thread(FolderBlobs, place)
    try:
        from gridd.blobs.s3 import open_s3
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("aiobotocore", "botocore"):
            raise
        raise BlobError(
            f"blobs on {place} need a library that is not installed; run: pip install 'gridd[s3]'"
        ) from None
    return await open_s3(place, options, retention_ms)
