"""The client against a grid that misbehaves as networks do: a stand-in with the routes of WIRE 1,
whose faults a test chooses."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gridd import cli
from gridd.client import follow, transfer, transport
from gridd.client.api import GridClient
from gridd.client.errors import GridError
from gridd.client.files import read_upload, save_output, text_upload
from gridd.client.follow import Event, Final, Follower, Lines, Restarted, StateChanged
from gridd.client.progress import Progress

JOB = "ab" * 32
Line = list[Any]


def lines(*texts: str) -> list[Line]:
    return [[f"{text}\n", at] for at, text in enumerate(texts)]


@dataclass
class Frames:
    """One connection to the stream: what it says, and how it ends."""

    said: list[tuple[str, Any]] = field(default_factory=list)
    breaks: bool = False
    content_type: str = "text/event-stream"
    status: int = 200


@dataclass
class StandIn:
    """What it is set to is what it answers."""

    url: str = ""
    definition: dict[str, Any] | None = field(default_factory=lambda: {"image": "a"})
    result: dict[str, Any] | None = None
    listed: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, list[Line]] = field(default_factory=lambda: {"build": [], "run": []})
    final: bool = False
    streams: list[Frames] = field(default_factory=list)
    """One for each connection; the last serves all that follow."""
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers, whatever is asked; 0 cuts the connection."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[str, list[bytes | None]] = field(default_factory=dict)
    """Answers to downloads, one each; ``None`` breaks off after half of the next one."""
    submitted: list[Any] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def finish(self, reason: str = "Success", code: int | None = 0, **result: Any) -> None:
        self.final = reason in ("Success", "Error", "TimedOut")
        if self.final:
            body = {"StatusCode": code, "duration": 1500, "outputs": {}, "logs": [], **result}
            body["logs"] = [*self.logs["run"], *body["logs"]]
            self.result = {"state": "Finished", "finishedReason": reason} | {
                "finished": {"reason": reason, "result": body}
            }
        ends = {"state": "Finished", "reason": reason}
        self.streams = [Frames([*self.said(), ("state", ends), ("final", ends)])]

    def said(self) -> list[tuple[str, Any]]:
        return [
            (f"{kind}-log", {"lines": found, "cursor": len(found)})
            for kind, found in self.logs.items()
            if found
        ]

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.faulty], client_max_size=1 << 30)
        job = "/q/{queue}/j/{job}"
        app.router.add_post("/q/{queue}", self.submit)
        app.router.add_get("/q/{queue}/j", self.list)
        app.router.add_get(f"{job}/definition.json", self.get_definition)
        app.router.add_get(f"{job}/result.json", self.get_result)
        app.router.add_get(f"{job}/stream", self.stream)
        app.router.add_get(job + "/{kind:build|run}-logs.json", self.page)
        app.router.add_post(f"{job}/cancel", self.cancel)
        app.router.add_get(job + "/outputs/{name:.*}", self.output)
        app.router.add_get("/f/{key}/exists", self.exists)
        app.router.add_put("/f/{key}", self.put)
        return app

    @web.middleware
    async def faulty(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.rel_url.raw_path_qs}")
        if self.failures and (status := self.failures.pop(0)) >= 0:
            if not status:
                assert request.transport is not None
                request.transport.abort()
            body = {"error": f"told to answer {status}", "code": "test"}
            return web.json_response(body, status=status or 500)
        response: web.StreamResponse = await handler(request)
        return response

    async def submit(self, request: web.Request) -> web.Response:
        self.submitted.append(await request.json())
        return web.json_response({"success": True, "jobId": JOB})

    async def list(self, request: web.Request) -> web.Response:
        return web.json_response({"data": self.listed})

    async def get_definition(self, request: web.Request) -> web.Response:
        return web.json_response({"data": self.definition})

    async def get_result(self, request: web.Request) -> web.Response:
        return web.json_response({"data": self.result})

    async def page(self, request: web.Request) -> web.Response:
        found, since = self.logs[request.match_info["kind"]], int(request.query["since"])
        body = {"data": found[since:], "sliceStart": since, "nextCursor": len(found)}
        return web.json_response(body | {"isFinal": self.final})

    async def cancel(self, request: web.Request) -> web.Response:
        self.cancelled.append((request.match_info["job"], request.query["namespace"]))
        return web.json_response({"success": True})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        frames = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        response = web.StreamResponse(status=frames.status)
        response.content_type = frames.content_type
        await response.prepare(request)
        for name, body in frames.said:
            await response.write(f"event: {name}\ndata: {json.dumps(body)}\n\n".encode())
        if frames.breaks:
            assert request.transport is not None
            request.transport.abort()
        await response.write_eof()
        return response

    async def exists(self, request: web.Request) -> web.Response:
        known = request.match_info["key"] in self.blobs
        return web.json_response({"exists": known}, status=200 if known else 404)

    async def put(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.blobs[request.match_info["key"]] = await request.read()
        return web.Response(text="saved")

    async def output(self, request: web.Request) -> web.StreamResponse:
        answers = self.outputs.get(request.match_info["name"])
        if not answers:
            return web.json_response({"error": "no such output", "code": "not-found"}, status=404)
        body = answers.pop(0)
        if body is not None:
            return web.Response(body=body)
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b"x" * 500)
        assert request.transport is not None
        request.transport.abort()
        return response


@pytest.fixture
async def grid() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    runner = web.AppRunner(stand_in.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    await runner.cleanup()


@pytest.fixture
async def client(grid: StandIn) -> AsyncIterator[GridClient]:
    async with GridClient(grid.url, "q 1/é") as client:
        yield client


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)
    for name in ("GRIDD_API", "GRIDD_QUEUE", "CQ_API", "CQ_QUEUE", "GRIDD_DEBUG"):
        monkeypatch.delenv(name, raising=False)


async def story(events: Any) -> list[Event]:
    async with asyncio.timeout(30):
        async with aclosing(events):
            return [event async for event in events]


def texts(events: list[Event], kind: str = "run") -> list[str]:
    return [
        line.text.strip()
        for event in events
        if isinstance(event, Lines) and event.kind == kind
        for line in event.lines
    ]


# --- calls -----------------------------------------------------------------------------


async def test_a_queue_s_name_is_one_segment(grid: StandIn, client: GridClient) -> None:
    assert await client.submit({"image": "a"}, namespace="n") == JOB
    assert grid.asked == ["POST /q/q%201%2F%C3%A9"]
    assert grid.submitted == [{"definition": {"image": "a"}, "control": {"namespace": "n"}}]


@pytest.mark.parametrize("failure", [502, 503, 504, 0])
async def test_passing_trouble_is_tried_again(
    grid: StandIn, client: GridClient, failure: int
) -> None:
    grid.failures = [failure] * (transport.TRIES - 1)
    assert await client.submit({"image": "a"}) == JOB
    assert len(grid.asked) == transport.TRIES


async def test_tries_have_a_bound(grid: StandIn, client: GridClient) -> None:
    grid.failures = [503] * 100
    with pytest.raises(GridError, match="told to answer 503") as caught:
        await client.jobs()
    assert (caught.value.status, caught.value.code) == (503, "test")
    assert len(grid.asked) == transport.TRIES


@pytest.mark.parametrize("status", [400, 409, 413, 429, 500])
async def test_a_refusal_is_not_tried_again(grid: StandIn, client: GridClient, status: int) -> None:
    grid.failures = [status]
    with pytest.raises(GridError, match=f"told to answer {status}"):
        await client.submit({"image": "a"})
    assert len(grid.asked) == 1


async def test_nobody_there() -> None:
    async with GridClient("http://127.0.0.1:1", "q") as client:
        with pytest.raises(GridError, match=r"connection refused.*gridd up") as caught:
            await client.jobs()
    assert caught.value.status is None


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    """The URL of a server that knows of no blob and answers nothing else."""
    conversations: set[asyncio.Task[None] | None] = set()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /f/"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n")
            writer.write(b"Connection: close\r\n\r\n{}")
        else:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    async with asyncio.timeout(10):
        await asyncio.gather(*filter(None, conversations), return_exceptions=True)


async def test_a_call_has_a_deadline(deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CALL_SECONDS", 0.05)
    link = transport.Transport(deaf, tries=2)
    async with GridClient(deaf, "q", transport=link) as client:
        with pytest.raises(GridError, match="no answer in time"):
            await client.jobs()


async def test_what_is_no_grid_is_said(grid: StandIn, client: GridClient) -> None:
    grid.result = None
    grid.listed = "html"  # type: ignore[assignment]
    with pytest.raises(GridError, match="not what a grid sends"):
        await client.jobs()


async def test_an_unknown_job(grid: StandIn, client: GridClient) -> None:
    grid.definition = None
    with pytest.raises(GridError, match="is not known on queue") as caught:
        await client.definition(JOB)
    assert caught.value.status == 404


# --- following -------------------------------------------------------------------------


async def test_follow_to_the_end(grid: StandIn, client: GridClient) -> None:
    grid.logs = {"build": lines("pull"), "run": lines("a", "b")}
    grid.finish("Success")
    events = await story(client.follow(JOB))
    assert texts(events, "build") == ["pull"]
    assert texts(events) == ["a", "b"]
    assert events[-2:] == [StateChanged("Finished"), Final("Success")]


@pytest.mark.parametrize("breaks", [True, False], ids=["cut", "ended"])
async def test_a_broken_stream_loses_and_doubles_nothing(
    grid: StandIn, client: GridClient, breaks: bool
) -> None:
    every = [str(at) for at in range(40)]
    for had in (0, 7, 7, 20):
        said = [
            ("state", {"state": "Running"}),
            *(
                ("run-log", {"lines": lines(*every)[at:had][:3], "cursor": min(at + 3, had)})
                for at in range(0, had, 3)
            ),
        ]
        grid.streams.append(Frames(said, breaks=breaks))
    ends = {"state": "Finished", "reason": "Success"}
    whole = ("run-log", {"lines": lines(*every), "cursor": 40})
    grid.streams.append(Frames([whole, ("state", ends), ("final", ends)]))
    grid.logs["run"] = lines(*every[:23])  # the pages between are ahead of the stream
    grid.listed = {JOB: {"state": "Running"}}
    events = await story(client.follow(JOB))
    assert texts(events) == every
    assert events[-1] == Final("Success")
    assert not any(isinstance(event, Restarted) for event in events)


@pytest.mark.parametrize(
    "frames", [Frames(status=404), Frames(content_type="text/html"), Frames([("state", "odd")])]
)
async def test_pages_serve_where_there_is_no_stream(
    grid: StandIn, client: GridClient, frames: Frames
) -> None:
    grid.logs = {"build": lines("pull"), "run": lines("a")}
    grid.streams = [frames]
    grid.listed = {JOB: {"state": "Running"}}
    events = client.follow(JOB)
    async with asyncio.timeout(30), aclosing(events):
        found: list[Event] = []
        async for event in events:
            found.append(event)
            if event == StateChanged("Running"):
                grid.logs["run"] += lines("b", "c")
                grid.finish("Error", None)
                grid.streams = [frames]
    assert texts(found, "build") == ["pull"]
    assert texts(found) == ["a", "b", "c"]
    assert found[-1] == Final("Error")


async def test_a_cancelled_job_ends_without_a_stream(grid: StandIn, client: GridClient) -> None:
    grid.streams = [Frames(status=404)]
    assert await story(client.follow(JOB)) == [Final("Cancelled")]


async def test_an_unknown_job_can_not_be_followed(grid: StandIn, client: GridClient) -> None:
    grid.streams, grid.definition = [Frames(status=404)], None
    with pytest.raises(GridError, match="is not known"):
        await story(client.follow(JOB))


async def test_a_grid_that_is_away_for_a_while(grid: StandIn, client: GridClient) -> None:
    grid.logs["run"] = lines("a", "b")
    grid.finish("Success")
    grid.streams.insert(0, Frames([("run-log", {"lines": lines("a"), "cursor": 1})], breaks=True))
    grid.listed = {JOB: {"state": "Running"}}
    grid.final = False
    grid.failures = [-1, *[503] * (transport.TRIES * 3)]
    events = await story(client.follow(JOB))
    assert texts(events) == ["a", "b"]
    assert not grid.failures


async def test_patience_has_an_end(grid: StandIn, client: GridClient) -> None:
    grid.failures = [503] * 10_000
    follower = Follower(client, JOB, patience=0.1)
    with pytest.raises(GridError, match="503"):
        await story(follower.events())


async def test_a_stream_that_ended_for_its_age_is_opened_again(
    grid: StandIn, client: GridClient
) -> None:
    grid.logs["run"] = lines("a")
    grid.finish("TimedOut")
    aged = ("final", {"state": "Timeout", "reason": "Stream max duration exceeded"})
    grid.streams.insert(0, Frames([aged]))
    grid.final, grid.listed = False, {JOB: {"state": "Running"}}
    events = await story(client.follow(JOB))
    assert texts(events) == ["a"]
    assert events[-1] == Final("TimedOut")


async def test_a_lost_worker_starts_the_log_anew(grid: StandIn, client: GridClient) -> None:
    ends = {"state": "Finished", "reason": "Success"}
    said = [
        ("state", {"state": "Running"}),
        ("run-log", {"lines": lines("a", "b"), "cursor": 2}),
        ("state", {"state": "Queued"}),
        ("run-log", {"lines": lines("x"), "cursor": 1}),
        ("final", ends),
    ]
    grid.streams = [Frames(said)]
    events = await story(client.follow(JOB))
    assert texts(events) == ["a", "b", "x"]
    assert events.count(Restarted()) == 1


# --- uploads ---------------------------------------------------------------------------


def no_progress() -> Progress:
    return Progress("x", None, enabled=False)


async def test_a_file_is_sent_whole_with_its_length(
    grid: StandIn, client: GridClient, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 5000  # several pieces
    (tmp_path / "f").write_bytes(data)
    upload = read_upload("f", tmp_path / "f")
    progress = no_progress()
    await client.upload(upload, progress)
    assert grid.blobs == {hashlib.sha256(data).hexdigest(): data}
    assert grid.headers[0]["Content-Length"] == str(len(data))
    assert "Transfer-Encoding" not in grid.headers[0]
    assert progress.done == len(data)


async def test_what_the_grid_has_is_not_sent(grid: StandIn, client: GridClient) -> None:
    upload = text_upload("x", b"hello")
    grid.blobs[upload.sha256] = b"hello"
    await client.upload(upload, no_progress())
    assert grid.headers == []


async def test_a_broken_upload_is_sent_again(
    grid: StandIn, client: GridClient, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    grid.failures = [-1, 0, -1, 503, -1]
    upload = read_upload("f", tmp_path / "f")
    await client.upload(upload, no_progress())
    assert len(grid.blobs[upload.key]) == 3_000_000
    assert len([asked for asked in grid.asked if asked.startswith("PUT")]) == 3


async def test_uploads_have_a_bound(grid: StandIn, client: GridClient) -> None:
    grid.failures = [-1, 503] * 100
    with pytest.raises(GridError, match="503"):
        await client.upload(text_upload("x", b"hello"), no_progress())
    assert len([asked for asked in grid.asked if asked.startswith("PUT")]) == transport.TRIES


async def test_a_file_that_shrinks_while_it_is_sent(
    grid: StandIn, client: GridClient, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1_000_000)
    upload = read_upload("f", tmp_path / "f")
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(GridError, match="f changed while it was sent"):
        await client.upload(upload, no_progress())
    assert grid.blobs == {}


async def test_an_upload_that_stands_still_is_given_up(
    deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.05)
    monkeypatch.setattr(transfer, "TRIES", 2)
    async with GridClient(deaf, "q") as stuck:
        with pytest.raises(GridError, match="no answer in time"):
            await stuck.upload(text_upload("x", b"x" * 1000), no_progress())


async def test_an_upload_follows_a_redirect(grid: StandIn, tmp_path: Path) -> None:
    async def moved(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"exists": False}, status=404)
        await request.read()
        return web.Response(status=307, headers={"Location": f"{grid.url}{request.path}"})

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", moved)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (tmp_path / "f").write_bytes(b"x" * 1_000_000)
    upload = read_upload("f", tmp_path / "f")
    async with GridClient(f"http://127.0.0.1:{runner.addresses[0][1]}", "q") as client:
        await client.upload(upload, no_progress())
    assert len(grid.blobs[upload.key]) == 1_000_000
    await runner.cleanup()


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# --- downloads -------------------------------------------------------------------------


def reference(data: bytes, **more: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"type": "url", "value": f"http://elsewhere/f/{sha256}", **more}


async def test_an_output_is_saved(grid: StandIn, client: GridClient, tmp_path: Path) -> None:
    grid.outputs["a b/é.txt"] = [b"hello"]
    path = await save_output(
        client, JOB, "a b/é.txt", reference(b"hello"), tmp_path / "out", quiet=True
    )
    assert path.read_bytes() == b"hello"
    assert grid.asked == [f"GET /q/q%201%2F%C3%A9/j/{JOB}/outputs/a%20b/%C3%A9.txt"]


async def test_other_bytes_than_promised_are_not_saved(
    grid: StandIn, client: GridClient, tmp_path: Path
) -> None:
    grid.outputs["x"] = [b"hullo"] * 10
    (tmp_path / "x").write_bytes(b"before")
    with pytest.raises(GridError, match="does not have the hash it should"):
        await save_output(client, JOB, "x", reference(b"hello"), tmp_path, quiet=True)
    assert names_in(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"before"
    assert len(grid.outputs["x"]) == 9  # a lie is not asked for again


async def test_a_broken_download_begins_again(
    grid: StandIn, client: GridClient, tmp_path: Path
) -> None:
    grid.outputs["x"] = [None, None, b"hello"]
    path = await save_output(client, JOB, "x", {"type": "base64"}, tmp_path, quiet=True)
    assert path.read_bytes() == b"hello"
    assert names_in(tmp_path) == ["x"]


async def test_downloads_have_a_bound(grid: StandIn, client: GridClient, tmp_path: Path) -> None:
    grid.outputs["x"] = [None] * 100
    with pytest.raises(GridError, match="can't be reached"):
        await save_output(client, JOB, "x", {}, tmp_path, quiet=True)
    assert len(grid.outputs["x"]) == 100 - transport.TRIES
    assert names_in(tmp_path) == []


async def test_a_folder_where_a_file_must_go(
    grid: StandIn, client: GridClient, tmp_path: Path
) -> None:
    grid.outputs = {"a": [b"1"], "a/b": [b"2"]}
    await save_output(client, JOB, "a", {}, tmp_path, quiet=True)
    with pytest.raises(GridError, match="can't be written"):
        await save_output(client, JOB, "a/b", {}, tmp_path, quiet=True)


# --- commands --------------------------------------------------------------------------


@pytest.fixture
def gridd(grid: StandIn) -> Callable[..., Any]:
    """Runs a command line against the stand-in; its exit code."""

    async def run(*line: str) -> int:
        name, *rest = line
        async with asyncio.timeout(30):
            return await asyncio.to_thread(
                cli.main, [name, "--api", grid.url, "--queue", "q", *rest]
            )

    return run


@pytest.mark.parametrize(
    ("reason", "status_code", "exit_code"),
    [
        ("Success", 0, 0),
        ("Success", 7, 7),
        ("Success", 137, 137),
        ("Success", 256 + 9, 9),
        ("Success", None, 0),
        ("Error", None, 1),
        ("TimedOut", 137, 124),
        ("Cancelled", None, 3),
        ("JobReplacedByClient", None, 3),
        ("Deleted", None, 3),
        ("Unknown", None, 1),
    ],
)
async def test_run_exits_with(
    grid: StandIn,
    gridd: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    reason: str,
    status_code: int | None,
    exit_code: int,
) -> None:
    grid.logs["run"] = [["to out\n", 1], ["to err\n", 2, True]]
    grid.finish(reason, status_code, error="the reason")
    assert await gridd("run", "--image", "a") == exit_code
    found = capsys.readouterr()
    assert found.out == "to out\n"
    assert "to err\n" in found.err
    assert ("the job failed: the reason" in found.err) == (reason == "Error")


async def test_run_sums_up_as_json(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    grid.logs["run"] = lines("hello")
    grid.outputs["o"] = [b"data"]
    grid.finish("Success", 3, outputs={"o": {"type": "base64", "value": "ZGF0YQ=="}})
    out = tmp_path / "out"
    assert await gridd("run", "--image", "a", "--json", "--output-dir", str(out)) == 3
    found = capsys.readouterr()
    assert json.loads(found.out) == {
        "jobId": JOB,
        "queue": "q",
        "state": "Finished",
        "finishedReason": "Success",
        "StatusCode": 3,
        "duration": 1500,
        "outputs": ["o"],
        "error": None,
        "view": f"{grid.url}/j/{JOB}#?queue=q",
        "saved": [str(out / "o")],
    }
    assert "hello\n" in found.err
    assert (out / "o").read_bytes() == b"data"


async def test_an_output_that_can_not_be_saved_is_told_and_the_rest_is_saved(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    grid.outputs["good"] = [b"data"]
    grid.finish("Success", 0, outputs={"../evil": {}, "gone": {}, "good": {}})
    out = tmp_path / "out"
    assert await gridd("outputs", JOB, "--output-dir", str(out)) == 125
    found = capsys.readouterr()
    assert found.out == f"{out / 'good'}\n"
    assert "not safe to save" in found.err
    assert "no such output" in found.err
    assert names_in(tmp_path) == ["out", "out/good"]


async def test_an_error_shows_what_the_worker_said(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    grid.logs["run"] = lines("printed")
    said = [["no such \x1b[2Jimage\n", 3, True]]
    error = {"statusCode": 404, "json": {"message": "not found"}}
    grid.finish("Error", None, logs=said, error=error)
    assert await gridd("run", "--image", "a") == 1
    found = capsys.readouterr()
    assert found.out == "printed\n"
    assert "no such  [2Jimage\nthe job failed: not found\n" in found.err


async def test_submit_uploads_then_prints_the_id(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x" * 201)
    line = ("--image", "a", "--input", f"f=@{tmp_path}/f", "--namespace", "n", "--", "a", "b c")
    assert await gridd("submit", *line) == 0
    assert capsys.readouterr().out == f"{JOB}\n"
    [(sha256, blob)] = grid.blobs.items()
    assert blob == b"x" * 201
    assert grid.submitted == [
        {
            "definition": {
                "image": "a",
                "command": "a 'b c'",
                "inputs": {"f": {"type": "url", "value": f"{grid.url}/f/{sha256}", "hash": sha256}},
            },
            "control": {"namespace": "n"},
        }
    ]
    assert grid.asked[-1].startswith("POST")


@pytest.mark.parametrize(
    ("kind", "out"),
    [("both", "pull\na\nb\n"), ("run", "a\nb\n"), ("build", "pull\n")],
)
@pytest.mark.parametrize("following", [True, False])
async def test_logs_are_all_data(
    grid: StandIn,
    gridd: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    kind: str,
    out: str,
    following: bool,
) -> None:
    grid.logs = {"build": [["pull", 1]], "run": [["a\n", 1], ["b\n", 2, True]]}
    grid.finish()
    assert await gridd("logs", JOB, "--kind", kind, *(["-f"] if following else [])) == 0
    assert capsys.readouterr() == (out, "")


async def test_logs_as_json_and_since(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    grid.logs["run"] = [["a\n", 1], ["b\n", 2, True]]
    assert await gridd("logs", JOB, "--kind", "run", "--since", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "kind": "run",
        "data": [["b\n", 2, True]],
        "sliceStart": 1,
        "nextCursor": 2,
        "isFinal": False,
    }


async def test_cancel(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await gridd("cancel", JOB) == 0
    assert await gridd("cancel", JOB, "--namespace", "*") == 0
    assert grid.cancelled == [(JOB, "_"), (JOB, "*")]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["logs", "result", "outputs", "cancel", "wait"])
async def test_a_job_that_is_not_there(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    grid.definition = None
    assert await gridd(command, JOB) == 125
    assert "is not known on queue q; check the id and --queue" in capsys.readouterr().err


async def test_no_result_yet(
    grid: StandIn, gridd: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await gridd("result", JOB) == 0
    assert capsys.readouterr().out == "null\n"
    assert await gridd("outputs", JOB) == 2
    assert "gridd wait" in capsys.readouterr().err
