"""Ended jobs in their small form: nothing that is asked for is lost, and nothing else is held."""

import pytest

from gridd.core import effects as fx
from gridd.core.archive import Archive, id_of, key_of, pack, places_of, time_of, unpack
from gridd.core.job import Job
from gridd_protocol import messages as m
from tests.unit.core.driver import Driver


def ended(name: str = "ab" * 32, time: int = 5_000, **members: object) -> Job:
    job = Job(name)
    job.state, job.reason = "Finished", "Success"
    job.queued_time, job.time = 1_000, time
    job.worker, job.namespaces = "wörker", ("_", "ä b")
    job.sequence, job.attempt, job.losses = 7, 3, 2
    job.definition_at, job.result_at = (3 << 40) + 99, (4 << 40) + 1
    for member, value in members.items():
        setattr(job, member, value)
    return job


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"worker": "", "namespaces": ()},
        {"reason": "Deleted", "state": "Removed", "debug": True},
        {"reason": "JobReplacedByClient"},
        {"worker": "w" * 128, "namespaces": tuple(f"n{i:03}" for i in range(64))},
        {"sequence": 2**40 + 5},
    ],
)
def test_an_entry_says_what_the_job_said(members):
    job = ended(**members)
    back = Job(job.id)
    unpack(pack(job), back)
    for member in Job.__struct_fields__:
        if member == "sequence":
            assert back.sequence == job.sequence % 2**32
        else:
            assert getattr(back, member) == getattr(job, member), member


def test_time_and_places_are_read_without_the_rest():
    entry = pack(ended())
    assert time_of(entry) == 5_000
    assert places_of(entry) == ((3 << 40) + 99, (4 << 40) + 1)


def test_a_job_that_came_back_does_not_keep_the_others_from_ageing():
    """Its first place stood for it again, and nothing behind it expired for another retention."""
    archive = Archive()
    first, second = f"{1:064x}", f"{2:064x}"
    archive.put(first, pack(ended(first, time=1)))
    archive.put(second, pack(ended(second, time=2)))
    for time in (10, 11):
        archive.take(first)
        archive.put(first, pack(ended(first, time=time)))
    assert archive.oldest() == (second, 2)
    archive.take(second)
    assert archive.oldest() == (first, 11)
    archive.take(first)
    assert archive.oldest() is None
    assert not archive._left, "what was taken out is remembered for ever"


def test_a_job_that_was_carried_on_is_as_old_as_before():
    archive = Archive()
    for n in range(3):
        archive.put(f"{n:064x}", pack(ended(f"{n:064x}", time=n)))
    archive.move(f"{0:064x}", definition_at=77)
    archive.move(f"{0:064x}", result_at=88)
    archive.move(f"{1:064x}", result_at=99)
    assert places_of(archive.get(f"{0:064x}")) == (77, 88)
    assert places_of(archive.get(f"{1:064x}")) == ((3 << 40) + 99, 99)
    assert archive.oldest() == (f"{0:064x}", 0)
    assert len(archive) == 3
    back = Job("j")
    unpack(archive.get(f"{0:064x}"), back)
    assert (back.worker, back.namespaces, back.attempt) == ("wörker", ("_", "ä b"), 3)


@pytest.mark.parametrize("name", ["ab" * 32, "J", "", "g" * 64, "ü"])
def test_names_come_back_as_they_were(name):
    assert id_of(key_of(name)) == name


def test_the_archive_gives_and_takes_oldest_first():
    archive = Archive()
    names = [f"{n:064x}" for n in range(300)]
    for n, name in enumerate(names):
        archive.put(name, pack(ended(name, time=n)))
    assert len(archive) == 300
    assert archive.oldest() == (names[0], 0)
    assert archive.take(names[0]) is not None
    assert archive.take(names[0]) is None
    assert archive.oldest() == (names[1], 1)
    assert len(archive) == 299
    assert archive.newest(298) == names[298:]
    assert {job for job, _ in archive} == set(names[1:])


