"""How many jobs an upstream worker can be offered: its slots, less those that it does not tell of.

It stops an unwanted job only 6 s after it saw that, and says nothing when it is gone (WIRE 6.5), so
that slot counts as taken for as long. And it may leave an offer unclaimed: it is given a rest then.
Times are seconds of the loop's clock.
"""

from dataclasses import dataclass, field


@dataclass
class Slots:
    """``stop`` and ``rest`` are how long one is taken, and how long no offers are made."""

    stop: float
    rest: float
    count: int = 0
    _stopping: dict[str, float] = field(default_factory=dict)  # job -> when its slot is free
    _clearing: dict[str, float] = field(default_factory=dict)  # job -> when its run is surely gone
    _rests_until: float = 0.0

    def register(self, count: int, *, anew: bool) -> None:
        """``anew``: it is another worker now."""
        self.count = count
        if anew:
            self._stopping.clear()
            self._clearing.clear()

    def credit(self, now: float, busy: int) -> int:
        """Jobs that it may hold; while it rests, only the ``busy`` that it runs already."""
        if now < self._rests_until:
            return busy
        return max(self.count - len(self._stopping), 0)

    def rest_from(self, now: float) -> None:
        self._rests_until = now + self.rest

    def woke(self) -> None:
        """It claimed a job."""
        self._rests_until = 0.0

    def stops(self, job: str, now: float) -> bool:
        """It was told that ``job`` is over. False: more than it has slots can't be told of."""
        if job not in self._stopping and len(self._stopping) >= self.count:
            return False
        self._stopping[job] = now + self.stop
        return True

    def clears(self, job: str, now: float) -> None:
        """It was told to kill what runs of ``job``, and to report that as an end like any other
        (WIRE 6.11): until then, a next run of the job would get that end for its own."""
        self._clearing[job] = now + self.stop

    def clearing(self, job: str) -> bool:
        return job in self._clearing

    def taken_up(self, job: str) -> None:
        """It is offered again what it may still run: that slot is the offer's."""
        self._stopping.pop(job, None)

    def over(self, job: str) -> None:
        """It said that ``job`` has ended."""
        self._stopping.pop(job, None)
        self._clearing.pop(job, None)

    def freed(self, now: float) -> bool:
        """Whether slots are free that were not when this was asked last."""
        self._clearing = {job: due for job, due in self._clearing.items() if due > now}
        before = len(self._stopping)
        self._stopping = {job: due for job, due in self._stopping.items() if due > now}
        return len(self._stopping) < before
