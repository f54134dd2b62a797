"""Simulated clients: they submit, submit again, cancel and delete, and ask again when no answer
comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gridd.core import effects as fx
from gridd.core import events as ev
from tests.simulation.network import Link

if TYPE_CHECKING:
    from tests.simulation.world import World

PATIENCE_MS = 4_000


class Client:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.link: Link | None = None
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
            namespace = "*"
        if chance.random() < 0.7:
            self.ask(ev.Cancel(0, job_id, namespace, "not wanted any more"))
        else:
            self.ask(ev.Delete(0, job_id, namespace))

    def ask(self, event: ev.Submit | ev.Cancel | ev.Delete) -> None:
        world = self.world
        if self.link is None and world.server.up:
            self.link = Link(world, self, speaks_for_worker=False)
        ref = world.new_ref(self)
        event = msgspec.structs.replace(event, ref=ref)
        self.asked[ref] = event
        if self.link is not None:
            self.link.up(event)
        world.later(PATIENCE_MS, lambda: self.ask_again(ref))

    def ask_again(self, ref: int) -> None:
        event = self.asked.pop(ref, None)
        if event is not None and not self.world.calm:
            self.ask(event)

    def hear(self, link: Link, message: Any) -> None:
        assert type(message) is fx.Reply
        self.asked.pop(message.ref, None)

    def lost(self, link: Link) -> None:
        if self.link is link:
            self.link = None
