"""The talk alone: upstream's messages in, the engine's out, and back; no socket, no engine."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gridd.core.effects import JobView
from gridd.edge.client_frames import JsonFrames
from gridd.edge.upstream_pace import WorkerPace
from gridd.edge.upstream_talk import UpstreamTalk
from gridd.rooms import Lease
from gridd_protocol import job_id
from gridd_protocol import messages as m
from gridd_protocol.errors import ProtocolError

DEFINITION = {"image": "a", "command": "b"}
JOB = job_id(DEFINITION)
TEXT = json.dumps(DEFINITION)


class Outlet:
    """Remembers. What is to be done later is done by ``turn``."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.said: list[m.FromWorker] = []
        self.woken = 0
        self.others = False
        self._later: list[Callable[[], None]] = []

    def push(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame[frame.index(b"{") :]))

    def wake(self) -> None:
        self.woken += 1

    def say(self, said: m.FromWorker) -> None:
        self.said.append(said)

    def later(self, act: Callable[..., None], *args: Any) -> None:
        self._later.append(lambda: act(*args))

    def others_able(self, job: str) -> bool:
        return self.others

    def turn(self) -> None:
        acts, self._later = self._later, []
        for act in acts:
            act()


class World:
    def __init__(self) -> None:
        self.outlet = Outlet()
        self.leases: dict[str, Lease] = {}
        room: Any = SimpleNamespace(
            lease=lambda worker, job: self.leases.get(job),
            held=lambda worker: {job: lease.attempt for job, lease in self.leases.items()},
            engine=SimpleNamespace(sessions=SimpleNamespace(views=list), logs={}),
        )
        self.talk = UpstreamTalk(room, JsonFrames(), self.outlet, lambda: 9, WorkerPace())

    def lease(self, attempt: int = 1, text: str = TEXT) -> m.Push:
        view = JobView("Running", 5, 6, "w", ("_",), attempt=attempt)
        self.leases[JOB] = Lease(attempt, view, text.encode(), 0)
        return m.Push(JOB, attempt, text, 5)

    def hear(self, kind: str, **payload: Any) -> None:
        self.talk.heard(kind, msgspec.Raw(json.dumps(payload).encode()))

    def change(self, state: str, **value: Any) -> None:
        self.hear("StateChange", tag="w", state=state, job=JOB, value=value)

    def shown(self) -> dict[str, Any]:
        self.outlet.frames.clear()
        self.talk.push_states()
        [frame] = self.outlet.frames
        return dict(frame["payload"]["state"]["jobs"])


@pytest.fixture
async def world() -> World:
    world = World()
    world.hear("WorkerRegistration", time=1, version="v", id="w", cpus=2, gpus=0)
    assert world.talk.name == "w"
    assert not world.talk.welcomed.is_set(), "what it says next is to wait"
    [hello] = world.outlet.said
    assert (type(hello), hello.worker, hello.credit) == (m.Hello, "w", 2)  # type: ignore[union-attr]
    world.talk.told(m.Welcome("q", 30_000, 5_000, kept=[]))
    assert world.talk.welcomed.is_set()
    world.outlet.said.clear()
    return world


async def test_from_an_offer_to_its_end(world: World) -> None:
    world.talk.told(world.lease())
    assert world.outlet.frames[-1]["type"] == "BroadcastJobDefinitions"
    assert list(world.shown()) == [JOB]
    world.change("Running", worker="w", time=7)
    lines = [["1\n", 8], ["2\n", 8, True]]
    world.hear("JobStatusLogs", jobId=JOB, step="Running", logs=lines)
    result = {"StatusCode": 0, "logs": [], "outputs": {}}
    world.change("Finished", reason="Success", worker="w", time=9, result=result)
    kinds = [type(said) for said in world.outlet.said]
    assert kinds[0] is m.Started
    assert [kind for kind in kinds if kind is not m.Credit] == [m.Started, m.Log, m.Finished]
    assert world.shown()[JOB]["state"] == "Finished"


async def test_a_lease_that_ends_is_gone_from_the_next_full_state(world: World) -> None:
    world.talk.told(world.lease())
    world.change("Running", worker="w", time=7)
    world.talk.told(m.Cancel(JOB, 2))
    assert JOB in world.shown(), "another attempt's end"
    world.talk.told(m.Cancel(JOB, 1))
    assert world.shown() == {}


async def test_what_was_taken_back_meanwhile_is_not_offered(world: World) -> None:
    push = world.lease()
    world.lease(attempt=2)
    world.outlet.frames.clear()
    world.talk.told(push)
    assert world.outlet.frames == []


@pytest.mark.parametrize(("others", "kind"), [(True, m.Release), (False, m.Finished)])
async def test_what_would_end_its_process_is_for_others_or_nobody(
    world: World, others: bool, kind: type
) -> None:
    world.outlet.others = others
    world.talk.told(world.lease(text=json.dumps({"image": "a", "command": "echo ${}"})))
    assert world.outlet.said == [], "not while effects go out"
    world.outlet.turn()
    assert [type(said) for said in world.outlet.said] == [kind]


@pytest.mark.parametrize(
    ("state", "value"),
    [("Queued", {}), ("Finished", {"reason": "Because", "result": {}}), ("Running", {"time": []})],
)
async def test_what_it_gets_wrong_is_raised(
    world: World, state: str, value: dict[str, Any]
) -> None:
    world.talk.told(world.lease())
    with pytest.raises(ProtocolError):
        world.change(state, **value)


async def test_an_offer_that_is_not_claimed_goes_back(world: World) -> None:
    world.talk.told(world.lease())
    world.talk.look(1e12)
    assert m.Release(JOB, 1, "the worker did not claim it") in world.outlet.said
    assert world.shown() == {}
