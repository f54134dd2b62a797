"""A grid that lives in dictionaries, behind the real HTTP application and the real blob folder."""

import asyncio
import hashlib
import io
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, ClientSession, web
from yarl import URL

from gridd.blobs.folder import FolderBlobs
from gridd.core.effects import Accepted, Cancelled, JobView, WorkerView
from gridd.core.explain import Explanation
from gridd.edge import page
from gridd.edge.app import build_app
from gridd.edge.events import Pace
from gridd.edge.parameters import queue_name
from gridd.grid import Change, Grid, LogPage
from gridd.history import History
from gridd.metrics.meters import Meters
from gridd.metrics.pages import GridFigures
from gridd.metrics.queue_figures import QueueFigures, add
from gridd.submission import read_submission
from gridd_protocol.messages import LogLine


@dataclass(frozen=True)
class Settings:
    public_url: str | None = None
    open_to_all: bool = True
    allow_origin: tuple[str, ...] = ()
    metrics: str = "loopback"
    metrics_queues: bool = False
    connections_per_address: int = 0


@dataclass
class Job:
    view: JobView
    definition: bytes
    finished: bytes | None = None
    build: list[LogLine] = field(default_factory=list)
    run: list[LogLine] = field(default_factory=list)


class FakeGrid(Grid):
    """Submissions are checked by the daemon's own reader; the rest is what a test puts in."""

    trouble = None

    def __init__(self) -> None:
        self.queues: dict[str, dict[str, Job]] = {}
        self.staff: tuple[WorkerView, ...] = ()
        self.clients = 0
        self.holds = True  # the namespaces that jobs are cancelled in
        self.cancels: list[tuple[str, str, str, str]] = []
        self.changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self.watching = 0
        self.breaks_with: Exception | None = None
        self.gone: dict[tuple[str | None, str], int] = {}  # (queue, job) -> when it expired

    def put(self, definition: Any, queue: str = "q1", result: Any = None, **changes: Any) -> str:
        """A job as the journal would hold it; no check of the definition."""
        raw = definition if isinstance(definition, bytes) else json.dumps(definition).encode()
        job = hashlib.sha256(raw).hexdigest()
        job_view = msgspec.structs.replace(view(), **changes)
        finished = None
        if result is not None:
            job_view = msgspec.structs.replace(
                job_view, state="Finished", finished_reason="Success"
            )
            record = json.loads(msgspec.json.encode(job_view))
            record["finished"] = {"type": "Finished", "reason": "Success", "result": result}
            finished = json.dumps(record).encode()
        self.queues.setdefault(queue, {})[job] = Job(job_view, raw, finished)
        return job

    def find(self, queue: str | None, job: str) -> Job | None:
        if self.breaks_with is not None:
            raise self.breaks_with
        queues = [queue] if queue is not None else list(self.queues)
        found = (self.queues.get(name, {}).get(job) for name in queues)
        return next((job for job in found if job is not None), None)

    async def submit(self, queue: str, body: bytes) -> Accepted:
        found, event = read_submission(body)
        held = self.queues.setdefault(queue, {})
        new = found.id not in held
        job_view = msgspec.structs.replace(view(), namespaces=(event.namespace,))
        held.setdefault(found.id, Job(job_view, event.definition))
        return Accepted(found.id, new, held[found.id].view)

    async def cancel(self, queue: str, job: str, namespace: str, message: str) -> Cancelled:
        self.cancels.append((queue, job, namespace, message))
        found = self.find(queue, job)
        if found is None:
            return Cancelled(None, False)
        return Cancelled(found.view.state, found.view.state != "Finished", self.holds)

    async def jobs(self, queue: str) -> dict[str, JobView]:
        return {id: job.view for id, job in self.queues.get(queue, {}).items()}

    async def ended(self, queue: str) -> dict[str, JobView]:
        ended = (it for it in self.queues.get(queue, {}).items() if it[1].finished)
        return {id: job.view for id, job in reversed(list(ended))}

    async def job(self, queue: str | None, job: str) -> JobView | None:
        found = self.find(queue, job)
        return found and found.view

    async def definition(self, queue: str | None, job: str) -> bytes | None:
        found = self.find(queue, job)
        return found and found.definition

    async def finished(self, queue: str | None, job: str) -> bytes | None:
        found = self.find(queue, job)
        return found and found.finished

    async def explain(self, queue: str, job: str) -> Explanation | None:
        found = self.find(queue, job)
        return found and Explanation(found.view.state, "it waits", 0, 1, 0, 0, {}, 0, ())

    async def history(self, queue: str, job: str) -> History | None:
        found = self.find(queue, job)
        return found and History(job, found.view.state, 0, 0, 0, [])

    async def expired(self, queue: str | None, job: str) -> int | None:
        return self.gone.get((queue, job))

    async def logs(self, queue: str | None, job: str, kind: str, since: int) -> LogPage:
        found = self.find(queue, job)
        lines = getattr(found, kind) if found else []
        return LogPage(lines[since:], since, len(lines), bool(found and found.finished))

    async def watch(self, queue: str, job: str) -> AsyncIterator[Change]:
        self.watching += 1
        try:
            while (change := await self.changes.get()) is not None:
                yield change
        finally:
            self.watching -= 1

    async def workers(self, queue: str) -> tuple[WorkerView, ...]:
        return self.staff

    async def queue_figures(self, queue: str) -> QueueFigures:
        counts = await self.counts(queue)
        return QueueFigures(counts["Queued"], counts["Running"], counts["Finished"])

    def figures(self, *, named: bool) -> GridFigures:
        total, shown = QueueFigures(), []
        for name, jobs in self.queues.items():
            its = QueueFigures(sum(job.view.state == "Queued" for job in jobs.values()))
            add(total, its)
            shown.append((name, its))
        return GridFigures(total, len(shown), False, Meters(), shown if named else [])

    async def counts(self, queue: str) -> dict[str, int]:
        counts = {"Queued": 0, "Running": 0, "Finished": 0}
        for job in self.queues.get(queue, {}).values():
            counts[job.view.state] += 1
        return counts | {"clients": self.clients, "workers": len(self.staff)}


