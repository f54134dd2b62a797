"""What happened to a job, in order: submissions, holders, leases, how each of them ended.

Most jobs are submitted, leased once and answered; that much stands in the job itself, and no entry
is kept for it. The first thing beyond it (a second holder, a lost worker) makes a list of entries,
which is bounded, lives as long as the job does, and goes into the record of its outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gridd.core.records import StoryEntry

if TYPE_CHECKING:
    from gridd.core.job import Job

FIRST_KEPT = 8
LAST_KEPT = 24
"""Entries kept of a long story: its beginning and its end, and one that counts what is left out.
Some 100 bytes each (measured), so an eventful job costs 3 KB more at most."""


def after(story: tuple[StoryEntry, ...], entry: StoryEntry) -> tuple[StoryEntry, ...]:
    """``story`` with one more, within the bound."""
    story = (*story, entry)
    if len(story) <= FIRST_KEPT + 1 + LAST_KEPT:
        return story
    here, gone = story[FIRST_KEPT], story[FIRST_KEPT + 1]
    count = here.number + 1 if here.event == "omitted" else 2
    omitted = StoryEntry(gone.time, "omitted", number=count)
    return (*story[:FIRST_KEPT], omitted, *story[FIRST_KEPT + 2 :])


stored = msgspec.msgpack.Encoder().encode
"""A story as the record of an outcome holds it."""

_read = msgspec.msgpack.Decoder(tuple[StoryEntry, ...]).decode


def read_stored(text: bytes) -> tuple[StoryEntry, ...]:
    """Empty for an outcome that was written before there were stories."""
    return _read(text) if text else ()


def told(job: Job) -> tuple[StoryEntry, ...]:
    """All that is known of what happened to ``job`` so far. Of an ended one only its last
    submission and its end: the rest is in the journal."""
    if job.story:
        return job.story
    holder = job.namespaces[0] if job.live and len(job.namespaces) == 1 else ""
    submitted = StoryEntry(job.queued_time, "submitted", holder)
    if job.state == "Queued":
        return (submitted,)
    if job.state == "Running":
        return submitted, StoryEntry(job.time, "leased", job.worker, job.attempt)
    end = StoryEntry(job.time, "finished", job.worker, job.attempt, job.reason)
    return submitted, end
