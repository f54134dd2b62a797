"""Alarms of rooms, and a server that was stopped itself: by a clock that the test moves."""

import asyncio
from typing import Any

import pytest

from gridd import waking as w
from gridd.waking import Waking


class Played:
    """A clock, and a room whose engine names ``due``."""

    def __init__(self) -> None:
        self.now = 1_000
        self.due: int | None = None
        self.engine = self
        self.alarm: asyncio.TimerHandle | None = None
        self.alarm_at: int | None = None
        self.rung: list[str] = []
        self.renewed: list[int] = []
        self.looks = 0
        room: Any = self
        self.waking = Waking(room, self._ring, self.renewed.append, self._looked)

    def now_ms(self) -> int:
        return self.now

    def next_alarm(self) -> int | None:
        return self.due

    def _ring(self, queue: str, _: object) -> None:
        self.rung.append(queue)

    def _looked(self, _: float) -> None:
        self.looks += 1


@pytest.fixture
def played() -> Any:
    return Played()


async def test_an_alarm_rings_when_it_is_due_and_is_set_once(played: Any) -> None:
    played.due = played.now + 20
    played.waking.arm("q", played)
    alarm = played.alarm
    played.waking.arm("q", played)
    assert played.alarm is alarm, "set again for the same time"
    async with asyncio.timeout(10):
        while not played.rung:
            await asyncio.sleep(0.005)
    assert played.rung == ["q"]


async def test_an_alarm_moves_and_goes(played: Any) -> None:
    played.due = played.now - 5_000  # the past is now
    played.waking.arm("q", played)
    first = played.alarm
    played.due = played.now + 60_000
    played.waking.arm("q", played)
    assert first.cancelled()
    second, played.due = played.alarm, None
    played.waking.arm("q", played)
    assert second.cancelled()
    assert (played.alarm, played.alarm_at) == (None, None)


async def test_leases_begin_anew_only_after_a_stop(
    played: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(w, "LOOK_S", 0.01)
    played.waking.start()
    async with asyncio.timeout(10):
        while played.looks < 3:
            await asyncio.sleep(0.005)
    assert played.renewed == []
    played.now += w.STOPPED_MS
    played.waking.notice_stop()
    assert played.renewed == []
    played.now += w.STOPPED_MS + 1
    played.waking.notice_stop()
    played.waking.notice_stop()
    assert played.renewed == [played.now]
    played.waking.stop()
    seen = played.looks
    await asyncio.sleep(0.05)
    assert played.looks == seen