class EchoSockets:
    """Says which of the two was reached, and for which queue."""

    async def client(self, request: web.Request) -> web.StreamResponse:
        return await self._greet(request, "client")

    async def worker(self, request: web.Request) -> web.StreamResponse:
        return await self._greet(request, "worker")

    async def _greet(self, request: web.Request, role: str) -> web.StreamResponse:
        queue = queue_name(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(f"{role} of {queue}")
        await socket.close()
        return socket


class Server:
    """The application on a free loopback port, and a client that sends paths as they are."""

    def __init__(
        self,
        grid: FakeGrid,
        blobs: FolderBlobs,
        app: web.Application,
        port: int,
        session: ClientSession,
    ) -> None:
        self.grid, self.blobs, self.app = grid, blobs, app
        self.port, self.session = port, session

    async def __call__(self, method: str, path: str, **more: Any) -> ClientResponse:
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        more.setdefault("allow_redirects", False)
        if isinstance(more.get("data"), bytes):
            more["data"] = io.BytesIO(more["data"])
        response = await self.session.request(method, url, **more)
        await response.read()
        return response

    async def raw(self, request: bytes) -> bytes:
        """What comes back for these very bytes, until the server closes or 10 s have passed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


def view(**changes: Any) -> JobView:
    queued = JobView(
        state="Queued", queued_time=1_700_000_000_000, time=1_700_000_000_001, worker="",
        namespaces=("_",),
    )  # fmt: skip
    return msgspec.structs.replace(queued, **changes)


@pytest.fixture
def views() -> Callable[..., JobView]:
    return view


@pytest.fixture
async def start(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Starts servers; ``settings`` and ``pace`` as the test wants them. Their page is the plain
    one, whether another is built here or not."""
    plain = tmp_path_factory.mktemp("web")
    for name in ("placeholder.html", "docs.html", "embed.html"):
        shutil.copy(page.WEB_FOLDER / name, plain)
    monkeypatch.setattr(page, "WEB_FOLDER", plain)
    runners: list[web.AppRunner] = []
    blobs = FolderBlobs(tmp_path / "blobs", bytes_max=4 << 20)
    async with ClientSession() as session:

        async def started(pace: Pace | None = None, **settings: Any) -> Server:
            grid = FakeGrid()
            app = build_app(grid, blobs, Settings(**settings), EchoSockets(), pace)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
            runners.append(runner)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return Server(grid, blobs, app, runner.addresses[0][1], session)

        yield started
    for runner in runners:
        await runner.cleanup()
    await blobs.close()


@pytest.fixture
async def server(start: Callable[..., Awaitable[Server]]) -> Server:
    return await start()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    async def wait(look: Callable[[], Any], wanted: Any, seconds: float = 10) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (seen := look()) != wanted:
            assert loop.time() < deadline, f"still {seen!r} after {seconds} s, not {wanted!r}"
            await asyncio.sleep(0.01)

    return wait
