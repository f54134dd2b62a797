"""Frames that end upstream's server process (FINDINGS 1, transcript 19), on each of our sockets:
they end nothing here, neither the server nor the connection nor another's."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gridd_protocol import job_id
from tests.system.support.sockets import Peer, client, connected, hello, queued, worker
from tests.upstream.grid import Grid, grid

DEFINITION = {"image": "a", "command": "x"}
JOB = job_id(DEFINITION)
LONG = "a" * 3_000


def message(kind: str, *payload: Any) -> str:
    return json.dumps({"type": kind, **({"payload": payload[0]} if payload else {})})


def change(state: str, job: Any = JOB, **value: Any) -> str:
    return message("StateChange", {"state": state, "job": job, **value})


FRAMES = [
    message("RequestJobDefinitions"),
    message("RequestJobDefinitions", {}),
    *(message("RequestJobDefinitions", {"jobIds": ids}) for ids in (5, [None], [{}], [LONG])),
    message("QueryJob"),
    *(message("QueryJob", {"jobId": job}) for job in ({}, LONG, True, None, [], "")),
    message("QueryJobStates", 5),
    *(
        change("Queued", value={"enqueued": {"definition": DEFINITION, "control": control}})
        for control in ({"namespace": {}}, {"namespace": ["a"]}, {"namespace": LONG}, 5)
    ),
    change("Queued", "q", value={"enqueued": {}}),
    change("Queued", "q"),
    change("Finished", None, value={"reason": "Cancelled"}),
    change("Finished"),
    change("Finished", value={"reason": "Cancelled", "namespace": {}}),
    change("Finished", value={"reason": "Nope", "time": 1}),
    change("Finished", value={"reason": {}, "result": 5}),
    change("Running", value={}),
    change("Running", value={"worker": {}, "time": "x"}),
    change("Removed", value=None),
    change("Nope"),
    *(message("WorkerRegistration", it) for it in ({}, {"id": 5}, {"id": LONG}, None, [])),
    message("JobStatusLogs"),
    message("JobStatusLogs", {"jobId": JOB, "step": {}, "logs": [[]]}),
    message("WorkerStatusResponse"),
    message("WorkerStatusResponse", {"id": {}, "queue": 5}),
    "null", "{}", "[]", "[null]", "5", "true", '""', "{", "undefined", "", "PONG", "ping",
    '{"type":{}}', '{"type":null,"payload":{}}', '{"payload":{}}', "\0", "\ufeff{}",
    message("PING"), message("JobStates", {"state": {"jobs": {}}}), message(LONG),
    '{"type":"QueryJob","payload":' + "[" * 100_000,
    '{"type":"QueryJob","payload":{"jobId":"\\ud800"}}',
    '{"type":"QueryJob","payload":{"jobId":1e999}}',
]  # fmt: skip


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Grid]:
    async with grid(tmp_path) as found:
        yield found


async def still_answers(here: Grid, other: Peer) -> None:
    async with aiohttp.ClientSession(here.url) as http, http.get("/healthz") as said:
        assert (said.status, await said.text()) == (200, "OK")
    await other.socket.send_str("PING")
    assert await other.next("PONG", "Error") == "PONG"


@pytest.mark.parametrize("path", ["/q/q/client", "/q/q/worker", "/p/worker"])
async def test_upstreams_dialect(here: Grid, path: str) -> None:
    """Each frame is followed by a PING on the same socket, and that is answered."""
    await here.submit(DEFINITION)
    async with client(here.url, "/q/q/client") as other, connected(here.url, path) as peer:
        for frame in FRAMES:
            await peer.socket.send_str(frame)
            await peer.socket.send_bytes(frame.encode())
            await peer.socket.send_str("PING")
            assert await peer.next("PONG", "PONG unknown"), frame
        await still_answers(here, other)
        assert await here.state(JOB) == ("Queued", "", 0)


@pytest.mark.parametrize("coding", ["gridd.v1.json", "gridd.v1.msgpack"])
async def test_the_native_dialect(here: Grid, coding: str) -> None:
    """What is no array of messages ends its own connection, with a code; a message that is wrong
    within one is answered, and the next one is heard."""
    async with client(here.url, "/q/q/client") as other:
        for frame in FRAMES:
            value = value_of(frame)
            async with worker(here.url, coding, path="/q/q/worker") as peer:
                await say(peer, coding, [hello("w", credit=0)])
                await peer.next("welcome")
                await say(peer, coding, [value, {"type": "heartbeat"}])
                await peer.next("heartbeat")
                assert (await peer.next("error"))["code"] != "bad-frame"
                if coding.endswith("json"):
                    await peer.socket.send_str(frame)
                else:
                    await peer.socket.send_bytes(frame.encode())
                if coding.endswith("json") and value == [None]:
                    assert (await peer.next("error"))["code"] == "bad-message"
                else:
                    assert (await peer.next("error"))["code"] == "bad-frame", frame
                    assert (await peer.closed())[0] == 4000, frame
        await still_answers(here, other)
        await other.socket.send_json(queued(DEFINITION))
        assert await other.states(JOB, "Queued") == ["Queued"]


def value_of(frame: str) -> Any:
    """As a value to put into an array; ``None`` for what is no JSON or can't be sent."""
    try:
        value = json.loads(frame)
        msgspec.msgpack.encode(value)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return value


async def say(peer: Peer, coding: str, messages: list[Any]) -> None:
    if "json" in coding:
        await peer.socket.send_json(messages)
    else:
        await peer.socket.send_bytes(msgspec.msgpack.encode(messages))
