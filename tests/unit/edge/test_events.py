"""The event stream (WIRE 1.8)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse

from gridd.edge import events, sending
from gridd.edge.events import Pace
from gridd.grid import Change
from gridd_protocol.messages import LogLine

UNKNOWN = "0" * 64
STREAM = f"/q/q1/j/{UNKNOWN}/stream"


async def opened(server: Any) -> ClientResponse:
    response = await server.session.get(f"http://127.0.0.1:{server.port}{STREAM}")
    assert response.status == 200
    assert isinstance(response, ClientResponse)
    return response


async def frame(response: ClientResponse) -> str:
    text = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 10)
    return text.decode()


async def frames(response: ClientResponse) -> list[tuple[str, Any]]:
    """All that come until the server closes, comments left out."""
    text = (await asyncio.wait_for(response.content.read(), 10)).decode()
    parted = [one.split("\n") for one in text.split("\n\n") if one and not one.startswith(":")]
    return [(name[len("event: ") :], json.loads(data[len("data: ") :])) for name, data in parted]


async def test_a_whole_story_in_order(server: Any, views: Callable[..., Any]) -> None:
    for change in [
        Change(view=views()),
        Change(log=("build", 0, [LogLine("Step 1\n", 1), LogLine("Step 2\n", 2)])),
        Change(view=views(state="Running", worker="w")),
        Change(view=views(state="Running", worker="w", namespaces=("_", "n"))),
        Change(log=("run", 0, [LogLine("two\nlines", 3)])),
        Change(log=("run", 1, [LogLine("oops", 4, True)])),
        Change(view=views(state="Finished", finished_reason="Success")),
        None,
    ]:
        server.grid.changes.put_nowait(change)
    response = await opened(server)
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert await frames(response) == [
        ("state", {"state": "Queued"}),
        ("build-log", {"lines": [["Step 1\n", 1], ["Step 2\n", 2]], "cursor": 2}),
        ("state", {"state": "Running"}),
        ("run-log", {"lines": [["two\nlines", 3]], "cursor": 1}),
        ("run-log", {"lines": [["oops", 4, True]], "cursor": 2}),
        ("state", {"state": "Finished", "reason": "Success"}),
        ("final", {"state": "Finished", "reason": "Success"}),
    ]
    assert server.grid.watching == 0


async def test_frames_come_when_the_change_does(server: Any, views: Callable[..., Any]) -> None:
    """With upstream's pace a comment would take 15 s: what comes at once is the change."""
    response = await opened(server)
    server.grid.changes.put_nowait(Change(view=views()))
    assert await frame(response) == 'event: state\ndata: {"state":"Queued"}\n\n'
    server.grid.changes.put_nowait(Change(view=views(state="Running")))
    assert await frame(response) == 'event: state\ndata: {"state":"Running"}\n\n'
    response.close()


async def test_logs_after_the_last_state_come_before_final(
    server: Any, views: Callable[..., Any]
) -> None:
    over = views(state="Finished", finished_reason="Cancelled")
    for change in (Change(view=over), Change(log=("run", 0, [LogLine("last", 1)])), None):
        server.grid.changes.put_nowait(change)
    assert [name for name, _ in await frames(await opened(server))] == ["state", "run-log", "final"]


async def test_a_finished_job_without_a_reason(server: Any, views: Callable[..., Any]) -> None:
    for change in (Change(view=views(state="Finished")), None):
        server.grid.changes.put_nowait(change)
    last = (await frames(await opened(server)))[-1]
    assert last == ("final", {"state": "Finished", "reason": "Unknown"})


async def test_a_quiet_stream_is_kept_alive(
    start: Callable[..., Any], views: Callable[..., Any]
) -> None:
    server = await start(pace=Pace(keep_alive_s=0.02))
    response = await opened(server)
    assert [await frame(response), await frame(response)] == [": waiting\n\n"] * 2
    server.grid.changes.put_nowait(Change(view=views()))
    while (seen := await frame(response)) == ": waiting\n\n":
        pass
    assert seen.startswith("event: state"), "nothing was lost to the waiting"
    response.close()


async def test_the_wait_for_an_unknown_job_ends(start: Callable[..., Any]) -> None:
    server = await start(pace=Pace(longest_s=0.05))
    assert await frames(await opened(server)) == [
        ("final", {"state": "Timeout", "reason": "Stream max duration exceeded"})
    ]
    assert server.grid.watching == 0


async def test_changes_that_stop_early_end_the_stream_without_final(
    server: Any, views: Callable[..., Any]
) -> None:
    for change in (Change(view=views(state="Running")), None):
        server.grid.changes.put_nowait(change)
    assert await frames(await opened(server)) == [("state", {"state": "Running"})]


async def test_a_client_that_leaves_is_noticed(
    start: Callable[..., Any], eventually: Callable[..., Awaitable[None]]
) -> None:
    server = await start(pace=Pace(keep_alive_s=0.02))
    response = await opened(server)
    await eventually(lambda: server.grid.watching, 1)
    response.close()
    await eventually(lambda: server.grid.watching, 0)


async def test_shutdown_ends_streams_at_once(start: Callable[..., Any]) -> None:
    """The fixture's clean-up waits 5 s for open handlers, and asyncio would cancel them then."""
    server = await start()
    response = await opened(server)
    reading = asyncio.ensure_future(frames(response))
    for end in server.app.on_shutdown:
        await end(server.app)
    assert await reading == []
    assert server.grid.watching == 0


async def test_a_watch_that_breaks_is_cut_off(
    server: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> Any:
        raise RuntimeError("inside")

    monkeypatch.setattr(server.grid.changes, "get", broken)
    answer = await server.raw(f"GET {STREAM} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert b" 200 OK" in answer
    assert b"inside" not in answer
    assert not answer.endswith(b"0\r\n\r\n"), "not passed off as a stream that ended"
    assert any("broke off" in record.getMessage() for record in caplog.records)


async def test_a_reader_that_stops_is_let_go(
    server: Any,
    views: Callable[..., Any],
    eventually: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def impatient(response: Any, data: bytes) -> None:
        await sending.send(response, data, stall_s=0.1)

    monkeypatch.setattr(events, "send", impatient)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(f"GET {STREAM} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await eventually(lambda: server.grid.watching, 1)
    line = LogLine("x" * (1 << 20), 1)
    for first in range(64):
        server.grid.changes.put_nowait(Change(log=("run", first, [line])))
    await eventually(lambda: server.grid.watching, 0)
    assert server.grid.changes.qsize() > 0, "let go before all of it was buffered"
    writer.close()


async def test_head(server: Any) -> None:
    assert (await server("HEAD", STREAM)).status == 200
    assert server.grid.watching == 0
