"""Connections that delay, stall and break, and take what is under way with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gridd.core import events as ev

if TYPE_CHECKING:
    from tests.simulation.world import World

Way = Literal["up", "down"]
WAITING_MAX = 400
"""Messages that wait in one direction of a stalled connection; beyond it the server lets the peer
go, as the edge's outbox does."""
LOST_MS = (1, 50, 2_000, 20_000)  # until the server notices an end; the last: a half-open socket


class Owner(Protocol):
    """The far end of a connection, seen from the server."""

    name: str

    def hear(self, link: Link, message: Any) -> None: ...

    def lost(self, link: Link) -> None: ...


class Link:
    """One connection. Each way is in order and has delays of its own, so messages of different
    connections overtake each other. A partition holds one way of all its owner's connections up:
    what is sent waits, and arrives when it ends, if the connection lives to see it. After ``cut``
    nothing that is under way arrives; each side learns of it in its own time.

    To the server it is a peer: ``send`` and ``close`` are ``gridd.rooms``'.
    """

    def __init__(self, world: World, owner: Owner, *, is_worker: bool, watches: bool) -> None:
        self.world = world
        self.owner = owner
        self.peer = world.new_peer()
        self.is_worker = is_worker
        self.watches = watches
        self.up_at = self.down_at = 0
        self.open = True
        self.stalled: dict[Way, list[Callable[[], None]]] = {"up": [], "down": []}
        life = world.server.life
        assert life is not None
        self.life = life
        life.connected(self)

    def up(self, event: ev.Event) -> None:
        """Say ``event`` to the server."""
        self.up_at = self._carry("up", self.up_at, lambda: self.life.hear(self, event))

    def send(self, message: Any, key: str | None = None) -> None:
        """Say ``message`` to the owner."""
        if type(message) is bytes and self.world.random.random() < 0.9:
            return  # frames for watchers: a few are enough to fill an outbox
        self.down_at = self._carry("down", self.down_at, lambda: self.owner.hear(self, message))

    def send_log(self, frame: bytes, job: str, step: str) -> None:
        self.send(frame)

    def close(self, code: int, reason: str) -> None:
        self.down_at = self._carry("down", self.down_at, self.cut)

    def cut(self) -> None:
        if not self.open:
            return
        self.open = False
        for waiting in self.stalled.values():
            waiting.clear()
        world = self.world
        world.later(world.random.randrange(1, 400), lambda: self.owner.lost(self))
        world.later(world.random.choice(LOST_MS), lambda: self.life.lost(self))

    def flows_again(self, way: Way) -> None:
        waiting, self.stalled[way] = self.stalled[way], []
        for act in waiting:
            if self.open:
                act()

    def _carry(self, way: Way, not_before: int, act: Callable[[], None]) -> int:
        world = self.world
        at = max(not_before, world.now + 1 + int(world.random.expovariate(1 / world.delay_ms)))
        world.at(at, lambda: self._arrive(way, act))
        return at

    def _arrive(self, way: Way, act: Callable[[], None]) -> None:
        if not self.open:
            return
        if way in self.world.partitions.get(self.owner.name, ()) or self.stalled[way]:
            self.stalled[way].append(act)
            if len(self.stalled[way]) > WAITING_MAX:
                self.world.tell(f"{self.owner.name} does not read and is let go")
                self.cut()
            return
        act()
