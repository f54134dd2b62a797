"""The one rule of the daemon, watched: durable before visible, in order, one append at a time."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from gridd.committer import Committer
from gridd.core.effects import Append, CloseWorker, Effect
from gridd.core.records import Expired, Record
from gridd.journal.base import JournalError, Position, WriteFailed


class GatedJournal:
    """Appends wait at a gate that the test opens; what was appended is on record."""

    def __init__(self) -> None:
        self.end = Position(1, 0)
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.under_way = 0
        self.error: Exception | None = None

    def append(self, batch: Sequence[bytes], after: Position) -> list[Position]:
        assert after == self.end
        self.under_way += 1
        assert self.under_way == 1, "two appends at once"
        self.entered.release()
        assert self.gate.wait(10)
        self.under_way -= 1
        if self.error is not None:
            raise self.error
        self.batches.append(len(batch))
        positions = [Position(1, self.end.offset + i) for i in range(len(batch))]
        self.end = Position(1, self.end.offset + len(batch))
        return positions


class World:
    def __init__(self) -> None:
        self.journal = GatedJournal()
        self.out: list[str] = []
        self.located: list[tuple[str, int]] = []
        self.errors: list[BaseException] = []
        self.committer = Committer(
            self.journal,  # type: ignore[arg-type]
            self._carry_out,
            self._locate,
            self.errors.append,
        )

    def _carry_out(self, queue: str, effect: Effect) -> None:
        assert isinstance(effect, CloseWorker)
        self.out.append(effect.reason)

    def _locate(self, record: Record, position: Position) -> None:
        self.located.append((record.job, position.offset))

    async def appending(self) -> None:
        assert await asyncio.to_thread(self.journal.entered.acquire, timeout=10)


def record(job: str) -> Append:
    return Append(Expired("q", job, 0))


def effect(name: str) -> CloseWorker:
    return CloseWorker(0, 0, name)


@pytest.fixture
async def world():
    world = World()
    yield world
    world.journal.gate.set()
    await world.committer.close()


async def test_an_effect_without_a_record_leaves_at_once(world):
    world.committer.take("q", [effect("a")])
    assert world.out == ["a"]


async def test_an_effect_leaves_only_after_its_record_is_durable(world):
    world.committer.take("q", [record("j"), effect("a")])
    await world.appending()
    assert world.out == []
    assert world.located == []
    world.journal.gate.set()
    await world.committer.durable()
    assert world.out == ["a"]
    assert world.located == [("j", 0)]


async def test_an_effect_without_a_record_waits_behind_one_that_has(world):
    world.committer.take("q", [record("j"), effect("a")])
    world.committer.take("q", [effect("b")])
    await world.appending()
    world.committer.take("q", [effect("c")])
    assert world.out == []
    world.journal.gate.set()
    await world.committer.durable()
    assert world.out == ["a", "b", "c"]


async def test_what_arrives_during_an_append_is_one_batch(world):
    world.committer.take("q", [record("1")])
    await world.appending()
    for name in "abcde":
        world.committer.take("q", [record(name), effect(name)])
    world.journal.gate.set()
    await world.committer.durable()
    assert world.journal.batches == [1, 5]
    assert world.out == list("abcde")


async def test_events_of_one_turn_share_the_first_append(world):
    for name in "abc":
        world.committer.take("q", [record(name)])
    world.journal.gate.set()
    await world.committer.durable()
    assert world.journal.batches == [3]


async def test_deferred_calls_keep_their_place(world):
    world.committer.take("q", [record("j"), effect("a")])
    world.committer.defer(lambda: world.out.append("deferred"))
    world.committer.take("q", [effect("b")])
    assert world.out == []
    world.journal.gate.set()
    await world.committer.durable()
    assert world.out == ["a", "deferred", "b"]


async def test_a_deferred_call_with_nothing_before_it_runs_at_once(world):
    world.committer.defer(lambda: world.out.append("now"))
    assert world.out == ["now"]


@pytest.mark.parametrize("error", [WriteFailed("disk full"), RuntimeError("bug")])
async def test_after_a_failed_append_nothing_leaves_any_more(world, error):
    world.journal.error = error
    world.committer.take("q", [record("j"), effect("a")])
    await world.appending()
    world.committer.take("q", [record("k"), effect("b")])
    waiter = asyncio.ensure_future(world.committer.durable())
    await asyncio.sleep(0)
    world.journal.gate.set()
    with pytest.raises(JournalError):
        await waiter
    assert world.out == []
    assert world.errors == [error]
    world.committer.take("q", [effect("c")])
    world.committer.defer(lambda: world.out.append("d"))
    assert world.out == []
    with pytest.raises(JournalError):
        await world.committer.durable()
