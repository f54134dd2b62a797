"""Records and what they make of the jobs: live, on replay, and through a snapshot."""

import msgspec
import pytest

from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.jobs import Jobs
from gridd_protocol import messages as m
from tests.simulation.state import durable_state
from tests.unit.core.driver import Driver


def story() -> Driver:
    """A queue in which everything that has a record has happened."""
    d = Driver(attempts_max=3, retention_ms=100_000)
    d.submit("old")
    d.hello("w", credit=1)
    d.finish("w", "old")
    d.wait(90_000, beating=("w",))
    d.submit("runs", "a")
    d.submit("runs", "b")
    d.submit("waits", "c", cpus_milli=500, tags=("eu",))
    d.submit("cancelled", "d")
    d.cancel("cancelled", "d")
    d.submit("replaced", "e")
    d.submit("successor", "e")
    d.submit("deleted")
    d.delete("deleted")
    d.submit("again")
    d.cancel("again")
    d.submit("again")
    d.said("w", m.Log("runs", 1, "docker build", 0, [m.LogLine("built\n", 1)]))
    d.said("w", m.Log("runs", 1, "Running", 1, [m.LogLine("ran\n", 1)] * 2))
    d.hello("w", credit=1)  # without the job: it is lost, and runs again
    d.wait(30_000, beating=("w",))
    d.submit("heir", "a")
    d.submit("heir", "b")  # "runs" is an orphan in its grace
    d.wait(3_000, beating=("w",))
    return d


def test_the_story_has_every_record_but_the_snapshots_own() -> None:
    kinds = {type(record) for record in story().records}
    assert kinds == set(r.Record.__args__) - {r.KeptJob}


def test_replaying_the_records_gives_the_live_state() -> None:
    d = story()
    assert d.engine.jobs.orphans
    assert durable_state(d.restart()) == durable_state(d.engine)


def test_records_survive_their_coding() -> None:
    d = story()
    again = Engine("q", d.engine.settings)
    for record in d.records:
        coded = msgspec.msgpack.encode(record)
        again.apply(msgspec.msgpack.decode(coded, type=r.Record))
    assert durable_state(again) == durable_state(d.engine)


def test_a_snapshot_at_any_point_and_the_rest_give_the_live_state() -> None:
    d = story()
    for split in range(len(d.records) + 1):
        assert durable_state(d.restart(snapshot_after=split)) == durable_state(d.engine), split


def test_a_snapshot_of_a_snapshot_is_the_same() -> None:
    d = story()
    once = list(d.engine.snapshot())
    again = Engine("q")
    for record in once:
        again.apply(record)
    assert list(again.snapshot()) == once


def test_a_job_that_ended_twice_in_one_moment_is_kept_once() -> None:
    """Cancelled and deleted in the same ms: both endings named the same moment."""
    d = Driver()
    d.submit("j")
    d.cancel("j")
    d.delete("j")
    assert len(list(d.engine.snapshot())) == 1


def test_restored_jobs_run_on_in_the_same_order() -> None:
    d = Driver()
    for name in "abcd":
        d.submit(name)
    d.hello("w", credit=1)
    d.said("w", m.Release("a", 1))  # back to its old place; w has b now
    d.engine = d.restart(snapshot_after=len(d.records))
    d.engine.start(d.now)
    d.submit("e")
    d.hello("v", credit=9, cpus=9.0)
    assert [job for _, job, _ in d.pushed()] == ["a", "c", "d", "e"]


def test_a_submission_begins_anew_but_attempts_count_on() -> None:
    """The attempt is the fence: a late report on the life before must not fit the new one."""
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.delete("j")
    d.submit("j")
    assert d.pushed() == [("w", "j", 2)]
    assert [type(message) for message in d.finish("w", "j", 1)] == [m.Stale]
    assert d.shown("j") == "Running w #2"


def test_an_ended_job_keeps_no_definition_in_memory() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j", cpus_milli=500)
    assert d.job("j").definition
    d.finish("w", "j")
    assert (d.job("j").definition, d.job("j").needs) == (b"", r.Needs())


def test_views() -> None:
    jobs = Jobs()
    jobs.apply(r.Submitted("q", "j", 5, "a", b"{}", r.Needs(), tags=b'["eu"]', requirements=b"{}"))
    view = msgspec.json.decode(msgspec.json.encode(jobs.by_id["j"].view()))
    assert view == {
        "state": "Queued",
        "queuedTime": 5,
        "time": 5,
        "worker": "",
        "namespaces": ["a"],
        "tags": ["eu"],
        "requirements": {},
    }


@pytest.mark.parametrize(
    ("reason", "visible"),
    [
        ("Success", True),
        ("Error", True),
        ("TimedOut", True),
        ("Cancelled", False),
        ("JobReplacedByClient", False),
        ("Deleted", False),
    ],
)
def test_only_answers_are_listed(reason: r.FinishedReason, visible: bool) -> None:
    jobs = Jobs()
    jobs.apply(r.Submitted("q", "j", 5, "a", b"{}", r.Needs()))
    assert jobs.by_id["j"].view().visible
    jobs.apply(r.Finished("q", "j", 6, reason, 0, "", "", b"", b""))
    assert jobs.by_id["j"].view().visible is visible


def test_older_records_decode_with_defaults() -> None:
    """Members are only added at the end: a record without them is still one."""
    shortest = ["sub", "q", "j", 5, "a", b"{}", ["container"]]
    record = msgspec.msgpack.decode(msgspec.msgpack.encode(shortest), type=r.Record)
    assert record == r.Submitted("q", "j", 5, "a", b"{}", r.Needs())
    requeued = msgspec.msgpack.encode(["req", "q", "j", 5, 1, True])
    assert msgspec.msgpack.decode(requeued, type=r.Record) == r.Requeued("q", "j", 5, 1, True)
