"""Frames and requests of which one ends upstream's server, or leaves its peer without an answer
(FINDINGS 1; transcript 19): ours lives, serves the next one, and reports no fault of its own."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gridd_protocol import job_id
from tests.upstream.grid import grid
from tests.upstream.player import transcript

ROWS = transcript("19-ending-frames")["timeline"]
DEFINITION = {"image": "x"}
JOB = job_id(DEFINITION)
REGISTRATION = {"time": 1, "version": "0.54.85", "id": "w", "cpus": 1, "gpus": 0}


def filled(text: str) -> str:
    """``<3000 characters>`` written out, and the id of the job that the rows mean."""
    text = re.sub(r"<(\d+) characters>", lambda match: "c" * int(match[1]), text)
    return re.sub(r"a{64}", JOB, text)


async def said_by(url: str, session: aiohttp.ClientSession, peer: str, frame: Any) -> None:
    """Opens a socket, says it, and hears an answer to what it says next."""
    async with session.ws_connect(f"{url}/q/q/{peer}") as socket:
        if peer == "worker":
            await socket.send_json({"type": "WorkerRegistration", "payload": REGISTRATION})
        await socket.send_str(filled(json.dumps(frame)))
        await socket.send_str("PING")
        heard = []
        while not (heard and heard[-1].startswith("PONG")):
            message = await socket.receive(timeout=10)
            assert message.type is aiohttp.WSMsgType.TEXT, (message, heard)
            heard.append(message.data)


async def asked(url: str, session: aiohttp.ClientSession, request: str, body: Any) -> int:
    method, path = request.removeprefix("HTTP ").partition(",")[0].split(" ", 1)
    address = URL(url + filled(path).replace(":queue", "q"), encoded=True)
    data = filled(json.dumps(body)) if body is not None else None
    async with session.request(method, address, data=data) as response:
        answer = await response.json()
        assert response.status == 200 or {"error", "code"} <= set(answer), answer
        return response.status


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{n} {row[0]}"[:60]) for n, row in enumerate(ROWS)]
)
async def test_it_lives(row: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent_on, sent, _ = row
    caplog.set_level(logging.ERROR)
    async with grid(tmp_path) as found, aiohttp.ClientSession() as session:
        if "already queued" in sent_on:
            assert await found.submit(DEFINITION) == JOB
        if sent_on.startswith("HTTP"):
            status = await asked(found.url, session, sent_on, sent)
            assert status == (200 if "tags" in sent_on else 400)  # 80,000 characters are no limit
        else:
            await said_by(found.url, session, sent_on.partition(",")[0], sent)
        async with session.get(f"{found.url}/healthz") as response:
            assert (response.status, await response.text()) == (200, "OK")
        other = await found.submit({"image": "y"})
        assert (await found.state(other))[0] in ("Queued", "Running")
    assert not caplog.records, caplog.text
