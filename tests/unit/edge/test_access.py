"""Who may speak to a grid, and what a browser is told about it (WIRE 1.1, DESIGN 5.16)."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from yarl import URL

SITE = "https://metapage.example"
PATHS = [("GET", "/q/q1"), ("GET", "/f/none"), ("POST", "/q/q1"), ("GET", "/nowhere"), ("PUT", "/")]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_a_public_grid_answers_every_origin(server: Any, method: str, path: str) -> None:
    for headers in ({}, {"Origin": SITE}, {"Origin": "null"}, {"Host": "evil.example"}):
        answer = await server(method, path, headers=headers)
        assert answer.status != 403
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/q/q1", "/f/x", "/nowhere/at/all", "/"])
async def test_preflight(server: Any, path: str) -> None:
    plain = await server("OPTIONS", path)
    assert (plain.status, await plain.read()) == (204, b"")
    assert plain.headers["Access-Control-Allow-Origin"] == "*"
    assert plain.headers["Access-Control-Allow-Methods"] == "GET,HEAD,PUT,POST,DELETE,PATCH"
    assert "Access-Control-Allow-Headers" not in plain.headers
    asked = {"Origin": SITE, "Access-Control-Request-Headers": "content-type, x-mine"}
    full = await server("OPTIONS", path, headers=asked)
    assert full.headers["Access-Control-Allow-Headers"] == "content-type,x-mine"
    assert full.headers["Vary"] == "Access-Control-Request-Headers"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/q/q1", "GET,HEAD,POST"),
        ("POST", "/f/x", "GET,HEAD,PUT"),
        ("PUT", "/healthz", "GET,HEAD"),
        ("GET", f"/j/{'0' * 64}/copy", "POST"),
    ],
)
async def test_wrong_methods_say_which_are_right(
    server: Any, method: str, path: str, allowed: str
) -> None:
    answer = await server(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert (await answer.json())["code"] == "method-not-allowed"


@pytest.fixture
async def closed(start: Callable[..., Any]) -> Any:
    return await start(
        open_to_all=False, allow_origin=(SITE,), public_url="https://grid.example:8443"
    )


# {port} is the port that the server listens on
GOOD_HOSTS = [
    "localhost:{port}",
    "LOCALHOST:{port}",
    "127.0.0.1:{port}",
    "127.9.9.9:{port}",
    "[::1]:{port}",
    "metapage.example:443",
    "grid.example:8443",
]
BAD_HOSTS = [
    "evil.example:{port}",
    "evil.example",
    "localhost",
    "127.0.0.1",
    "localhost:1",
    "localhost.evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "evil.example#localhost:{port}",
    "evil@localhost:{port}",
    "localhost:{port}:{port}",
    "10.0.0.1:{port}",
    "0.0.0.0:{port}",
    "[::]:{port}",
    "metapage.example:{port}",
    "grid.example",
    "",
]


@pytest.mark.parametrize("host", GOOD_HOSTS)
async def test_names_of_a_local_grid(closed: Any, host: str) -> None:
    answer = await closed("GET", "/q/q1", headers={"Host": host.format(port=closed.port)})
    assert answer.status == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_a_name_that_was_pointed_at_this_machine(closed: Any, host: str) -> None:
    """DNS rebinding: the connection is local, the name in the request is not."""
    for method, path in PATHS:
        answer = await closed(method, path, headers={"Host": host.format(port=closed.port)})
        assert answer.status == 403
        body = await answer.json()
        assert (body["code"], body["field"]) == ("foreign-origin", "host")
    assert closed.grid.queues == {}


async def test_two_hosts_or_none(closed: Any) -> None:
    for head in (
        b"GET /q/q1 HTTP/1.0\r\n\r\n",
        b"GET /q/q1 HTTP/1.1\r\nHost: localhost:%d\r\nHost: evil.example\r\n"
        b"Connection: close\r\n\r\n" % closed.port,
    ):
        answer = await closed.raw(head)
        assert answer.split(b" ", 2)[1] in (b"403", b"400"), answer


GOOD_ORIGINS = [SITE, "http://localhost:{port}", "http://127.0.0.1:{port}", "http://[::1]:{port}"]
BAD_ORIGINS = [
    "null",
    "https://evil.example",
    "http://metapage.example",
    "https://metapage.example:444",
    "https://metapage.example.evil.example",
    "https://sub.metapage.example",
    "http://localhost",
    "http://localhost:1",
    "https://localhost:{port}",
    "http://localhost.evil.example:{port}",
    "http://evil.example:{port}",
    "file://",
    "http://localhost:{port}, https://evil.example",
    "garbage",
    "http://[::1",
    "",
]


@pytest.mark.parametrize("origin", GOOD_ORIGINS)
async def test_pages_that_may(closed: Any, origin: str) -> None:
    origin = origin.format(port=closed.port)
    for method, path in [*PATHS, ("OPTIONS", "/q/q1")]:
        answer = await closed(method, path, headers={"Origin": origin})
        assert answer.status != 403
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", BAD_ORIGINS)
async def test_pages_from_elsewhere(closed: Any, origin: str) -> None:
    origin = origin.format(port=closed.port)
    for method, path in [*PATHS, ("OPTIONS", "/q/q1")]:
        answer = await closed(method, path, headers={"Origin": origin})
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert closed.grid.queues == {}


async def test_programs_send_no_origin(closed: Any) -> None:
    answer = await closed("GET", "/q/q1")
    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_an_allowed_public_page_may_reach_this_machine(closed: Any) -> None:
    asked = {"Origin": SITE, "Access-Control-Request-Private-Network": "true"}
    answer = await closed("OPTIONS", "/q/q1", headers=asked)
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


SOCKETS = [
    ("/q/a%20b/client", "client of a b"),
    ("/q/a%20b/browser", "client of a b"),
    ("/q/x/client/any/thing", "client of x"),
    ("/q/x/worker", "worker of x"),
    ("/q/x/worker/deep", "worker of x"),
    ("/x/client", "client of x"),
    ("/x/browser/tail", "client of x"),
    ("/x/worker", "worker of x"),
]


@pytest.mark.parametrize(("path", "greeting"), SOCKETS)
async def test_sockets(server: Any, path: str, greeting: str) -> None:
    url = URL(f"http://127.0.0.1:{server.port}{path}", encoded=True)
    async with server.session.ws_connect(url, origin=SITE) as socket:
        assert await socket.receive_str() == greeting


@pytest.mark.parametrize("path", ["/q/x/worker", "/x/client"])
async def test_sockets_of_a_local_grid(closed: Any, path: str) -> None:
    url = f"http://127.0.0.1:{closed.port}{path}"
    for foreign in ({"Origin": "https://evil.example"}, {"Host": f"evil.example:{closed.port}"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await closed.session.ws_connect(url, headers=foreign)
        assert refused.value.status == 403
    async with closed.session.ws_connect(url, origin=SITE) as socket:
        assert (await socket.receive_str()).endswith(" of x")
    async with closed.session.ws_connect(url) as socket:
        assert (await socket.receive_str()).endswith(" of x")


async def test_preflight_of_a_local_grid(closed: Any) -> None:
    """WIRE 1.1, local mode: its own names for what is allowed, and for how long."""
    plain = await closed("OPTIONS", "/q/q1", headers={"Origin": SITE})
    assert (plain.status, await plain.read()) == (204, b"")
    wanted = {
        "Access-Control-Allow-Origin": SITE,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Headers": "*",
        "Access-Control-Max-Age": "86400",
    }
    assert {name: plain.headers.get(name) for name in wanted} == wanted
    asked = {"Origin": SITE, "Access-Control-Request-Headers": "content-type, x-mine"}
    full = await closed("OPTIONS", "/q/q1", headers=asked)
    assert full.headers["Access-Control-Allow-Headers"] == "content-type,x-mine"
    without = await closed("OPTIONS", "/q/q1")
    assert "Access-Control-Allow-Origin" not in without.headers
    assert "Access-Control-Allow-Credentials" not in without.headers
    foreign = await closed("GET", "/q/q1", headers={"Origin": "https://evil.example"})
    assert foreign.status == 403
    assert "Access-Control-Allow-Credentials" not in foreign.headers
