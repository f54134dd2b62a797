"""A walk sees the moment when it began, whatever happens while it goes on."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gridd.core import records as r
from gridd.core.engine import Engine
from tests.unit.core.driver import Driver

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "cancel", "delete", "finish", "lose", "put away", "place"]),
        st.sampled_from("abcdefgh"),
        st.sampled_from(["_", "n", "m"]),
    ),
    max_size=30,
)


class World:
    """An engine whose records become durable when told; each has its number as its place."""

    def __init__(self) -> None:
        self.d = Driver()
        self.placed = 0
        self.d.hello("w", credit=3)

    def act(self, act: str, job: str, namespace: str) -> None:
        d = self.d
        d.now += 1
        if act == "submit":
            d.submit(job, namespace)
        elif act == "cancel":
            d.cancel(job, namespace)
        elif act == "delete":
            d.delete(job, "*")
        elif act == "finish":
            known = d.engine.jobs.by_id.get(job)
            if known is not None and known.state == "Running":
                d.finish("w", job, known.attempt)
        elif act == "lose":
            d.hello("w", credit=3)
        elif act == "put away":
            d.engine.put_away(d.now, 100)
        else:
            self.place()

    def place(self) -> None:
        for record in self.d.records[self.placed :]:
            self.placed += 1
            self.d.engine.place(record, self.placed)


def dumped(engine: Engine) -> dict[str, Any]:
    kept = {job.job: msgspec.structs.asdict(job) for job in engine.snapshot()}
    for job in kept.values():
        if job["state"] in ("Finished", "Removed"):  # held in short by some, whole by others
            for member in ("sequence", "tags", "requirements", "run_ms_max", "build_lines"):
                del job[member]
            del job["run_lines"]
    return kept


def differing(one: Engine, other: Engine) -> list[tuple[Any, ...]]:
    """``(job, member, here, there)`` of what is not the same."""
    here, there = dumped(one), dumped(other)
    found: list[tuple[Any, ...]] = [(job, "known") for job in here.keys() ^ there.keys()]
    for job in here.keys() & there.keys():
        members = here[job].keys() | there[job].keys()
        found += [
            (job, member, here[job].get(member), there[job].get(member))
            for member in sorted(members)
            if here[job].get(member) != there[job].get(member)
        ]
    return found


@given(before=ACTS, during=ACTS, step=st.integers(1, 5))
def test_a_snapshot_taken_while_things_go_on_is_the_state_at_its_beginning(before, during, step):
    world = World()
    for act in before:
        world.act(*act)
    unplaced = world.d.records[world.placed :]
    expected = Engine("q")
    for at, record in enumerate(world.d.records, 1):
        expected.apply(record)
        expected.place(record, at)
    walk = world.d.engine.walk()
    taken: list[r.KeptJob] = []
    begun = len(during) // 3
    for act in during[:begun]:  # before what was decided is durable nothing may be taken
        world.act(*act) if act[0] != "place" else None
    for at, record in enumerate(unplaced, world.placed + 1):
        world.d.engine.place(record, at)
    world.placed += len(unplaced)
    for act in during[begun:]:
        taken += walk.take(step)
        world.act(*act)
    while not walk.done:
        taken += walk.take(step)
    assert len({job.job for job in taken}) == len(taken), "a job was seen twice"

    loaded = Engine("q")
    for job in taken:
        loaded.jobs.load(job)
    loaded.jobs.loaded(0)
    assert differing(loaded, expected) == []
    assert world.d.engine.jobs.before_change is None
    assert world.d.engine.jobs.on_place is None


def test_jobs_are_not_put_away_during_a_walk():
    world = World()
    world.act("submit", "a", "_")
    world.act("finish", "a", "_")
    world.place()
    walk = world.d.engine.walk()
    assert world.d.engine.put_away(world.d.now + 1, 10) == 0
    walk.stop()
    assert world.d.engine.put_away(world.d.now + 1, 10) == 1


def test_a_walk_that_was_stopped_leaves_nothing_behind():
    world = World()
    world.act("submit", "a", "_")
    world.d.engine.walk().stop()
    world.d.engine.walk().stop()
    world.act("cancel", "a", "_")
