"""``gridd-worker doctor`` on a real machine: each trouble is found, with what to do."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve

from gridd_worker.config import load
from gridd_worker.doctor import clock, gpus
from tests.system.support.processes import Server, Worker, killed_at_end

DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
NOON_S = 1795262400.5


async def doctor(
    *words: str, environment: dict[str, str] | None = None
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Its exit code, and what it found by the name of the check."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gridd_worker.cli", "doctor", "--json", *words),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, {found["check"]: found for found in json.loads(out)}


def states(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: finding["state"] for name, finding in found.items()}


@pytest.mark.docker
async def test_a_machine_where_all_is_well(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.start()
    worker = Worker(tmp_path, server.url, "well", queue="busy", runtime="null")
    async with killed_at_end(server, worker):
        await worker.start()
        words = ("--api-address", server.url, "--data-directory", str(worker.data), "--id", "well")
        code, found = await doctor("q", "busy", *words, "--image", "gridd-test:busybox")
        told = states(found)
        assert told.pop("runtime") in ("ok", "warn")  # only root can close link-local addresses
        assert told.pop("queue busy") == "warn", "our own worker is connected there"
        assert set(told) == {
            "disk",
            "machine",
            "gpu",
            "limits",
            "job disk",
            "image",
            "server",
            "clock",
            "queue q",
        }
        assert set(told.values()) == {"ok"}, found
        assert code == 0


async def test_each_trouble_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "PATH": "/usr/bin:/bin"}
    code, found = await doctor(
        *("q", "--api-address", "http://127.0.0.1:9", "--gpus", "device=77"),
        *("--data-directory", str(tmp_path / "file" / "data")),
        environment=environment,
    )
    assert code == 1
    told = states(found)
    assert told.pop("machine") == "ok"
    assert told == dict.fromkeys(("disk", "gpu", "runtime", "server"), "fail"), found
    assert all(finding["todo"] for finding in found.values() if finding["state"] == "fail")


@pytest.fixture
async def not_a_grid() -> AsyncIterator[str]:
    """A web server that knows no queues, and whose clock is wrong."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="hello", headers={"Date": DATE})

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    await runner.cleanup()


async def test_a_server_that_is_no_grid(not_a_grid: str, tmp_path: Path) -> None:
    words = ("--api-address", not_a_grid, "--data-directory", str(tmp_path / "data"))
    code, found = await doctor("q", "--runtime", "null", *words)
    assert code == 1
    assert found["server"]["state"] == "ok"
    assert found["queue q"] == {
        "check": "queue q",
        "state": "fail",
        "found": "the server refuses a worker (200)",
        "todo": "look at the queue's name, and whether the address is that of a grid",
    }


async def test_a_server_that_speaks_upstreams_protocol(tmp_path: Path) -> None:
    async def listen(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with serve(listen, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = ("--api-address", address, "--data-directory", str(tmp_path / "data"))
        code, found = await doctor("q", "--runtime", "null", *words)
    assert (code, found["server"]["state"]) == (0, "ok")
    assert found["queue q"]["found"] == "can be served: a server that speaks upstream's protocol"


@pytest.mark.parametrize(
    ("off_s", "state", "words"),
    [
        (0, "ok", "agrees"),
        (-4, "ok", "agrees"),
        (60, "warn", "60 s ahead of the server's"),
        (-60, "warn", "60 s behind the server's"),
        (4_000, "fail", "4000 s ahead of"),
    ],
)
def test_the_clock(off_s: float, state: str, words: str) -> None:
    found = clock(DATE, NOON_S + off_s)
    assert (found.state, bool(found.todo)) == (state, state != "ok")
    assert words in found.found


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_server_without_a_clock(date: str | None) -> None:
    assert clock(date, NOON_S).state == "warn"


@pytest.mark.parametrize(
    ("given", "there", "state", "words"),
    [
        (None, [], "ok", "none here"),
        (None, ["nvidia0", "nvidiactl"], "warn", "1 gpus are here and none is given"),
        ("2", ["nvidia0"], "fail", "no device 1 "),
        ("device=0,GPU-1a", ["nvidia0"], "ok", "devices 0, GPU-1a"),
    ],
)
def test_gpus(tmp_path: Path, given: str | None, there: list[str], state: str, words: str) -> None:
    for name in there:
        (tmp_path / name).touch()
    config = load(["q"], {"gpus": given, "runtime": "process"}, {})
    [found] = gpus(config, tmp_path)
    assert (found.state, words in found.found) == (state, True), found
