"""What every blob store must do. A new store joins by adding a maker to ``STORES``."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from gridd.blobs import s3_upload
from gridd.blobs.base import Blob, Blobs
from gridd.blobs.folder import PIECE_BYTES, FolderBlobs
from gridd.blobs.s3 import open_s3
from gridd.errors import BlobError
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import RETENTION_MS
from tests.system.support.s3_server import S3Server

BYTES_MAX = 12 << 20  # with the parts below, an upload of that size has three


async def folder(request: pytest.FixtureRequest) -> Blobs:
    place: Path = request.getfixturevalue("tmp_path")
    return FolderBlobs(place / "blobs", bytes_max=BYTES_MAX)


async def s3(request: pytest.FixtureRequest) -> Blobs:
    server: S3Server = request.getfixturevalue("s3")
    request.getfixturevalue("monkeypatch").setattr(s3_upload, "PART_BYTES", 5 << 20)
    return await open_s3(server.place(), server.options(), RETENTION_MS, bytes_max=BYTES_MAX)


STORES: dict[str, Callable[[pytest.FixtureRequest], Awaitable[Blobs]]] = {
    "folder": folder,
    "s3": s3,
}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest) -> Callable[[], Awaitable[Blobs]]:
    """Not in ``blobs``: a fixture can't be asked for from inside a loop."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return partial(STORES[request.param], request)


