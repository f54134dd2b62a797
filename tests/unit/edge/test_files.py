"""Blobs under ``/f`` (WIRE 1.10)."""

import asyncio
import errno
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gridd.blobs.base import Blob
from gridd.errors import BlobError

DATA = bytes(range(256)) * 1000
HASH = hashlib.sha256(DATA).hexdigest()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_up_and_down_again(server: Any) -> None:
    assert await answer_of(server, "GET", f"/f/{HASH}/exists") == (404, {"exists": False})
    missing = await server("GET", f"/f/{HASH}")
    assert (missing.status, (await missing.json())["error"]) == (404, "File not found")
    up = await server("PUT", f"/f/{HASH}", data=DATA)
    assert (up.status, up.headers["Content-Type"]) == (200, "text/plain; charset=UTF-8")
    assert await up.text() == f"file saved as {HASH}, {len(DATA)} bytes"
    assert await answer_of(server, "GET", f"/f/{HASH}/exists") == (200, {"exists": True})
    down = await server("GET", f"/f/{HASH}")
    assert (down.status, await down.read()) == (200, DATA)
    for name, value in {
        "Content-Length": str(len(DATA)),
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{HASH}"',
        "ETag": f'"{HASH}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }.items():
        assert down.headers[name] == value
    assert down.headers["Content-Security-Policy"].startswith("sandbox;")
    head = await server("HEAD", f"/f/{HASH}")
    assert (head.status, await head.read()) == (200, b"")
    assert head.headers["Content-Length"] == str(len(DATA))


async def answer_of(server: Any, method: str, path: str) -> tuple[int, Any]:
    answer = await server(method, path)
    return answer.status, await answer.json()


@pytest.mark.parametrize("key", ["a.tar.gz", "4f3e.json", "17-x-my file (1).txt", "ü{}", "status"])
async def test_any_plain_name_is_a_key(server: Any, key: str) -> None:
    path = "/f/" + "".join(f"%{byte:02x}" for byte in key.encode())
    assert (await server("PUT", path, data=b'{"a":1}')).status == 200
    down = await server("GET", path)
    assert (down.status, await down.read()) == (200, b'{"a":1}')
    assert down.headers["Cache-Control"] == "no-cache"
    json_type = "application/json" if key.endswith(".json") else "application/octet-stream"
    assert down.headers["Content-Type"] == json_type


async def test_an_empty_file(server: Any) -> None:
    key = hashlib.sha256().hexdigest()
    assert (await server("PUT", f"/f/{key}")).status == 200
    down = await server("GET", f"/f/{key}")
    assert (down.status, await down.read()) == (200, b"")


async def test_a_body_of_unknown_length(server: Any) -> None:
    async def chunks() -> Any:
        for at in range(0, len(DATA), 7777):
            yield DATA[at : at + 7777]

    assert (await server("PUT", f"/f/{HASH}", data=chunks())).status == 200
    assert await (await server("GET", f"/f/{HASH}")).read() == DATA


async def test_wrong_bytes_are_not_kept(server: Any, tmp_path: Path) -> None:
    answer = await server("PUT", f"/f/{HASH}", data=b"other bytes")
    assert (answer.status, (await answer.json())["code"]) == (422, "hash-mismatch")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    "body", [b"Content-Length: 3100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_cut_off_upload_leaves_nothing(
    server: Any, tmp_path: Path, eventually: Callable[..., Awaitable[None]], body: bytes
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"PUT /f/name HTTP/1.1\r\nHost: x\r\n" + body)
    # More than one piece, so that a file has been begun; then the peer is gone.
    writer.write(b"x" * (2 << 20) if b"100" in body else b"%x\r\n" % (2 << 20) + b"x" * (2 << 20))
    await eventually(lambda: len(files_in(tmp_path)), 1)
    writer.transport.abort()
    await eventually(lambda: files_in(tmp_path), [])
    assert await answer_of(server, "GET", "/f/name/exists") == (404, {"exists": False})


async def test_a_malformed_upload_leaves_nothing(server: Any, tmp_path: Path) -> None:
    answer = await server.raw(
        b"PUT /f/name HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n5\r\nhello\r\nnonsense\r\n"
    )
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"Traceback" not in answer
    assert files_in(tmp_path) == []


async def test_expect_continue(server: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"PUT /f/name HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"hello")
    assert b" 200 OK" in await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def test_a_large_upload_that_is_announced_is_refused_at_once(server: Any) -> None:
    """Before its body is sent: the answer comes although not one byte of it does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"PUT /f/name HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-0", 206, 0, 0),
        ("bytes=10-19", 206, 10, 19),
        ("bytes=255990-", 206, 255_990, 255_999),
        ("bytes=-5", 206, 255_995, 255_999),
        ("bytes=-999999999", 206, 0, 255_999),
        ("bytes=0-", 206, 0, 255_999),
        ("bytes=5-999999999", 206, 5, 255_999),
        ("bytes=5-4", 200, 0, 255_999),
        ("bytes=1-2,4-5", 200, 0, 255_999),
        ("lines=1-2", 200, 0, 255_999),
        ("bytes=-", 200, 0, 255_999),
    ],
)
async def test_ranges(server: Any, asked: str, status: int, first: int, last: int) -> None:
    await server("PUT", f"/f/{HASH}", data=DATA)
    answer = await server("GET", f"/f/{HASH}", headers={"Range": asked})
    assert (answer.status, await answer.read()) == (status, DATA[first : last + 1])
    shown = f"bytes {first}-{last}/256000" if status == 206 else None
    assert answer.headers.get("Content-Range") == shown


@pytest.mark.parametrize("asked", ["bytes=256000-", "bytes=999999-1000000", "bytes=-0"])
async def test_ranges_outside(server: Any, asked: str) -> None:
    await server("PUT", f"/f/{HASH}", data=DATA)
    answer = await server("GET", f"/f/{HASH}", headers={"Range": asked})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */256000")


async def test_known_and_changed_files(server: Any) -> None:
    await server("PUT", "/f/name", data=b"old")
    tag = (await server("GET", "/f/name")).headers["ETag"]
    known = await server("GET", "/f/name", headers={"If-None-Match": f'"x", {tag}'})
    assert (known.status, await known.read(), known.headers["ETag"]) == (304, b"", tag)
    ranged = {"If-Range": tag, "Range": "bytes=1-"}
    assert await (await server("GET", "/f/name", headers=ranged)).read() == b"ld"
    await server("PUT", "/f/name", data=b"newer")
    assert (await server("GET", "/f/name", headers={"If-None-Match": tag})).status == 200
    whole = await server("GET", "/f/name", headers=ranged)
    assert (whole.status, await whole.read()) == (200, b"newer"), "never a mix of the two"


async def test_a_full_disk_is_unavailable(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*args: object) -> None:
        cause = OSError(errno.ENOSPC, "No space left on device")
        raise BlobError("can't write /secret/place: no space; free some space") from cause

    monkeypatch.setattr(server.blobs, "put", full)
    answer = await server("PUT", "/f/name", data=b"x")
    assert answer.status == 503
    assert await answer.json() == {
        "error": "the grid can't keep files now: the disk is full; try again later",
        "code": "unavailable",
    }


async def test_a_blob_that_is_cut_short_on_disk_is_not_passed_off_as_whole(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is out by then: what is left is to break the connection off."""
    await server("PUT", f"/f/{HASH}", data=DATA)
    [file] = files_in(tmp_path)
    opened = server.blobs.open

    async def then_cut(*asked: Any) -> Any:
        blob = await opened(*asked)
        file.write_bytes(DATA[:100_000])
        return blob

    monkeypatch.setattr(server.blobs, "open", then_cut)
    answer = await server.raw(b"GET /f/%b HTTP/1.1\r\nHost: x\r\n\r\n" % HASH.encode())
    assert b"Content-Length: 256000" in answer
    assert len(answer) < 256_000


async def test_the_older_addresses_of_a_folder(server: Any) -> None:
    """WIRE 1.12: an address instead of bytes or a redirect. Ours for both."""
    origin = f"http://127.0.0.1:{server.port}"
    status, up = await answer_of(server, "GET", "/upload/a%20b%23.txt")
    assert status == 200
    assert up == {
        "url": f"{origin}/f/a%20b%23.txt",
        "ref": {"value": "a b#.txt", "type": "key"},
    }
    missing = await server("GET", "/download/a%20b%23.txt")
    assert (missing.status, (await missing.json())["error"]) == (404, "File not found")
    path = up["url"].removeprefix(origin)
    assert (await server("PUT", path, data=b"some")).status == 200
    status, down = await answer_of(server, "GET", "/download/a%20b%23.txt")
    assert (status, down["ref"]) == (200, {"value": up["url"], "type": "url"})
    assert down["url"] == up["url"]
    assert await (await server("GET", path)).read() == b"some"
    for path in ("/upload/..%2fx", "/download/..%2fx", "/upload/.x"):
        assert (await server("GET", path)).status == 400


async def test_the_older_addresses_begin_as_the_owner_says(
    start: Callable[..., Awaitable[Any]],
) -> None:
    server = await start(public_url="https://grid.example")
    _, up = await answer_of(server, "GET", f"/upload/{HASH}")
    assert up["url"] == f"https://grid.example/f/{HASH}"


async def test_the_older_addresses_where_a_bucket_keeps_files(server: Any) -> None:
    """A signed address for reading. For writing ours, since a bucket would take any bytes."""

    async def elsewhere(key: str, headers: object) -> Blob:
        return Blob(1, key, location=f"https://bucket.example/{key}?signed")

    server.blobs.open = elsewhere
    _, down = await answer_of(server, "GET", f"/download/{HASH}")
    assert down["url"] == f"https://bucket.example/{HASH}?signed" == down["ref"]["value"]
    _, up = await answer_of(server, "GET", f"/upload/{HASH}")
    assert up["url"] == f"http://127.0.0.1:{server.port}/f/{HASH}"
