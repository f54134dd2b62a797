"""The journal without a disk: the same answers as ``files``, for tests and simulations."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from gridd.journal.base import PAYLOAD_BYTES_MAX, START, Damaged, Fenced, Position, WriteFailed


class _Store:
    """What would be on the disk."""

    def __init__(self) -> None:
        self.positions: list[Position] = []
        self.payloads: dict[Position, bytes] = {}
        self.ends: dict[int, int] = {}  # of the segments before the last
        self.sealed_ms: dict[int, int] = {}  # likewise
        self.first = 1
        self.end = Position(1, 0)
        self.epoch = 0
        self.snapshots: list[tuple[Position, list[bytes]]] = []  # oldest first, at most two


class MemoryJournal:
    """``Journal`` over lists. ``crash`` hands the acknowledged records to a successor."""

    def __init__(
        self,
        *,
        segment_bytes: int = 1 << 20,
        store: _Store | None = None,
        now_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._segment_bytes = segment_bytes
        self._now_ms = now_ms
        self._store = store or _Store()
        self._store.epoch += 1
        self.epoch = self._store.epoch
        self._closed = False

    def crash(self) -> "MemoryJournal":
        """As after a power cut and a restart: this object is fenced, the new one goes on."""
        return MemoryJournal(
            segment_bytes=self._segment_bytes, store=self._store, now_ms=self._now_ms
        )

    @property
    def end(self) -> Position:
        return self._store.end

    def append(self, batch: Sequence[bytes], after: Position) -> list[Position]:
        store = self._store
        if self._closed:
            raise WriteFailed("the journal is closed")
        if self.epoch != store.epoch or after != store.end:
            raise Fenced(f"epoch {self.epoch} of {store.epoch}, after {after}, end {store.end}")
        sizes = [len(payload) for payload in batch]
        if max(sizes, default=0) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"payload has {max(sizes)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
        segment, offset = store.end
        if offset and batch and offset + sum(sizes) + len(sizes) > self._segment_bytes:
            store.ends[segment] = offset
            store.sealed_ms[segment] = self._now_ms()
            segment, offset = segment + 1, 0
        positions = []
        for payload in batch:
            positions.append(Position(segment, offset))
            store.payloads[positions[-1]] = payload
            offset += len(payload) + 1  # so that an empty payload has its own place too
        store.positions += positions
        store.end = Position(segment, offset)
        return positions

    def reopen(self) -> None:
        if self._closed:
            raise WriteFailed("the journal is closed")
        if self.epoch != self._store.epoch:
            raise Fenced(f"epoch {self.epoch} of {self._store.epoch}")

    def replay(self, after: Position = START) -> Iterator[tuple[Position, bytes]]:
        store = self._store
        start = Position(store.first, 0)
        begins_at_first = after == (store.first - 1, store.ends.get(store.first - 1))
        if after > store.end or (START < after < start and not begins_at_first):
            raise Damaged(f"replay from {after}, but held is {start} to {store.end}")
        held = store.positions[bisect_left(store.positions, after) :]
        return ((position, store.payloads[position]) for position in held)

    def read(self, position: Position) -> bytes:
        return self._store.payloads[position]

    def sealed(self) -> list[tuple[int, int]]:
        store = self._store
        now_ms = self._now_ms()
        return [(n, now_ms - ms) for n, ms in store.sealed_ms.items() if n >= store.first]

    def write_snapshot(self, at: Position, payloads: Iterable[bytes]) -> None:
        if at > self._store.end:
            raise ValueError(f"snapshot at {at}, but the journal ends at {self._store.end}")
        kept = [snapshot for snapshot in self._store.snapshots if snapshot[0] != at]
        self._store.snapshots = sorted([*kept, (at, list(payloads))])[-2:]

    def read_snapshot(self) -> tuple[Position, Iterator[bytes]] | None:
        if not self._store.snapshots:
            return None
        at, payloads = self._store.snapshots[-1]
        return at, iter(payloads)

    def forget(self, before: Position) -> None:
        store = self._store
        if not store.snapshots:
            return
        limit = min(before, store.snapshots[0][0])
        while store.first in store.ends and (store.first, store.ends[store.first]) <= limit:
            store.first += 1
        keep = bisect_left(store.positions, Position(store.first, 0))
        for position in store.positions[:keep]:
            del store.payloads[position]
        store.positions = store.positions[keep:]

    def close(self) -> None:
        self._closed = True
