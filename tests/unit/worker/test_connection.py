"""Where a worker connects, and how long it waits before it tries again."""

import pytest

from gridd_worker.connection import DELAY_MAX_S, DELAY_SLOW_S, Delays, End, worker_url


@pytest.mark.parametrize(
    ("address", "queue", "url"),
    [
        ("http://127.0.0.1:8000", "local", "ws://127.0.0.1:8000/q/local/worker"),
        ("https://grid.example.org", "a b", "wss://grid.example.org/q/a%20b/worker"),
        ("https://example.org/grid/", "ä?&#", "wss://example.org/grid/q/%C3%A4%3F%26%23/worker"),
        ("http://[::1]:80", "50%", "ws://[::1]:80/q/50%25/worker"),
    ],
)
def test_the_queue_is_percent_encoded(address: str, queue: str, url: str) -> None:
    assert worker_url(address, queue) == url


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
