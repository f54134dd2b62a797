"""Whom a worker's downloads reach: by number, by name, behind redirects. The sources of strangers
are tried from loopback, which is a private address."""

import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from gridd_protocol.addresses import is_metadata
from gridd_worker.fetch import FetchError, fetch
from gridd_worker.http_client import ForbiddenAddress, Http

DATA = b"held"
NEVER = "leads to an address that jobs may not reach"
PRIVATE = "leads to a private address, which jobs may not reach"


@dataclass
class Server:
    port: int = 0
    gets: list[str] = field(default_factory=list)
    leads: dict[str, str] = field(default_factory=dict)  # path -> where it redirects

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def get(self, request: web.Request) -> web.Response:
        self.gets.append(request.raw_path)
        if location := self.leads.get(request.raw_path):
            return web.Response(status=302, headers={"Location": location})
        return web.Response(body=DATA)


@pytest.fixture(name="serve")
async def servers() -> AsyncIterator[Callable[[], Any]]:
    runners: list[web.AppRunner] = []

    async def serve() -> Server:
        server = Server()
        app = web.Application()
        app.router.add_get("/{path:.*}", server.get)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        server.port = runners[-1].addresses[0][1]
        return server

    yield serve
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def grid(serve: Callable[[], Any]) -> Server:
    server: Server = await serve()
    return server


@pytest.fixture
async def inside(serve: Callable[[], Any]) -> Server:
    """What the owner has in his network, and a stranger wants to read."""
    server: Server = await serve()
    return server


@pytest.fixture
async def http(grid: Server) -> AsyncIterator[Http]:
    """As the worker has it unless its owner says otherwise."""
    http = Http(grid.address)
    yield http
    await http.close()


@pytest.fixture
async def open_http(grid: Server) -> AsyncIterator[Http]:
    http = Http(grid.address, private=True)
    yield http
    await http.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridd_worker.fetch._BACKOFF_S", 0.001)


def names(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[str]]) -> None:
    """Names lead where ``answers`` says: one address each time, the last from then on."""

    async def resolve(_: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        there = answers[host]
        address = there.pop(0) if len(there) > 1 else there[0]
        return [
            {"hostname": host, "host": address, "port": port, "family": socket.AF_INET,
             "proto": 0, "flags": 0}
        ]  # fmt: skip

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)


async def refused(http: Http, url: str, tmp_path: Path) -> str:
    with pytest.raises(FetchError) as caught:
        await fetch(http, url, tmp_path / "got", 1_000)
    assert not (tmp_path / "got").exists()
    return str(caught.value)


async def got(http: Http, url: str, tmp_path: Path) -> bool:
    await fetch(http, url, tmp_path / "got", 1_000)
    return (tmp_path / "got").read_bytes() == DATA


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.0.1", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
        *("fe80::1", "fe80::1%eth0", "fd00:ec2::254", "::ffff:169.254.169.254"),
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_metadata_addresses(address: str) -> None:
    assert is_metadata(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "1.1.1.1", "::1", "fd00::1", "name"])
def test_other_addresses(address: str) -> None:
    assert not is_metadata(address)


@pytest.mark.parametrize("scheme", ["file", "ftp", "unix", "gopher", "data"])
async def test_other_schemes_are_refused_also_behind_a_redirect(
    open_http: Http, inside: Server, tmp_path: Path, scheme: str
) -> None:
    address = f"{scheme}:///etc/passwd"
    said = "is not an http or https address"
    assert said in await refused(open_http, address, tmp_path)
    inside.leads["/x"] = address
    assert said in await refused(open_http, f"{inside.address}/x", tmp_path)


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"],
)
async def test_metadata_addresses_are_closed_whatever_the_owner_says(
    open_http: Http, inside: Server, tmp_path: Path, host: str
) -> None:
    address = f"http://{host}/latest"
    assert NEVER in await refused(open_http, address, tmp_path)
    inside.leads["/x"] = address
    assert NEVER in await refused(open_http, f"{inside.address}/x", tmp_path)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0.0.0.0", "[::1]", "[::]",
             "10.0.0.1", "192.168.1.1", "172.16.0.1", "[::ffff:127.0.0.1]", "[fd00::1]"],
)  # fmt: skip
async def test_private_addresses_are_refused_by_number(
    http: Http, inside: Server, tmp_path: Path, host: str
) -> None:
    assert PRIVATE in await refused(http, f"http://{host}:{inside.port}/secret", tmp_path)
    assert inside.gets == []


