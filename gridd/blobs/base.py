"""What the daemon asks of a blob store, and which error means what.

A blob is bytes under a key. A key of 64 lowercase hex digits is the sha256 of its bytes and is
held to that (DESIGN 5.6); any other key is a plain name that can't reach a hashed blob.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.names import is_job_id


def is_hash(key: str) -> bool:
    """Whether ``key`` promises what its bytes are."""
    return is_job_id(key)  # the same form


@dataclass(frozen=True, slots=True)
class Stored:
    """``size`` in bytes; ``sha256`` of the bytes that were read, in lowercase hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Blob:
    """An opened blob: either a ``file`` to read from, or a ``location`` to redirect to.

    A file shows the bytes as they were when it was opened, whatever is stored meanwhile. A
    location shows those that are stored when it is read, and works for a while only.
    ``tag`` changes when the bytes do. Close it (``with blob:``).
    """

    size: int
    tag: str
    file: BinaryIO | None = None
    location: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.file is not None:
            self.file.close()


class Blobs(Protocol):
    """Keys were checked by ``gridd_protocol.names.check_blob_key``.

    Every method raises ``gridd.errors.BlobError`` when the store itself fails.
    """

    async def put(self, key: str, chunks: AsyncIterator[bytes], size: int | None) -> Stored:
        """Store what ``chunks`` yields; it is durable on return. All or nothing.

        ``size`` is the announced length in bytes, ``None`` when unknown. Raises ``ProtocolError``:
        ``TOO_LARGE`` beyond the store's bound, ``BAD_REQUEST`` when it is not ``size`` bytes long,
        ``HASH_MISMATCH`` when a hash key does not fit; and whatever ``chunks`` raises.
        """
        ...

    async def open(self, key: str, headers: Mapping[str, str] | None = None) -> Blob | None:
        """``None`` when there is no such blob. ``headers`` are those that the bytes are to be
        answered with: a store that gives a location sees to it there."""
        ...

    async def exists(self, key: str) -> bool: ...

    async def close(self) -> None:
        """Release what the store holds. Twice is fine."""
        ...


def check_stored(key: str, stored: Stored, size: int | None) -> None:
    """Whether what came is what was announced, and what ``key`` promises. Raises as ``put``."""
    if size is not None and stored.size != size:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            f"the body has {stored.size} bytes where {size} were announced",
            field="body",
        )
    if is_hash(key) and stored.sha256 != key:
        raise ProtocolError(
            ErrorCode.HASH_MISMATCH,
            f"file {shown(key, 70)} has the sha256 {stored.sha256}; nothing was stored",
            field="key",
        )


def too_large(key: str, size: int, limit: int) -> ProtocolError:
    return ProtocolError(
        ErrorCode.TOO_LARGE,
        f"file {shown(key)} has {size} bytes or more, over the limit of {limit}",
        field="body",
        limit=limit,
    )
