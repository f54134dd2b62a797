"""The two pages: a queue's own, and the operator's, on which no queue is named unless asked for."""

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from gridd.metrics.meters import Meters
from gridd.metrics.process import Process, this_process
from gridd.metrics.queue_figures import QUEUE_LENGTH, QueueFigures, queue_families
from gridd.metrics.text import Family, Sample, each, one, written
from gridd_protocol.version import __version__

QUEUES_SHOWN_MAX: Final = 1_000
"""Queues that the operator's page names at most, those with the most waiting and running jobs: a
queue has some 40 lines there."""


@dataclass(slots=True)
class GridFigures:
    """``all`` is the sum of the queues; ``named`` are those to be shown by name."""

    all: QueueFigures
    queues: int
    trouble: bool
    meters: Meters
    named: list[tuple[str, QueueFigures]] = field(default_factory=list)
    webhooks: dict[str, int] = field(default_factory=dict)  # as ``Webhooks.counts``
    process: Process = field(default_factory=this_process)


def busiest(queues: list[tuple[str, QueueFigures]]) -> list[tuple[str, QueueFigures]]:
    """At most ``QUEUES_SHOWN_MAX`` of them, in the order that they came in."""
    if len(queues) <= QUEUES_SHOWN_MAX:
        return queues
    by_length = sorted(queues, key=lambda entry: -entry[1].waiting - entry[1].running)
    shown = {name for name, _ in by_length[:QUEUES_SHOWN_MAX]}
    return [entry for entry in queues if entry[0] in shown]


def queue_page(figures: QueueFigures) -> str:
    """Begins with an empty line and ``queue_length``, as upstream's does (WIRE 8)."""
    return "\n" + written([QUEUE_LENGTH, *queue_families("gridd_queue")], [((), figures)])


def operator_page(figures: GridFigures) -> str:
    page = "\n" + written([QUEUE_LENGTH, *queue_families("gridd")], [((), figures.all)])
    page += written(SERVER_FAMILIES, [((), figures)])
    if figures.named:
        named = [((("queue", name),), its) for name, its in figures.named]
        page += written(queue_families("gridd_queue"), named)
    return page


def _webhooks(*names: str) -> Callable[[GridFigures], Iterable[Sample]]:
    return lambda f: each("state", {name: f.webhooks.get(name, 0) for name in names})


def _open_files(f: GridFigures) -> Iterable[Sample]:
    count = f.process.open_files
    return () if count is None else (Sample(count),)


def _build(_: GridFigures) -> Iterable[Sample]:
    return (Sample(1, (("version", __version__), ("python", platform.python_version()))),)


SERVER_FAMILIES: Final[list[Family[GridFigures]]] = [
    Family("gridd_queues", "gauge", "Queues that something is in", one(lambda f: f.queues)),
    Family(
        "gridd_journal_append_seconds",
        "histogram",
        "From handing a batch of records to the journal until it was durable",
        lambda f: f.meters.append_seconds.samples(),
    ),
    Family(
        "gridd_journal_sync_seconds",
        "histogram",
        "The sync of a batch alone, without the way to the disk's thread and back",
        lambda f: f.meters.sync_seconds.samples(),
    ),
    Family(
        "gridd_journal_batch_records",
        "histogram",
        "Records made durable together",
        lambda f: f.meters.batch_records.samples(),
    ),
    Family(
        "gridd_journal_bytes_total",
        "counter",
        "Bytes appended to the journal",
        one(lambda f: f.meters.journal_bytes),
    ),
    Family(
        "gridd_snapshot_seconds",
        "histogram",
        "Snapshots written while serving",
        lambda f: f.meters.snapshot_seconds.samples(),
    ),
    Family(
        "gridd_disk_trouble",
        "gauge",
        "1 while nothing new is accepted because the journal can't be written",
        one(lambda f: f.trouble),
    ),
    Family(
        "gridd_disk_troubles_total",
        "counter",
        "Times that writing the journal failed",
        one(lambda f: f.meters.troubles),
    ),
    Family(
        "gridd_sockets",
        "gauge",
        "Open sockets and event streams",
        lambda f: each("kind", f.meters.sockets.open()),
    ),
    Family(
        "gridd_sockets_opened_total",
        "counter",
        "Sockets and event streams opened",
        lambda f: each("kind", f.meters.sockets.opened),
    ),
    Family(
        "gridd_outbox_bytes",
        "gauge",
        "Bytes that wait for their peers to read",
        lambda f: each("kind", f.meters.sockets.waiting_bytes()),
    ),
    Family(
        "gridd_outbox_cut_offs_total",
        "counter",
        "Peers let go because they did not read",
        lambda f: each("kind", f.meters.sockets.cut_off),
    ),
    Family(
        "gridd_http_responses_total",
        "counter",
        "HTTP answers by class of status; a socket is a 1xx once it is over",
        lambda f: each("status", f.meters.responses),
    ),
    Family(
        "gridd_errors_total",
        "counter",
        "Errors that peers were told, by code (SPEC 11), over HTTP and sockets",
        lambda f: each("code", f.meters.errors),
    ),
    Family(
        "gridd_webhooks",
        "gauge",
        "Webhooks that wait for a turn or the next try, or are being called",
        _webhooks("waiting", "calling"),
    ),
    Family(
        "gridd_webhooks_total",
        "counter",
        "Webhooks by what became of them",
        _webhooks("delivered", "failed", "refused", "dropped"),
    ),
    Family(
        "gridd_webhook_retries_total",
        "counter",
        "Tries of webhooks after the first",
        one(lambda f: f.webhooks.get("retries", 0)),
    ),
    Family(
        "gridd_event_loop_lag_seconds",
        "histogram",
        "How late the loop looked at its clock, once a second",
        lambda f: f.meters.lag_seconds.samples(),
    ),
    Family(
        "gridd_uptime_seconds",
        "gauge",
        "Since the server began",
        one(lambda f: monotonic() - f.meters.began),
    ),
    Family("gridd_build_info", "gauge", "Always 1; the labels say what runs", _build),
    Family(
        "process_resident_memory_bytes",
        "gauge",
        "Memory of this process",
        one(lambda f: f.process.resident_bytes),
    ),
    Family(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of this process",
        one(lambda f: f.process.cpu_seconds),
    ),
    Family("process_open_fds", "gauge", "Open files and sockets", _open_files),
]