async def test_private_addresses_are_refused_by_name(
    http: Http, inside: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PRIVATE in await refused(http, f"http://localhost:{inside.port}/", tmp_path)
    names(monkeypatch, {"in.test": ["127.0.0.1"], "meta.test": ["169.254.169.254"]})
    assert PRIVATE in await refused(http, f"http://in.test:{inside.port}/", tmp_path)
    assert NEVER in await refused(http, "http://meta.test/", tmp_path)
    assert inside.gets == []


async def test_a_name_that_changes_is_checked_at_each_connection(
    http: Http, inside: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: public when it is looked at first, private when it is connected to."""
    names(monkeypatch, {"re.test": ["198.51.101.1", "127.0.0.1"]})
    assert await http.resolve("re.test", inside.port) == ["198.51.101.1"]
    assert PRIVATE in await refused(http, f"http://re.test:{inside.port}/", tmp_path)
    assert inside.gets == []


async def test_the_socket_itself_is_checked(
    http: Http, inside: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where what looks at the URL is fooled: an address in it is never looked up."""
    monkeypatch.setattr("gridd_worker.http_client.literal", lambda host: None)
    assert PRIVATE in await refused(http, f"{inside.address}/", tmp_path)
    assert inside.gets == []


async def test_the_grids_own_files_are_reached_wherever_they_are(
    http: Http, grid: Server, inside: Server, tmp_path: Path
) -> None:
    for path in ("/f/" + "a" * 64, "/j/x/outputs/a/b", "/q/y/j/x/inputs/a", "/api/v1/download/key"):
        assert await got(http, f"{grid.address}{path}", tmp_path)
    # Another port of that machine is not the grid, nor is its other name.
    assert PRIVATE in await refused(http, f"{inside.address}/f/x", tmp_path / "no")
    assert PRIVATE in await refused(http, f"http://localhost:{grid.port}/f/x", tmp_path / "no")


@pytest.mark.parametrize(
    "path", ["/metrics", "/", "/f", "/f/../metrics", "/f/%2e%2e/metrics", "/f/..%2Fmetrics",
             "/f/..%5Cmetrics", "//f/x", "/q/local/workers"],
)  # fmt: skip
async def test_what_a_grid_tells_its_own_machine_only_is_no_file(
    http: Http, grid: Server, tmp_path: Path, path: str
) -> None:
    assert PRIVATE in await refused(http, f"{grid.address}{path}", tmp_path)
    assert grid.gets == []


async def test_a_redirect_to_a_private_address_is_refused(
    http: Http, grid: Server, inside: Server, tmp_path: Path
) -> None:
    """Below /j a server redirects to what a definition says."""
    grid.leads["/j/1/inputs/a"] = f"{inside.address}/secret"
    assert PRIVATE in await refused(http, f"{grid.address}/j/1/inputs/a", tmp_path)
    grid.leads["/j/1/inputs/a"] = f"{grid.address}/metrics"
    assert PRIVATE in await refused(http, f"{grid.address}/j/1/inputs/a", tmp_path)
    assert inside.gets == []
    assert grid.gets == ["/j/1/inputs/a"] * 2


async def test_the_grid_may_send_us_to_its_bucket_and_the_bucket_no_further(
    http: Http, grid: Server, inside: Server, tmp_path: Path
) -> None:
    grid.leads["/f/blob"] = f"{inside.address}/bucket/blob"
    assert await got(http, f"{grid.address}/f/blob", tmp_path)
    (tmp_path / "got").unlink()
    inside.leads["/bucket/blob"] = f"{inside.address}/secret"
    assert PRIVATE in await refused(http, f"{grid.address}/f/blob", tmp_path)
    assert "/secret" not in inside.gets
    grid.leads["/f/blob"] = "http://169.254.169.254/latest"
    assert NEVER in await refused(http, f"{grid.address}/f/blob", tmp_path)


async def test_the_owner_may_allow_private_addresses(
    open_http: Http, inside: Server, tmp_path: Path
) -> None:
    assert await got(open_http, f"http://localhost:{inside.port}/x", tmp_path)
    assert await open_http.resolve("127.0.0.1", 80) == ["127.0.0.1"]


async def test_what_git_may_be_pointed_at(http: Http, open_http: Http) -> None:
    for host in ("127.0.0.1", "localhost", "127.1", "::1"):
        with pytest.raises(ForbiddenAddress, match="private"):
            await http.resolve(host, 80)
    for either in (http, open_http):
        with pytest.raises(ForbiddenAddress, match="may not reach"):
            await either.resolve("169.254.169.254", 80)


async def test_uploads_are_never_sent_to_a_metadata_address(http: Http) -> None:
    with pytest.raises(aiohttp.ClientError):
        await http.own.put("http://169.254.169.254/f/x", data=b"x")


async def test_a_grid_below_a_path(grid: Server, tmp_path: Path) -> None:
    http = Http(f"{grid.address}/grid")
    try:
        assert await got(http, f"{grid.address}/grid/f/x", tmp_path)
        with pytest.raises(ForbiddenAddress):
            http.session_for(URL(f"{grid.address}/f/x"))
    finally:
        await http.close()
