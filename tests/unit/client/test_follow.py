"""How far a follower is: what is new, what was seen, what began again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridd.client.api import LogPage
from gridd.client.follow import KINDS, Dropped, Lines, Place, Restarted, StateChanged
from gridd_protocol.messages import LogLine


def lines(*numbers):
    return [LogLine(f"{number}\n", number) for number in numbers]


def place(since=0):
    return Place(dict.fromkeys(KINDS, since))


def texts(events):
    return [
        line.text.strip() for event in events if isinstance(event, Lines) for line in event.lines
    ]


def page(first, *numbers, final=False):
    return LogPage(lines(*numbers), first, first + len(numbers), final)


def test_lines_of_a_replay_are_passed_over():
    here = place()
    here.connected()
    assert list(here.on_log("run", 2, lines(0, 1))) == [Lines("run", 0, lines(0, 1))]
    assert list(here.on_log("run", 3, lines(2))) == [Lines("run", 2, lines(2))]
    here.connected()
    assert list(here.on_log("run", 1, lines(0))) == []
    assert list(here.on_log("run", 5, lines(1, 2, 3, 4))) == [Lines("run", 3, lines(3, 4))]


def test_a_page_fills_the_gap_between_two_connections():
    here = place()
    here.connected()
    list(here.on_log("run", 2, lines(0, 1)))
    assert list(here.on_page("run", page(2, 2, 3))) == [Lines("run", 2, lines(2, 3))]
    here.connected()
    assert list(here.on_log("run", 5, lines(0, 1, 2, 3, 4))) == [Lines("run", 4, lines(4))]


def test_kinds_are_counted_apart():
    here = place()
    list(here.on_log("build", 3, lines(0, 1, 2)))
    assert texts(here.on_log("run", 1, lines(7))) == ["7"]


def test_since_passes_over_the_first_lines():
    here = place(since=2)
    assert list(here.on_log("run", 4, lines(0, 1, 2, 3))) == [Lines("run", 2, lines(2, 3))]


def test_lines_that_the_grid_dropped_are_told():
    here = place()
    assert list(here.on_log("run", 12, lines(10, 11))) == [
        Dropped("run", 10),
        Lines("run", 10, lines(10, 11)),
    ]
    assert texts(here.on_log("run", 13, lines(12))) == ["12"]


def test_a_count_that_falls_within_a_connection_is_a_new_attempt():
    here = place()
    here.connected()
    list(here.on_log("run", 3, lines(0, 1, 2)))
    assert list(here.on_log("run", 2, lines(7, 8))) == [Restarted(), Lines("run", 0, lines(7, 8))]
    assert texts(here.on_log("run", 3, lines(9))) == ["9"]


def test_a_new_attempt_by_its_number_across_connections():
    here = place()
    assert list(here.on_state("Running", 1)) == [StateChanged("Running")]
    list(here.on_log("run", 3, lines(0, 1, 2)))
    here.connected()
    assert list(here.on_state("Running", 2)) == [Restarted()]
    assert texts(here.on_log("run", 5, lines(5, 6, 7, 8, 9))) == ["5", "6", "7", "8", "9"]


def test_a_new_attempt_is_told_once_when_its_log_comes_first():
    here = place()
    list(here.on_state("Running", 1))
    list(here.on_log("run", 3, lines(0, 1, 2)))
    assert Restarted() in list(here.on_log("run", 1, lines(7)))
    assert list(here.on_state("Running", 2)) == []
    assert texts(here.on_log("run", 2, lines(8))) == ["8"]


def test_a_page_that_is_shorter_than_what_was_seen_is_of_a_new_attempt():
    here = place()
    list(here.on_log("run", 3, lines(0, 1, 2)))
    assert here.shrank("run", LogPage([], 3, 1, False))
    assert not here.shrank("run", LogPage([], 3, 3, False))


def test_since_beyond_the_end_is_no_new_attempt():
    here = place(since=100)
    list(here.on_page("run", LogPage([], 100, 4, False)))
    assert not here.shrank("run", LogPage([], 100, 4, False))


def test_a_state_is_told_once():
    here = place()
    assert list(here.on_state("Queued")) == [StateChanged("Queued")]
    assert list(here.on_state("Queued")) == []


@settings(deadline=None)
@given(st.data())
def test_no_line_is_lost_or_doubled_however_connections_break(data):
    total = data.draw(st.integers(0, 30))
    here, seen, had = place(), [], 0
    for _ in range(data.draw(st.integers(0, 8))):  # a draw for each round would go on for ever
        had = data.draw(st.integers(had, total))  # lines that the grid has by now
        if data.draw(st.booleans()):
            start = here.cursors["run"]
            seen += texts(here.on_page("run", page(start, *range(start, had))))
            continue
        here.connected()
        at = 0
        for end in sorted(data.draw(st.lists(st.integers(0, had), max_size=4))):
            seen += texts(here.on_log("run", end, lines(*range(at, end))))
            at = end
    start = here.cursors["run"]
    seen += texts(here.on_page("run", page(start, *range(start, total))))
    assert seen == [str(number) for number in range(total)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_event_changes_nothing(kind):
    assert list(place().on_log(kind, 0, [])) == []


def test_a_later_attempt_counts_on_and_nothing_is_called_dropped():
    here = place()
    list(here.on_state("Running", 1))
    list(here.on_log("run", 3, lines(0, 1, 2)))
    assert list(here.on_state("Running", 2)) == [Restarted()]
    assert list(here.on_log("run", 5, lines(3, 4))) == [Lines("run", 3, lines(3, 4))]
