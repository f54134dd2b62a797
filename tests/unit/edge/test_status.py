"""Health, status (WIRE 8), and what happens when something breaks inside."""

import logging
from typing import Any

import pytest

from gridd.core.effects import WorkerView
from gridd.journal.base import WriteFailed
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.messages import Resources

UNKNOWN = "0" * 64


async def test_health(server: Any) -> None:
    for path in ("/healthz", "/health"):
        answer = await server("GET", path)
        assert (answer.status, await answer.text()) == (200, "OK")
    server.grid.trouble = "the disk is full"
    answer = await server("GET", "/healthz")
    assert (answer.status, await answer.text()) == (503, "unhealthy: the disk is full")


@pytest.mark.parametrize("path", ["/q/q1/status", "/q1/status"])
async def test_status(server: Any, path: str) -> None:
    secret = {"n": 1, "env": {"TOKEN": "x"}}
    running = server.grid.put(secret, state="Running", worker="worker-one", started_time=5)
    pulling = server.grid.put({"n": 3}, state="Running", worker="worker-one")
    done = server.grid.put({"n": 2}, result={})
    server.grid.clients = 3
    server.grid.staff = (
        WorkerView(
            "worker-one", "0.1", Resources(cpus=2, gpus=1), 7, True, False, (running, pulling)
        ),
    )
    answer = await server("GET", path)
    body = await answer.json()
    assert body["jobs"] == {
        running: {"state": "Running"},
        pulling: {"state": "Running"},
        done: {"state": "Finished", "finishedReason": "Success"},
    }
    assert body["otherServers"] == {}
    assert body["clientCount"] == 3
    worker = body["localWorkers"]["worker-one"]
    assert (worker["id"], worker["cpus"], worker["gpus"], worker["time"]) == ("worker-one", 2, 1, 7)
    assert worker["queue"] == {
        running: {"jobId": running, "finished": True},
        pulling: {"jobId": pulling, "finished": False},
    }
    info = body["queueInfo"]
    assert (info["address"], info["jobCount"], info["localWorkerCount"]) == ("q1", 3, 1)
    assert info["jobStates"][0] == {"id": running[:6], "state": "Running", "worker": "worker"}
    assert info["jobStates"][2]["worker"] == "none"
    assert "TOKEN" not in await answer.text()


async def test_our_own_mistakes_are_kept_from_peers(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.grid.breaks_with = RuntimeError("secret detail")
    answer = await server("GET", f"/j/{UNKNOWN}.json")
    assert (answer.status, await answer.json()) == (
        500,
        {"error": "internal error", "code": "internal"},
    )
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "secret detail" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (WriteFailed("/data/journal: no space"), 503, "unavailable"),
        (ProtocolError(ErrorCode.UNAVAILABLE, "stopping"), 503, "unavailable"),
        (ProtocolError(ErrorCode.QUEUE_FULL, "full", limit=5), 429, "queue-full"),
        (TimeoutError(), 500, "internal"),
    ],
)
async def test_failures_have_codes(server: Any, error: Exception, status: int, code: str) -> None:
    server.grid.breaks_with = error
    answer = await server("GET", f"/j/{UNKNOWN}/result.json")
    body = await answer.json()
    assert (answer.status, body["code"]) == (status, code)
    assert "/data" not in body["error"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_quiet_server_logs_no_requests(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await server("GET", "/q/q1")
        await server("GET", "/nowhere")
    assert [one.getMessage() for one in caplog.records] == []
    with caplog.at_level(logging.DEBUG, logger="gridd.edge"):
        await server("GET", "/q/q1")
    assert "GET /q/q1 200" in [one.getMessage() for one in caplog.records]
