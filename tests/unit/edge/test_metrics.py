"""The metrics pages over HTTP: what autoscalers rely on (WIRE 8), and who reads the operator's."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gridd.config import Config
from gridd.edge.routes_metrics import _is_own_address
from tests.unit.metrics.exposition import read, value

Start = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize("path", ["/q/q1/metrics", "/q1/metrics"])
async def test_a_queues_page_begins_as_upstreams_does(server: Any, path: str) -> None:
    async def lines() -> list[str]:
        answer = await server("GET", path)
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        read(await answer.text())
        return list((await answer.text()).split("\n"))

    assert (await lines())[3] == "queue_length 0"
    server.grid.put({"n": 1})
    server.grid.put({"n": 2}, state="Running")
    server.grid.put({"n": 3}, result={})
    first, help_line, type_line, length, *_ = await lines()
    assert (first, length) == ("", "queue_length 2")
    assert help_line.startswith("# HELP queue_length ")
    assert type_line == "# TYPE queue_length gauge"


async def test_the_operators_page_names_no_queue(server: Any) -> None:
    server.grid.put({"n": 1}, queue="secret-name")
    answer = await server("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    page = await answer.text()
    assert value(read(page), "queue_length") == 1
    assert "secret-name" not in page


async def test_it_names_them_when_asked_to(start: Start) -> None:
    server = await start(metrics_queues=True)
    server.grid.put({"n": 1}, queue="secret-name")
    found = read(await (await server("GET", "/metrics")).text())
    assert value(found, "gridd_queue_jobs", queue="secret-name", state="Queued") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("Forwarded", "for=203.0.113.7"),
        ("X-Real-IP", "203.0.113.7"),
        ("Via", "1.1 proxy"),
        ("Origin", "https://elsewhere.example"),
        ("Host", "grid.example.org"),
        ("Host", "127.0.0.1.elsewhere.example"),
        ("Host", "[nothing"),
    ],
)
async def test_it_is_for_this_machine_alone(start: Start, name: str, words: str) -> None:
    server = await start()
    answer = await server("GET", "/metrics", headers={name: words})
    assert (answer.status, (await answer.json())["code"]) == (404, "not-found")
    everybody = await start(metrics="all")
    assert (await everybody("GET", "/metrics", headers={name: words})).status == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST:8000"])
async def test_this_machine_has_many_names(server: Any, host: str) -> None:
    assert (await server("GET", "/metrics", headers={"Host": host})).status == 200


async def test_it_can_be_switched_off(start: Start) -> None:
    server = await start(metrics="off")
    assert (await server("GET", "/metrics")).status == 404
    assert (await server("GET", "/q/q1/metrics")).status == 200


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:203.0.113.7", False),
        ("fe80::1%eth0", False),
        ("10.0.0.1", False),
        ("", False),
        (None, False),
    ],
)
def test_which_addresses_are_this_machines(address: str | None, own: bool) -> None:
    assert _is_own_address(address) is own


def test_the_defaults_are_the_closed_ones() -> None:
    config = Config.load({}, {})
    assert (config.metrics, config.metrics_queues) == ("loopback", False)


async def test_without_a_host_nobody_is_local(server: Any) -> None:
    answer = await server.raw(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 404")
