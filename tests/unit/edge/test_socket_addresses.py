"""Where the sockets of a queue are (WIRE 2.1), and that they name it as requests do (D39)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from gridd_protocol import job_id
from tests.system.support.sockets import Peer, hello
from tests.upstream.grid import Grid, grid

DEFINITION = {"image": "a", "command": "x"}
JOB = job_id(DEFINITION)
NATIVE = ("gridd.v1.json",)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Grid]:
    async with grid(tmp_path, scale=0.1) as found:
        yield found


@pytest.fixture
async def http(here: Grid) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def first_state(http: aiohttp.ClientSession, url: str, *protocols: str) -> dict[str, Any]:
    """The jobs that a peer is shown first, or the job that a native worker is pushed."""
    async with http.ws_connect(URL(url, encoded=True), protocols=protocols) as socket:
        peer = Peer(socket)
        if protocols:
            await socket.send_json([hello("n")])
            push = await peer.next("push")
            await socket.send_json([{"type": "release", "job": JOB, "attempt": push["attempt"]}])
            await peer.next("acknowledged")
            return {push["job"]: push}
        if "worker" in url:
            payload = {"id": "u", "cpus": 1, "gpus": 0, "maxJobDuration": "5m"}
            await socket.send_json({"type": "WorkerRegistration", "payload": payload})
        while True:
            shown = await peer.next("JobStates", "JobStateUpdates")
            jobs: dict[str, Any] = shown["payload"]["state"]["jobs"]
            if jobs:
                return jobs


CLIENT_PATHS = [
    *("q/{}/client", "q/{}/browser", "q/{}/client/x/y"),
    *("{}/client", "{}/browser", "{}/client/"),
]


@pytest.mark.parametrize("path", CLIENT_PATHS)
async def test_client_sockets(here: Grid, http: aiohttp.ClientSession, path: str) -> None:
    await here.submit(DEFINITION, queue="queue")
    assert list(await first_state(http, f"{here.url}/{path.format('queue')}")) == [JOB]


@pytest.mark.parametrize("protocols", [(), NATIVE], ids=["upstream", "native"])
@pytest.mark.parametrize("path", ["q/{}/worker", "q/{}/worker/x", "{}/worker", "{}/worker/"])
async def test_worker_sockets(
    here: Grid, http: aiohttp.ClientSession, path: str, protocols: tuple[str, ...]
) -> None:
    await here.submit(DEFINITION, queue="queue")
    assert list(await first_state(http, f"{here.url}/{path.format('queue')}", *protocols)) == [JOB]


@pytest.mark.parametrize("name", ["a b", "ä", "50%", "x+y", "a?b#c", "%2e", "client", "worker"])
async def test_a_name_is_one_queue_through_every_door(
    here: Grid, http: aiohttp.ClientSession, name: str
) -> None:
    """Upstream decodes it in requests and not on sockets, where it is another queue then."""
    queue = f"{here.url}/q/{quote(name, safe='')}"
    async with http.post(URL(queue, encoded=True), json={"definition": DEFINITION}) as answer:
        assert (await answer.json())["jobId"] == JOB
    assert await here.state(JOB, queue=name) == ("Queued", "", 0)
    assert list(await first_state(http, f"{queue}/client")) == [JOB]
    assert list(await first_state(http, f"{queue}/worker", *NATIVE)) == [JOB]
    assert list(await first_state(http, f"{queue}/worker")) == [JOB]


@pytest.mark.parametrize("name", ["undefined", "null", "a%2Fb", "%ff", "%zz"])
async def test_names_that_are_none_are_refused(
    here: Grid, http: aiohttp.ClientSession, name: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(URL(f"{here.url}/q/{name}/client", encoded=True))
    assert refused.value.status == 400
    assert here.daemon._rooms == {}


async def test_the_first_frame_on_an_unused_queue_is_heard(
    here: Grid, http: aiohttp.ClientSession
) -> None:
    """On upstream's it is lost while the queue is loaded (D19, FINDINGS 8 and 9)."""
    async with http.ws_connect(f"{here.url}/q/new/worker") as socket:
        payload = {"id": "u", "cpus": 1, "gpus": 0, "maxJobDuration": "5m"}
        await socket.send_json({"type": "WorkerRegistration", "payload": payload})
        await socket.send_str("PING")
        peer = Peer(socket)
        assert await peer.next("PONG u", "PONG unknown") == "PONG u"
    async with http.ws_connect(f"{here.url}/q/newer/client") as socket:
        value = {"enqueued": {"definition": DEFINITION}}
        change = {"state": "Queued", "job": JOB, "value": value}
        await socket.send_json({"type": "StateChange", "payload": change})
        assert await Peer(socket).states(JOB, "Queued") == ["Queued"]
