"""Blobs on S3 when an upload is wrong, cut off or cancelled, and when the service is not as it
should be. The service is real (SeaweedFS)."""

import asyncio
import hashlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from gridd.blobs import s3_service, s3_upload
from gridd.blobs.base import Blob
from gridd.blobs.bucket import Bucket, S3Options
from gridd.blobs.opening import open_blobs
from gridd.blobs.s3 import S3Blobs, open_s3
from gridd.blobs.s3_expiry import MARGIN_DAYS
from gridd.blobs.s3_service import S3Error, Service
from gridd.blobs.s3_upload import FREE_BYTES, PART_BYTES, PARTS_IN_FLIGHT, UPLOADS_MAX
from gridd.errors import BlobError
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import BLOB_BYTES_MAX, RETENTION_MS
from tests.system.support.processes import free_port, until
from tests.system.support.relay import relay
from tests.system.support.s3_server import BUCKET, READER, S3Server

KEY = hashlib.sha256(b"data").hexdigest()
MIB = 1 << 20


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def mebibytes(count: int) -> AsyncIterator[bytes]:
    return stream(*[b"m" * MIB] * count)


async def then_stuck(count: int, reached: asyncio.Event) -> AsyncIterator[bytes]:
    async with aclosing(mebibytes(count)) as chunks:
        async for chunk in chunks:
            yield chunk
    reached.set()
    await asyncio.Event().wait()


async def fetched(blob: Blob | None) -> tuple[int, Any, bytes]:
    assert blob is not None
    assert blob.location is not None
    async with aiohttp.ClientSession() as session, session.get(blob.location) as answer:
        return answer.status, answer.headers, await answer.read()


@pytest.fixture
def place(s3: S3Server) -> Bucket:
    return s3.place()


@pytest.fixture
async def blobs(s3: S3Server, place: Bucket) -> AsyncIterator[S3Blobs]:
    store = await open_s3(place, s3.options(), RETENTION_MS)
    yield store
    await store.close()


# What is kept, and what is not.


async def test_where_blobs_lie(blobs: S3Blobs, s3: S3Server, place: Bucket) -> None:
    await blobs.put(KEY, stream(b"data"), 4)
    await blobs.put("../../etc", stream(b"x"), 1)  # never passes the edge; harmless here too
    named = hashlib.sha256(b"../../etc").hexdigest()
    assert sorted(await s3.objects(place)) == [f"named/{named}", f"sha256/{KEY}"]


@pytest.mark.parametrize("key", [KEY, "name"])
async def test_a_large_upload_that_breaks_off_leaves_nothing(
    blobs: S3Blobs, s3: S3Server, place: Bucket, key: str
) -> None:
    seen: list[list[str]] = []

    async def cut_off() -> AsyncIterator[bytes]:
        async with aclosing(mebibytes(20)) as chunks:
            async for chunk in chunks:
                yield chunk
        seen.append(await s3.unfinished(place))
        raise ProtocolError(ErrorCode.BAD_REQUEST, "the body ended early")

    with pytest.raises(ProtocolError, match="ended early"):
        await blobs.put(key, cut_off(), None)
    assert len(seen[0]) == 1, "parts were on their way"
    assert await s3.unfinished(place) == []
    assert await s3.objects(place) == {}


async def test_large_and_wrong_bytes_leave_nothing(
    blobs: S3Blobs, s3: S3Server, place: Bucket
) -> None:
    with pytest.raises(ProtocolError) as refused:
        await blobs.put(KEY, mebibytes(20), 20 * MIB)
    assert refused.value.code is ErrorCode.HASH_MISMATCH
    assert await s3.unfinished(place) == []
    assert await s3.objects(place) == {}


async def test_a_cancelled_upload_leaves_nothing(
    blobs: S3Blobs, s3: S3Server, place: Bucket
) -> None:
    reached = asyncio.Event()
    upload = asyncio.ensure_future(blobs.put("name", then_stuck(20, reached), None))
    await asyncio.wait_for(reached.wait(), 20)
    assert len(await s3.unfinished(place)) == 1
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await s3.unfinished(place) == []
    assert await s3.objects(place) == {}


