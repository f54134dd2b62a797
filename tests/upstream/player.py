"""Plays a recorded exchange with upstream against a server of ours and says what differs.

Requests and the frames of peers are sent as they were recorded, in their order. What upstream's
server sent is what ours is waited for, never by the clock: a step is taken when all that upstream
had told the socket by then was told by ours (``Story.covers``). Jobs keep the ids that they were
recorded with, since both servers compute the same.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from gridd_protocol import job_id
from tests.upstream.shapes import Answer, answer_differences, value_differences
from tests.upstream.story import Story

TRANSCRIPTS = Path(__file__).parent / "transcripts"

TOLD_WITHIN_S = 5.0

_SNAPSHOT = "REST snapshot taken: "

Hook = Callable[["Player"], Awaitable[None]]


def transcript(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TRANSCRIPTS / f"{name}.json").read_text("utf-8"))
    return found


@dataclass
class Peer:
    """One socket: what upstream had told it so far, and what ours has."""

    socket: aiohttp.ClientWebSocketResponse
    reading: asyncio.Task[None]
    told: Story
    heard: Story


@dataclass
class Player:
    """``differences`` are pairs of a place (``17 GET /path`` or ``client1``) and what differs.

    ``notes``: what to do at a note of the transcript, by its beginning. ``known(place)``: the
    differences that are known of it. What is known to be ``told later`` is not waited for, and what
    is ``not told`` left out of the story.
    """

    url: str
    session: aiohttp.ClientSession
    notes: dict[str, Hook] = field(default_factory=dict)
    known: Callable[[str], list[str]] = lambda place: []
    before: Callable[[Any], None] = lambda frame: None  # a frame that is about to be waited for
    differences: list[tuple[str, str]] = field(default_factory=list)
    peers: dict[str, Peer] = field(default_factory=dict)
    open: dict[str, Peer] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)  # path and body, as they come
    _location: str | None = None
    _heard_calls: int = 0

    async def play(self, recorded: dict[str, Any]) -> None:
        """``recorded`` as ``at_home`` makes it."""
        self._recorded = recorded
        try:
            for entry in recorded["timeline"]:
                await self._step(entry)
        finally:
            for name in list(self.open):
                await self._close(name)
        for name, peer in self.peers.items():
            self._differ(name, peer.told.differences(peer.heard))

    async def _step(self, entry: dict[str, Any]) -> None:
        number = entry["n"]
        if "note" in entry:
            await self._note(entry["note"])
        elif "open" in entry:
            await self._open(number, entry["open"], entry["path"])
        elif "close" in entry:
            await self._close(entry["close"])
        elif "http" in entry:
            await self._ask(number, entry["http"], entry["response"])
        elif "callback" in entry:
            await self._called(number, entry["callback"])
        elif entry.get("from") == "server":
            await self._expect(number, entry["to"], entry["frame"])
        elif "frame" in entry and entry["from"] in self.open:
            await self._say(number, entry["from"], entry["frame"])

    async def _say(self, number: int, name: str, frame: Any) -> None:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        try:
            await self.open[name].socket.send_str(text)
        except ConnectionError:
            self._differ(f"{number} {name}", ["its socket is closed"])

    async def _note(self, note: str) -> None:
        if note.startswith(_SNAPSHOT):
            await self._snapshot(note.removeprefix(_SNAPSHOT))
        elif match := re.match(r"(\S+) sent 2 bytes of binary", note):
            await self.open[match[1]].socket.send_bytes(b"\0\1")
        for beginning, hook in self.notes.items():
            if note.startswith(beginning):
                await hook(self)

    async def _snapshot(self, state: str) -> None:
        """The same requests in each state of a job; which job, its own document says."""
        answers = self._recorded["rest_by_state"][state]
        document = answers["GET /j/:jobId.json"].get("json", {}).get("data")
        job = job_id(document["definition"]) if document else "0" * 64
        for what, recorded in answers.items():
            method, path = what.split(" ", 1)
            path = path.replace(":jobId", job).replace(":queue", self._queue)
            ours = await self.ask({"method": method, "path": path}, recorded)
            self._differ(f"{state}: {what}", answer_differences(recorded, ours))

    @property
    def _queue(self) -> str:
        posts = (entry["http"]["path"] for entry in self._recorded["timeline"] if "http" in entry)
        return next(path.split("/")[2] for path in posts if path.startswith("/q/"))

    async def _ask(self, number: int, request: Any, recorded: Any) -> None:
        if request["path"].startswith("http"):  # where the last answer sent its client
            if self._location is None:
                return
            request = request | {"path": self._location}
        ours = await self.ask(request)
        self._location = ours.headers.get("Location")
        place = f"{number} {request['method']} {request['path']}"
        if recorded is None:  # upstream left it unanswered
            self._differ(place, [f"is answered with {ours.status}"])
        else:
            self._differ(place, answer_differences(recorded, ours))

    async def ask(self, request: dict[str, Any], recorded: dict[str, Any] | None = None) -> Answer:
        """``recorded``: an event stream that was still open is read until as many events came."""
        body: Any = request.get("text")
        headers = dict(request.get("headers", {}))
        if "json" in request:
            body = json.dumps(request["json"])
            headers.setdefault("content-type", "application/json")
        path = request["path"].replace(" ", "%20")
        address = URL(path if path.startswith("http") else self.url + path, encoded=True)
        async with self.session.request(
            request["method"], address, data=body, headers=headers, allow_redirects=False
        ) as response:
            if recorded is not None and "still_open_after_s" in recorded:
                received = await _events(response, recorded["text"].count("event: "))
            else:
                received = await _whole(response)
            return Answer(response.status, dict(response.headers), received)

    async def _called(self, number: int, callback: Any) -> None:
        """Calls come in any order: upstream made them one by one, while its client waited."""
        wanted = [path for path, _ in self.calls[self._heard_calls :]]
        async with asyncio.timeout(TOLD_WITHIN_S):
            while callback["path"] not in wanted:
                await asyncio.sleep(0.005)
                wanted = [path for path, _ in self.calls[self._heard_calls :]]
        at = self._heard_calls + wanted.index(callback["path"])
        self.calls[self._heard_calls], self.calls[at] = (
            self.calls[at],
            self.calls[self._heard_calls],
        )
        body = self.calls[self._heard_calls][1]
        self._heard_calls += 1
        self._differ(f"{number} call", value_differences(callback["body"], body, exact=True))

    async def _open(self, number: int, name: str, path: str) -> None:
        try:
            socket = await self.session.ws_connect(self.url + path, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            self._differ(f"{number} {name}", [f"the socket is refused with {error.status}"])
            return
        before = self.peers.get(name)  # the same peer again: its story goes on
        is_worker = "/worker" in path
        heard = before.heard if before else Story(of_worker=is_worker)
        told = before.told if before else Story(of_worker=is_worker)
        reading = asyncio.create_task(_read(socket, heard))
        self.open[name] = self.peers[name] = Peer(socket, reading, told, heard)

    async def _close(self, name: str) -> None:
        peer = self.open.pop(name, None)
        if peer is None:
            return
        with contextlib.suppress(ConnectionError):  # the server has ended
            await _answered(peer)
        await peer.socket.close()
        peer.reading.cancel()
        await asyncio.gather(peer.reading, return_exceptions=True)

    async def _expect(self, number: int, name: str, frame: Any) -> None:
        if name not in self.open:
            return
        peer, place = self.open[name], f"{number} {name}"
        for known in ("not told", "told later"):
            if known in self.known(place):
                self._differ(place, [known])
                if known == "told later":
                    peer.told.hear(frame)
                return
        peer.told.hear(frame)
        self.before(frame)
        try:
            async with asyncio.timeout(TOLD_WITHIN_S):
                while not peer.heard.covers(peer.told):
                    await asyncio.sleep(0.005)
        except TimeoutError:
            self._differ(place, ["not told"])

    def _differ(self, place: str, what: list[str]) -> None:
        self.differences += [(place, one) for one in what]


def at_home(recorded: dict[str, Any], url: str) -> dict[str, Any]:
    """Addresses of the recorded server become ours, which makes other definitions of some and so
    other jobs."""
    text = json.dumps(recorded).replace("http://localhost:PORT", url)
    for entry in recorded["timeline"]:
        sent = entry.get("http", {}).get("json")
        if isinstance(sent, dict) and "PORT" in json.dumps(sent.get("definition")):
            moved = json.loads(json.dumps(sent).replace("http://localhost:PORT", url))
            was = entry["response"]["json"]["jobId"]
            text = text.replace(was, job_id(moved["definition"]))
    found: dict[str, Any] = json.loads(text)
    return found


async def _read(socket: aiohttp.ClientWebSocketResponse, heard: Story) -> None:
    async for message in socket:
        heard.hear(message.data)


async def _answered(peer: Peer) -> None:
    """All that was sent before a ``PONG`` has been heard with it."""
    before = len(peer.heard.pongs)
    await peer.socket.send_str("PING")
    async with asyncio.timeout(TOLD_WITHIN_S):
        while len(peer.heard.pongs) == before and not peer.socket.closed:
            await asyncio.sleep(0.005)
    del peer.heard.pongs[before:]


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await asyncio.wait_for(response.read(), TOLD_WITHIN_S)
    except TimeoutError:
        return b"(no end)"


async def _events(response: aiohttp.ClientResponse, count: int) -> bytes:
    received = b""
    async with asyncio.timeout(TOLD_WITHIN_S):
        while received.count(b"event: ") < count:
            received += await response.content.readuntil(b"\n\n")
    return received
