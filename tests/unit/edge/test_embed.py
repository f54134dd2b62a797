"""``/embed/``: the page that shows how to embed a job, and what it says when nothing is built."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gridd.edge import page
from gridd.edge.embed import SCRIPTS
from gridd.edge.metaframe import ALLOW

SOURCE = Path(page.__file__).parent.parent / "web" / "src"


@pytest.fixture
def built(start: Callable[..., Any]) -> Callable[..., Any]:
    """Starts servers that have the scripts (``start`` has made their folder)."""
    folder = page.WEB_FOLDER / "dist" / "embed"
    folder.mkdir(parents=True)
    for name in SCRIPTS:
        (folder / name).write_text("1")
    return start


async def test_it_runs_its_own_scripts_and_holds_frames_of_this_grid(
    built: Callable[..., Any],
) -> None:
    server = await built(public_url="https://grid.example")
    answer = await server("GET", "/embed/")
    text = await answer.text()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert '&lt;script src="https://grid.example/embed/gridd.js"&gt;' in text
    assert "{{" not in text
    assert '<html lang="en">' in text
    assert (await server("GET", "/embed")).headers["Location"] == "/embed/"


async def test_any_page_may_load_the_script_and_asks_again_for_a_newer_one(
    built: Callable[..., Any],
) -> None:
    server = await built()
    answer = await server("GET", "/embed/gridd.js")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": answer.headers["ETag"]}
    assert (await server("GET", "/embed/gridd.js", headers=known)).status == 304


async def test_a_local_grid_says_who_may_embed_its_jobs(built: Callable[..., Any]) -> None:
    server = await built(open_to_all=False)
    assert '<html lang="en" data-guarded>' in await (await server("GET", "/embed/")).text()


async def test_without_scripts_it_says_how_to_build_them(server: Any) -> None:
    assert '<html lang="en" data-unbuilt>' in await (await server("GET", "/embed/")).text()
    missing = await server("GET", "/embed/gridd.js")
    assert missing.status == 404
    assert "make page" in (await missing.json())["error"]


def test_what_is_written_down_of_frames_says_what_hosts_are_told() -> None:
    assert f'"{ALLOW}"' in (SOURCE / "forhosts.ts").read_text("utf-8")
    assert "frame.allow = ALLOW" in (SOURCE / "embed" / "gridd.ts").read_text("utf-8")
