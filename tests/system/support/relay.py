"""A TCP relay whose cable can be pulled: nothing passes, and neither side hears an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_PIECE = 64 << 10


class Relay:
    """Listens on ``port`` and passes bytes on to ``target``. While cut it takes what comes (a
    piece per connection and direction, then the kernel's buffers fill) and passes it on when the
    cable is back, as TCP would by sending it again. New connections come about only then."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.port = 0
        self.connections = 0

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def _on_peer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._whole.wait()
            self.connections += 1
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(_PIECE):
                    await self._whole.wait()
                    writer.write(data)
                    await writer.drain()
            await self._whole.wait()  # an end does not pass a cut cable either
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def relay(target: int) -> AsyncIterator[Relay]:
    made = Relay(target)
    made._server = await asyncio.start_server(made._on_peer, "127.0.0.1", 0)
    made.port = made._server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made._server.close()
        for task in list(made._tasks):
            task.cancel()
        await asyncio.gather(*made._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a transport closes in the turn after
