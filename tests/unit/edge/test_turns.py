"""Who has much to say, or much to read, does not get in the way of others."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from aiohttp import WSMessage, WSMsgType, web

from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.edge.client_socket import ClientSocket
from gridd.edge.turns import FRAME_COST, TURN_COST
from gridd.edge.worker_socket import WorkerSocket
from gridd.journal.memory import MemoryJournal
from gridd_protocol.codec import Codec
from gridd_protocol.limits import OUTBOX_LOG_BYTES_MAX
from gridd_protocol.messages import SUBPROTOCOL_JSON

HELLO = {"type": "hello", "worker": "w", "protocol": 1}


class Transport(asyncio.WriteTransport):
    """``stuck``: bytes that nobody has read."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = 0
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.stuck

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


async def at_hand(*frames: str) -> AsyncIterator[WSMessage]:
    """Frames that never have to be waited for."""
    for frame in frames:
        yield WSMessage(WSMsgType.TEXT, frame, None)


def socket(frames: AsyncIterator[WSMessage]) -> web.WebSocketResponse:
    return cast(web.WebSocketResponse, frames)


@asynccontextmanager
async def started() -> AsyncIterator[Daemon]:
    daemon = Daemon(MemoryJournal(), JsonFrames())
    daemon.start()
    yield daemon
    await daemon.close()


@contextmanager
def counted_turns() -> Iterator[list[None]]:
    """A list that grows by one each time that the loop comes round."""
    turns: list[None] = []
    over = False

    def came_round() -> None:
        if not over:
            turns.append(None)
            asyncio.get_running_loop().call_soon(came_round)

    asyncio.get_running_loop().call_soon(came_round)
    yield turns
    over = True


async def test_a_client_with_many_frames_lets_others_go_first() -> None:
    many = 10 * TURN_COST // FRAME_COST
    async with started() as daemon:
        with counted_turns() as turns:
            client = ClientSocket(daemon, JsonFrames(), "q")
            await client.run(socket(at_hand(*["PING"] * many)), Transport())
        assert len(turns) >= 9


async def test_a_worker_lets_others_go_first_within_its_frame() -> None:
    frame = json.dumps([HELLO, *[{"type": "heartbeat"}] * (5 * TURN_COST // FRAME_COST)])
    async with started() as daemon:
        transport = Transport()
        with counted_turns() as turns:
            worker = WorkerSocket(daemon, "q", Codec(SUBPROTOCOL_JSON))
            await worker.run(socket(at_hand(frame)), transport)
        assert len(turns) >= 4


async def test_a_worker_with_large_frames_lets_others_go_first() -> None:
    frame = json.dumps([{"type": "heartbeat", "padding": "x" * TURN_COST}])
    async with started() as daemon:
        with counted_turns() as turns:
            worker = WorkerSocket(daemon, "q", Codec(SUBPROTOCOL_JSON))
            await worker.run(socket(at_hand(json.dumps([HELLO]), *[frame] * 10)), Transport())
        assert len(turns) >= 10


async def until(transport: Transport, what: bytes) -> bytes:
    """All that was written; it holds ``what`` at last."""
    async with asyncio.timeout(10):
        while what not in transport.written:
            await asyncio.sleep(0.002)
    return transport.written


async def test_a_client_that_log_lines_overtake_misses_some_and_is_told_where() -> None:
    silent = asyncio.Event()

    async def says_nothing() -> AsyncIterator[WSMessage]:
        await silent.wait()
        return
        yield

    part = OUTBOX_LOG_BYTES_MAX // 4
    async with started() as daemon:
        transport = Transport()
        client = ClientSocket(daemon, JsonFrames(), "q")
        running = asyncio.create_task(client.run(socket(says_nothing()), transport))
        await until(transport, b"JobStates")
        transport.stuck = 10 << 20
        for number in range(12):
            client.send_log(b"<%d>" % number + b"x" * part, "j", "Running")
        client.send(b"<state>", "j")
        transport.stuck = 0
        written = (await until(transport, b"<state>")).replace(b"x" * part, b"")
        assert b"<0><1><2>" in written
        assert b"<4>" not in written
        assert written.count(b"lines are left out here") == 1
        client.send_log(b"<again>", "j", "Running")
        assert (await until(transport, b"<again>")).endswith(b"<state><again>")
        assert not client._outbox.closed
        silent.set()
        await running


async def test_a_log_message_that_is_too_large_to_wait_costs_nobody_his_connection() -> None:
    async with started() as daemon:
        transport = Transport()
        client = ClientSocket(daemon, JsonFrames(), "q")
        await client.run(socket(at_hand()), transport)
        client.send_log(b"x" * (OUTBOX_LOG_BYTES_MAX * 4), "j", "Running")
        assert not client._outbox.closed
        await until(transport, b"lines are left out here")
