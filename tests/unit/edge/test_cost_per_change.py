"""What a change costs each peer, counted in frames and bytes: not more when the queue is long.

Counts, not times. Upstream's clients are the exception that the protocol forces: they learn that
a job is gone only from a full state (WIRE 3.4), and are sent no more of those than that needs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridd_protocol import job_id
from tests.system.support.sockets import Peer, client, connected, hello, worker
from tests.upstream.grid import Grid, grid

SHORT, LONG = 10, 1_000
QUIET_S = 0.4  # longer than a full state is put off for others to join it, on a short queue


@dataclass
class Counted:
    """Frames that reached each peer, by kind, and their bytes in all."""

    kinds: dict[str, list[str]] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)


class Watched(Peer):
    """Counts the bytes of text frames, as they are on the wire."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__(socket)
        self.bytes = 0
        receive = socket.receive

        async def counting(*args: Any, **more: Any) -> aiohttp.WSMessage:
            message = await receive(*args, **more)
            if message.type is aiohttp.WSMsgType.TEXT:
                self.bytes += len(message.data)
            return message

        socket.receive = counting  # type: ignore[method-assign]


class Scene:
    """A queue of waiting jobs that nobody here can take, and one peer of each sort."""

    def __init__(self, here: Grid) -> None:
        self.here = here
        self.peers: dict[str, Watched] = {}

    async def __aenter__(self) -> "Scene":
        self._stack = AsyncExitStack()
        url, path = self.here.url, "/q/q/client"
        doors = {
            "page": client(url, path + "?gone=1"),
            "upstream's page": client(url, path),
            "worker": worker(url, path="/q/q/worker"),
            "upstream's worker": connected(url, "/q/q/worker"),
        }
        for name, door in doors.items():
            self.peers[name] = Watched((await self._stack.enter_async_context(door)).socket)
        await self.peers["worker"].socket.send_json([hello("n")])
        await self.peers["worker"].next("welcome")
        payload = {"id": "u", "version": "1", "cpus": 1, "gpus": 0, "maxJobDuration": "5m"}
        registration = {"type": "WorkerRegistration", "payload": payload}
        await self.peers["upstream's worker"].socket.send_json(registration)
        await self.peers["upstream's worker"].next("Workers")
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def settle(self) -> None:
        """Until all that was said to everybody has been heard."""
        await asyncio.sleep(QUIET_S)
        for name, peer in self.peers.items():
            if name == "worker":
                await peer.socket.send_json([{"type": "heartbeat"}])
                await peer.next("heartbeat")
            else:
                await peer.socket.send_str("PING")
                await peer.next("PONG", "PONG u", "PONG unknown")

    def full_states(self, name: str) -> list[dict[str, Any]]:
        said = [one for one in self.peers[name].seen if isinstance(one, dict)]
        return [one["payload"]["state"]["jobs"] for one in said if one["type"] == "JobStates"]

    async def cost_of(self, change: Callable[[], Awaitable[object]]) -> Counted:
        await self.settle()
        before = {name: (len(peer.seen), peer.bytes) for name, peer in self.peers.items()}
        await change()
        await self.settle()
        counted = Counted()
        for name, peer in self.peers.items():
            seen, size = before[name]
            said = [one for one in peer.seen[seen:] if isinstance(one, dict)]
            counted.kinds[name] = [one["type"] for one in said if one["type"] != "heartbeat"]
            counted.size[name] = peer.bytes - size
        return counted


def unfit(number: int) -> dict[str, Any]:
    return {"image": "a", "command": f"{number:06}", "requirements": {"gpus": 9}}


@pytest.fixture(params=[SHORT, LONG], ids=["10 jobs", "1000 jobs"])
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    # No full states in turn to the upstream worker, and no lease that runs out, meanwhile.
    async with grid(tmp_path, scale=100, lease_ms=600_000) as here:
        for number in range(request.param):
            await here.submit(unfit(number))
        async with Scene(here) as scene:
            yield scene


async def test_a_change_costs_no_more_when_many_wait(scene: Scene) -> None:
    here = scene.here
    mine = {"image": "a", "command": "for n", "tags": []}

    async def a_job_from_beginning_to_end() -> None:
        native, job = scene.peers["worker"], job_id(mine)
        await here.submit(mine)
        await native.next("push")
        done = {"type": "finished", "job": job, "attempt": 1, "reason": "Success"}
        await native.socket.send_json([{**done, "result": "{}"}])
        await native.next("acknowledged")

    counted = await scene.cost_of(a_job_from_beginning_to_end)
    states = ["JobStateUpdates"] * 3
    assert counted.kinds == {
        "page": states,
        "upstream's page": states,
        "worker": ["push", "acknowledged"],
        "upstream's worker": [],
    }
    assert max(counted.size.values()) < 2_000

    counted = await scene.cost_of(lambda: here.submit(unfit(999_999)))
    assert counted.kinds["page"] == counted.kinds["upstream's page"] == ["JobStateUpdates"]
    assert counted.kinds["worker"] == counted.kinds["upstream's worker"] == []
    assert max(counted.size.values()) < 500


async def test_what_is_gone_costs_upstreams_pages_one_full_state_and_others_none(
    scene: Scene,
) -> None:
    here = scene.here
    count = len(await here.daemon.jobs("q"))
    for name in ("page", "upstream's page"):  # on connect, everything once
        assert [len(jobs) for jobs in scene.full_states(name)] == [count], name
    assert not any(scene.full_states("upstream's worker"))

    async def cancel_five() -> None:
        for number in range(5):
            await here.daemon.cancel("q", job_id(unfit(number)), "_", "")

    counted = await scene.cost_of(cancel_five)
    assert counted.kinds["page"] == ["JobStateUpdates"] * 5
    assert counted.size["page"] < 5 * 300
    assert counted.kinds["worker"] == counted.kinds["upstream's worker"] == []
    full = counted.kinds["upstream's page"].count("JobStates")
    assert full <= 1
    assert counted.kinds["upstream's page"].count("JobStateUpdates") == 5
    left = len(await here.daemon.jobs("q"))
    shown = await scene.peers["upstream's page"].next("JobStates") if not full else None
    if shown is not None:  # on a long queue it is put off for longer
        assert len(shown["payload"]["state"]["jobs"]) == left
