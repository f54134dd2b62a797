"""``/mcp`` of a server whose grid is a stand-in: what happens around the tools."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gridd.blobs.folder import FolderBlobs
from gridd.core.effects import JobView
from gridd.edge.app import build_app
from gridd.errors import BlobError
from gridd.grid import Change, Grid
from gridd.mcp import bridge, routes
from gridd.mcp.routes import McpRoutes

JOB = "a" * 64
HEADERS = {"Accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Settings:
    public_url: str | None = None
    open_to_all: bool = True
    allow_origin: tuple[str, ...] = ()
    metrics: str = "off"
    metrics_queues: bool = False
    connections_per_address: int = 0


class WaitingGrid(Grid):
    """One job, which never ends."""

    trouble: str | None = None

    def __init__(self) -> None:
        self.watched = asyncio.Event()
        self.left = asyncio.Event()
        self.fails_with: Exception | None = None

    async def job(self, queue: str | None, job: str) -> JobView | None:
        if self.fails_with is not None:
            raise self.fails_with
        return JobView(state="Queued", queued_time=1, time=1, worker="", namespaces=("_",))

    async def finished(self, queue: str | None, job: str) -> bytes | None:
        return None

    async def watch(self, queue: str, job: str) -> AsyncIterator[Change]:
        self.watched.set()
        try:
            await asyncio.sleep(60)
            yield Change()
        finally:
            self.left.set()


class NoSockets:
    async def client(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError

    async def worker(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError


class Served:
    def __init__(self, grid: WaitingGrid, tools: McpRoutes, url: str, session: Any) -> None:
        self.grid, self.tools, self.url, self.session = grid, tools, url, session

    async def call(self, method: str, headers: dict[str, str] = HEADERS, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self.session.post(f"{self.url}/mcp", json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def follow(self, headers: dict[str, str]) -> Any:
        arguments = {"jobId": JOB, "queue": "q"}
        return await self.call("tools/call", headers, name="follow_job", arguments=arguments)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    grid = WaitingGrid()
    app = build_app(grid, FolderBlobs(folder), Settings(), NoSockets())
    (route,) = (r for r in app.router.routes() if getattr(r.resource, "canonical", "") == "/mcp")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield Served(grid, route.handler.__self__, url, session)
    finally:
        await runner.cleanup()


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(bridge, "LOOK_S", 0.02)
    async with serving(tmp_path) as served:
        yield served


@pytest.mark.parametrize("accept", ["application/json", HEADERS["Accept"]])
async def test_a_follower_that_hangs_up_is_let_go(server: Served, accept: str) -> None:
    follower = asyncio.ensure_future(server.follow({"Accept": accept}))
    await asyncio.wait_for(server.grid.watched.wait(), 20)
    assert server.tools.calls == 1
    follower.cancel()
    await asyncio.wait_for(server.grid.left.wait(), 10)
    assert await server.call("ping") == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})
    assert server.tools.calls == 0


async def test_a_plain_call_is_answered_when_the_server_stops(server: Served) -> None:
    follower = asyncio.ensure_future(server.follow({"Accept": "application/json"}))
    await asyncio.wait_for(server.grid.watched.wait(), 20)
    await server.tools.let_go(web.Application())
    status, body = await asyncio.wait_for(follower, 10)
    assert (status, body["code"]) == (503, "unavailable")
    await asyncio.wait_for(server.grid.left.wait(), 10)


async def test_there_is_a_bound_on_calls(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "CALLS_MAX", 1)
    follower = asyncio.ensure_future(server.follow(HEADERS))
    await asyncio.wait_for(server.grid.watched.wait(), 20)
    status, body = await server.call("ping")
    assert (status, body["code"], body["limit"]) == (503, "unavailable", 1)
    follower.cancel()
    await asyncio.wait_for(server.grid.left.wait(), 10)


async def test_without_the_sdk_it_says_how_to_install_it(server: Served) -> None:
    server.tools.installed = False
    status, body = await server.call("ping")
    assert status == 501
    assert "pip install 'gridd[mcp]'" in body["error"]
    for what in ("health", "info"):
        async with server.session.get(f"{server.url}/mcp/{what}") as answer:
            assert (answer.status, await answer.json()) == (501, body)


async def test_health_tells_of_trouble(server: Served) -> None:
    server.grid.trouble = "the disk is full"
    async with server.session.get(f"{server.url}/mcp/health") as answer:
        body = await answer.json()
        assert (answer.status, body["status"], body["message"]) == (
            503, "unhealthy", "the disk is full",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("secret"), "internal error"),
        (BlobError("/secret/path"), "the grid can't keep anything now: see the server's log"),
    ],
)
async def test_what_goes_wrong_inside_stays_inside(
    server: Served, error: Exception, sentence: str
) -> None:
    server.grid.fails_with = error
    _, body = await server.call(
        "tools/call", name="get_job_status", arguments={"jobId": JOB, "queue": "q"}
    )
    assert body["result"]["isError"] is True
    assert body["result"]["structuredContent"]["error"].startswith(sentence)
    assert "secret" not in str(body)


async def test_a_server_that_heard_no_call_stops_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert served.tools.calls == 0


async def test_the_first_calls_share_one_door(server: Served) -> None:
    answers = await asyncio.gather(*(server.call("ping") for _ in range(5)))
    assert [status for status, _ in answers] == [200] * 5
