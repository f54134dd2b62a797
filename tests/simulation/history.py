"""What was acknowledged, batch by batch, and what a restarted server must therefore hold.

``History`` hears of every append that the journal is asked for. It shares no code with recovery:
its engine is fed the acknowledged records one by one, in order, and never restarts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd.journal.base import START, Journal, Position
from gridd.recovery import place_of, position_of
from tests.simulation.state import durable_state
from tests.simulation.witness import require

_read_record = msgspec.msgpack.Decoder(r.Record).decode


class History:
    def __init__(self, queue: str, settings: Settings) -> None:
        self.engine = Engine(queue, settings)
        self.records: list[r.Record] = []
        self.batches = 0
        self._payloads: list[tuple[Position, bytes]] = []
        self._first = 0  # of ``_payloads``: those before were forgotten by the journal
        self._tried: list[bytes] = []  # the batch that was not acknowledged, if there is one
        self._newest_ms = 0

    # --- while the server runs --------------------------------------------------------

    def trying(self, payloads: list[bytes]) -> None:
        self._tried = payloads

    def acknowledged(self, positions: list[Position], payloads: list[bytes]) -> None:
        self._tried = []
        self.batches += 1
        for position, payload in zip(positions, payloads, strict=True):
            if self._payloads:
                require(
                    position > self._payloads[-1][0],
                    f"a record lies at {position}, behind {self._payloads[-1][0]}",
                )
            self._payloads.append((position, payload))
            self._take(_read_record(payload), position)

    def _take(self, record: r.Record, position: Position) -> None:
        carried = type(record) is r.KeptJob or (type(record) is r.Finished and record.carried)
        if not carried:  # the time in it is the job's
            require(
                record.time >= self._newest_ms,
                f"a record of {record.time} ms follows one of {self._newest_ms} ms",
            )
            self._newest_ms = record.time
        self.records.append(record)
        self.engine.apply(record)
        self.engine.place(record, place_of(position))

    def goes_on_behind(self, end: Position) -> bool:
        return bool(self._payloads) and self._payloads[-1][0] >= end

    # --- when it is back --------------------------------------------------------------

    def reopened(self, journal: Journal, oldest_segment: int) -> None:
        """The log holds what was acknowledged, from its oldest segment on, and behind it the
        last unacknowledged batch whole or not at all."""
        found = list(journal.replay(START))
        while (
            self._first < len(self._payloads)
            and self._payloads[self._first][0].segment < oldest_segment
        ):
            self._first += 1
        expected = self._payloads[self._first :]
        require(
            found[: len(expected)] == expected,
            f"{_first_difference(found, expected)} of the acknowledged records is not as it was",
        )
        tail = found[len(expected) :]
        if not tail:
            return
        require(
            [payload for _, payload in tail] == self._tried,
            f"{len(tail)} records came up that were not the last batch of {len(self._tried)}",
        )
        self.acknowledged([position for position, _ in tail], [payload for _, payload in tail])

    def compare(self, engine: Engine | None, oldest_segment: int) -> None:
        """``engine`` is what the server recovered. Its clock goes on from the newest time in it,
        also when the wall clock was set back."""
        came = durable_state(engine or Engine("", self.engine.settings))
        meant = durable_state(self.engine)
        self._newest_ms = max((job["time"] for job in meant["jobs"].values()), default=0)
        if came != meant:
            for part, value in meant.items():
                require(
                    came[part] == value,
                    f"came up with other {part}: {_differing(came[part], value)}",
                )
        for name, job in meant["jobs"].items():
            for place in (job["definition_at"], job["result_at"]):
                require(
                    not place or position_of(place).segment >= oldest_segment,
                    f"{name} is kept in segment {position_of(place).segment}, which is gone",
                )


def _first_difference(found: list[Any], expected: list[Any]) -> str:
    for number, (came, meant) in enumerate(zip(found, expected, strict=False)):
        if came != meant:
            return f"{number} of {len(expected)} at {meant[0]}"
    return f"{len(found)} of {len(expected)}"


def _differing(came: Any, meant: Any) -> str:
    if isinstance(meant, dict):
        names = sorted(name for name in {**came, **meant} if came.get(name) != meant.get(name))
        return ", ".join(f"{n} is {came.get(n)}, was {meant.get(n)}" for n in names[:3])
    return f"{came}, was {meant}"