@pytest.fixture
async def blobs(store: Callable[[], Awaitable[Blobs]], tmp_path: Path) -> AsyncIterator[Blobs]:
    made = await store()
    yield made
    await made.close()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def cut_off(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise ProtocolError(ErrorCode.BAD_REQUEST, "the body ended early")


async def content(blobs: Blobs, key: str) -> bytes | None:
    blob = await blobs.open(key)
    if blob is None:
        return None
    with blob:
        data = await fetched(blob.location) if blob.location else read(blob)
        assert len(data) == blob.size
        return data


def read(blob: Blob) -> bytes:
    file = blob.file
    assert file is not None
    return b"".join(iter(lambda: file.read(1 << 16), b""))


async def fetched(location: str) -> bytes:
    """As anyone would who was redirected there."""
    async with aiohttp.ClientSession() as session, session.get(location) as answer:
        data = await answer.read()
        assert answer.status == 200, data
        return data


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


NAMES = [
    "plain",
    "with blank.tar.gz",
    "üñï",
    "CON",
    "a" * 255,
    "%2F..%2F",
    "x:y",
    "A" * 64,
    "-rf",
    "~",
    "incoming",
    "sha256",
]


@pytest.mark.parametrize("key", NAMES)
async def test_a_named_blob_comes_back(blobs: Blobs, key: str) -> None:
    assert not await blobs.exists(key)
    assert await content(blobs, key) is None
    stored = await blobs.put(key, stream(b"one", b"", b"two"), 6)
    assert (stored.size, stored.sha256) == (6, hash_of(b"onetwo"))
    assert await blobs.exists(key)
    assert await content(blobs, key) == b"onetwo"


async def test_names_that_differ_in_case_or_ending_are_different_blobs(blobs: Blobs) -> None:
    for key in ("name", "NAME", "name.gz", "name.br"):
        await blobs.put(key, stream(key.encode()), None)
    assert [await content(blobs, key) for key in ("name", "NAME", "name.gz")] == [
        b"name",
        b"NAME",
        b"name.gz",
    ]


async def test_a_name_that_is_stored_again_has_the_new_bytes_and_another_tag(blobs: Blobs) -> None:
    await blobs.put("name", stream(b"old"), None)
    old = await blobs.open("name")
    assert old is not None
    with old:
        await blobs.put("name", stream(b"newer"), None)
        if old.file is not None:
            assert old.file.read() == b"old", "an opened file shows what it was opened as"
    new = await blobs.open("name")
    assert new is not None
    with new:
        assert new.tag != old.tag
    assert await content(blobs, "name") == b"newer"


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, BYTES_MAX])
async def test_sizes_around_the_bounds(blobs: Blobs, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    chunks = [data[at : at + 100_000] for at in range(0, size, 100_000)]
    key = hash_of(data)
    assert (await blobs.put(key, stream(*chunks), size)).sha256 == key
    assert await content(blobs, key) == data


async def test_a_hash_is_not_a_name_and_the_other_way_round(blobs: Blobs) -> None:
    key = hash_of(b"data")
    await blobs.put(key.upper(), stream(b"anything"), None)
    assert not await blobs.exists(key)
    await blobs.put(key, stream(b"data"), None)
    # A name whose stored form is that very hash does not exist either.
    assert not await blobs.exists("data")


async def test_wrong_bytes_under_a_hash_keep_nothing(blobs: Blobs) -> None:
    key = hash_of(b"right")
    with pytest.raises(ProtocolError) as refused:
        await blobs.put(key, stream(b"wrong"), 5)
    assert refused.value.code is ErrorCode.HASH_MISMATCH
    assert hash_of(b"wrong") in refused.value.message
    assert not await blobs.exists(key)


async def test_wrong_bytes_do_not_harm_what_is_stored(blobs: Blobs) -> None:
    key = hash_of(b"right")
    await blobs.put(key, stream(b"right"), 5)
    with pytest.raises(ProtocolError) as refused:
        await blobs.put(key, stream(b"wrong"), 5)
    assert refused.value.code is ErrorCode.HASH_MISMATCH
    assert await content(blobs, key) == b"right"
    assert (await blobs.put(key, stream(b"right"), 5)).sha256 == key


async def test_too_large_when_announced(blobs: Blobs) -> None:
    async def never() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    with pytest.raises(ProtocolError) as refused:
        await blobs.put("name", never(), BYTES_MAX + 1)
    assert (refused.value.code, refused.value.limit) == (ErrorCode.TOO_LARGE, BYTES_MAX)


async def test_too_large_when_not_announced(blobs: Blobs) -> None:
    chunks = [b"x" * (1 << 20)] * (BYTES_MAX >> 20) + [b"x"]
    with pytest.raises(ProtocolError) as refused:
        await blobs.put("name", stream(*chunks), None)
    assert (refused.value.code, refused.value.limit) == (ErrorCode.TOO_LARGE, BYTES_MAX)
    assert not await blobs.exists("name")


@pytest.mark.parametrize("size", [2, 4])
async def test_another_length_than_announced(blobs: Blobs, size: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        await blobs.put("name", stream(b"abc"), size)
    assert refused.value.code is ErrorCode.BAD_REQUEST
    assert not await blobs.exists("name")


@pytest.mark.parametrize("key", ["name", hash_of(b"abcdef")])
async def test_an_upload_that_breaks_off_keeps_nothing(blobs: Blobs, key: str) -> None:
    with pytest.raises(ProtocolError, match="ended early"):
        await blobs.put(key, cut_off(b"abc", b"x" * PIECE_BYTES), None)
    assert not await blobs.exists(key)


async def test_many_at_once_under_one_key(blobs: Blobs) -> None:
    data = b"z" * 300_000
    key = hash_of(data)

    async def slowly() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 50_000):
            await asyncio.sleep(0)
            yield data[at : at + 50_000]

    stored = await asyncio.gather(*(blobs.put(key, slowly(), len(data)) for _ in range(20)))
    assert {one.sha256 for one in stored} == {key}
    assert await content(blobs, key) == data
    named = [blobs.put("name", stream(b"%d" % n * 5), 5) for n in range(10)]
    await asyncio.gather(*named)
    last = await content(blobs, "name")
    assert last in [b"%d" % n * 5 for n in range(10)], "one of them, whole"


async def test_closed_twice_and_then_refuses(blobs: Blobs) -> None:
    await blobs.close()
    await blobs.close()
    with pytest.raises(BlobError):
        await blobs.exists("name")
