from itertools import pairwise

import msgspec
import pytest

from gridd.clock import Clock
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.journal.memory import MemoryJournal
from gridd_protocol import messages as m

decode = msgspec.msgpack.Decoder(r.Record).decode


class Peer:
    def send(self, message: m.ToWorker) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        pass


class Machine:
    def __init__(self) -> None:
        self.wall_s = 1_000.0
        self.monotonic_s = 50.0

    def clock(self, not_before: int = 0) -> Clock:
        return Clock(not_before, wall=lambda: self.wall_s, monotonic=lambda: self.monotonic_s)


def test_it_starts_at_the_wall_and_goes_on_with_the_monotonic_clock():
    machine = Machine()
    clock = machine.clock()
    assert clock.now_ms() == 1_000_000
    machine.monotonic_s += 1.5
    assert clock.now_ms() == 1_001_500


def test_a_wall_clock_set_back_changes_nothing():
    machine = Machine()
    clock = machine.clock()
    machine.wall_s -= 500
    machine.monotonic_s += 1
    assert clock.now_ms() == 1_001_000


def test_after_a_restart_it_does_not_start_before_what_is_on_record():
    assert Machine().clock(not_before=2_000_000).now_ms() == 2_000_000


def test_a_wall_clock_set_forward_changes_nothing_until_the_next_start():
    machine = Machine()
    clock = machine.clock()
    machine.wall_s += 86_400
    machine.monotonic_s += 1
    assert clock.now_ms() == 1_001_000
    assert machine.clock(not_before=clock.now_ms()).now_ms() == 87_400_000


class Run:
    """A daemon by the machine's clocks, from one start to its stop."""

    def __init__(self, machine: Machine, journal: MemoryJournal) -> None:
        self.machine = machine
        self.daemon = Daemon(journal, JsonFrames(), Settings(), machine.clock)

    async def __aenter__(self) -> "Run":
        self.daemon.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.daemon.close()

    async def submitted_at(self, command: str) -> int:
        body = b'{"definition":{"image":"a","command":"%s"}}' % command.encode()
        return (await self.daemon.submit("q", body)).view.queued_time


async def test_times_on_record_never_decrease_whatever_is_done_to_the_wall_clock():
    machine, journal = Machine(), MemoryJournal()
    times: list[int] = []
    for jump_s in (0, -900, 500, -86_400, 7 * 86_400, -1_000_000):
        machine.wall_s += jump_s
        async with Run(machine, journal) as run:
            for during_s in (0, -3_600, 3_600):
                machine.wall_s += during_s
                machine.monotonic_s += 1
                times.append(await run.submitted_at(f"job {len(times)}"))
    assert times == sorted(times)
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert [step for place, step in enumerate(steps) if place % 3 != 2] == [1_000] * 12, (
        "within a run only the monotonic clock counts"
    )
    records = [decode(payload).time for _, payload in journal.replay()]
    assert records == sorted(records)


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
async def test_a_lease_is_as_long_as_ever_when_the_wall_clock_jumps(jump_s):
    machine = Machine()
    async with Run(machine, MemoryJournal()) as run:
        daemon, lease_ms = run.daemon, run.daemon.settings.lease_ms
        await run.submitted_at("x")
        hello = m.Hello(worker="w", credit=1, resources=m.Resources(cpus=1))
        daemon.join_worker("q", 1, Peer())
        daemon.step("q", ev.WorkerSaid(1, hello))
        began_ms = daemon.clock.now_ms()
        engine = daemon.room("q").engine
        machine.wall_s += jump_s
        for later_ms, running in ((lease_ms - 1, 1), (lease_ms, 0)):
            machine.monotonic_s = 50 + (began_ms - 1_000_000 + later_ms) / 1_000
            daemon.step("q", ev.AlarmRang())
            assert engine.jobs.running == running
