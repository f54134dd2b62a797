"""Both pages, read strictly; and that a queue's name, its only key, is on none unasked."""

from gridd.metrics import pages
from gridd.metrics.meters import Meters
from gridd.metrics.pages import GridFigures, busiest, operator_page, queue_page
from gridd.metrics.queue_figures import QueueFigures, add, figures_of
from gridd.metrics.tally import Tally
from gridd_protocol import messages as m
from gridd_protocol.errors import ErrorCode
from tests.unit.core.driver import Driver
from tests.unit.metrics.exposition import read, value

NAME = 'a secret "queue" \\ é'


class FakeOutbox:
    waiting_bytes = 70
    was_cut_off = True


def test_a_queues_figures() -> None:
    d = Driver()
    d.submit("small", cpus_milli=1_500)
    d.wait(3_000)
    d.submit("large", cpus_milli=64_000, gpus=4)
    d.wait(2_000)
    d.hello("w1", credit=3, cpus=4, gpus=1)
    d.hello("w2", credit=2, cpus=2)
    d.said("w2", m.Drain())
    figures = figures_of(d.engine, Tally(), 7, d.now + 500)
    found = read(queue_page(figures))
    assert next(iter(found)) == "queue_length"
    assert value(found, "queue_length") == 2
    assert value(found, "gridd_queue_jobs", state="Queued") == 1
    assert value(found, "gridd_queue_jobs", state="Running") == 1
    assert value(found, "gridd_queue_oldest_waiting_seconds") == 2.5
    assert value(found, "gridd_queue_workers", state="ready") == 1
    assert value(found, "gridd_queue_workers", state="draining") == 1
    assert value(found, "gridd_queue_clients") == 7
    assert value(found, "gridd_queue_credit", use="free") == 2
    assert value(found, "gridd_queue_cpus", use="used") == 1.5
    assert value(found, "gridd_queue_gpus", use="free") == 1
    assert value(found, "gridd_queue_job_start_seconds_count") == 0


def test_an_empty_queues_page_is_all_zeros() -> None:
    found = read(queue_page(QueueFigures()))
    assert {number for family in found.values() for number in family.samples.values()} == {0}


def test_the_operators_page_sums_up_and_names_no_queue() -> None:
    page = operator_page(figures(named=[]))
    found = read(page)
    assert next(iter(found)) == "queue_length"
    assert value(found, "queue_length") == 5
    assert value(found, "gridd_queues") == 2
    assert value(found, "gridd_oldest_waiting_seconds") == 9
    assert value(found, "gridd_disk_trouble") == 1
    assert value(found, "gridd_journal_batch_records_sum") == 12
    assert value(found, "gridd_journal_bytes_total") == 3_000
    assert value(found, "gridd_sockets", kind="client") == 1
    assert value(found, "gridd_sockets", kind="worker") == 0
    assert value(found, "gridd_outbox_bytes", kind="client") == 70
    assert value(found, "gridd_outbox_cut_offs_total", kind="worker") == 1
    assert value(found, "gridd_http_responses_total", status="4xx") == 1
    assert value(found, "gridd_errors_total", code="not-found") == 1
    assert value(found, "gridd_webhooks", state="calling") == 2
    assert value(found, "gridd_webhooks_total", state="dropped") == 6
    assert value(found, "gridd_webhook_retries_total") == 7
    assert value(found, "gridd_event_loop_lag_seconds_count") == 1
    assert value(found, "process_resident_memory_bytes") > 1 << 20
    assert value(found, "gridd_build_info") == 1
    assert 'queue="' not in page
    assert not any(name.startswith("gridd_queue_") for name in found)


def test_queues_are_named_when_the_operator_asks_for_it() -> None:
    found = read(operator_page(figures(named=[(NAME, QueueFigures(waiting=2))])))
    assert value(found, "gridd_queue_jobs", queue=NAME, state="Queued") == 2
    assert value(found, "gridd_jobs", state="Queued") == 4


def test_only_the_busiest_of_very_many_queues_are_named(monkeypatch) -> None:
    monkeypatch.setattr(pages, "QUEUES_SHOWN_MAX", 2)
    queues = [
        (name, QueueFigures(waiting=long)) for name, long in zip("abc", (3, 1, 2), strict=True)
    ]
    assert [name for name, _ in busiest(queues)] == ["a", "c"]


def figures(named: list[tuple[str, QueueFigures]]) -> GridFigures:
    total, meters = QueueFigures(), Meters()
    for each in (QueueFigures(waiting=3, oldest_waiting_ms=9_000), QueueFigures(1, 1)):
        add(total, each)
    meters.appended(12, 3_000, 0.002)
    meters.sockets.begin("client", FakeOutbox())
    meters.sockets.end("worker", meters.sockets.begin("worker", FakeOutbox()))
    meters.answered(404)
    meters.refused(ErrorCode.NOT_FOUND)
    meters.looked(1.0)
    meters.looked(1.0)
    webhooks = {"waiting": 1, "calling": 2, "delivered": 3, "failed": 4, "refused": 5}
    return GridFigures(total, 2, True, meters, named, webhooks | {"dropped": 6, "retries": 7})
