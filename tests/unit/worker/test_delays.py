"""How a connection ended, and how long a worker waits before it tries again."""

import pytest
from websockets.frames import Close

from gridd_worker.delays import DELAY_MAX_S, DELAY_SLOW_S, Delays, End, end_of


def test_the_first_try_is_at_once_then_delays_double_up_to_a_bound() -> None:
    delays = Delays(chance=lambda: 1.0)
    assert [delays.after(End.FAILED) for _ in range(8)] == [0, 0.5, 1, 2, 4, 8, 10, 10]
    for _ in range(10_000):
        assert delays.after(End.FAILED) == DELAY_MAX_S


def test_chance_takes_off_up_to_a_half() -> None:
    delays = Delays(chance=lambda: 0.0)
    assert [delays.after(End.FAILED) for _ in range(4)] == [0, 0.25, 0.5, 1]


def test_a_welcome_starts_anew() -> None:
    delays = Delays(chance=lambda: 1.0)
    for _ in range(5):
        delays.after(End.FAILED)
    delays.welcomed()
    assert delays.after(End.FAILED) == 0


def test_a_short_lease_is_not_slept_away() -> None:
    """A restarted server gives each lease its full term: a worker must try within it."""
    delays = Delays(chance=lambda: 1.0)
    delays.welcomed(lease_ms=3_000)
    assert [delays.after(End.FAILED) for _ in range(5)] == [0, 0.5, 1, 1, 1]
    delays.welcomed(lease_ms=30_000)
    assert max(delays.after(End.FAILED) for _ in range(20)) == DELAY_MAX_S


def test_workers_of_a_server_that_goes_away_do_not_come_back_as_one() -> None:
    assert Delays(chance=lambda: 0.5).after(End.GOING_AWAY) == 0.25


def test_where_trying_soon_is_in_vain_the_wait_is_long() -> None:
    delays = Delays(chance=lambda: 0.0)
    assert delays.after(End.REPLACED) == DELAY_SLOW_S / 2


@pytest.mark.parametrize(
    ("code", "end"),
    [(4001, End.REPLACED), (1001, End.GOING_AWAY), (1012, End.GOING_AWAY), (1011, End.FAILED)],
)
def test_the_close_code_tells_how_it_ended(code: int, end: End) -> None:
    assert end_of(Close(code, "why")) == (end, f"the server closed the connection ({code} why)")
    assert end_of(Close(code, ""))[1] == f"the server closed the connection ({code})"


def test_without_a_close_frame_it_broke() -> None:
    assert end_of(None) == (End.FAILED, "the connection broke")
