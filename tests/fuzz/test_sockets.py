"""Frames from strangers, over real sockets: whatever they send, the server lives, closes with a
code that SPEC.md names, and the worker and the client beside them notice nothing."""

import asyncio
import base64
import json
import os
import random
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from gridd_protocol import job_id
from gridd_protocol.limits import FRAME_BYTES_MAX
from tests.fuzz.mutation import (
    JSON_TOKENS,
    MSGPACK_TOKENS,
    client_seeds,
    frame_seeds,
    mutated,
)

TIMES = int(os.environ.get("GRIDD_FUZZ", "1"))
CONNECTIONS, FRAMES = 60 * TIMES, 12
TEXTS, PACKED = frame_seeds()
FREE = json.dumps([{"type": "hello", "worker": "stranger", "protocol": 1, "credit": 3}])

# SPEC 10; 1002, 1003 and 1007 are the WebSocket library's own words for broken frames, 1006 is
# what a client sees of a connection that was cut.
CLOSES = {None, 1000, 1001, 1002, 1003, 1006, 1007, 1009, 4000, 4001, 4002, 4003}

DOORS = {
    "worker in JSON": ("/q/{}/worker", "gridd.v1.json", TEXTS, JSON_TOKENS),
    "worker in MessagePack": ("/q/{}/worker", "gridd.v1.msgpack", PACKED, MSGPACK_TOKENS),
    "client": ("/q/{}/client", None, client_seeds(), JSON_TOKENS),
}


def as_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


async def stranger(
    session: aiohttp.ClientSession, door: str, queue: str, chance: random.Random
) -> int | None:
    """Sends frames until it is let go, and answers with the code that it was closed with."""
    path, coding, seeds, tokens = DOORS[door]
    options: dict[str, Any] = {"protocols": (coding,)} if coding else {}
    async with session.ws_connect(path.format(queue), max_msg_size=0, **options) as socket:
        reading = asyncio.create_task(read_all(socket))
        try:
            if coding == "gridd.v1.json" and chance.random() < 0.7:
                await socket.send_str(FREE)
            for _ in range(FRAMES):
                data = mutated(seeds, tokens, chance)
                if (coding == "gridd.v1.msgpack") is (chance.random() < 0.95):
                    await socket.send_bytes(data)
                else:
                    await socket.send_str(as_text(data))
        except (aiohttp.ClientError, ConnectionError):
            pass  # it was let go in the middle
        await socket.close()
        async with asyncio.timeout(10):
            await reading
        return socket.close_code


async def read_all(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for message in socket:
        assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
        assert b"Traceback" not in (
            message.data.encode() if isinstance(message.data, str) else message.data
        )


async def do_one_job(session: aiohttp.ClientSession, queue: str, number: int) -> None:
    """A client submits over its socket, sees the job run and finish; a worker runs it."""
    definition = {"image": "a", "command": f"job {number}"}
    job = job_id(definition)
    value = {"type": "Queued", "time": 1, "enqueued": {"definition": definition}}
    change = {"tag": "", "state": "Queued", "job": job, "value": value}
    async with (
        session.ws_connect(f"/q/{queue}/client") as client,
        session.ws_connect(f"/q/{queue}/worker", protocols=("gridd.v1.json",)) as worker,
        asyncio.timeout(20),
    ):
        await worker.send_json([{"type": "hello", "worker": f"honest-{number}", "credit": 1}])
        await client.send_json({"type": "StateChange", "payload": change})
        lease = {"job": job, "attempt": 1}
        while not any(message["type"] == "push" for message in await worker.receive_json()):
            pass
        result = {"type": "finished", **lease, "reason": "Success", "result": '{"StatusCode":7}'}
        await worker.send_json([result])
        states: list[str] = []
        while "Finished" not in states:
            update = await client.receive_json()
            if update["type"] == "JobStateUpdates":
                view = update["payload"]["state"]["jobs"].get(job)
                states += [view["state"]] if view else []
        assert states in (["Queued", "Running", "Finished"], ["Running", "Finished"])


@pytest.mark.parametrize("door", DOORS)
async def test_frames_from_strangers(door: str, watched: Any) -> None:
    chance = random.Random(door if TIMES == 1 else None)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(watched.url, timeout=timeout) as session:
        codes: list[int | None] = []
        for number in range(0, CONNECTIONS, 4):
            # Two in the queue of the honest ones, two elsewhere; an honest job meanwhile.
            queue = f"honest {door}"
            strangers = [stranger(session, door, q, chance) for q in (queue, queue, "a", "b")]
            *found, _ = await asyncio.gather(
                *strangers, do_one_job(session, f"{queue} only", number)
            )
            codes += found
        assert set(codes) <= CLOSES, codes
        await do_one_job(session, f"honest again {door}", 1)
    await asyncio.to_thread(watched.check)


HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    "Sec-WebSocket-Protocol: gridd.v1.json\r\n\r\n"
)
MASK = bytes(4)
BROKEN = {
    "no mask": b"\x81\x05hello",
    "reserved bits": b"\xf1\x80" + MASK,
    "an unknown opcode": b"\x83\x80" + MASK,
    "a long ping": b"\x89\xfe\x00\x7e" + MASK + bytes(126),
    "a ping in fragments": b"\x09\x80" + MASK,
    "a continuation of nothing": b"\x80\x80" + MASK,
    "a length of 2^63": b"\x81\xff" + b"\xff" * 8 + MASK,
    "more than a frame may have": b"\x81\xff" + (FRAME_BYTES_MAX + 1).to_bytes(8, "big") + MASK,
    "not UTF-8": b"\x81\x82" + MASK + b"\xff\xfe",
    "a close code of 1": b"\x88\x82" + MASK + b"\x00\x01",
    "a close of one byte": b"\x88\x81" + MASK + b"\x03",
    "half a frame": b"\x81\xfe\x10\x00" + MASK + b"[",
    "fragments without end": b"\x01\x81" + MASK + b"[" + b"\x00\x81" + MASK + b"1",
    "a thousand empty frames": (b"\x81\x80" + MASK) * 1_000,
    "a thousand pings": (b"\x89\x80" + MASK) * 1_000,
}


@pytest.mark.parametrize("path", ["/q/a/client", "/q/a/worker"])
@pytest.mark.parametrize("what", BROKEN)
async def test_broken_websocket_frames(what: str, path: str, watched: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", watched.port)
    try:
        key = base64.b64encode(bytes(16)).decode()
        writer.write(HANDSHAKE.format(path=path, key=key).encode() + BROKEN[what])
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101 ")
            writer.write_eof()
            await reader.read()  # until the server ends it
    finally:
        writer.close()
    await asyncio.to_thread(watched.check)


async def test_what_is_sent_before_and_instead_of_a_handshake(watched: Any) -> None:
    for data in (b"\x81\x85" + MASK + b"hello", b"\x16\x03\x01\x02\x00\x01", b"\x00" * 5_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", watched.port)
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()
    await asyncio.to_thread(watched.check)
