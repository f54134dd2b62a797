"""A whole server's metrics: that each part writes its figures down."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from gridd.config import Config
from gridd.core.events import WorkerSaid
from gridd.journal.base import WriteFailed
from gridd.server import running
from gridd_protocol import messages as m
from tests.unit.daemon.test_daemon import RecordingWorker, World, finish
from tests.unit.metrics.exposition import Read, read, value

DEFINITION = {"definition": {"image": "a", "command": "b"}}


async def test_a_servers_own_page(tmp_path: Path) -> None:
    config = Config(port=0, data_dir=tmp_path)
    async with running(config) as (url, _), aiohttp.ClientSession(url) as session:

        async def page(path: str = "/metrics") -> dict[str, Read]:
            async with session.get(path) as answer:
                assert answer.status == 200
                text = await answer.text()
                assert path != "/metrics" or "a-secret" not in text
                return read(text)

        async with session.ws_connect("/q/a-secret/client") as client:
            await client.receive()
            async with session.post("/q/a-secret", json=DEFINITION) as answer:
                job = (await answer.json())["jobId"]
            async with session.get(f"/q/a-secret/j/{'0' * 64}") as answer:
                assert answer.status == 404
            await client.send_str("{}")
            while "Error" not in (await client.receive()).data:
                pass
            async with session.get(f"/q/a-secret/j/{job}/stream") as stream:
                await stream.content.readany()
                found = await page()
                assert value(found, "gridd_sockets", kind="client") == 1
                assert value(found, "gridd_sockets", kind="events") == 1
        assert value(found, "gridd_jobs", state="Queued") == value(found, "queue_length") == 1
        assert value(found, "gridd_jobs_submitted_total") == 1
        assert value(found, "gridd_clients") == 1
        assert value(found, "gridd_journal_append_seconds_count") == 1
        assert value(found, "gridd_journal_bytes_total") > 100
        assert value(found, "gridd_journal_batch_records_sum") == 1
        assert value(found, "gridd_journal_sync_seconds_count") == 1
        assert value(found, "gridd_http_responses_total", status="2xx") == 1
        assert value(found, "gridd_http_responses_total", status="4xx") == 1
        assert value(found, "gridd_errors_total", code="not-found") == 1
        assert value(found, "gridd_errors_total", code="bad-message") == 1
        assert value(await page("/q/a-secret/metrics"), "gridd_queue_jobs", state="Queued") == 1
        async with asyncio.timeout(10):
            while value(await page(), "gridd_sockets", kind="client"):
                await asyncio.sleep(0.01)


async def test_queues_and_their_sum() -> None:
    world = World()
    job = await world.submit("x", queue="q")
    await world.submit("y", queue="other")
    _, peer = world.worker()
    await finish(world, peer, job)
    figures = world.daemon.figures(named=True)
    assert (figures.queues, figures.all.waiting, figures.all.ended, figures.trouble) == (
        2,
        1,
        1,
        False,
    )
    assert figures.all.tally.finished == {"Success": 1}
    assert {name: its.tally.submitted for name, its in figures.named} == {"q": 1, "other": 1}
    assert world.daemon.figures(named=False).named == []
    own = await world.daemon.queue_figures("q")
    assert (own.ended, own.tally.finished, own.tally.start_seconds.count) == (1, {"Success": 1}, 1)
    unknown = await world.daemon.queue_figures("nobody's")
    assert (unknown.waiting, unknown.workers, unknown.tally.submitted) == (0, 0, 0)
    await world.daemon.close()


async def test_a_snapshot_is_timed() -> None:
    world = World()
    await world.submit("x")
    await world.daemon._housekeeping().snapshot()
    assert world.daemon.meters.snapshot_seconds.count == 1
    await world.daemon.close()


async def test_they_can_be_had_while_the_disk_is_in_trouble(monkeypatch: Any) -> None:
    world = World()
    await world.submit("x")

    def full(*_: object) -> None:
        raise WriteFailed("the disk is full")

    monkeypatch.setattr(world.journal, "append", full)
    monkeypatch.setattr(world.journal, "reopen", full)
    peer = world.daemon.new_ref()
    world.daemon.join_worker("q", peer, RecordingWorker())
    world.daemon.step("q", WorkerSaid(peer, m.Hello(worker="w", credit=1)))  # leased, to the disk
    async with asyncio.timeout(10):
        while not (figures := world.daemon.figures(named=False)).trouble:
            await asyncio.sleep(0.001)
    assert figures.meters.troubles == 1
    assert json.dumps(figures.meters.responses)
    await world.daemon.close()
