"""Connections that delay, break, and take what is under way with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from gridd.core import events as ev

if TYPE_CHECKING:
    from tests.simulation.world import World


class Owner(Protocol):
    """The far end of a connection, seen from the server."""

    def hear(self, link: Link, message: Any) -> None: ...

    def lost(self, link: Link) -> None: ...


class Link:
    """One connection. Each way is in order and has delays of its own, so messages of different
    connections overtake each other. After ``cut`` nothing that is under way arrives; each side
    learns of it in its own time."""

    def __init__(self, world: World, owner: Owner, speaks_for_worker: bool) -> None:
        self.world = world
        self.owner = owner
        self.peer = world.new_peer(self)
        self.epoch = world.server.epoch
        self.is_worker = speaks_for_worker
        self.up_at = self.down_at = 0
        self.open = True

    def up(self, event: ev.Event) -> None:
        """Say ``event`` to the server."""
        self.up_at = self._carry(self.up_at, lambda: self._arrive(event))

    def down(self, message: Any) -> None:
        """Say ``message`` to the owner."""
        self.down_at = self._carry(self.down_at, lambda: self._hand_over(message))

    def close_after_what_was_said(self) -> None:
        self.down_at = self._carry(self.down_at, self.cut)

    def cut(self) -> None:
        if not self.open:
            return
        self.open = False
        world = self.world
        world.later(world.random.randrange(1, 400), lambda: self.owner.lost(self))
        if self.is_worker:
            delay = world.random.choice((1, 50, 2_000, 20_000))  # the last: a half-open socket
            world.later(delay, lambda: self._arrive(ev.WorkerGone(self.peer), even_cut=True))

    def _carry(self, not_before: int, what: Callable[[], None]) -> int:
        world = self.world
        at = max(not_before, world.now + 1 + int(world.random.expovariate(1 / world.delay_ms)))
        world.at(at, what)
        return at

    def _arrive(self, event: ev.Event, *, even_cut: bool = False) -> None:
        server = self.world.server
        if (self.open or even_cut) and server.up and server.epoch == self.epoch:
            server.receive(event)

    def _hand_over(self, message: Any) -> None:
        if self.open:
            self.owner.hear(self, message)
