"""Collecting outputs: what counts, what is sent, what is refused."""

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from gridd_worker.fetch import SERVER_PATIENCE_S
from gridd_worker.files import FileLimits
from gridd_worker.outputs import OutputError, collect


@dataclass
class Store:
    """A blob store that fails as it is told: ``failures`` are the next answers to a PUT."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    puts: int = 0
    address: str = ""

    async def exists(self, request: web.Request) -> web.Response:
        found = request.match_info["key"] in self.blobs
        return web.json_response({"exists": found}, status=200 if found else 404)

    async def put(self, request: web.Request) -> web.Response:
        self.puts += 1
        if self.failures:
            status = self.failures.pop(0)
            if status == 0:
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=status or 500, text="no")
        body = await request.read()
        assert request.match_info["key"] == hashlib.sha256(body).hexdigest()
        self.blobs[request.match_info["key"]] = body
        return web.Response(text="saved")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = Store()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_get("/f/{key}/exists", store.exists)
    app.router.add_put("/f/{key}", store.put)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield store
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridd_worker.fetch._BACKOFF_S", 0.001)
    monkeypatch.setattr("gridd_worker.outputs.SERVER_PATIENCE_S", 0)


async def test_small_inline_large_uploaded_nested_named_by_path(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession
) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "d" / "small").write_bytes(b"x" * 200)
    (tmp_path / "d" / "e" / "large").write_bytes(b"y" * 201)
    (tmp_path / ".hidden ü").write_bytes(b"h")
    collected = await collect(tmp_path, store.address, http)
    sha256 = hashlib.sha256(b"y" * 201).hexdigest()
    assert list(collected.outputs) == [".hidden ü", "d/e/large", "d/small", "empty"]
    assert collected.outputs["empty"] == {"value": "", "type": "base64"}
    assert collected.outputs["d/small"]["type"] == "base64"
    assert collected.outputs["d/e/large"] == {
        "value": f"{store.address}/f/{sha256}",
        "type": "url",
        "hash": sha256,
    }
    assert store.blobs == {sha256: b"y" * 201}
    assert collected.remarks == []


async def test_what_the_server_has_is_not_sent(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession
) -> None:
    data = b"z" * 500
    store.blobs[hashlib.sha256(data).hexdigest()] = data
    (tmp_path / "a").write_bytes(data)
    collected = await collect(tmp_path, store.address, http)
    assert store.puts == 0
    assert collected.outputs["a"]["type"] == "url"


async def test_links_and_special_files_are_left_out_with_a_remark(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s" * 300)
    root = tmp_path / "outputs"
    root.mkdir()
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "dangling").symlink_to("/nowhere")
    os.mkfifo(root / "pipe")
    (root / "back\\slash").write_text("x")
    (root / "good").write_text("x")
    collected = await collect(root, store.address, http)
    assert list(collected.outputs) == ["good"]
    assert store.puts == 0
    remarks = "\n".join(collected.remarks)
    assert len(collected.remarks) == 5
    for name in ("file", "folder", "dangling"):
        assert f"output '{name}' was left out: it is a link" in remarks
    assert "output 'pipe' was left out: it is not a regular file" in remarks
    assert "backslash" in remarks


async def test_many_remarks_are_summed_up(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession
) -> None:
    for number in range(50):
        (tmp_path / f"l{number}").symlink_to("/")
    collected = await collect(tmp_path, store.address, http)
    assert len(collected.remarks) == 21
    assert collected.remarks[-1] == "30 more outputs were left out"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (FileLimits(outputs_max=2), "more than 2 output files"),
        (FileLimits(output_entries_max=2), "more than 2 files, links and folders"),
        (FileLimits(output_bytes_max=299), "output 'b' has 300 bytes; 299 are allowed"),
        (FileLimits(outputs_bytes_max=899), "more than 899 bytes together"),
    ],
)
async def test_limits_are_looked_at_before_anything_is_sent(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession, limits: FileLimits, said: str
) -> None:
    for name in "bcd":
        (tmp_path / name).write_bytes(name.encode() * 300)
    with pytest.raises(OutputError, match=said):
        await collect(tmp_path, store.address, http, limits)
    assert store.puts == 0


async def test_uploads_are_tried_again_when_the_server_fails(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession
) -> None:
    store.failures = [503, 0, 500]
    (tmp_path / "a").write_bytes(b"a" * 300)
    await collect(tmp_path, store.address, http)
    assert store.puts == 4
    assert len(store.blobs) == 1


async def test_a_server_that_is_away_for_a_while_costs_no_job_its_outputs(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart takes longer than five quick tries."""
    monkeypatch.setattr("gridd_worker.outputs.SERVER_PATIENCE_S", 30)
    store.failures = [503] * 8
    (tmp_path / "a").write_bytes(b"a" * 300)
    await collect(tmp_path, store.address, http)
    assert store.puts == 9
    assert len(store.blobs) == 1


async def test_a_server_that_is_away_for_ten_minutes_costs_no_job_its_outputs(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes as far as each wait says."""
    now_s, there_again_s = 0.0, 600.0

    async def wait(for_s: float) -> None:
        nonlocal now_s
        now_s += for_s
        store.failures = [503] if now_s < there_again_s else []

    monkeypatch.setattr("gridd_worker.fetch.asyncio", SimpleNamespace(sleep=wait))
    monkeypatch.setattr("gridd_worker.fetch.time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr("gridd_worker.fetch._BACKOFF_S", 0.25)
    monkeypatch.setattr("gridd_worker.outputs.SERVER_PATIENCE_S", SERVER_PATIENCE_S)
    store.failures = [503]
    (tmp_path / "a").write_bytes(b"a" * 300)
    await collect(tmp_path, store.address, http)
    assert 600 <= now_s < 610
    assert store.puts > 90
    assert len(store.blobs) == 1


async def test_uploads_are_given_up_in_the_end(
    tmp_path: Path, store: Store, http: aiohttp.ClientSession
) -> None:
    (tmp_path / "a").write_bytes(b"a" * 300)
    store.failures = [500] * 99
    with pytest.raises(OutputError, match=r"upload of output 'a' to http.* status 500"):
        await collect(tmp_path, store.address, http)
    assert store.puts == 5
    store.failures = [413]
    with pytest.raises(OutputError, match="status 413: 'no'"):
        await collect(tmp_path, store.address, http)
    assert store.puts == 6


async def test_a_server_that_is_gone(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    (tmp_path / "a").write_bytes(b"a" * 300)
    with pytest.raises(OutputError, match=r"upload of output 'a' to http://127\.0\.0\.1:9/f/"):
        await collect(tmp_path, "http://127.0.0.1:9", http)
