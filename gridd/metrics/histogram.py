"""Counts of values by size: a search in a short list for each value, and no memory for any."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from gridd.metrics.text import Sample, number

DISK_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
)  # fmt: skip
"""One write to a disk: a good one syncs in 0.1 ms, one that is in trouble takes seconds."""

WAIT_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
    7_200.0,
)  # fmt: skip
"""A job in line: milliseconds where a worker is free, hours where none is."""

LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SNAPSHOT_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
BATCH_RECORDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


class Histogram:
    """``bounds``: the upper ends of the buckets, rising; one without end follows them."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def samples(self) -> Iterator[Sample]:
        upper = (*map(number, self._bounds), "+Inf")
        total = 0
        for bound, total in zip(upper, accumulate(self._counts), strict=True):
            yield Sample(total, (("le", bound),), "_bucket")
        yield Sample(self.sum, suffix="_sum")
        yield Sample(total, suffix="_count")
