"""Credit for one queue and for several: shares, holds, and a push that found no room."""

import asyncio

import pytest

from gridd_worker import spread as s
from gridd_worker.spread import Spread


class Queue:
    def __init__(self, queue: str, active: int = 0) -> None:
        self.queue = queue
        self.active = active
        self.credit = -1

    def set_credit(self, jobs: int) -> None:
        self.credit = jobs


def spread(*queues: Queue, credit: int = 4, free: float = 4) -> Spread:
    made = Spread(credit, {one.queue: 1 for one in queues}, lambda: free)
    made.begin(queues)
    return made


async def test_one_queue_has_all_of_it_whatever_is_free() -> None:
    one = Queue("a", active=3)
    spread(one, free=0).close()
    assert one.credit == 4


async def test_several_are_offered_what_they_hold_and_a_share_of_what_is_free() -> None:
    a, b = Queue("a", active=2), Queue("b")
    made = spread(a, b, credit=8, free=4.5)
    assert (a.credit, b.credit) == (4, 2)
    made.on_took("b")
    b.active = 1
    made.on_slots()
    assert a.credit + b.credit == 3 + 4
    made.close()


async def test_a_hold_takes_all_credit_and_gives_it_back() -> None:
    one = Queue("a", active=1)
    made = spread(one)
    made.hold(True)
    assert one.credit == 0
    made.on_no_room("a")
    assert one.credit == 0
    made.hold(False)
    assert one.credit == 1
    made.close()


async def test_what_did_not_fit_costs_its_queue_new_jobs_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s, "NO_ROOM_S", 0.05)
    one = Queue("a", active=1)
    made = spread(one)
    for _ in range(2):  # the second begins the wait anew
        made.on_no_room("a")
    assert one.credit == 1
    async with asyncio.timeout(10):
        while one.credit != 4:
            await asyncio.sleep(0.01)
    made.close()


async def test_who_takes_nothing_of_its_share_leaves_it_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s, "TURN_S", 0.05)
    a, b = Queue("a"), Queue("b")
    made = spread(a, b)
    made.on_took("a")
    async with asyncio.timeout(10):
        while (a.credit, b.credit) != (4, 1):
            await asyncio.sleep(0.01)
    made.close()
