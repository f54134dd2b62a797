"""The tools' view of a grid over HTTP, where the server is not ours: upstream's knows neither
``/result`` nor ``/explain``, and answers some addresses that it does not know with its page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gridd.client.errors import GridError
from gridd.client.target import Target
from gridd.client.transport import Transport
from gridd.mcp.face import ToolError
from gridd.mcp.http_face import HttpFace

LISTED, ENDED, UNKNOWN = "a" * 64, "b" * 64, "c" * 64
VIEW = {"state": "Running", "worker": "w"}
RESULT = {"state": "Finished", "finishedReason": "Success"}


def upstream(*, unknown_is_a_page: bool) -> web.Application:
    async def jobs(_: web.Request) -> web.Response:
        return web.json_response({"data": {LISTED: VIEW}})

    async def result(request: web.Request) -> web.Response:
        known = request.match_info["job"] == ENDED
        return web.json_response({"data": RESULT if known else None})

    async def cancel(request: web.Request) -> web.Response:
        if request.match_info["job"] == UNKNOWN:
            return web.json_response({"message": "Job not found"})
        if request.match_info["job"] == ENDED:
            return web.json_response({"message": "Job already Finished"})
        return web.json_response({"success": True})

    async def other(_: web.Request) -> web.Response:
        if unknown_is_a_page:
            return web.Response(text="<html>", content_type="text/html")
        return web.Response(status=404, text="404 Not Found")

    app = web.Application()
    app.router.add_get("/q/q/j", jobs)
    app.router.add_get("/q/q/j/{job}/result.json", result)
    app.router.add_post("/q/q/j/{job}/cancel", cancel)
    app.router.add_get("/{tail:.*}", other)
    return app


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[HttpFace]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Transport(api, tries=1) as transport:
            yield HttpFace(Target(api, "q"), transport)
    finally:
        await runner.cleanup()


@pytest.fixture(params=[True, False], ids=["page", "404"])
async def face(request: Any) -> AsyncIterator[HttpFace]:
    async with served(upstream(unknown_is_a_page=request.param)) as face:
        yield face


@pytest.mark.parametrize(("job", "view"), [(LISTED, VIEW), (ENDED, RESULT), (UNKNOWN, None)])
async def test_a_job_is_found_in_the_list_or_by_its_result(
    face: HttpFace, job: str, view: Any
) -> None:
    assert await face.job("q", job) == view


async def test_its_server_explains_nothing(face: HttpFace) -> None:
    with pytest.raises(ToolError, match="can't explain"):
        await face.explain("q", LISTED)
    assert await face.explain("q", UNKNOWN) is None


@pytest.mark.parametrize(
    ("job", "was"), [(LISTED, "cancelled"), (ENDED, "ended"), (UNKNOWN, "unknown")]
)
async def test_what_cancelling_did(face: HttpFace, job: str, was: str) -> None:
    assert await face.cancel("q", job, "*") == was


async def test_what_the_server_refuses_is_passed_on() -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.json_response({"error": "the job expired", "code": "gone"}, status=410)

    app = web.Application()
    app.router.add_get("/{tail:.*}", broken)
    async with served(app) as face:
        with pytest.raises(GridError, match="the job expired"):
            await face.job("q", LISTED)
