"""Free slots among queues: by weight, and none lost to a queue that has no jobs."""

from gridd_worker.turns import Turns


def served(turns: Turns, having: set[str], slots: int) -> str:
    """Whose jobs get ``slots`` slots that fall free one after the other, as one word."""
    order = ""
    while len(order) < slots:
        shares = turns.shares(1)
        offered = [queue for queue, share in shares.items() if share and queue in having]
        for queue in offered:  # an idle one may be offered what a busy one is: the later one waits
            turns.took(queue)
            order += queue
        if not offered:
            assert turns.turn_over(), "nobody who has jobs will ever be offered a slot"
    return order


def test_busy_queues_take_turns_by_weight() -> None:
    assert served(Turns({"a": 1, "b": 1}), {"a", "b"}, 6) == "ababab"
    order = served(Turns({"a": 3, "b": 1}), {"a", "b"}, 40)
    assert order.count("a") == 30
    assert all(order[at : at + 8].count("b") == 2 for at in range(0, 40, 8)), order


def test_many_free_slots_are_promised_in_proportion() -> None:
    turns = Turns({"a": 2, "b": 1, "c": 1})
    assert turns.shares(8) == {"a": 4, "b": 2, "c": 2}
    assert turns.shares(0) == {"a": 0, "b": 0, "c": 0}


def test_a_queue_without_jobs_leaves_its_share_to_the_others() -> None:
    turns = Turns({"a": 1, "b": 5})
    assert served(turns, {"a"}, 5) == "aaaaa"
    assert turns.shares(4) == {"a": 4, "b": 1}, "and its next job finds an offer"


def test_who_was_idle_has_saved_nothing_up() -> None:
    turns = Turns({"a": 1, "b": 1})
    served(turns, {"a"}, 50)
    assert served(turns, {"a", "b"}, 8).count("b") in (4, 5)


def test_who_was_alone_owes_nothing() -> None:
    turns = Turns({"a": 1, "b": 1})
    served(turns, {"a"}, 50)
    for _ in range(2):
        turns.shares(2)
        turns.turn_over()
    served(turns, {"b"}, 3)
    assert served(turns, {"a", "b"}, 8).count("a") in (4, 5)


def test_all_idle_each_is_offered_one() -> None:
    turns = Turns({"a": 1, "b": 1})
    turns.shares(8)
    assert turns.turn_over()
    assert turns.shares(8) == {"a": 1, "b": 1}
    assert not turns.turn_over()
