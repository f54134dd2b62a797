"""The part that touches the network: a real receiver on loopback, names as the test says."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from gridd.webhooks import policy as policies
from gridd.webhooks.delivery import Verdict, attempt
from gridd.webhooks.lookup import Lookup, find_addresses
from gridd.webhooks.policy import AddressRefused, check_address
from gridd.webhooks.transport import HttpTransport, Unreachable
from tests.system.support.processes import until


class Receiver:
    """Answers each path with ``answers[path]``, or 200; remembers what came."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.endless_bytes = 0
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.got.append((request.method, str(request.rel_url), dict(request.headers), body))
        if request.path == "/endless":
            return await self._endless(request)
        return web.Response(**self.answers.get(request.path, {}))

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            self.endless_bytes += 65_536

    def url(self, host: str = "127.0.0.1", path: str = "/x") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    yield receiver
    await runner.cleanup()


class Names:
    """A resolver that knows what it is told. Of several lists, each is the next answer."""

    def __init__(self, **names: list[Any]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        answers = self.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        addresses = answers.pop(0) if isinstance(answers[0], list) else answers
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, port),
            )
            for address in addresses
        ]


@pytest.fixture
async def post() -> AsyncIterator[Any]:
    """One POST by a transport of its own."""
    transports = []

    async def call(policy: Any, url: str, names: Names | None = None) -> Any:
        transport = HttpTransport(policy, names or find_addresses)
        transports.append(transport)
        return await asyncio.wait_for(transport.post(URL(url), b'{"a":1}', {"X-Y": "z"}), 10)

    yield call
    for transport in transports:
        await transport.close()


async def test_a_post(receiver, post):
    answer = await post("any", receiver.url(path="/x?y=1%202"))
    assert answer.status == 200
    [(method, path, headers, body)] = receiver.got
    assert (method, path, body) == ("POST", "/x?y=1%202", b'{"a":1}')
    assert headers["X-Y"] == "z"


async def test_the_answer_is_told_by_status_and_two_headers(receiver, post):
    headers = {"Location": "/y", "Retry-After": "7", "Set-Cookie": "a=b"}
    receiver.answers["/x"] = {"status": 307, "headers": headers}
    answer = await post("any", receiver.url())
    assert (answer.status, answer.location, answer.retry_after) == (307, "/y", "7")
    assert len(receiver.got) == 1, "it followed by itself"


async def test_cookies_are_not_kept(receiver):
    transport = HttpTransport("any")
    receiver.answers["/x"] = {"headers": {"Set-Cookie": "a=b"}}
    for _ in range(2):
        await transport.post(URL(receiver.url("localhost")), b"", {})
    await transport.close()
    assert all("Cookie" not in headers for _, _, headers, _ in receiver.got)


async def test_a_body_without_end_is_not_read(receiver, post):
    answer = await post("any", receiver.url(path="/endless"))
    assert answer.status == 200
    sent = receiver.endless_bytes
    assert sent < 32 << 20


async def test_a_closed_port_is_unreachable_and_the_url_is_not_told(post):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        await post("any", f"http://127.0.0.1:{port}/secret")
    assert "secret" not in str(caught.value)
    assert "no connection" in str(caught.value)


async def test_what_is_not_http_is_no_answer(post):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"220 smtp.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match="no answer"):
            await post("any", f"http://127.0.0.1:{port}/")


# --- addresses that are refused -------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]"])
async def test_an_address_in_the_url_is_refused_where_it_would_connect(receiver, post, host):
    with pytest.raises(AddressRefused):
        await post("public", receiver.url(host))
    assert not receiver.got


async def test_a_name_that_resolves_to_loopback_is_refused(receiver, post):
    names = Names(hook_example=["127.0.0.1"])
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1 is not a public address"):
        await post("public", receiver.url("hook.example"), names)
    assert names.asked == ["hook.example"]
    assert not receiver.got
    assert (await post("any", receiver.url("hook.example"), names)).status == 200


