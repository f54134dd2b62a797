"""One address holds so many sockets and event streams, and the grid so many queues."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from gridd.config import Config
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.edge.connections import Connections
from gridd.journal.memory import MemoryJournal
from gridd.server import running
from gridd_protocol.errors import ErrorCode, ProtocolError

JOB = "a" * 64
SUBMISSION = b'{"definition":{"image":"a","command":"b"}}'


async def test_one_address_holds_so_many_and_one_that_leaves_makes_room(tmp_path: Path) -> None:
    config = Config(port=0, data_dir=tmp_path, connections_per_address=3)
    async with running(config) as (url, _), aiohttp.ClientSession(url) as session:
        client = await session.ws_connect("/q/a/client")
        worker = await session.ws_connect("/q/b/worker", protocols=("gridd.v1.json",))
        stream = await session.get(f"/q/a/j/{JOB}/stream")
        assert stream.status == 200
        for path in (f"/q/a/j/{JOB}/stream", "/a/client", "/q/a/worker"):
            async with session.get(path, headers=upgrade()) as refused:
                assert refused.status == 429
                body = await refused.json()
                assert (body["code"], body["field"], body["limit"]) == ("too-many", "address", 3)
        async with session.post("/q/a", data=SUBMISSION) as answer:
            assert answer.status == 200, "what is answered and over is not counted"
        await worker.close()
        async with asyncio.timeout(10):
            while (again := await opened(session)) is None:
                await asyncio.sleep(0.01)
        await again.close()
        await client.close()
        stream.close()


async def opened(session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse | None:
    """``None``: there was one too many."""
    try:
        return await session.ws_connect("/q/a/client")
    except aiohttp.WSServerHandshakeError as error:
        if error.status != 429:
            raise
        return None


def upgrade() -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }


async def test_nothing_is_remembered_of_an_address_that_left() -> None:
    connections = Connections(1)

    async def handler(request: object) -> object:
        raise ConnectionResetError

    bounded = connections.bounded(handler)  # type: ignore[arg-type]

    class Request:
        remote = "10.0.0.1"

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await bounded(Request())  # type: ignore[arg-type]
    assert not connections._held


async def test_one_queue_too_many_is_refused_and_the_others_go_on() -> None:
    daemon = Daemon(MemoryJournal(), JsonFrames(), Settings(queues_max=2))
    daemon.start()
    try:
        await daemon.submit("one", SUBMISSION)
        await daemon.submit("two", SUBMISSION)
        for ask in (
            lambda: daemon.submit("three", SUBMISSION),
            lambda: anext(daemon.watch("three", JOB)),
        ):
            with pytest.raises(ProtocolError) as caught:
                await ask()
            assert caught.value.code is ErrorCode.TOO_MANY
            assert (caught.value.field, caught.value.limit) == ("queue", 2)
        with pytest.raises(ProtocolError):
            daemon.check_room("three")
        assert await daemon.jobs("three") == {}
        accepted = await daemon.submit("two", SUBMISSION)
        assert not accepted.new
        job = accepted.job
        assert (await daemon.delete("two", job, "_")).ended
    finally:
        await daemon.close()


async def test_over_http_one_queue_too_many_is_a_429(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("gridd.server.Settings", lambda **all: Settings(**all, queues_max=1))
    config = Config(port=0, data_dir=tmp_path)
    async with running(config) as (url, _), aiohttp.ClientSession(url) as session:
        async with session.post("/q/one", data=SUBMISSION) as answer:
            assert answer.status == 200
        async with session.post("/q/two", data=SUBMISSION) as answer:
            assert answer.status == 429
            assert (await answer.json())["code"] == "too-many"
        for path in ("/q/two/client", "/q/two/worker", f"/q/two/j/{JOB}/stream"):
            async with session.get(path, headers=upgrade()) as answer:
                assert answer.status == 429, path
