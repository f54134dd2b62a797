"""``/llms.txt`` and ``/skill.md``: how they are served, and whose addresses they hold."""

from collections.abc import Callable
from typing import Any

import pytest

from gridd.guide import overview, skill

SKILLS = ["/skill.md", "/docs/skill/compute-queues/SKILL.md"]
KINDS = {"/llms.txt": "text/plain", **dict.fromkeys(SKILLS, "text/markdown")}


@pytest.mark.parametrize("path", KINDS)
async def test_every_page_and_program_may_read_them(server: Any, path: str) -> None:
    answer = await server("GET", path, headers={"Origin": "https://elsewhere.example"})
    assert (answer.status, answer.content_type, answer.charset) == (200, KINDS[path], "UTF-8")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    text = await answer.read()
    head = await server("HEAD", path)
    assert (head.status, head.content_type) == (200, KINDS[path])
    assert int(head.headers["Content-Length"]) == len(text)


@pytest.mark.parametrize("path", KINDS)
async def test_addresses_are_those_that_the_owner_gave(
    start: Callable[..., Any], path: str
) -> None:
    server = await start(public_url="https://grid.example.org/jobs")
    text = await (await server("GET", path)).text()
    assert "export GRIDD_API=https://grid.example.org/jobs GRIDD_QUEUE=public1\n" in text
    assert "{{" not in text
    assert "127.0.0.1" not in text


@pytest.mark.parametrize("path", KINDS)
async def test_else_as_the_reader_called_it(start: Callable[..., Any], path: str) -> None:
    server = await start(open_to_all=False)
    text = await (await server("GET", path)).text()
    assert f"export GRIDD_API=http://127.0.0.1:{server.port} GRIDD_QUEUE=local\n" in text


async def test_a_host_name_is_no_command(server: Any) -> None:
    text = await (await server("GET", "/skill.md", headers={"Host": "a;echo`b`$(c)"})).text()
    assert "export GRIDD_API='http://a;echo`b`$(c)' GRIDD_QUEUE=public1\n" in text


async def test_both_are_the_same_skill(server: Any) -> None:
    first, second = [await (await server("GET", path)).text() for path in SKILLS]
    assert first == second


def test_they_are_short() -> None:
    """What they cost their reader; addresses are filled in later."""
    assert len(overview.template().encode()) <= overview.BYTES_MAX
    assert len(skill.template().encode()) <= skill.BYTES_MAX