async def test_each_call_looks_up_anew_and_is_checked_anew(receiver, monkeypatch):
    """DNS rebinding: a name that was fine the first time."""
    monkeypatch.setattr(policies, "is_public", lambda address: address == "127.0.0.1")
    names = Names(hook_example=[["127.0.0.1"], ["127.0.0.2"]])
    transport = HttpTransport("public", names)
    assert (await transport.post(URL(receiver.url("hook.example")), b"", {})).status == 200
    with pytest.raises(AddressRefused):
        await transport.post(URL(receiver.url("hook.example")), b"", {})
    await transport.close()


async def test_a_look_up_that_is_fooled_still_connects_to_nothing(receiver):
    """The last check is where the socket is made, whoever said what before."""
    transport = HttpTransport("public", Names(hook_example=["127.0.0.1"]))
    session = transport._session = transport._new_session()
    session.connector._resolver._check = lambda address: None  # type: ignore[union-attr]
    with pytest.raises(AddressRefused):
        await transport.post(URL(receiver.url("hook.example")), b"", {})
    await transport.close()
    assert not receiver.got


@pytest.mark.parametrize("inner", ["127.0.0.2", "inner.example"])
async def test_a_redirect_to_a_private_address_is_refused(receiver, monkeypatch, inner):
    monkeypatch.setattr(policies, "is_public", lambda address: address == "127.0.0.1")
    names = Names(hook_example=["127.0.0.1"], inner_example=["127.0.0.2"])
    transport = HttpTransport("public", names)
    receiver.answers["/x"] = {
        "status": 307,
        "headers": {"Location": receiver.url(inner, "/admin")},
    }
    url = receiver.url("hook.example")
    outcome = await attempt(transport, "public", url, b"{}", "key", 5)
    assert outcome.verdict is Verdict.REFUSED, outcome
    assert [path for _, path, _, _ in receiver.got] == ["/x"]
    await transport.close()


async def test_a_redirect_keeps_body_and_headers(receiver):
    transport = HttpTransport("any")
    receiver.answers["/x"] = {"status": 308, "headers": {"Location": "/y"}}
    outcome = await attempt(transport, "any", receiver.url(), b'{"b":2}', "key", 5)
    assert outcome.verdict is Verdict.DELIVERED
    assert [(path, body) for _, path, _, body in receiver.got] == [
        ("/x", b'{"b":2}'),
        ("/y", b'{"b":2}'),
    ]
    assert all(headers["Idempotency-Key"] == "key" for _, _, headers, _ in receiver.got)
    await transport.close()


# --- look-ups -------------------------------------------------------------------------


def public(address: str) -> None:
    check_address("public", address)


async def test_only_what_is_allowed_is_answered():
    lookup = Lookup(public, Names(mixed=["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"]))
    found = await lookup.resolve("mixed", 80)
    assert [one["host"] for one in found] == ["1.1.1.1", "2606:4700::1111"]
    assert found[0]["port"] == 80


async def test_names_that_lead_nowhere():
    lookup = Lookup(public, Names(none=[[]]))
    for name in ("none", "unknown"):
        with pytest.raises(OSError, match="no "):
            await lookup.resolve(name)
    with pytest.raises(OSError, match="is not a name"):
        await Lookup(public).resolve("a" * 300 + ".example")


async def test_slow_look_ups_are_bounded_and_hold_up_nobody_else():
    gate, running = threading.Event(), []

    def slow(host: str, port: int) -> Any:
        running.append(host)
        gate.wait(20)
        return Names(a=["1.1.1.1"])("a", port)

    lookup = Lookup(public, slow, most=2)
    asked = [asyncio.ensure_future(lookup.resolve(f"h{number}")) for number in range(4)]
    await until(lambda: len(running) == 2, lambda: running)
    asked[0].cancel()
    await asyncio.wait({asked[0]})
    started = time.monotonic()
    assert await asyncio.to_thread(int, "5") == 5  # the loop's own threads are free
    assert time.monotonic() - started < 5
    assert running == ["h0", "h1"], "a place was given up while its thread still ran"
    gate.set()
    assert [found[0]["host"] for found in await asyncio.gather(*asked[1:])] == ["1.1.1.1"] * 3
