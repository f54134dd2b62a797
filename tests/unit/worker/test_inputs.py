"""Inputs: every kind of reference, the cache, what is refused and how that is said."""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gridd_protocol.definitions import Definition
from gridd_worker.cache import FileCache
from gridd_worker.files import FileLimits, JobDirectories, make_job_directories
from gridd_worker.http_client import Http
from gridd_worker.inputs import InputError, materialise

DATA = b"data " * 1_000
HASH = hashlib.sha256(DATA).hexdigest()


@dataclass
class Server:
    address: str = ""
    gets: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)  # the next ones: a status, "cut", "drip"
    over: asyncio.Event = field(default_factory=asyncio.Event)  # then a drip ends

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.gets.append(request.path)
        answer = self.answers.pop(0) if self.answers else 200
        if answer == "drip":
            response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
            await response.prepare(request)
            while not self.over.is_set():
                await response.write(b"d")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.over.wait(), 0.02)
            return response
        if answer == "cut":
            response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
            await response.prepare(request)
            await response.write(DATA[:100])
            assert request.transport is not None
            request.transport.abort()
            return response
        if isinstance(answer, str):
            return web.Response(status=302, headers={"Location": answer})
        return web.Response(status=answer, body=DATA if answer == 200 else b"no")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.get)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    server.over.set()
    await runner.cleanup()


@dataclass
class Bench:
    directories: JobDirectories
    cache: FileCache
    http: Http
    server: Server

    async def fill(self, limits: FileLimits | None = None, **members: Any) -> dict[str, Path]:
        definition = Definition(**members)
        address = self.server.address
        return await materialise(
            definition, self.directories, address, self.http, self.cache, limits
        )

    async def failure(self, reference: Any, **members: Any) -> str:
        with pytest.raises(InputError) as caught:
            await self.fill(inputs={"a": reference}, **members)
        return str(caught.value)


