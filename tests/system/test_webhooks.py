"""Webhooks of a real ``gridd serve``, called to a real receiver (WIRE 7, transcript 15)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gridd_protocol import job_id
from tests.system.support.processes import Server, killed_at_end, until
from tests.system.support.sockets import client, ended, hello, queued, worker

UPSTREAM_WAITS_S = 12  # as upstream's own tests do


class Receiver:
    """Remembers each call; answers 200, after ``gate`` on paths that begin with /slow."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.statuses: list[int] = []  # of the next calls to /flaky
        self.gate = asyncio.Event()
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        self.calls.append((request.path, await request.json(), dict(request.headers)))
        if request.path.startswith("/slow"):
            await self.gate.wait()
        flaky = request.path == "/flaky" and self.statuses
        return web.Response(status=self.statuses.pop(0) if flaky else 200)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for called, body, _ in self.calls if called == path]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def got(self, path: str, count: int = 1) -> list[dict[str, Any]]:
        await until(
            lambda: len(self.bodies(path)) >= count, lambda: self.calls, timeout_s=UPSTREAM_WAITS_S
        )
        return self.bodies(path)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    yield receiver
    receiver.gate.set()
    await runner.cleanup()


@pytest.fixture
async def url(tmp_path: Path, serving: Any) -> AsyncIterator[str]:
    async with serving(tmp_path, "--log-level", "warning", "--webhooks", "any") as (url, _):
        yield url


def definition(name: str) -> dict[str, str]:
    return {"image": "alpine:3.18.5", "command": f"echo {name}"}


async def submit(url: str, name: str, queue: str = "q1", **control: Any) -> tuple[int, Any]:
    body = {"definition": definition(name), "control": control}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/q/{queue}", json=body) as answer,
    ):
        return answer.status, await answer.json()


async def test_queued_over_rest_is_called_once_with_upstreams_body(
    url: str, receiver: Receiver
) -> None:
    hook = {"url": receiver.url("/ok"), "payload": {"any": ["thing"]}}
    assert (await submit(url, "a", namespace="h1", callbacks={"queued": hook}))[0] == 200
    again = {"url": receiver.url("/again")}
    for namespace in ("h1", "h2"):
        answer = await submit(url, "a", namespace=namespace, callbacks={"queued": again})
        assert answer[0] == 200
    plain = {"url": receiver.url("/plain")}
    await submit(url, "b", callbacks={"queued": plain, "finished": {"url": receiver.url("/end")}})
    assert await receiver.got("/plain") == [
        {"jobId": job_id(definition("b")), "queue": "q1", "namespace": "_", "config": {}}
    ]
    job = job_id(definition("a"))
    assert await receiver.got("/ok") == [
        {"jobId": job, "queue": "q1", "namespace": "h1", "config": {"any": ["thing"]}}
    ]
    assert len(receiver.calls) == 2, receiver.calls


async def test_queued_over_a_socket(url: str, receiver: Receiver) -> None:
    hook = {"url": receiver.url("/ok"), "payload": 3}
    async with client(url) as peer:
        await peer.socket.send_json(
            queued(definition("a"), namespace="n", callbacks={"queued": hook})
        )
        job = job_id(definition("a"))
        assert await receiver.got("/ok") == [
            {"jobId": job, "queue": "q1", "namespace": "n", "config": 3}
        ]


async def test_a_failed_call_is_made_again_under_the_same_key(url: str, receiver: Receiver) -> None:
    receiver.statuses = [500]
    await submit(url, "a", callbacks={"queued": {"url": receiver.url("/flaky")}})
    first, second = await receiver.got("/flaky", 2)
    assert first == second
    keys = {headers["Idempotency-Key"] for _, _, headers in receiver.calls}
    assert len(keys) == 1
    assert receiver.calls[0][2]["User-Agent"].startswith("gridd/")


