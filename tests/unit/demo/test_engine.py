"""Which runtime the demo chooses, with an engine that is played by a small server."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from gridd.demo import engine

Answers = Callable[[dict[str, int]], None]


@pytest.fixture
async def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Answers]:
    """An engine that answers each path with the given status, 404 where none is given."""
    statuses: dict[str, int] = {}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=statuses.get(request.path, 404))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    socket = tmp_path / "docker.sock"
    await web.UnixSite(runner, str(socket)).start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    monkeypatch.setenv("GRIDD_DEMO_IMAGE", "some-python:1")
    yield statuses.update
    await runner.cleanup()


async def test_a_container_when_the_image_is_there(answers: Answers) -> None:
    answers({"/_ping": 200, "/images/some-python:1/json": 200})
    assert await engine.choose() == engine.Choice(
        "docker", "some-python:1", "Jobs run in Docker containers (image some-python:1)."
    )


async def test_a_container_when_the_registry_has_the_image(answers: Answers) -> None:
    answers({"/_ping": 200, "/distribution/some-python:1/json": 200})
    assert (await engine.choose()).runtime == "docker"


async def test_a_process_when_the_image_can_not_be_had(answers: Answers) -> None:
    answers({"/_ping": 200, "/distribution/some-python:1/json": 500})
    choice = await engine.choose()
    assert choice.runtime == "process"
    assert "the image some-python:1 is not, and its registry" in choice.sentence


async def test_a_process_when_the_engine_is_broken(answers: Answers) -> None:
    answers({"/_ping": 500, "/images/some-python:1/json": 200})
    assert (await engine.choose()).runtime == "process"


async def test_a_process_when_nothing_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    choice = await engine.choose()
    assert choice.runtime == "process"
    assert f"no Docker engine answers at {tmp_path}/nothing.sock" in choice.sentence


async def test_an_engine_on_another_machine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://example.test:2375")
    choice = await engine.choose()
    assert choice.runtime == "process"
    assert "tcp://example.test:2375" in choice.sentence
