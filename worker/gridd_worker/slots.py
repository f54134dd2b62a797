"""What this machine gives to jobs: cpus, memory and gpu devices, taken and given back.

Several queues share one ``Slots``. A gpu is one device, taken singly by its id. Refuses to know
what a job is. Cpus are counted in thousandths, so that 0.1 taken ten times is 1.
"""

import asyncio
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Needs:
    """What one run asks for. ``memory`` in bytes."""

    cpus: float = 1.0
    gpus: int = 0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """A share in use; give it back once."""

    millicpus: int
    memory: int
    gpus: tuple[str, ...]


class Slots:
    """``memory`` in bytes; 0: not counted. ``gpus`` are device ids."""

    def __init__(self, cpus: float, memory: int = 0, gpus: tuple[str, ...] = ()) -> None:
        self._millicpus_all = _milli(cpus)
        self._memory_all = memory
        self._gpus_all = gpus
        self._millicpus = self._millicpus_all
        self._memory = memory
        self._gpus = list(gpus)
        self._waiting: deque[tuple[Needs, asyncio.Future[Taken]]] = deque()

    @property
    def free_cpus(self) -> float:
        return self._millicpus / 1000

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def refusal(self, needs: Needs) -> str | None:
        """A sentence when ``needs`` can never be met here, however long one waits."""
        if _milli(needs.cpus) > self._millicpus_all:
            return f"the job needs {needs.cpus:g} cpus and this worker has {self._cpus_all:g}"
        if needs.gpus > len(self._gpus_all):
            return f"the job needs {needs.gpus} gpus and this worker has {len(self._gpus_all)}"
        if self._memory_all and needs.memory > self._memory_all:
            return (
                f"the job needs {needs.memory} bytes of memory and this worker has "
                f"{self._memory_all}"
            )
        return None

    def take(self, needs: Needs) -> Taken | None:
        """Take at once, or ``None``: something is missing now, or others wait in front."""
        return None if self._waiting else self._take(needs)

    def claim(self, needs: Needs, gpus: tuple[str, ...]) -> Taken:
        """For a run that goes on already, with these devices: taken even where less is free, so
        that nothing else is given what it uses."""
        devices = tuple(device for device in gpus if device in self._gpus)
        self._gpus = [device for device in self._gpus if device not in devices]
        memory = needs.memory if self._memory_all else 0
        self._millicpus -= _milli(needs.cpus)
        self._memory -= memory
        return Taken(_milli(needs.cpus), memory, devices)

    async def wait(self, needs: Needs, timeout_s: float) -> Taken:
        """Take as soon as it is there, first come first served; ``TimeoutError`` after
        ``timeout_s``."""
        taken = self.take(needs)
        if taken is not None:
            return taken
        future: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        entry = (needs, future)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(future)
        except BaseException:
            if future.done() and not future.cancelled():
                self.give(future.result())  # given in the very moment that we left
            else:
                future.cancel()
                self._waiting.remove(entry)
                self._serve()  # a small one behind us may fit
            raise

    def give(self, taken: Taken) -> None:
        self._millicpus += taken.millicpus
        self._memory += taken.memory
        self._gpus.extend(taken.gpus)
        self._gpus.sort(key=self._gpus_all.index)  # the lowest free device is taken first
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            needs, future = self._waiting[0]
            taken = self._take(needs)
            if taken is None:
                return
            self._waiting.popleft()
            future.set_result(taken)

    def _take(self, needs: Needs) -> Taken | None:
        millicpus = _milli(needs.cpus)
        memory = needs.memory if self._memory_all else 0
        if millicpus > self._millicpus or memory > self._memory or needs.gpus > len(self._gpus):
            return None
        devices = tuple(self._gpus[: needs.gpus])
        del self._gpus[: needs.gpus]
        self._millicpus -= millicpus
        self._memory -= memory
        return Taken(millicpus, memory, devices)

    @property
    def _cpus_all(self) -> float:
        return self._millicpus_all / 1000


def _milli(cpus: float) -> int:
    return round(cpus * 1000)
