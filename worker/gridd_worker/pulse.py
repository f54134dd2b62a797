"""When either side of a connection last spoke: our next heartbeat, and when the server is gone.

Owns the server's terms, a heartbeat and a lease, as its last welcome said. Pure: ``now_ms`` comes
in, monotonic.
"""

from gridd_protocol.limits import HEARTBEAT_MS, LEASE_MS

SILENCE_HEARTBEATS = 3  # a server that said nothing for as many heartbeats is gone


class Pulse:
    def __init__(self) -> None:
        self.lease_ms = LEASE_MS
        self._heartbeat_ms = HEARTBEAT_MS
        self._spoke_ms = 0
        self._heard_ms = 0
        self._beat_ms = 0

    def begin(self, now_ms: int) -> None:
        """A connection is open."""
        self._heard_ms = self._spoke_ms = self._beat_ms = now_ms

    def agree(self, heartbeat_ms: int, lease_ms: int) -> None:
        """The server's terms; what is not positive stands for the protocol's own."""
        self._heartbeat_ms = heartbeat_ms if heartbeat_ms > 0 else HEARTBEAT_MS
        self.lease_ms = lease_ms if lease_ms > 0 else LEASE_MS

    def spoke(self, now_ms: int) -> None:
        self._spoke_ms = now_ms

    def heard(self, now_ms: int) -> None:
        self._heard_ms = now_ms

    def beat(self, now_ms: int) -> None:
        """A heartbeat was sent."""
        self._beat_ms = now_ms

    @property
    def beat_due_ms(self) -> int:
        """When either side was silent for a heartbeat: ours is heard, and theirs is asked for."""
        return max(self._beat_ms, min(self._spoke_ms, self._heard_ms)) + self._heartbeat_ms

    @property
    def silence_end_ms(self) -> int:
        """When a server that says nothing more is given up."""
        allowed = min(max(SILENCE_HEARTBEATS * self._heartbeat_ms, 1_000), self.lease_ms)
        return self._heard_ms + allowed
