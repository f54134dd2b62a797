"""A job's story as peers get it: entries with names for what they hold, and how long things took.

Pure: from what an engine or the journal holds of the job to the document of ``history.json``.
"""

from collections.abc import Iterable

import msgspec

from gridd.core import records as r
from gridd.core.job import Job
from gridd.core.story import read_stored, told

_read_record = msgspec.msgpack.Decoder(r.Record).decode

_NAMESPACE_EVENTS = ("submitted", "held", "dropped")
_ENDS = ("lost", "released", "finished")

MESSAGE_MAX = 1_000
"""Characters of a worker's error that are shown here; the whole of it is in the result."""


class _Result(msgspec.Struct):
    error: str = ""


class _Ended(msgspec.Struct):
    code: int | None = msgspec.field(name="StatusCode", default=None)
    duration: int | None = None


_read_error = msgspec.json.Decoder(_Result).decode
_read_end = msgspec.json.Decoder(_Ended).decode


class Happened(msgspec.Struct, rename="camel", omit_defaults=True):
    """One entry. ``time`` in ms since the epoch; ``waited`` (of a lease) and ``ran`` (of its end)
    in ms. ``count``: of the entries that were left out. ``exit_code`` and
    ``duration`` (ms) are the program's own, as its worker tells them."""

    time: int
    event: r.StoryEvent
    namespace: str = ""
    worker: str = ""
    attempt: int = 0
    reason: str = ""
    message: str = ""
    count: int = 0
    waited: int | None = None
    ran: int | None = None
    exit_code: int | None = None
    duration: int | None = None


class History(msgspec.Struct, rename="camel", omit_defaults=True):
    """``waited`` and ``ran``: ms that the job has stood in line, and was leased, since it was last
    submitted and as far as entries tell; of a live job up to now."""

    job_id: str
    state: r.StateName
    attempt: int
    waited: int
    ran: int
    events: list[Happened]
    finished_reason: str = ""


def of_live(job: Job, now_ms: int) -> History:
    assert job.live, job.id
    return _history(job, [_named(entry) for entry in told(job)], now_ms, is_whole=True)


def of_ended(job: Job, payload: bytes | None) -> History:
    """``payload``: the record of the outcome, ``None`` when the journal has it no more."""
    record = None if payload is None else _read_record(payload)
    assert record is None or isinstance(record, r.Finished), type(record)
    before = () if record is None else read_stored(record.story)
    if record is None or not before:  # written before there were stories
        events = [_named(entry) for entry in told(job)]
    else:
        last = r.StoryEntry(record.time, "finished", record.worker, record.attempt, record.reason)
        events = [_named(entry) for entry in (*before, last)]
    if record is not None:
        events[-1].message = record.message or _error_of(record)
        end = _end_of(record)
        events[-1].exit_code, events[-1].duration = end.code, end.duration
    return _history(job, events, job.time, is_whole=bool(before))


def _history(job: Job, events: list[Happened], now_ms: int, *, is_whole: bool) -> History:
    waited, ran = _measure(events, now_ms, is_whole=is_whole)
    return History(job.id, job.state, job.attempt, waited, ran, events, job.reason)


def _named(entry: r.StoryEntry) -> Happened:
    happened = Happened(entry.time, entry.event, reason=entry.reason)
    if entry.event == "omitted":
        happened.count = entry.number
    elif entry.event in _NAMESPACE_EVENTS:
        happened.namespace = entry.who
    else:
        happened.worker, happened.attempt = entry.who, entry.number
    return happened


def _measure(events: Iterable[Happened], now_ms: int, *, is_whole: bool) -> tuple[int, int]:
    """Write down how long each lease and each wait for one took; the sums since it was last
    submitted. What stands beside an omission is not known, nor, unless the story ``is_whole``,
    whether it was leased before its end."""
    waited = ran = 0
    waits_since: int | None = None
    runs_since: int | None = None
    for it in events:
        if it.event == "submitted":
            waited = ran = 0
            waits_since, runs_since = it.time, None
        elif it.event == "omitted":
            waits_since = runs_since = None
        elif it.event == "leased":
            if waits_since is not None:
                it.waited = it.time - waits_since
                waited += it.waited
            waits_since, runs_since = None, it.time
        elif it.event in _ENDS:
            if runs_since is not None:
                it.ran = it.time - runs_since
                ran += it.ran
            elif waits_since is not None and is_whole:
                waited += it.time - waits_since
            waits_since, runs_since = (None if it.event == "finished" else it.time), None
    if waits_since is not None:
        waited += now_ms - waits_since
    if runs_since is not None:
        ran += now_ms - runs_since
    return waited, ran


def _error_of(record: r.Finished) -> str:
    """What the worker said went wrong, when it is a text: results are theirs to shape."""
    if record.reason != "Error":
        return ""
    try:
        return _read_error(record.result).error[:MESSAGE_MAX]
    except msgspec.DecodeError:
        return ""


def _end_of(record: r.Finished) -> _Ended:
    if record.reason != "Success":
        return _Ended()  # no program ended by itself
    try:
        return _read_end(record.result)
    except msgspec.DecodeError:
        return _Ended()
