"""Both sockets of a server, spoken by hand: what peers see, and the words they use."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from gridd_protocol import job_id

DEFINITION = {"image": "a", "command": "x"}
JOB = job_id(DEFINITION)


class Peer:
    """A socket, and all that came over it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seen: list[Any] = []  # all that was read by ``next``
        self.read: deque[Any] = deque()  # of the last frame, not looked at yet

    async def next(self, *kinds: str) -> Any:
        """The next message of one of these types (``PONG`` counts as one)."""
        while True:
            while self.read:
                one = self.read.popleft()
                self.seen.append(one)
                if (one if isinstance(one, str) else one["type"]) in kinds:
                    return one
            try:
                message = await asyncio.wait_for(self.socket.receive(), 10)
            except TimeoutError:
                pytest.fail(f"no {kinds}; seen {self.seen}")
            if message.type is aiohttp.WSMsgType.TEXT:
                frame = json.loads(message.data) if message.data[0] in "[{" else message.data
            elif message.type is aiohttp.WSMsgType.BINARY:
                frame = msgspec.msgpack.decode(message.data)
            else:
                pytest.fail(f"no {kinds} but {message}; seen {self.seen}")
            self.read.extend(frame if isinstance(frame, list) else [frame])

    async def closed(self) -> tuple[int | None, str]:
        """The code and reason that the server closed with."""
        while True:
            message = await asyncio.wait_for(self.socket.receive(), 10)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                return self.socket.close_code, str(message.extra or "")

    async def states(self, job: str, until: str) -> list[str]:
        """States of ``job`` as announced, up to ``until``."""
        states: list[str] = []
        while until not in states:
            update = await self.next("JobStateUpdates")
            view = update["payload"]["state"]["jobs"].get(job)
            if view is not None:
                states.append(view["state"])
        return states


@asynccontextmanager
async def connected(url: str, path: str, **options: Any) -> AsyncIterator[Peer]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url + path, max_msg_size=0, **options) as socket,
    ):
        yield Peer(socket)


def client(url: str, path: str = "/q/q1/client") -> Any:
    return connected(url, path)


def worker(url: str, coding: str = "gridd.v1.json", path: str = "/q/q1/worker") -> Any:
    return connected(url, path, protocols=(coding,))


def hello(name: str = "w", **members: Any) -> dict[str, Any]:
    return {"type": "hello", "worker": name, "protocol": 1, "credit": 1, **members}


def queued(definition: Any = DEFINITION, **control: Any) -> dict[str, Any]:
    value = {"type": "Queued", "time": 1, "enqueued": {"definition": definition}}
    value["enqueued"]["control"] = control
    change = {"tag": "", "state": "Queued", "job": "", "value": value}
    return {"type": "StateChange", "payload": change}


def ended(reason: str, job: str = JOB, **members: Any) -> dict[str, Any]:
    value = {"reason": reason, "time": 1, **members}
    change = {"tag": "", "state": "Finished", "job": job, "value": value}
    return {"type": "StateChange", "payload": change}
