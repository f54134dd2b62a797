"""Both sockets of a real ``gridd serve``: what peers see, get wrong, and are told."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gridd_protocol.limits import FRAME_BYTES_MAX
from tests.system.support.sockets import (
    DEFINITION,
    JOB,
    client,
    ended,
    hello,
    queued,
    worker,
)


@pytest.fixture
async def url(tmp_path: Path, serving: Any) -> AsyncIterator[str]:
    async with serving(tmp_path, "--log-level", "warning") as (url, _):
        yield url


def query(job: Any) -> dict[str, Any]:
    return {"type": "QueryJob", "payload": {"jobId": job}}


# --- clients ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/q/q1/client", "/q/q1/browser", "/q1/client", "/q/q1/client/x"])
async def test_a_client_is_shown_workers_and_jobs_first(url: str, path: str) -> None:
    async with client(url, path) as peer:
        first = await peer.next("Workers", "JobStates")
        assert first == {"type": "Workers", "payload": {"workers": []}}
        second = await peer.next("Workers", "JobStates")
        assert second["payload"] == {"state": {"jobs": {}}, "isSubset": False}


async def test_a_job_over_sockets_alone(url: str) -> None:
    async with client(url) as browser, worker(url) as machine:
        await browser.socket.send_json(queued(namespace="n"))
        await machine.socket.send_json([hello(version="9")])
        welcome = await machine.next("welcome")
        assert (welcome["queue"], welcome["kept"]) == ("q1", [])
        push = await machine.next("push")
        lease = {"job": JOB, "attempt": 1}
        assert (push["job"], push["attempt"]) == (JOB, 1)
        assert json.loads(push["definition"]) == DEFINITION
        lines = [["out\n", 5], ["err\n", 6, True]]
        log = {"type": "log", **lease, "step": "Running", "cursor": 0, "lines": lines}
        await machine.socket.send_json([{"type": "started", **lease, "time": 4}, log])
        shown = await browser.next("JobStatusPayload")
        assert shown["payload"] == {"jobId": JOB, "step": "Running", "logs": lines}
        await browser.next("JobStateUpdates")  # a moment after the program began
        finished = {"type": "finished", **lease, "reason": "Success", "result": "{}"}
        await machine.socket.send_json([finished])
        assert await machine.next("acknowledged", "stale") == {"type": "acknowledged", **lease}
        await browser.next("JobStateUpdates")
        views = [
            one["payload"]["state"]["jobs"][JOB]
            for one in browser.seen
            if one["type"] == "JobStateUpdates"
        ]
        seen = [(view["state"], view.get("startedTime", 0)) for view in views]
        assert seen == [("Queued", 0), ("Running", 0), ("Running", 4), ("Finished", 4)]
        announced = [one for one in browser.seen if one["type"] == "Workers"][-1]
        assert announced["payload"]["workers"][0]["version"] == "9"


async def test_ping_and_empty_frames(url: str) -> None:
    async with client(url) as peer:
        for frame in ("", "undefined", "PING"):
            await peer.socket.send_str(frame)
        assert await peer.next("PONG", "Error") == "PONG"


async def test_asking_for_jobs(url: str) -> None:
    async with client(url) as peer:
        await peer.socket.send_json(queued())
        await peer.states(JOB, "Queued")
        await peer.socket.send_json({"type": "QueryJob", "payload": {"jobId": JOB}})
        assert await peer.states(JOB, "Queued") == ["Queued"]
        await peer.socket.send_json({"type": "QueryJob", "payload": {"jobId": "0" * 64}})
        unknown = await peer.next("JobStateUpdates")
        assert unknown["payload"]["state"]["jobs"] == {}
        await peer.socket.send_json({"type": "QueryJobStates"})
        states = await peer.next("JobStates")
        assert list(states["payload"]["state"]["jobs"]) == [JOB]


@pytest.mark.parametrize("reason", ["Cancelled", "Deleted"])
@pytest.mark.parametrize("namespace", ["n", "*"])
async def test_a_client_cancels_and_deletes(url: str, reason: str, namespace: str) -> None:
    async with client(url) as peer:
        await peer.socket.send_json(queued(namespace="n"))
        await peer.states(JOB, "Queued")
        await peer.socket.send_json(ended(reason, namespace=namespace))
        update = await peer.next("JobStateUpdates")
        while JOB in update["payload"]["state"]["jobs"]:  # it was told that a holder let go
            update = await peer.next("JobStateUpdates")
        assert update["payload"]["gone"] == {JOB: reason}
        assert (await peer.next("JobStates"))["payload"]["state"]["jobs"] == {}


WRONG_FRAMES: list[tuple[str, Any, str, str]] = [
    ("not JSON", "{oops", "bad-message", "frame"),
    ("prose", "hello there", "bad-message", "frame"),
    ("a list", [], "bad-message", "frame"),
    ("a number as type", {"type": 5}, "bad-message", "frame"),
    ("binary", b"\x93\x01\x02\x03", "bad-message", "frame"),
    ("deep", '{"type":"QueryJob","payload":' + "[" * 50_000, "bad-message", "frame"),
    ("unknown type", {"type": "Nope", "payload": {}}, "unknown-type", "type"),
    ("no payload", {"type": "StateChange"}, "bad-message", "payload"),
    ("payload a list", {"type": "StateChange", "payload": []}, "bad-message", "payload"),
    ("query without id", {"type": "QueryJob", "payload": {}}, "bad-message", "payload"),
    ("query an object", query({}), "bad-message", "payload.jobId"),
    ("query 3,000 letters", query("a" * 3000), "bad-name", "payload.jobId"),
    ("namespace object", queued(namespace={}), "bad-request", "control.namespace"),
    ("bad definition", queued({"image": 5}), "bad-definition", "definition.image"),
    ("a forged result", ended("Success", result={}), "bad-message", "payload.value.reason"),
    ("a forged loss", ended("WorkerLost"), "bad-message", "payload.value.reason"),
    ("cancel of nothing", ended("Cancelled", job=""), "bad-name", "payload.job"),
    (
        "a forged claim",
        {"type": "StateChange", "payload": {"state": "Running", "job": JOB, "value": {}}},
        "bad-message",
        "payload.state",
    ),
]  # fmt: skip


async def test_what_a_client_gets_wrong_is_named_and_disturbs_nothing(url: str) -> None:
    async with client(url) as peer, client(url) as other:
        for name, frame, code, field in WRONG_FRAMES:
            if isinstance(frame, bytes):
                await peer.socket.send_bytes(frame)
            else:
                await peer.socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))
            error = await peer.next("Error")
            assert (error["payload"]["code"], error["payload"]["field"]) == (code, field), name
            assert error["payload"]["error"], name
        await peer.socket.send_json(queued())
        assert await peer.states(JOB, "Queued") == ["Queued"]
        assert await other.states(JOB, "Queued") == ["Queued"]
        assert not [one for one in other.seen if one["type"] == "Error"]


async def test_a_frame_over_the_limit_is_1009(url: str) -> None:
    """Refused by its announced length; what follows is not waited for."""
    reader, writer = await raw_client(url)
    writer.write(b"\x81\xff" + (FRAME_BYTES_MAX + 1).to_bytes(8, "big") + b"mask")
    async with asyncio.timeout(10):
        rest = await reader.read()
    writer.close()
    assert b"\x88" in rest, "no close frame"
    assert rest[rest.rindex(b"\x88") + 2 :][:2] == (1009).to_bytes(2, "big")


async def test_a_frame_of_the_limit_is_read(url: str) -> None:
    async with client(url) as peer:
        await peer.socket.send_str("x" * FRAME_BYTES_MAX)
        assert (await peer.next("Error"))["payload"]["field"] == "frame"


# --- workers ------------------------------------------------------------------------------


async def test_messagepack_and_json_say_the_same(url: str) -> None:
    for coding in ("gridd.v1.msgpack", "gridd.v1.json"):
        async with worker(url, coding) as peer:
            assert peer.socket.protocol == coding
            data = [hello(coding), {"type": "heartbeat", "time": 3}]
            if coding.endswith("json"):
                await peer.socket.send_json(data)
            else:
                await peer.socket.send_bytes(msgspec.msgpack.encode(data))
            assert (await peer.next("welcome"))["protocol"] == 1
            assert (await peer.next("heartbeat"))["time"] > 0


async def test_a_worker_of_an_unknown_subprotocol_is_told_so(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{url}/q/q1/worker", protocols=("gridd.v9.json",))
    assert refused.value.status == 400


async def test_a_worker_that_does_not_say_hello_first_is_let_go(url: str) -> None:
    async with worker(url) as peer:
        await peer.socket.send_json([{"type": "credit", "jobs": 1}])
        assert (await peer.next("error"))["code"] == "hello-first"
        assert (await peer.closed())[0] == 4000


async def test_another_version_is_let_go(url: str) -> None:
    async with worker(url) as peer:
        await peer.socket.send_json([hello(protocol=2)])
        error = await peer.next("error")
        assert (error["code"], error["limit"]) == ("bad-version", 1)
        assert (await peer.closed())[0] == 4000


async def test_a_frame_that_is_no_array_of_messages_is_the_end(url: str) -> None:
    async with worker(url) as peer:
        await peer.socket.send_str('{"type":"hello"}')
        assert (await peer.next("error"))["code"] == "bad-frame"
        assert (await peer.closed())[0] == 4000


async def test_one_wrong_message_does_not_take_the_others_along(url: str) -> None:
    async with worker(url) as peer:
        frame = [hello(), {"type": "nope"}, {"type": "credit", "jobs": -1}, {"type": "heartbeat"}]
        await peer.socket.send_json(frame)
        await peer.next("welcome")
        await peer.next("heartbeat")
        codes = {(await peer.next("error"))["code"] for _ in range(2)}
        assert codes == {"unknown-type", "bad-message"}


async def test_the_newest_connection_of_a_worker_counts(url: str) -> None:
    async with client(url) as browser, worker(url) as old:
        await browser.socket.send_json(queued())
        await old.socket.send_json([hello()])
        await old.next("push")
        async with worker(url) as new:
            await new.socket.send_json([hello(running=[{"job": JOB, "attempt": 1}])])
            assert (await new.next("welcome"))["kept"] == [{"job": JOB, "attempt": 1, "cursor": 0}]
            assert (await old.closed())[0] == 4001
            done = {"type": "finished", "job": JOB, "attempt": 1, "reason": "Success"}
            await new.socket.send_json([{**done, "result": "{}"}])
            await new.next("acknowledged")


async def test_reports_without_a_lease_are_stale_and_change_nothing(url: str) -> None:
    async with client(url) as browser, worker(url) as holder, worker(url) as liar:
        await browser.socket.send_json(queued())
        await holder.socket.send_json([hello("holder")])
        await holder.next("push")
        lease = {"job": JOB, "attempt": 1}
        done = {"type": "finished", **lease, "reason": "Success", "result": "{}"}
        await liar.socket.send_json([hello("liar"), done])
        assert await liar.next("stale", "acknowledged") == {"type": "stale", **lease}
        await holder.socket.send_json([{**done, "attempt": 2}])
        assert (await holder.next("stale"))["attempt"] == 2
        await browser.socket.send_json({"type": "QueryJob", "payload": {"jobId": JOB}})
        assert (await browser.states(JOB, "Running"))[-1] == "Running"


async def test_a_cancelled_job_is_stopped_on_its_worker(url: str) -> None:
    async with client(url) as browser, worker(url) as machine:
        await browser.socket.send_json(queued())
        await machine.socket.send_json([hello()])
        await machine.next("push")
        await browser.socket.send_json(ended("Cancelled"))
        cancel = await machine.next("cancel")
        assert (cancel["job"], cancel["attempt"], cancel["reason"]) == (JOB, 1, "Cancelled")


async def test_sockets_end_with_1001_when_the_server_stops(tmp_path: Path, serving: Any) -> None:
    serve = serving(tmp_path)
    async with serve as (url, process), client(url) as browser, worker(url) as machine:
        await machine.socket.send_json([hello()])
        await machine.next("welcome")
        await browser.next("JobStates")
        process.terminate()
        assert (await browser.closed())[0] == 1001
        assert (await machine.closed())[0] == 1001
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def raw_client(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client socket in bytes; it reads nothing after the handshake unless it is asked to."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
    writer.write(
        f"GET /q/q1/client HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_client_that_does_not_read_misses_lines_and_others_go_on(url: str) -> None:
    """60 MB of log: the kernel takes some, the outbox its bound; the rest is left out, and a mark
    says so to the deaf one when it reads again."""
    async with client(url) as quick, worker(url) as machine:
        reader, writer = await raw_client(url)
        await quick.socket.send_json(queued())
        await machine.socket.send_json([hello()])
        await machine.next("push")
        lines = [["x" * 9_999 + "\n", 1]] * 100
        log = {"type": "log", "job": JOB, "attempt": 1, "step": "Running"}
        for number in range(60):
            await machine.socket.send_json([{**log, "cursor": number * 100, "lines": lines}])
            await quick.next("JobStatusPayload")
        shown = [one for one in quick.seen if one["type"] == "JobStatusPayload"]
        assert sum(len(one["payload"]["logs"]) for one in shown) == 6_000
        taken, tail = 0, b""
        async with asyncio.timeout(20):
            while b"left out here" not in tail:
                chunk = await reader.read(1 << 20)
                assert chunk, "it was let go"
                taken, tail = taken + len(chunk), tail[-100:] + chunk
        writer.close()
        assert taken < 20 << 20, "all of it was kept for a peer that did not read"
        await machine.socket.send_json([{"type": "heartbeat"}])
        await machine.next("heartbeat")
