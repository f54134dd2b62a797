"""The built page: its headers, who may embed it, and what hosts read about it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gridd.edge import page
from gridd.edge.metaframe import HASH_PARAMETERS

BROWSER = {"Accept": "text/html"}
JOB = "0" * 64
SOURCE = Path(page.__file__).parent.parent / "web" / "src"


@pytest.fixture
def built(start: Callable[..., Any]) -> Callable[..., Any]:
    """Starts servers that have a built page (``start`` has made their folder)."""
    assets = page.WEB_FOLDER / "dist" / "assets"
    assets.mkdir(parents=True)
    (assets / "a.js").write_text("1")
    (assets.parent / "index.html").write_text('<!doctype html>\n<html lang="en">built</html>')
    return start


@pytest.mark.parametrize("path", ["/", f"/j/{JOB}", "/q/q1"])
async def test_it_runs_no_script_but_its_own(built: Callable[..., Any], path: str) -> None:
    server = await built()
    answer = await server("GET", path, headers=BROWSER)
    policy = answer.headers["Content-Security-Policy"]
    assert "built" in await answer.text()
    assert "script-src 'self';" in policy
    assert "frame-src http: https:;" in policy, "viewers are chosen by the reader"
    assert "object-src 'none'" in policy
    assert (await server("GET", "/assets/a.js")).status == 200


async def test_an_open_grid_may_be_embedded_anywhere(built: Callable[..., Any]) -> None:
    answer = await (await built())("GET", "/", headers=BROWSER)
    assert "frame-ancestors" not in answer.headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in answer.headers
    assert "data-guarded" not in await answer.text()


async def test_a_local_grid_is_embedded_only_where_it_may_be_used(
    built: Callable[..., Any],
) -> None:
    server = await built(open_to_all=False, allow_origin=("https://pages.example",))
    answer = await server("GET", "/", headers=BROWSER)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith("; frame-ancestors 'self' https://pages.example")
    assert '<html lang="en" data-guarded>' in await answer.text()


@pytest.mark.parametrize("path", ["", f"/j/{JOB}", "/q/a%20queue"])
async def test_hosts_read_about_it_below_every_path(server: Any, path: str) -> None:
    answer = await server(
        "GET", f"{path}/metaframe.json?x=1", headers={"Origin": "https://metapage.example"}
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    described = await answer.json()
    assert described["version"] == "2"
    assert "clipboard-write" in described["allow"]
    assert described["hashParams"] == HASH_PARAMETERS


def test_hosts_are_told_the_parameters_that_the_page_reads() -> None:
    source = (SOURCE / "hash.ts").read_text("utf-8")
    listed = re.search(r"SYSTEM_NAMES = new Set\(\[(.*?)\]\)", source, re.DOTALL)
    assert listed is not None
    assert re.findall(r'"(\w+)"', listed[1]) == list(HASH_PARAMETERS)
