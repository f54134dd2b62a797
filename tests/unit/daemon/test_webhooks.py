"""The daemon hands webhooks what is durable, and refuses a submission that it would not call."""

import asyncio
import json
import threading
from typing import Any

import pytest

from gridd.core.effects import Callback
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.journal.base import WriteFailed
from gridd.journal.memory import MemoryJournal
from gridd.webhooks.webhooks import Webhooks
from gridd_protocol.errors import ErrorCode, ProtocolError
from tests.system.support.processes import until


class GatedJournal(MemoryJournal):
    """Appends wait for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.error: Exception | None = None

    def append(self, *args: Any) -> Any:
        self.entered.set()
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return super().append(*args)


class RecordingWebhooks(Webhooks):
    def __init__(self) -> None:
        super().__init__("public")
        self.offered: list[tuple[str, str]] = []

    def offer(self, queue: str, event: Callback) -> None:
        self.offered.append((queue, event.kind))


class World:
    def __init__(self) -> None:
        self.journal = GatedJournal()
        self.webhooks = RecordingWebhooks()
        self.daemon = Daemon(self.journal, JsonFrames(), webhooks=self.webhooks)
        self.daemon.start()

    def submission(self, url: str = "https://example.org/") -> bytes:
        callbacks = {"queued": {"url": url}, "finished": {"url": url}}
        return json.dumps(
            {"definition": {"image": "a"}, "control": {"callbacks": callbacks}}
        ).encode()


@pytest.fixture
async def world():
    world = World()
    yield world
    world.journal.error = None
    world.journal.gate.set()
    await world.daemon.close()


async def in_append(world: World) -> None:
    await until(world.journal.entered.is_set, lambda: "no append began")


async def test_nobody_is_called_before_the_record_is_durable(world):
    asked = asyncio.ensure_future(world.daemon.submit("q", world.submission()))
    await in_append(world)
    assert world.webhooks.offered == []
    world.journal.gate.set()
    job = (await asked).job
    assert world.webhooks.offered == [("q", "queued")]
    world.journal.gate.clear()
    world.journal.entered.clear()
    asked = asyncio.ensure_future(world.daemon.cancel("q", job, "_", ""))
    await in_append(world)
    assert world.webhooks.offered == [("q", "queued")]
    world.journal.gate.set()
    await asked
    assert world.webhooks.offered == [("q", "queued"), ("q", "finished")]


async def test_nobody_is_called_for_what_did_not_become_durable(world):
    world.journal.error = WriteFailed("the disk is full")
    world.journal.gate.set()
    with pytest.raises(ProtocolError) as caught:
        await world.daemon.submit("q", world.submission())
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert world.webhooks.offered == []


async def test_what_would_not_be_called_is_refused_and_leaves_nothing(world):
    with pytest.raises(ProtocolError) as caught:
        await world.daemon.submit("q", world.submission("http://127.0.0.1/"))
    assert caught.value.field == "control.callbacks.queued.url"
    assert not world.journal.entered.is_set()
    assert await world.daemon.jobs("q") == {}
