"""How often the disk is asked again, what is given up, and what peers are told."""

import asyncio
import errno
import os

import pytest

from gridd import trouble
from gridd.journal.base import Damaged, Fenced, JournalError, WriteFailed
from gridd.trouble import PAUSE_MAX_S, PAUSE_MIN_S, STEADY_S, Trouble, sentence


def failed(code: int) -> WriteFailed:
    error = WriteFailed(f"/secret/place: {os.strerror(code)}")
    error.__cause__ = OSError(code, os.strerror(code))
    return error


class World:
    """A disk that takes writes again after ``refusals`` attempts; time passes only in pauses."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.pauses: list[float] = []
        self.refusals: list[Exception] = []
        self.unreadable: list[Exception] = []
        self.told: list[object] = []
        self.trouble = Trouble(
            self,  # type: ignore[arg-type]  # ``reopen`` is all that is asked
            self.read_again,
            lambda: self.told.append("go on"),
            self.told.append,
        )

    def reopen(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    async def read_again(self) -> None:
        if self.unreadable:
            raise self.unreadable.pop(0)
        self.told.append("read again")

    async def through(self, refusals: int) -> list[float]:
        """One trouble; the pauses that were made."""
        self.pauses.clear()
        self.refusals = [failed(errno.ENOSPC) for _ in range(refusals)]
        self.trouble.begin(failed(errno.EIO))
        assert self.trouble._task is not None
        await asyncio.wait_for(self.trouble._task, 10)
        return list(self.pauses)


@pytest.fixture
def world(monkeypatch):
    world = World()

    async def pause(self):
        world.pauses.append(self._next_pause_s())
        world.now_s += world.pauses[-1]
        return False

    monkeypatch.setattr(Trouble, "_stopped", pause)
    monkeypatch.setattr(trouble, "monotonic", lambda: world.now_s)
    return world


async def test_it_is_asked_less_and_less_often_within_bounds(world):
    pauses = await world.through(8)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert (pauses[0], pauses[-1]) == (PAUSE_MIN_S, PAUSE_MAX_S)
    assert world.told == ["read again", "go on"]
    assert world.trouble.why is None


async def test_trouble_that_is_soon_back_goes_on_with_its_pauses(world):
    assert await world.through(1) == [1, 2]
    world.now_s += STEADY_S - 1
    assert await world.through(1) == [4, 8]
    world.now_s += STEADY_S + 1
    assert await world.through(1) == [1, 2]


async def test_a_journal_that_can_not_be_read_is_asked_again_too(world):
    world.unreadable = [JournalError("read"), JournalError("read")]
    assert await world.through(0) == [1, 2, 4]
    assert world.told == ["read again", "go on"]


@pytest.mark.parametrize("error", [Fenced("another"), Damaged("bytes"), ZeroDivisionError()])
@pytest.mark.parametrize("where", ["refusals", "unreadable"])
async def test_what_does_not_pass_is_given_up(world, error, where):
    world.trouble.begin(failed(errno.EIO))
    setattr(world, where, [error])
    await asyncio.wait_for(world.trouble._task, 10)
    assert world.told[-1] is error
    assert world.trouble.why is not None, "nothing is accepted any more"


async def test_a_stop_ends_the_attempts():
    world = World()
    world.refusals = [failed(errno.ENOSPC)] * 1_000
    world.trouble.begin(failed(errno.ENOSPC))
    await asyncio.wait_for(world.trouble.stop(), PAUSE_MIN_S / 2)
    await world.trouble.stop()
    assert world.told == ["read again"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EIO, "the disk fails"),
        (errno.EACCES, "access is denied"),
        (errno.ENODEV, "see the server's log"),
    ],
)
def test_peers_are_told_what_it_is_and_not_where(code, words):
    said = sentence(failed(code))
    assert said == f"the journal can't be written now: {words}; nothing new is accepted"
