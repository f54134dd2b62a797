"""Decoded logs that are kept for the next page: bounded by bytes."""

from gridd.core.logs import StoredLogs
from gridd.stored_logs import StoredLogsCache

LOGS = [StoredLogs(run_dropped=number) for number in range(9)]


def kept(cache: StoredLogsCache) -> list[int]:
    return [number for number in range(9) if cache.get(number) is not None]


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    cache = StoredLogsCache(bytes_max=100)
    for number in range(4):
        cache.keep(number, LOGS[number], 25)
    assert cache.get(0) is LOGS[0]
    cache.keep(4, LOGS[4], 30)
    assert kept(cache) == [0, 3, 4]


def test_the_newest_is_kept_whatever_its_size() -> None:
    cache = StoredLogsCache(bytes_max=100)
    cache.keep(1, LOGS[1], 10)
    cache.keep(2, LOGS[2], 1_000)
    assert kept(cache) == [2]
    cache.keep(3, LOGS[3], 10)
    assert kept(cache) == [3]


def test_one_that_was_read_twice_counts_once() -> None:
    cache = StoredLogsCache(bytes_max=100)
    for _ in range(9):
        cache.keep(1, LOGS[1], 60)
    cache.keep(2, LOGS[2], 40)
    assert kept(cache) == [1, 2]
    cache.clear()
    cache.keep(3, LOGS[3], 90)
    cache.keep(4, LOGS[4], 10)
    assert kept(cache) == [3, 4]
