"""Follow a job to its end without losing or doubling a line.

The live stream replays a job's history on every connect (WIRE 1.8), and each of its log events
says how many lines of that kind there were so far. So the place of every line is known, and what
was seen already is passed over. When the stream breaks, the log pages (WIRE 1.7) fill the gap,
then it is opened again; where a grid or a proxy has no stream, the pages alone serve.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from gridd.client.errors import GridError
from gridd.client.stream import EventParser, StreamTooLong
from gridd.client.transport import BROKEN, Transport, backoff_seconds, is_passing
from gridd_protocol.messages import LogLine

KINDS = ("build", "run")
PATIENCE_SECONDS = 120.0  # a grid that is out of reach for so long is given up
POLL_SECONDS = 1.0
_NO_STREAM = frozenset({404, 405, 406, 501})


@dataclass(frozen=True, slots=True)
class Lines:
    """``kind`` is ``build`` or ``run``; ``first`` is the place of the first line."""

    kind: str
    first: int
    lines: Sequence[LogLine]


@dataclass(frozen=True, slots=True)
class Dropped:
    """The grid no longer has so many lines at this place (its bound, not our loss)."""

    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The job runs again after its worker was lost: its logs start anew."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: str


@dataclass(frozen=True, slots=True)
class Final:
    """``reason`` as in WIRE 3.3. Always the last event."""

    reason: str


Event = Lines | Dropped | Restarted | StateChanged | Final


class _StateData(msgspec.Struct):
    state: str
    reason: str | None = None
    attempt: int | None = None


class _LogData(msgspec.Struct):
    lines: list[LogLine]
    cursor: int


class _NoStream(Exception):
    """There is no event stream at that address."""


class Page(Protocol):
    @property
    def data(self) -> Sequence[LogLine]: ...
    @property
    def slice_start(self) -> int: ...
    @property
    def next_cursor(self) -> int: ...
    @property
    def is_final(self) -> bool: ...


class Grid(Protocol):
    """What following asks of a client."""

    transport: Transport

    def job_path(self, job: str, rest: str = "") -> str: ...
    async def logs(self, job: str, kind: str, since: int = 0) -> Page: ...
    async def result(self, job: str) -> dict[str, Any] | None: ...
    async def jobs(self) -> dict[str, dict[str, Any]]: ...
    async def definition(self, job: str) -> dict[str, Any]: ...


@dataclass(slots=True)
class Place:
    """How far the follower is. Pure: turns what arrives into what is new."""

    cursors: dict[str, int]
    """The next line to hand out, by kind."""
    state: str = ""
    attempt: int | None = None
    _ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    """The most lines that the grid was seen to have."""
    _connection_ends: dict[str, int] = field(default_factory=dict)
    _restarted: set[str] = field(default_factory=set)
    """Kinds of which nothing was heard since the job was requeued."""
    _restart_told: bool = False
    """The log gave the restart away before the state did."""

    def connected(self) -> None:
        """A new connection replays from the start: its counts are compared among themselves."""
        self._connection_ends.clear()

    def on_log(self, kind: str, end: int, lines: Sequence[LogLine]) -> Iterator[Event]:
        """``lines`` are those before place ``end``, as one event of a connection has them."""
        first = end - len(lines)
        if kind in self._restarted:
            # A later attempt's lines count on from the earlier ones'. A grid that was itself
            # restarted may have lost that count: then they begin before what was seen.
            self._restarted.discard(kind)
            self.cursors[kind] = min(self.cursors[kind], first)
        elif first < self._connection_ends.get(kind, 0):
            yield from self.on_restart()
            self._restart_told = True
        self._connection_ends[kind] = end
        yield from self._advance(kind, first, lines)

    def on_page(self, kind: str, page: Page) -> Iterator[Event]:
        yield from self._advance(kind, page.slice_start, page.data)

    def shrank(self, kind: str, page: Page) -> bool:
        """The page has fewer lines than were seen: it tells of a later attempt."""
        return page.next_cursor < self._ends[kind]

    def on_state(self, state: str, attempt: int | None = None) -> Iterator[Event]:
        later = attempt and self.attempt and attempt != self.attempt
        if later and not self._restart_told:
            self._connection_ends.clear()
            self._restarted.update(KINDS)
            if any(self._ends.values()):
                yield Restarted()
        self._restart_told = False
        self.attempt = attempt or self.attempt
        if state != self.state:
            self.state = state
            yield StateChanged(state)

    def on_restart(self) -> Iterator[Event]:
        self._connection_ends.clear()
        if any(self._ends.values()):
            yield Restarted()
        self._ends = dict.fromkeys(KINDS, 0)
        self.cursors = dict.fromkeys(KINDS, 0)

    def _advance(self, kind: str, first: int, lines: Sequence[LogLine]) -> Iterator[Event]:
        end, cursor = first + len(lines), self.cursors[kind]
        if lines:
            self._ends[kind] = max(self._ends[kind], end)
        if lines and first > cursor:
            yield Dropped(kind, first - cursor)
        new = lines[max(0, cursor - first) :]
        if new:
            yield Lines(kind, max(first, cursor), new)
            self.cursors[kind] = end


class Follower:
    """One walk through a job's story; ``events`` may be asked for once."""

    def __init__(
        self, grid: Grid, job: str, *, since: int = 0, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._grid = grid
        self._job = job
        self._patience = patience
        self._place = Place(dict.fromkeys(KINDS, since))
        self._heard = time.monotonic()
        self._streams = True
        self._failures = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        """Ends after ``Final``. Raises ``GridError`` when refused, or after ``patience`` seconds
        out of reach."""
        while True:
            for source in (self._stream, self._pages) if self._streams else (self._pages,):
                async with aclosing(source()) as events:
                    async for event in events:
                        yield event
                        if isinstance(event, Final):
                            return
            pause = backoff_seconds(self._failures) if self._streams else POLL_SECONDS
            await asyncio.sleep(pause)

    async def _stream(self) -> AsyncGenerator[Event, None]:
        """Events until the stream ends, breaks, or turns out not to be there."""
        self._failures += 1  # until something is heard
        self._place.connected()
        path = self._grid.job_path(self._job, "/stream")
        try:
            async with self._grid.transport.open(path, accept="text/event-stream") as response:
                if response.content_type != "text/event-stream":
                    raise _NoStream
                parser = EventParser()
                async for chunk in response.content.iter_any():
                    self._heard, self._failures = time.monotonic(), 0
                    for name, data in parser.feed(chunk):
                        for event in self._read(name, data):
                            yield event
        except (_NoStream, StreamTooLong):
            self._streams = False
        except GridError as error:
            if error.status in _NO_STREAM:
                self._streams = False
            elif not is_passing(error):
                raise
        except BROKEN:
            pass
        self._failures = max(1, self._failures)

    def _read(self, name: str, data: bytes) -> Iterator[Event]:
        try:
            if name in ("build-log", "run-log"):
                log = msgspec.json.decode(data, type=_LogData)
                yield from self._place.on_log(name.removesuffix("-log"), log.cursor, log.lines)
            elif name in ("state", "final"):
                state = msgspec.json.decode(data, type=_StateData)
                if name == "state":
                    yield from self._place.on_state(state.state, state.attempt)
                elif state.state == "Finished":
                    yield Final(state.reason or "Unknown")
                # any other final only ends the stream (WIRE 1.8: 30 minutes), not the job
        except msgspec.DecodeError as error:
            raise _NoStream from error

    async def _pages(self) -> AsyncGenerator[Event, None]:
        """What is new by the pages; ``Final`` when they, or the list, say that it ended."""
        try:
            ended = False
            for kind in KINDS:
                page = await self._page(kind)
                if self._place.shrank(kind, page):
                    for event in self._place.on_restart():
                        yield event
                    page = await self._page(kind)
                for event in self._place.on_page(kind, page):
                    yield event
                ended = ended or page.is_final
            for event in await self._outcome(ended):
                yield event
            self._heard = time.monotonic()
        except GridError as error:
            if not is_passing(error) or time.monotonic() - self._heard > self._patience:
                raise

    async def _page(self, kind: str) -> Page:
        return await self._grid.logs(self._job, kind, self._place.cursors[kind])

    async def _outcome(self, ended: bool) -> list[Event]:
        """The job's state by list and result. A cancelled job is in neither (WIRE 3.4)."""
        view = None if ended else (await self._grid.jobs()).get(self._job)
        if view is not None and view.get("state") != "Finished":
            attempt = view.get("attempt")
            known = attempt if isinstance(attempt, int) else None
            return list(self._place.on_state(str(view.get("state")), known))
        result = await self._grid.result(self._job)
        if result is None:
            await self._grid.definition(self._job)  # raises for a job that was never there
            return [Final(str((view or {}).get("finishedReason") or "Cancelled"))]
        # the lines that came between the page and the end
        events: list[Event] = []
        for kind in KINDS:
            events += self._place.on_page(kind, await self._page(kind))
        return [*events, Final(str(result.get("finishedReason") or "Unknown"))]