async def test_finished_is_called_once_whatever_the_end(url: str, receiver: Receiver) -> None:
    ends = ("Success", "Error", "TimedOut", "Cancelled", "Deleted", "JobReplacedByClient")
    results = {
        "Success": '{"StatusCode": 0, "logs": [], "outputs": {}}',
        "Error": '{"StatusCode": 7, "error": "it fell over"}',
        "TimedOut": '{"isTimedOut": true}',
    }

    def asked(name: str) -> dict[str, Any]:
        hook = {"url": receiver.url(f"/{name}"), "payload": {"p": name}}
        return {"namespace": f"n-{name}", "callbacks": {"finished": hook}}

    async with worker(url) as machine, client(url) as peer:
        await machine.socket.send_json([hello(credit=0)])
        for name in ends:
            assert (await submit(url, name, **asked(name)))[0] == 200
        await submit(url, "its successor", namespace="n-JobReplacedByClient")
        for reason in ("Cancelled", "Deleted"):
            job = job_id(definition(reason))
            await peer.socket.send_json(
                ended(reason, job, namespace=f"n-{reason}", message="enough")
            )
        for reason, result in results.items():
            await machine.socket.send_json([{"type": "credit", "jobs": 1}])
            push = await machine.next("push")
            assert push["job"] == job_id(definition(reason))
            lease = {"job": push["job"], "attempt": push["attempt"]}
            report = {"type": "finished", **lease, "reason": reason, "result": result}
            await machine.socket.send_json([{"type": "credit", "jobs": 0}, report, report])
            await machine.next("acknowledged")
        told = {name: (await receiver.got(f"/{name}"))[0] for name in ends}
        # An answer that is deleted afterwards, or asked for again, is no second end.
        await submit(url, "Success", **asked("Success"))
        await peer.socket.send_json(
            ended("Deleted", job_id(definition("Success")), namespace="n-Success")
        )
        await peer.next("JobStateUpdates")
        last = {"callbacks": {"queued": {"url": receiver.url("/last")}}}
        await submit(url, "last", **last)
        await receiver.got("/last")
    common = {
        name: {
            "jobId": job_id(definition(name)),
            "queue": "q1",
            "namespace": f"n-{name}",
            "config": {"p": name},
            "state": "Finished",
            "finishedReason": name,
        }
        for name in ends
    }
    more: dict[str, dict[str, Any]] = {
        "Success": {"exitCode": 0},
        "Error": {"exitCode": 7, "message": "it fell over"},
        "TimedOut": {},
        "Cancelled": {"message": "enough"},
        "Deleted": {},
        "JobReplacedByClient": {"message": "replaced by a newer job"},
    }
    assert told == {name: {**common[name], **more[name]} for name in ends}
    assert len(receiver.calls) == len(ends) + 1, "something was told twice"


async def test_a_slow_receiver_delays_neither_submissions_nor_other_hosts(
    url: str, receiver: Receiver
) -> None:
    slow = {"queued": {"url": receiver.url("/slow")}}
    started = time.monotonic()
    for number in range(30):
        assert (await submit(url, f"{number}", callbacks=slow))[0] == 200
    took_s = time.monotonic() - started
    assert took_s < 8, "submissions waited for the receiver, which answers nothing"
    quick = {"queued": {"url": receiver.url("/quick", "localhost")}}
    await submit(url, "quick", callbacks=quick)
    await receiver.got("/quick")
    assert len(receiver.bodies("/slow")) == 4, "as many as one host has at one time"
    receiver.gate.set()
    await receiver.got("/slow", 30)


async def test_after_a_crash_the_end_is_still_told_and_nothing_is_repeated(
    tmp_path: Path, receiver: Receiver
) -> None:
    server = Server(tmp_path, "--webhooks", "any")
    callbacks = {kind: {"url": receiver.url(f"/{kind}")} for kind in ("queued", "finished")}
    async with killed_at_end(server):
        await server.start()
        await submit(server.url, "a", namespace="n", callbacks=callbacks)
        await receiver.got("/queued")
        await server.kill()
        await server.start()
        async with worker(server.url) as machine:
            await machine.socket.send_json([hello()])
            push = await machine.next("push")
            lease = {"job": push["job"], "attempt": push["attempt"]}
            report = {"type": "finished", **lease, "reason": "Success", "result": "{}"}
            await machine.socket.send_json([report])
        [told] = await receiver.got("/finished")
        assert (told["namespace"], told["finishedReason"]) == ("n", "Success")
        await server.kill()
        await server.start()
        await submit(server.url, "b", callbacks={"queued": {"url": receiver.url("/last")}})
        await receiver.got("/last")
    assert [path for path, _, _ in receiver.calls] == ["/queued", "/finished", "/last"]


async def test_a_receiver_that_hangs_does_not_hold_up_the_stop(
    tmp_path: Path, receiver: Receiver
) -> None:
    server = Server(tmp_path, "--webhooks", "any")
    async with killed_at_end(server):
        await server.start()
        for number in range(6):
            hook = {"queued": {"url": receiver.url("/slow")}}
            await submit(server.url, f"{number}", callbacks=hook)
        await receiver.got("/slow", 4)
        started = time.monotonic()
        assert await server.stop() == 0
        assert time.monotonic() - started < 8
        assert "a webhook was dropped: the server stops" in server.said()
        assert "Traceback" not in server.said()


@pytest.mark.parametrize("policy", ["public", "off"])
async def test_what_is_not_called_is_refused_at_submission(
    tmp_path: Path, serving: Any, receiver: Receiver, policy: str
) -> None:
    async with serving(tmp_path, "--log-level", "warning", "--webhooks", policy) as (url, _):
        for kind in ("queued", "finished"):
            hook = {"url": receiver.url("/x")}
            status, answer = await submit(url, "a", callbacks={kind: hook})
            assert (status, answer["code"]) == (400, "bad-request")
            assert answer["field"] == f"control.callbacks.{kind}.url"
            assert hook["url"] in answer["error"]
        async with client(url) as peer:
            hook = {"url": receiver.url("/x", "localhost")}
            await peer.socket.send_json(queued(definition("a"), callbacks={"queued": hook}))
            error = await peer.next("Error")
            assert error["payload"]["field"] == "control.callbacks.queued.url"
        async with aiohttp.ClientSession() as session, session.get(f"{url}/q/q1") as answer:
            assert json.loads(await answer.text()) == {"data": {}}
    assert not receiver.calls
