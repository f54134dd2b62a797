"""ASGI applications behind the bridge: whole answers, streams, failures, and callers that leave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gridd.mcp import bridge
from gridd_protocol.errors import ErrorCode, ProtocolError


class Behind:
    """A server with one application; what the bridge raised is kept."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.stopping = asyncio.Event()
        self.raised: BaseException | None = None
        self.ended = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await bridge.answer(self.app, request, await request.read(), self.stopping)
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self.ended.set()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[Behind, str]]:
    behind = Behind(app)
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", behind.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield behind, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "LOOK_S", 0.02)


Send = Callable[[dict[str, Any]], Awaitable[None]]


async def begin(send: Send, status: int = 200, **headers: str) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def test_request_and_answer_pass_whole() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Send) -> None:
        seen.update(scope)
        seen["message"] = await receive()
        await begin(send, 201, **{"content-type": "text/x", "x-a": "1", "connection": "close"})
        await send({"type": "http.response.body", "body": b"an answer"})

    async with serving(app) as (_, url), aiohttp.ClientSession() as session:
        address = f"{url}/some%20path?q=%C3%BC"
        async with session.post(address, data=b"hello", headers={"X-B": "2"}) as answer:
            assert (answer.status, await answer.read()) == (201, b"an answer")
            assert (answer.headers["Content-Type"], answer.headers["X-A"]) == ("text/x", "1")
            assert "Connection" not in answer.headers
    assert seen["message"] == {"type": "http.request", "body": b"hello", "more_body": False}
    assert (seen["method"], seen["path"], seen["scheme"]) == ("POST", "/some path", "http")
    assert (seen["raw_path"], seen["query_string"]) == (b"/some%20path", b"q=%C3%BC")
    assert (b"x-b", b"2") in seen["headers"]


async def test_a_stream_arrives_as_it_is_sent() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await begin(send)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b" second"})

    async with (
        serving(app) as (_, url),
        aiohttp.ClientSession() as session,
        session.post(url, data=b"") as answer,
    ):
        assert await asyncio.wait_for(answer.content.readany(), 10) == b"first"
        go_on.set()
        assert await answer.read() == b" second"


async def test_an_application_whose_caller_left_is_stopped() -> None:
    begun, told, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        begun.set()
        try:
            assert (await receive())["type"] == "http.disconnect"
            told.set()
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    async with serving(app) as (behind, url), aiohttp.ClientSession() as session:
        call = asyncio.ensure_future(session.post(url, data=b"x"))
        await asyncio.wait_for(begun.wait(), 10)
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 10)
        await asyncio.wait_for(behind.ended.wait(), 10)


async def test_an_application_is_stopped_with_the_server() -> None:
    begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Send) -> None:
        begun.set()
        await asyncio.sleep(60)

    async with serving(app) as (behind, url), aiohttp.ClientSession() as session:
        call = asyncio.ensure_future(session.post(url, data=b"x"))
        await asyncio.wait_for(begun.wait(), 10)
        behind.stopping.set()
        assert (await asyncio.wait_for(call, 10)).status == 500  # this server maps no errors
        assert isinstance(behind.raised, ProtocolError)
        assert behind.raised.code is ErrorCode.UNAVAILABLE


async def test_what_an_application_raises_is_raised() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        raise ZeroDivisionError

    async with serving(app) as (behind, url), aiohttp.ClientSession() as session:
        async with session.post(url) as answer:
            assert answer.status == 500
        assert isinstance(behind.raised, ZeroDivisionError)


async def test_nothing_is_written_after_a_write_that_broke(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[bytes] = []

    async def stalled(_: web.StreamResponse, data: bytes) -> None:
        tries.append(data)
        raise ConnectionAbortedError("the peer does not read")

    monkeypatch.setattr(bridge, "send_bytes", stalled)

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await begin(send)
        for piece in (b"a", b"b"):
            with contextlib.suppress(ConnectionError):
                await send({"type": "http.response.body", "body": piece, "more_body": True})

    async with serving(app) as (behind, url), aiohttp.ClientSession() as session:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.post(url) as answer:
                await answer.read()
        await asyncio.wait_for(behind.ended.wait(), 10)
    assert tries == [b"a"]
    assert isinstance(behind.raised, ConnectionAbortedError)
