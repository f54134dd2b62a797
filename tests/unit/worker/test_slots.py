"""What a machine gives to jobs, and who waits for it."""

import asyncio

import pytest

from gridd_worker.slots import Needs, Slots


def test_cpus_memory_and_devices_are_taken_and_given_back() -> None:
    slots = Slots(4, 1_000, ("1", "3"))
    taken = slots.take(Needs(cpus=3, gpus=1, memory=600))
    assert taken is not None
    assert taken.gpus == ("1",)
    assert slots.free_cpus == 1
    assert slots.take(Needs(cpus=2)) is None
    assert slots.take(Needs(cpus=1, memory=500)) is None
    assert slots.take(Needs(cpus=1, gpus=2)) is None
    slots.give(taken)
    again = slots.take(Needs(cpus=4, gpus=2, memory=1_000))
    assert again is not None
    assert again.gpus == ("1", "3")


def test_devices_are_never_given_twice_and_the_first_free_one_goes_first() -> None:
    slots = Slots(8, gpus=("0", "1", "2"))
    shares = [slots.take(Needs(gpus=1)) for _ in range(3)]
    assert [share.gpus for share in shares if share] == [("0",), ("1",), ("2",)]
    assert slots.take(Needs(gpus=1)) is None
    for share in (shares[2], shares[0]):
        assert share is not None
        slots.give(share)
    both = slots.take(Needs(gpus=2))
    assert both is not None
    assert both.gpus == ("0", "2")


def test_tenths_of_cpus_add_up() -> None:
    slots = Slots(1)
    assert all(slots.take(Needs(cpus=0.1)) for _ in range(10))
    assert slots.take(Needs(cpus=0.1)) is None


def test_memory_that_is_not_counted_is_no_hindrance() -> None:
    slots = Slots(1, memory=0)
    assert slots.refusal(Needs(memory=1 << 50)) is None
    assert slots.take(Needs(memory=1 << 50)) is not None


@pytest.mark.parametrize(
    ("needs", "word"),
    [(Needs(cpus=5), "5 cpus"), (Needs(gpus=2), "2 gpus"), (Needs(memory=2_000), "2000 bytes")],
)
def test_what_never_fits_is_refused_with_a_sentence(needs: Needs, word: str) -> None:
    slots = Slots(4, 1_000, ("0",))
    refusal = slots.refusal(needs)
    assert refusal is not None
    assert word in refusal
    assert slots.refusal(Needs(4, 1, 1_000)) is None


async def test_who_waits_is_served_in_order_and_not_overtaken() -> None:
    slots = Slots(2)
    first = slots.take(Needs(cpus=2))
    assert first is not None
    big = asyncio.create_task(slots.wait(Needs(cpus=2), 5))
    small = asyncio.create_task(slots.wait(Needs(cpus=1), 5))
    await asyncio.sleep(0)  # both run as far as they can
    assert slots.waiting == 2
    assert slots.take(Needs(cpus=0)) is None  # even what would fit now stands behind
    slots.give(first)
    share = await big
    assert not small.done()
    slots.give(share)
    assert (await small).millicpus == 1_000


async def test_waiting_has_an_end_and_lets_others_through() -> None:
    slots = Slots(2)
    held = slots.take(Needs(cpus=1))
    big = asyncio.create_task(slots.wait(Needs(cpus=2), 0.01))
    small = asyncio.create_task(slots.wait(Needs(cpus=1), 5))
    with pytest.raises(TimeoutError):
        await big
    assert (await small).millicpus == 1_000
    assert held is not None
    assert slots.waiting == 0
    assert slots.free_cpus == 0


async def test_a_waiter_that_is_cancelled_as_it_is_served_gives_back() -> None:
    slots = Slots(1)
    held = slots.take(Needs())
    assert held is not None
    waiter = asyncio.create_task(slots.wait(Needs(), 5))
    await asyncio.sleep(0)
    assert slots.waiting == 1
    slots.give(held)  # the share is handed over
    waiter.cancel()  # before the waiter has run
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert slots.free_cpus == 1


def test_what_a_run_of_an_earlier_process_uses_is_given_to_no_one() -> None:
    slots = Slots(4, 1_000, ("1", "3", "5"))
    taken = slots.claim(Needs(cpus=3, gpus=2, memory=900), ("3", "5"))
    assert taken.gpus == ("3", "5")
    assert slots.take(Needs(cpus=1, memory=200)) is None
    one = slots.take(Needs(cpus=1, gpus=1))
    assert one is not None
    assert one.gpus == ("1",)
    slots.give(taken)
    slots.give(one)
    everything = slots.take(Needs(cpus=4, gpus=3, memory=1_000))
    assert everything is not None


def test_a_run_may_go_on_with_more_than_the_worker_has_now() -> None:
    """Its owner gave it less at this start; nothing else runs until that run is over."""
    slots = Slots(1, gpus=("0",))
    taken = slots.claim(Needs(cpus=4, gpus=2), ("0", "9"))
    assert (slots.take(Needs(cpus=0.1)), taken.gpus) == (None, ("0",))
    slots.give(taken)
    assert slots.take(Needs(cpus=1, gpus=1)) is not None
