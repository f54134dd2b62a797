"""What became of every job, told by the journal and by what clients were shown.

``read_journal`` and ``judge`` are the last word on outcomes: an attempt begins with one lease and
ends with one record, a job has one outcome. ``Views`` holds the same against every state that a
client was ever shown, over all restarts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gridd.core import records as r
from gridd.journal.base import START
from gridd.journal.files import FileJournal

Key = tuple[str, str]  # queue, job


def read_journal(data: Path) -> dict[Key, list[r.Record]]:
    """Every record of each job, oldest first. No server may be using the directory."""
    decode = msgspec.msgpack.Decoder(r.Record).decode
    stories: dict[Key, list[r.Record]] = defaultdict(list)
    journal = FileJournal(data / "journal")
    try:
        for _, payload in journal.replay(START):
            record: r.Record = decode(payload)
            stories[record.queue, record.job].append(record)
    finally:
        journal.close()
    return dict(stories)


def judge(story: list[r.Record]) -> list[str]:
    """What is wrong with one job's records; empty when every attempt has one end, the attempts
    count up one by one, and there is at most one outcome for a submission."""
    faults: list[str] = []
    state, attempt = "", 0
    for record in story:
        match record:
            case r.Submitted():
                if state not in ("", "ended"):
                    faults.append(f"submitted while {state}")
                state = "waits"
            case r.Leased(attempt=number):
                if state != "waits" or number != attempt + 1:
                    faults.append(f"attempt {number} begins while {state}, after {attempt}")
                state, attempt = "runs", number
            case r.Requeued(attempt=number):
                if state != "runs" or number != attempt:
                    faults.append(f"attempt {number} ends while attempt {attempt} {state}")
                state = "waits"
            case r.Finished(attempt=number, reason=reason):
                if state not in ("runs", "waits") or number != attempt:
                    faults.append(f"outcome {reason} of attempt {number} while {attempt} {state}")
                state = "ended"
    return faults


def outcomes(story: list[r.Record]) -> list[r.Finished]:
    return [record for record in story if isinstance(record, r.Finished)]


@dataclass
class Views:
    """Every state that was shown of each job. What was shown is durable, so it stands."""

    newest: dict[Key, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    count: int = 0

    def saw(self, queue: str, job: str, view: dict[str, Any]) -> None:
        self.count += 1
        before = self.newest.get((queue, job))
        self.newest[queue, job] = view
        if before is None:
            return
        if before["state"] == "Finished" and _told(view) != _told(before):
            self.faults.append(f"{job[:8]} ended as {_told(before)} and then was {_told(view)}")
        if view.get("attempt", 0) < before.get("attempt", 0):
            self.faults.append(f"{job[:8]}: attempts went back from {before} to {view}")

    def ended(self, queue: str, job: str) -> bool:
        view = self.newest.get((queue, job))
        return view is not None and view["state"] == "Finished"


def _told(view: dict[str, Any]) -> tuple[Any, ...]:
    names = ("state", "finishedReason", "attempt", "worker", "time")
    return tuple(view.get(name) for name in names)
