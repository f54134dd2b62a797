"""The second job with the same large input: is it downloaded again, and what does it take?

The input lies in the grid as a blob. The worker knows the grid by the address of a relay that
counts what it passes on; this process as the client does not go through it.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from client import QUEUE, change, finished
from processes import start_grid, start_worker

from gridd_protocol import job_id

WORKER = f"bench-{os.getpid()}"
_PIECE = 1 << 20
_TIMEOUT_S = 120


class CountingRelay:
    """Passes connections on to ``port`` of this machine and counts the bytes that come back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.address = ""
        self.returned = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["CountingRelay"]:
        server = await asyncio.start_server(self._on_peer, "127.0.0.1", 0, limit=_PIECE)
        self.address = "http://{}:{}".format(*server.sockets[0].getsockname())
        try:
            yield self
        finally:
            server.close()

    async def _on_peer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port, limit=_PIECE)
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer, counted=True))

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counted: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_PIECE):
                self.returned += len(data) if counted else 0
                target.write(data)
                await target.drain()
        target.close()


async def rows(folder: Path, size: int) -> list[dict[str, float | str]]:
    """``size`` in bytes."""
    path = folder / "input"
    sha256 = await asyncio.to_thread(_write, path, size)
    with start_grid(folder) as grid:
        relay = CountingRelay(int(grid.url.rpartition(":")[2]))
        async with relay.serving(), aiohttp.ClientSession() as session:
            with path.open("rb") as data:
                async with session.put(f"{grid.url}/f/{sha256}", data=data) as answer:
                    answer.raise_for_status()
            async with _worker(folder, relay.address):
                return [
                    await _job(session, grid.url, relay, sha256, size, turn)
                    for turn in ("first", "second")
                ]


@contextlib.asynccontextmanager
async def _worker(folder: Path, url: str) -> AsyncIterator[None]:
    """In a thread, because the relay has to go on while the worker starts and stops."""
    worker = contextlib.ExitStack()
    await asyncio.to_thread(worker.enter_context, start_worker(folder, url, "docker"))
    try:
        yield
    finally:
        await asyncio.to_thread(worker.close)


def _write(path: Path, size: int) -> str:
    """Bytes that no disk or network makes smaller; their sha256."""
    digest = hashlib.sha256()
    piece = os.urandom(_PIECE)
    with path.open("wb") as file:
        for start in range(0, size, _PIECE):
            part = piece[: size - start]
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


async def _job(
    session: aiohttp.ClientSession,
    url: str,
    relay: CountingRelay,
    sha256: str,
    size: int,
    turn: str,
) -> dict[str, float | str]:
    definition: dict[str, Any] = {
        "image": "gridd-test:busybox",
        "command": f"sh -c '[ $(stat -c %s /inputs/big) = {size} ]'",
        "inputs": {"big": {"type": "key", "value": sha256}},
        "env": {"TURN": turn},
    }
    job, returned = job_id(definition), relay.returned
    async with (
        asyncio.timeout(_TIMEOUT_S),
        session.ws_connect(f"{url}/q/{QUEUE}/client", max_msg_size=1 << 30) as ws,
    ):
        began = time.perf_counter()
        await ws.send_str(change(definition))
        while job not in finished(await ws.receive_str()):
            pass
        took_s = time.perf_counter() - began
    async with session.get(f"{url}/q/{QUEUE}/j/{job}/result.json") as answer:
        result = await answer.json()
    exit_code = result["data"]["finished"]["result"]["StatusCode"]
    return {
        "the same input in two jobs": f"{turn}, {size / 1e6:.0f} MB",
        "seconds": round(took_s, 2),
        "MB fetched": round((relay.returned - returned) / 1e6, 2),
        "exit code": exit_code,
        "goal": "fetched" if turn == "first" else "not fetched again",
    }