@pytest.fixture
async def bench(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setattr("gridd_worker.fetch._BACKOFF_S", 0.001)
    cache = FileCache(tmp_path / "cache", 3 * len(DATA))
    cache.open()
    http = Http(server.address, private=True)
    yield Bench(make_job_directories(tmp_path, "job", 1), cache, http, server)
    await http.close()


def url(address: str, **more: str) -> dict[str, str]:
    return {"type": "url", "value": address, **more}


async def test_inline_references(bench: Bench) -> None:
    await bench.fill(
        inputs={
            "text": {"type": "utf8", "value": "ä\n"},
            "a/b.json": {"type": "json", "value": {"b": [1, 1.5, None], "a": "é"}},
            "/c": {"type": "base64", "value": base64.b64encode(b"\x00\xff").decode()},
        }
    )
    inputs = bench.directories.inputs
    assert (inputs / "text").read_bytes() == "ä\n".encode()
    assert (inputs / "a" / "b.json").read_bytes() == '{"b":[1,1.5,null],"a":"é"}'.encode()
    assert (inputs / "c").read_bytes() == b"\x00\xff"
    assert (inputs / "c").stat().st_mode & 0o777 == 0o644


async def test_config_files(bench: Bench) -> None:
    text = {"type": "utf8", "value": "conf"}
    files = await bench.fill(
        inputs={"x": {"type": "utf8", "value": "first"}},
        config_files={"/etc/app.conf": text, "x": text, "/inputs/y/z": text},
    )
    assert list(files) == ["/etc/app.conf"]
    assert files["/etc/app.conf"].read_text() == "conf"
    assert files["/etc/app.conf"].parent == bench.directories.config
    assert (bench.directories.inputs / "x").read_text() == "conf"
    assert (bench.directories.inputs / "y" / "z").read_text() == "conf"


@pytest.mark.parametrize("name", ["/outputs/x", "/proc/1/mem", "/dev/null", "/a/../x", "/a:b", "/"])
async def test_config_files_that_can_not_be_mounted(bench: Bench, name: str) -> None:
    with pytest.raises(InputError, match="config file"):
        await bench.fill(config_files={name: {"type": "utf8", "value": ""}})


@pytest.mark.parametrize("name", ["../x", "a/../../x", "", "a//b", "a\\b"])
async def test_names_that_lead_elsewhere(bench: Bench, name: str) -> None:
    with pytest.raises(InputError, match="input"):
        await bench.fill(inputs={name: {"type": "utf8", "value": "x"}})
    assert list(bench.directories.inputs.iterdir()) == []


async def test_url_without_a_hash_is_fetched_each_time(bench: Bench) -> None:
    reference = url(f"{bench.server.address}/x?token=1")
    await bench.fill(inputs={"a": reference, "b": reference})
    assert (bench.directories.inputs / "a").read_bytes() == DATA
    assert bench.server.gets == ["/x", "/x"]
    assert bench.cache.size_bytes == 0


async def test_what_has_a_hash_is_fetched_once_and_copied(bench: Bench) -> None:
    address = bench.server.address
    await bench.fill(
        inputs={
            "a": url(f"{address}/f/{HASH}"),
            "b": {"type": "key", "value": HASH},
            "c": url(f"{address}/f/{HASH}", hash=HASH),
        }
    )
    assert len(bench.server.gets) == 1
    for name in "abc":
        assert (bench.directories.inputs / name).read_bytes() == DATA
    (bench.directories.inputs / "a").write_bytes(b"poison")
    await bench.fill(inputs={"d": url(f"{address}/other", hash=HASH)})
    assert (bench.directories.inputs / "d").read_bytes() == DATA
    assert len(bench.server.gets) == 1


async def test_keys_that_are_no_hash(bench: Bench) -> None:
    await bench.fill(inputs={"a": {"type": "key", "value": "a key.tar.gz"}})
    assert bench.server.gets == ["/f/a key.tar.gz"]
    assert (bench.directories.inputs / "a").read_bytes() == DATA


async def test_wrong_bytes_are_refused_and_not_kept(bench: Bench) -> None:
    wrong = "0" * 64
    said = await bench.failure(url(f"{bench.server.address}/f/{wrong}?secret=1"))
    assert said.startswith("input 'a': ")
    assert f"has the sha256 {HASH}, not {wrong}" in said
    assert "secret" not in said
    assert bench.cache.size_bytes == 0
    assert list((bench.directories.root.parents[1] / "cache").iterdir()) == []


async def test_network_errors_and_5xx_are_tried_five_times(bench: Bench) -> None:
    elsewhere = bench.server.address.replace("127.0.0.1", "localhost")
    bench.server.answers = [500, "cut", 503, 502]
    await bench.fill(inputs={"a": url(f"{elsewhere}/x")})
    assert len(bench.server.gets) == 5
    assert (bench.directories.inputs / "a").read_bytes() == DATA
    bench.server.answers = [503] * 9
    said = await bench.failure(url(f"{elsewhere}/y?q=1"))
    assert said == f"input 'a': {elsewhere}/y answered with status 503 (5 attempts)"
    assert len(bench.server.gets) == 10


async def test_our_own_server_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart takes longer than five quick tries, and is no fault of the job."""
    monkeypatch.setattr("gridd_worker.inputs.SERVER_PATIENCE_S", 30)
    bench.server.answers = [503] * 8
    await bench.fill(inputs={"a": {"type": "key", "value": HASH}})
    assert len(bench.server.gets) == 9
    monkeypatch.setattr("gridd_worker.inputs.SERVER_PATIENCE_S", 0)
    bench.server.answers = [503] * 9
    said = await bench.failure(url(f"{bench.server.address}/j/x/outputs/y"))
    assert said.endswith("answered with status 503 (5 attempts)")


async def test_4xx_is_not_tried_again(bench: Bench) -> None:
    bench.server.answers = [404]
    said = await bench.failure(url(f"{bench.server.address}/y?q=1#f"))
    assert said == f"input 'a': {bench.server.address}/y answered with status 404"
    assert len(bench.server.gets) == 1


async def test_nobody_there(bench: Bench) -> None:
    said = await bench.failure(url("http://user:secret@127.0.0.1:9/x"))
    assert said.startswith("input 'a': http://127.0.0.1:9/x can't be reached: ")
    assert "secret" not in said


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "data:,x", "ftp://127.0.0.1/x", "http://", "nonsense", "http://["],
)
async def test_addresses_that_are_not_fetched(bench: Bench, address: str) -> None:
    assert "input 'a': " in await bench.failure(url(address))
    assert bench.server.gets == []


async def test_redirects_are_followed_but_not_for_ever(bench: Bench) -> None:
    bench.server.answers = ["/there"]
    await bench.fill(inputs={"a": url(f"{bench.server.address}/here")})
    assert bench.server.gets == ["/here", "/there"]
    bench.server.answers = ["/round"] * 50
    said = await bench.failure(url(f"{bench.server.address}/x"))
    assert "redirects more than 10 times" in said


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (FileLimits(input_bytes_max=len(DATA) - 1), "has more than 4999 bytes"),
        (FileLimits(inputs_bytes_max=len(DATA) + 10), "all inputs together have more than 5010"),
    ],
)
async def test_limits(bench: Bench, limits: FileLimits, said: str) -> None:
    files = {"a": url(f"{bench.server.address}/x"), "b": {"type": "utf8", "value": "x" * 100}}
    with pytest.raises(InputError, match=said):
        await bench.fill(limits, inputs=files)


@pytest.mark.parametrize(
    "reference",
    [
        "text",
        {"type": "odd", "value": "x"},
        {"type": "utf8"},
        {"type": "base64", "value": "*"},
        {"type": "url", "value": 5},
        {"type": "key", "value": "../x"},
    ],
)
async def test_references_of_no_form(bench: Bench, reference: Any) -> None:
    assert "input 'a'" in await bench.failure(reference)


async def test_a_place_that_drips_is_not_waited_for_for_ever(bench: Bench) -> None:
    """Each byte comes long before a dead peer is told, so only a limit in all ends it."""
    bench.server.answers = ["drip"]
    with pytest.raises(InputError, match=r"^the inputs were not here within 0\.3 s"):
        await bench.fill(
            FileLimits(inputs_s_max=0.3), inputs={"a": url(f"{bench.server.address}/x")}
        )
    assert [p.name for p in (bench.directories.root.parents[1] / "cache").iterdir()] == []


async def test_who_names_a_hash_at_a_slow_place_holds_up_nobody_else(
    bench: Bench, tmp_path: Path
) -> None:
    bench.server.answers = ["drip"]
    slow = asyncio.create_task(
        bench.fill(inputs={"a": url(f"{bench.server.address}/x", hash=HASH)})
    )
    while not bench.server.gets:
        await asyncio.sleep(0.001)
    async with asyncio.timeout(5):
        await bench.fill(inputs={"b": {"type": "key", "value": HASH}})
    assert (bench.directories.inputs / "b").read_bytes() == DATA
    assert not slow.done()
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


# --- the cache -----------------------------------------------------------------------------


async def keep(cache: FileCache, data: bytes, target: Path) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    part = cache.scratch()
    part.write_bytes(data)
    await cache.keep(sha256, part, target)
    return sha256


async def test_cache_forgets_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 250)
    cache.open()
    first = await keep(cache, b"1" * 100, tmp_path / "1")
    second = await keep(cache, b"2" * 100, tmp_path / "2")
    assert await cache.copy_to(first, tmp_path / "1 again")
    third = await keep(cache, b"3" * 100, tmp_path / "3")
    assert cache.size_bytes == 200
    assert not await cache.copy_to(second, tmp_path / "2 again")
    assert (tmp_path / "1 again").read_bytes() == b"1" * 100

    (tmp_path / "cache" / "part-left").write_text("x")
    reopened = FileCache(tmp_path / "cache", 250)
    reopened.open()
    assert reopened.size_bytes == 200
    assert await reopened.copy_to(third, tmp_path / "3 again")
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted([first, third])


async def test_what_is_larger_than_the_cache_goes_past_it(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 10)
    cache.open()
    sha256 = await keep(cache, b"x" * 100, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"x" * 100
    assert cache.size_bytes == 0
    assert not await cache.copy_to(sha256, tmp_path / "again")


async def test_a_file_that_vanished_is_a_miss(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 1_000)
    cache.open()
    sha256 = await keep(cache, b"x", tmp_path / "target")
    (tmp_path / "cache" / sha256).unlink()
    assert not await cache.copy_to(sha256, tmp_path / "again")
    assert cache.size_bytes == 0


async def test_those_who_want_the_same_wait_for_each_other(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache")
    order: list[str] = []

    async def turn(name: str, key: str) -> None:
        async with cache.lock(key):
            order.append(f"{name} in")
            await asyncio.sleep(0.01)
            order.append(f"{name} out")

    await asyncio.gather(turn("1", "k"), turn("2", "k"))
    assert order == ["1 in", "1 out", "2 in", "2 out"]