def test_loaded_in_any_order_they_are_sorted():
    archive = Archive()
    for time in (5, 1, 9, 3):
        archive.put(f"{time:064x}", pack(ended(f"{time:064x}", time=time)))
    archive.sort()
    seen = []
    while (oldest := archive.oldest()) is not None:
        seen.append(oldest[1])
        archive.take(oldest[0])
    assert seen == [1, 3, 5, 9]


def answered(d: Driver, job: str) -> None:
    d.submit(job)
    d.finish("w", job)
    for at, record in enumerate(d.records, 1):
        d.engine.place(record, at)


def put_away() -> Driver:
    d = Driver()
    d.hello("w", credit=1)
    answered(d, "j")
    assert d.engine.put_away(d.now + 1, 10) == 1
    d.engine.check()
    assert "j" not in d.engine.jobs.by_id
    assert "j" in d.engine.jobs.archive
    return d


def test_an_archived_answer_is_given_again():
    d = put_away()
    outcome = d.submit("j", "another")
    assert type(outcome) is fx.Accepted
    assert (outcome.new, outcome.view.finished_reason) == (False, "Success")
    assert outcome.view.namespaces == ("_", "another")
    assert d.pushed() == [], "an answered job ran again"


def test_an_archived_answer_can_be_deleted_and_then_runs_again_under_a_new_attempt():
    d = put_away()
    assert d.delete("j").ended
    d.submit("j")
    assert d.pushed() == [("w", "j", 2)]


def test_the_worker_of_an_archived_answer_is_still_acknowledged():
    d = put_away()
    assert m.Acknowledged("j", 1) in d.finish("w", "j")
    assert "j" in d.engine.jobs.archive, "asking took it out"


def test_an_archived_answer_expires():
    d = put_away()
    d.wait(d.engine.settings.retention_ms)
    assert d.engine.jobs.known == 0


def test_what_is_not_durable_is_not_put_away():
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.finish("w", "j")
    assert d.engine.put_away(d.now + 1, 10) == 0
    assert "j" in d.engine.jobs.by_id


def test_recent_ones_and_live_ones_stay():
    d = Driver()
    d.hello("w", credit=1)
    answered(d, "old")
    d.wait(10, beating=("w",))
    answered(d, "new")
    d.submit("waits")
    d.engine.put_away(d.now, 10)
    assert sorted(d.engine.jobs.by_id) == ["new", "waits"]


def test_what_ended_last_is_listed_first_archived_or_not():
    d = put_away()
    d.at(d.now + 10)
    d.hello("other", credit=1)
    d.submit("k")
    d.finish("other", "k")
    d.at(d.now + 10)
    d.submit("cancelled")
    d.cancel("cancelled")
    d.submit("deleted")
    d.delete("deleted")
    d.submit("waits")
    listed = d.engine.jobs.last_ended(10)
    assert [(job.id, job.reason) for job in listed] == [
        ("cancelled", "Cancelled"),
        ("k", "Success"),
        ("j", "Success"),
    ]
    assert [job.id for job in d.engine.jobs.last_ended(2)] == ["cancelled", "k"]
    assert "j" in d.engine.jobs.archive, "a list takes nothing out"


def test_the_last_entries_are_found_behind_places_that_stand_for_nothing():
    archive = Archive()
    for n in (1, 2, 3):
        archive.put(f"{n:064x}", pack(ended(f"{n:064x}", time=n)))
    archive.take(f"{3:064x}")
    archive.take(f"{1:064x}")
    archive.put(f"{1:064x}", pack(ended(f"{1:064x}", time=4)))
    assert [(job, time_of(entry)) for job, entry in archive.last(5)] == [
        (f"{1:064x}", 4),
        (f"{2:064x}", 2),
    ]
    assert [job for job, _ in archive.last(1)] == [f"{1:064x}"]