async def test_cancelled_while_it_is_announced_an_upload_is_still_given_up(
    blobs: S3Blobs, s3: S3Server, place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcing, go_on = asyncio.Event(), asyncio.Event()
    call = Service.call

    async def slow(self: Service, operation: str, **more: Any) -> Any:
        answer = await call(self, operation, **more)
        if operation == "create_multipart_upload":
            announcing.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(Service, "call", slow)
    upload = asyncio.ensure_future(blobs.put("name", mebibytes(20), None))
    await asyncio.wait_for(announcing.wait(), 20)
    assert len(await s3.unfinished(place)) == 1
    upload.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await s3.unfinished(place) == []


@pytest.mark.parametrize(
    "operation", ["create_multipart_upload", "upload_part", "complete_multipart_upload"]
)
async def test_a_call_that_fails_ends_the_upload_and_leaves_nothing(
    blobs: S3Blobs,
    s3: S3Server,
    place: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    call, sent = Service.call, 0

    async def failing(self: Service, asked: str, **more: Any) -> Any:
        if asked == operation:
            raise S3Error("it broke", "the file store can't be used")
        return await call(self, asked, **more)

    async def counted() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield b"m" * MIB

    with monkeypatch.context() as patch:
        patch.setattr(Service, "call", failing)
        with pytest.raises(BlobError, match="it broke"):
            await blobs.put("name", counted(), None)
    if operation != "complete_multipart_upload":
        assert sent <= 50, "it does not go on to the end of the body"
    assert await s3.unfinished(place) == []
    assert await s3.objects(place) == {}
    await blobs.put("name", mebibytes(20), None)
    assert await blobs.exists("name"), "the store goes on once the service does"


# Bounds.


async def test_a_slow_service_holds_the_upload_back(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, go_on, sent = Service.call, asyncio.Event(), 0

    async def slow(self: Service, operation: str, **more: Any) -> Any:
        if operation == "upload_part":
            await go_on.wait()
        return await call(self, operation, **more)

    async def counted() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64:
            sent += 1
            yield b"m" * MIB

    monkeypatch.setattr(Service, "call", slow)
    upload = asyncio.ensure_future(blobs.put("name", counted(), 64 * MIB))
    held = (1 + PARTS_IN_FLIGHT) * PART_BYTES // MIB + 1
    await until(lambda: sent == held, lambda: sent)
    await asyncio.sleep(0.1)  # a moment in which it must not go on
    assert sent == held, "no more is taken from the peer than the parts may hold"
    go_on.set()
    assert (await upload).size == 64 * MIB


async def test_more_large_uploads_than_places_wait_and_small_ones_do_not(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "PLACE_S", 0.2)
    reached = [asyncio.Event() for _ in range(UPLOADS_MAX)]
    going = [
        asyncio.ensure_future(blobs.put(f"name{n}", then_stuck(2, event), None))
        for n, event in enumerate(reached)
    ]
    for event in reached:
        await asyncio.wait_for(event.wait(), 20)
    with pytest.raises(BlobError, match="16 uploads go on and none ended") as refused:
        await blobs.put("large", mebibytes(2), None)
    assert refused.value.words == "too many uploads at once"
    assert (await blobs.put("small", stream(b"x" * FREE_BYTES), None)).size == FREE_BYTES
    going[0].cancel()
    await asyncio.wait(going[:1])
    assert (await blobs.put("large", mebibytes(2), None)).size == 2 * MIB
    for upload in going:
        upload.cancel()
    await asyncio.gather(*going, return_exceptions=True)


def test_the_largest_blob_fits_into_the_parts_that_s3_takes() -> None:
    assert BLOB_BYTES_MAX <= 10_000 * PART_BYTES
    assert PART_BYTES >= 5 * MIB


# Stored already.


async def test_a_hash_that_is_stored_is_not_written_again(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await blobs.put(KEY, stream(b"data"), 4)
    called: list[str] = []
    call = Service.call

    async def noted(self: Service, operation: str, **more: Any) -> Any:
        called.append(operation)
        return await call(self, operation, **more)

    monkeypatch.setattr(Service, "call", noted)
    assert (await blobs.put(KEY, stream(b"data"), 4)).sha256 == KEY
    assert called == ["head_object"]


async def test_a_hash_that_was_stored_long_ago_is_renewed_for_who_counts_on_it(
    blobs: S3Blobs, s3: S3Server, place: Bucket
) -> None:
    async def written() -> Any:
        return (await s3.objects(place))[f"sha256/{KEY}"]["LastModified"]

    await blobs.put(KEY, stream(b"data"), 4)
    first = await written()
    assert await blobs.exists(KEY)
    assert await written() == first
    blobs._refresh_age = timedelta(0)
    for asked in (lambda: blobs.exists(KEY), lambda: blobs.put(KEY, stream(b"data"), 4)):
        before, deadline = await written(), time.monotonic() + 20
        while await written() == before:  # the service counts in seconds
            assert time.monotonic() < deadline, "it was never renewed"
            await asked()
    assert (await fetched(await blobs.open(KEY)))[2] == b"data"


# Links.


async def test_a_link_answers_with_the_headers_that_were_given(blobs: S3Blobs) -> None:
    await blobs.put("name", stream(b"1,2"), None)
    attached = "attachment; filename=\"_.csv\"; filename*=UTF-8''%C3%BC.csv"
    headers = {"Content-Type": "text/csv", "Content-Disposition": attached, "X-Other": "1"}
    status, answered, data = await fetched(await blobs.open("name", headers))
    assert (status, data) == (200, b"1,2")
    assert answered["Content-Type"] == "text/csv"
    assert answered["Content-Disposition"] == attached


async def test_a_link_is_signed_and_ends(s3: S3Server, place: Bucket) -> None:
    store = await open_s3(place, s3.options(link_ms=1_000), RETENTION_MS)
    try:
        await store.put("name", stream(b"x"), None)
        blob = await store.open("name")
        assert blob is not None
        assert blob.location is not None
        assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in blob.location
        other = Blob(1, "", location=blob.location.replace("/named/", "/named/0"))
        assert (await fetched(other))[0] == 403
        deadline = time.monotonic() + 20
        while (await fetched(blob))[0] != 403:
            assert time.monotonic() < deadline, "the link does not end"
    finally:
        await store.close()


async def test_a_link_may_name_another_endpoint(s3: S3Server, place: Bucket) -> None:
    public = f"http://localhost:{s3.port}"
    store = await open_s3(place, s3.options(public_endpoint=public), RETENTION_MS)
    try:
        await store.put("name", stream(b"x"), None)
        blob = await store.open("name")
        assert blob is not None
        assert blob.location is not None
        assert blob.location.startswith(f"{public}/{BUCKET}/{place.prefix}")
        assert (await fetched(blob))[2] == b"x"
    finally:
        await store.close()


async def test_addresses_with_the_bucket_in_the_host_name(s3: S3Server, place: Bucket) -> None:
    options = S3Options(endpoint="https://s3.example.org", region="x", addressing="virtual")
    async with s3_service.connected(place, options) as service:
        link = await service.link("name", 60, {})
    assert link.startswith("https://grid-files.s3.example.org/name?")


# At start.


async def sentence(place: Bucket, options: S3Options) -> str:
    with pytest.raises(BlobError) as refused:
        await open_s3(place, options, RETENTION_MS)
    message = str(refused.value)
    assert "\n" not in message
    assert "secret" not in message
    return message


async def test_a_missing_bucket_is_named(s3: S3Server) -> None:
    said = await sentence(Bucket("no-such-bucket"), s3.options())
    assert "s3://no-such-bucket refused" in said
    assert said.endswith("create the bucket, or correct --blobs")


@pytest.mark.parametrize(
    "wrong", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "NOBODY"}]
)
async def test_wrong_credentials(
    s3: S3Server, place: Bucket, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in await sentence(
        place, s3.options()
    )


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


async def test_no_credentials(s3: S3Server, place: Bucket, no_credentials: None) -> None:
    said = await sentence(place, s3.options())
    assert said.startswith(f"there are no credentials for {place}; set AWS_ACCESS_KEY_ID")


async def test_a_profile_that_is_not_there(
    s3: S3Server, place: Bucket, no_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in await sentence(place, s3.options())


async def test_an_endpoint_where_nobody_listens(s3: S3Server, place: Bucket) -> None:
    said = await sentence(place, s3.options(endpoint=f"http://127.0.0.1:{free_port()}"))
    assert said.startswith(f"can't reach {place}: ")
    assert said.endswith("check the service and --s3-endpoint")


async def test_an_endpoint_that_speaks_something_else(s3: S3Server, place: Bucket) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert str(place) in await sentence(place, s3.options(endpoint=f"http://127.0.0.1:{port}"))


async def test_credentials_that_may_not_write(
    s3: S3Server, place: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    for name, value in READER.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING, "gridd.blobs"):
        store = await open_s3(place, s3.options(), RETENTION_MS)
    with pytest.raises(BlobError, match="allow s3:ListBucket on the bucket"):
        await store.put("name", stream(b"x"), None)
    await store.close()


async def test_without_the_library_the_extra_is_named(
    s3: S3Server, place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("gridd.blobs.s3"):
            monkeypatch.delitem(sys.modules, name)
        elif name.partition(".")[0] == "aiobotocore":
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BlobError, match=r"pip install 'gridd\[s3\]'"):
        await open_blobs(place, s3.options(), RETENTION_MS)


def test_the_library_is_imported_only_for_s3() -> None:
    code = "import gridd.server, sys; sys.exit('aiobotocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# While it runs.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_service, "CONNECT_S", 0.5)
    monkeypatch.setattr(s3_service, "READ_S", 0.5)


async def test_a_silent_service_is_given_up_and_found_again(
    s3: S3Server, place: Bucket, impatient: None
) -> None:
    async with relay(s3.port) as cable:
        options = s3.options(endpoint=f"http://127.0.0.1:{cable.port}")
        store = await open_s3(place, options, RETENTION_MS)
        await store.put(KEY, stream(b"data"), 4)
        cable.cut()
        calls: list[Callable[[], Any]] = [
            lambda: store.exists(KEY),
            lambda: store.open(KEY),
            lambda: store.put("name", stream(b"x"), 1),
        ]
        for call in calls:
            began = time.monotonic()
            with pytest.raises(BlobError, match="can't reach") as failed:
                await call()
            assert failed.value.words == "the file store can't be reached"
            assert time.monotonic() - began < 15
        cable.mend()
        assert await store.exists(KEY)
        assert (await store.put("name", mebibytes(20), None)).size == 20 * MIB
        await store.close()


async def test_a_call_has_a_bound_whatever_the_service_does(s3: S3Server, place: Bucket) -> None:
    async with relay(s3.port) as cable:
        options = s3.options(endpoint=f"http://127.0.0.1:{cable.port}")
        async with s3_service.connected(place, options) as service:
            cable.cut()
            with pytest.raises(S3Error, match="can't reach"):
                await service.call("head_object", within_s=0.3, Key="x")


# The rule that ends old blobs.


async def rules(s3: S3Server) -> dict[str, Any]:
    async with s3.client() as client:
        found = await client.get_bucket_lifecycle_configuration(Bucket=BUCKET)
    return {rule["ID"]: rule for rule in found["Rules"]}


async def opened(place: Bucket, s3: S3Server, retention_ms: int) -> None:
    await (await open_s3(place, s3.options(), retention_ms)).close()


async def test_old_blobs_end_by_a_rule_beside_those_of_others(s3: S3Server) -> None:
    one, other = s3.place(), s3.place()
    await opened(one, s3, RETENTION_MS)
    await opened(other, s3, 36 * 3_600_000)
    kept = await rules(s3)
    for place, days in ((one, 28), (other, 2)):
        for room in ("sha256/", "named/"):
            rule = kept[f"gridd {place.prefix}{room}"]
            assert rule["Filter"] == {"Prefix": f"{place.prefix}{room}"}
            assert rule["Expiration"]["Days"] == days + MARGIN_DAYS
            assert rule["Status"] == "Enabled"
            assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
    await opened(one, s3, 2 * RETENTION_MS)
    changed = await rules(s3)
    assert changed[f"gridd {one.prefix}named/"]["Expiration"]["Days"] == 56 + MARGIN_DAYS
    assert len(changed) == len(kept), "the rule is replaced, and no other is touched"


async def test_a_rule_that_is_there_is_not_set_again(
    s3: S3Server, place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(place, s3, RETENTION_MS)
    called: list[str] = []
    call = Service.call

    async def noted(self: Service, operation: str, **more: Any) -> Any:
        called.append(operation)
        return await call(self, operation, **more)

    monkeypatch.setattr(Service, "call", noted)
    await opened(place, s3, RETENTION_MS)
    assert called == ["list_objects_v2", "get_bucket_lifecycle_configuration"]


async def test_where_no_rule_may_be_set_one_line_says_which(
    s3: S3Server, place: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    call = Service.call

    async def denied(self: Service, operation: str, **more: Any) -> Any:
        if "lifecycle" in operation:
            raise S3Error("no", "", 403, "AccessDenied")
        return await call(self, operation, **more)

    monkeypatch.setattr(Service, "call", denied)
    with caplog.at_level(logging.WARNING, "gridd.blobs"):
        await opened(place, s3, RETENTION_MS)
    [line] = [record.getMessage() for record in caplog.records if record.name == "gridd.blobs"]
    assert "no rule could be set (AccessDenied)" in line
    assert f"{place.prefix}sha256/ and {place.prefix}named/ after 58 days" in line
