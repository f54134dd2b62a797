"""Simulated clients: they submit, submit again, cancel and delete, ask again when no answer
comes, and read back what the server says it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.journal.base import JournalError
from gridd_protocol.errors import ErrorCode, ProtocolError
from tests.simulation.network import Link
from tests.simulation.server import QUEUE
from tests.simulation.witness import require

if TYPE_CHECKING:
    from tests.simulation.server import Life
    from tests.simulation.world import World

PATIENCE_MS = 4_000
ASKED_MAX = 200  # without an answer; beyond it the oldest are given up


class Client:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.link: Link | None = None
        self.watches = world.random.random() < 0.3
        self.asked: dict[int, ev.Submit | ev.Cancel | ev.Delete] = {}
        self.jobs: list[str] = []
        world.later(world.random.randrange(1, 2_000), self.act)

    def act(self) -> None:
        world, chance = self.world, self.world.random
        if world.calm:
            return
        world.later(int(chance.expovariate(1 / world.ask_ms)) + 1, self.act)
        namespace = chance.choice(("_", *world.namespaces, self.name))
        dice = chance.random()
        if dice < world.steadiness or not self.jobs:
            job = chance.choice(world.catalogue)
            self.jobs.append(job.id)
            self.ask(msgspec.structs.replace(job.submit, ref=0, namespace=namespace))
            return
        job_id = chance.choice(self.jobs)
        if chance.random() < 0.3:
            self.read(job_id)
            return
        if chance.random() < 0.3:
            namespace = "*"
        if chance.random() < 0.7:
            self.ask(ev.Cancel(0, job_id, namespace, "not wanted any more"))
        else:
            self.ask(ev.Delete(0, job_id, namespace))

    # --- asking -----------------------------------------------------------------------

    def ask(self, event: ev.Submit | ev.Cancel | ev.Delete) -> None:
        world = self.world
        if self.link is None and world.server.up:
            self.link = Link(world, self, is_worker=False, watches=self.watches)
        ref = world.new_ref()
        event = msgspec.structs.replace(event, ref=ref)
        self.asked[ref] = event
        while len(self.asked) > ASKED_MAX:
            self.asked.pop(next(iter(self.asked)))
        if self.link is not None:
            self.link.up(event)
        world.later(PATIENCE_MS, lambda: self.ask_again(ref))

    def ask_again(self, ref: int) -> None:
        event = self.asked.pop(ref, None)
        if event is None or self.world.calm:
            return
        if self.link is not None and self.world.random.random() < 0.3:
            self.link.cut()  # perhaps nobody is there any more
            self.link = None
        self.ask(event)

    def hear(self, link: Link, message: Any) -> None:
        if type(message) is bytes:
            return
        ref, outcome = message
        event = self.asked.pop(ref, None)
        if isinstance(outcome, ProtocolError):
            require(
                outcome.code is ErrorCode.UNAVAILABLE
                and (self.world.disk_may_fail or self.world.server.gave_up),
                f"{self.name} was answered {outcome.code}: {outcome.message}",
            )
        elif event is not None:
            asked, answered = type(event) is ev.Submit, fx.Cancelled
            require(asked != (type(outcome) is answered), f"{event} was answered {outcome}")

    def lost(self, link: Link) -> None:
        if self.link is link:
            self.link = None

    # --- reading ----------------------------------------------------------------------

    def read(self, job: str) -> None:
        server = self.world.server
        if server.up and server.life is not None:
            life = server.life
            life.loop.enter(lambda: life.loop.create_task(self._read(life, job)))

    def _places_of(self, job: str) -> tuple[str, int, int]:
        """Where the journal keeps the job just now. What is carried on or ends while it is read
        may be gone from where it was."""
        engine = self.world.server.engine
        known = None if engine is None else engine.jobs.look(job)
        if known is None:
            return "", 0, 0
        return known.state, known.definition_at, known.result_at

    async def _read(self, life: Life, job: str) -> None:
        """What is read back is what was sent, byte for byte, and what was answered."""
        world, daemon = self.world, life.daemon
        before = self._places_of(job)
        try:
            definition = await daemon.definition(QUEUE, job)
            text = await daemon.finished(QUEUE, job)
        except ProtocolError as error:
            went = error.code is ErrorCode.GONE and self._places_of(job) != before
            world.require(
                went or error.code is ErrorCode.UNAVAILABLE,
                f"reading {job} was answered {error.message}",
            )
            return
        except JournalError as error:
            world.require(world.disk_may_fail, f"{job} can't be read: {error}")
            return
        except AssertionError as error:
            world.note(error)
            return
        sent = world.definitions[job]
        world.require(
            definition is None or definition == sent,
            f"{job} reads {definition!r}, sent was {sent!r}",
        )
        if text is None:
            return
        finished = msgspec.json.decode(text)["finished"]
        by = finished["result"].get("by")
        world.require(
            by is None or (job, by, finished["result"]["attempt"]) in world.witness.taken,
            f"the answer that is read of {job} was given by {by}, and never taken",
        )
