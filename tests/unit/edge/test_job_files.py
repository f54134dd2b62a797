"""Inputs and outputs by name (WIRE 1.6)."""

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

UNKNOWN = "0" * 64
DATA = b"bytes of a blob \x00\xff"
HASH = hashlib.sha256(DATA).hexdigest()


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


def ref(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "value": value}


FILES: dict[str, Any] = {
    "u.txt": ref("utf8", "text é"),
    "page.html": ref("base64", "PGI+"),
    "b.png": ref("base64", "AAEC/w=="),
    "loose.bin": ref("base64", " AAEC\n/w"),
    "j.json": ref("json", {"b": [1, None], "a": 1}),
    "bad64": ref("base64", "%%%"),
    "untyped": {"value": "no type"},
    "odd": ref("carrier pigeon", "x"),
    "number": ref("utf8", 5),
    "key": ref("key", HASH),
    "badkey": ref("key", "../x"),
    "far": ref("url", "https://example.org/x/y?z=1"),
    "far-hash": ref("url", f"https://example.org/f/{UNKNOWN}"),
    "js": ref("url", "javascript:alert(1)"),
    "split": ref("url", "https://e.org/\r\nSet-Cookie: a=b"),
    "relative": ref("url", f"/f/{HASH}"),
    "other-name": ref("url", f"http://gridd:8000/f/{HASH}"),
    "missing-own": ref("url", "/f/nothing"),
    "empty": ref("utf8", ""),
    "dir/sub name.txt": ref("utf8", "nested"),
    "ü.txt": ref("utf8", "umlaut"),
    "100%25.txt": ref("utf8", "raw wins"),
    "100%.txt": ref("utf8", "decoded"),
    "a/outputs/b": ref("utf8", "not renamed"),
    'q"uote.bin': ref("base64", "AA=="),
}


@pytest.fixture(params=["inputs", "outputs"])
async def place(request: pytest.FixtureRequest, server: Any) -> str:
    """Where the files of a job lie that has them as its inputs, or as its outputs."""
    if request.param == "inputs":
        job = server.grid.put({"image": "a", "inputs": FILES})
    else:
        job = server.grid.put({"image": "a"}, result={"outputs": FILES})
    await server.blobs.put(HASH, stream(DATA), None)
    return f"/q/q1/j/{job}/{request.param}"


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("u.txt", "text/plain; charset=UTF-8", "text é".encode()),
        ("untyped", "text/plain; charset=UTF-8", b"no type"),
        ("empty", "text/plain; charset=UTF-8", b""),
        ("b.png", "image/png", b"\0\1\2\xff"),
        ("loose.bin", "application/octet-stream", b"\0\1\2\xff"),
        ("page.html", "application/octet-stream", b"<b>"),
        ("j.json", "application/json; charset=UTF-8", b'{"b": [1, null], "a": 1}'),
        ("key", "application/octet-stream", DATA),
        ("relative", "application/octet-stream", DATA),
        ("other-name", "application/octet-stream", DATA),
        ("dir/sub%20name.txt", "text/plain; charset=UTF-8", b"nested"),
        ("%C3%BC.txt", "text/plain; charset=UTF-8", b"umlaut"),
        ("100%25.txt", "text/plain; charset=UTF-8", b"raw wins"),
        ("a/outputs/b", "text/plain; charset=UTF-8", b"not renamed"),
    ],
)
async def test_what_is_served(
    server: Any, place: str, path: str, content_type: str, body: bytes
) -> None:
    for base in (place, place.removeprefix("/q/q1")):
        answer = await server("GET", f"{base}/{path}")
        assert (answer.status, await answer.read()) == (200, body)
        assert answer.headers["Content-Type"] == content_type
        assert answer.headers["Content-Length"] == str(len(body))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("missing", 404, "file 'missing' not found"),
        ("/etc/passwd", 404, "not found"),
        ("..%2F..%2Fetc%2Fpasswd", 404, "not found"),
        ("missing-own", 404, "File 'nothing' not found"),
        ("bad64", 400, "Invalid base64 data"),
        ("odd", 400, "Unknown data type"),
        ("number", 400, "must be text"),
        ("badkey", 400, "must be one plain file name"),
        ("js", 400, "not an http address"),
        ("split", 400, "not an http address"),
        ("", 400, "Missing filename"),
    ],
)
async def test_what_is_refused(
    server: Any, place: str, path: str, status: int, sentence: str
) -> None:
    answer = await server("GET", f"{place}/{path}")
    assert answer.status == status
    assert sentence in (await answer.json())["error"]


@pytest.mark.parametrize("name", ["far", "far-hash"])
async def test_addresses_elsewhere_are_redirected_to(server: Any, place: str, name: str) -> None:
    answer = await server("GET", f"{place}/{name}")
    assert (answer.status, answer.headers["Location"]) == (302, FILES[name]["value"])


async def test_downloads_are_offered_under_their_own_name(server: Any, place: str) -> None:
    for path, shown in [
        ("b.png", 'attachment; filename="b.png"'),
        ("relative", 'attachment; filename="relative"'),
        ("q%22uote.bin", "attachment; filename=\"q_uote.bin\"; filename*=UTF-8''q%22uote.bin"),
    ]:
        answer = await server("GET", f"{place}/{path}")
        assert answer.headers["Content-Disposition"] == shown


async def test_a_name_of_ours_is_only_ours_under_our_name(start: Callable[..., Any]) -> None:
    """A key that is no hash says nothing about its bytes, so the host must be this server."""
    server = await start(public_url="https://grid.example")
    await server.blobs.put("report.csv", stream(b"1,2"), None)
    here = f"http://127.0.0.1:{server.port}/f/report.csv"
    job = server.grid.put(
        {
            "inputs": {
                "here": ref("url", here),
                "public": ref("url", "https://grid.example/f/report.csv"),
                "there": ref("url", "https://other.example/f/report.csv"),
            }
        }
    )
    for name in ("here", "public"):
        answer = await server("GET", f"/j/{job}/inputs/{name}")
        assert (answer.status, await answer.read()) == (200, b"1,2")
    assert (await server("GET", f"/j/{job}/inputs/there")).status == 302


async def test_jobs_without_the_file(server: Any) -> None:
    job = server.grid.put({"image": "a"})
    for path, sentence in [
        (f"/q/q1/j/{UNKNOWN}/inputs/a", "Job not found"),
        (f"/j/{job}/inputs/a", "Input file 'a' not found"),
        (f"/j/{job}/outputs/a", "Finished job not found"),
    ]:
        answer = await server("GET", path)
        assert (answer.status, (await answer.json())["error"]) == (404, sentence)


@pytest.mark.parametrize("outputs", [5, [], {"a": 5}, {"a": {"type": 7}}, None])
async def test_nonsense_from_a_worker_is_not_our_failure(server: Any, outputs: Any) -> None:
    job = server.grid.put({"image": "a"}, result={"outputs": outputs})
    assert (await server("GET", f"/j/{job}/outputs/a")).status == 404
