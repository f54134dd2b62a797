"""A job's story: what makes entries, what does not, its bound, and that replay tells the same."""

from gridd.core import records as r
from gridd.core.story import FIRST_KEPT, LAST_KEPT, after, read_stored, stored, told
from gridd_protocol import messages as m
from tests.simulation.state import durable_state
from tests.unit.core.driver import Driver

Short = tuple[str, str, int, str]


def short(story: tuple[r.StoryEntry, ...]) -> list[Short]:
    return [(entry.event, entry.who, entry.number, entry.reason) for entry in story]


def last_outcome(d: Driver, job: str) -> r.Finished:
    ends = [x for x in d.records if type(x) is r.Finished and x.job == job]
    return ends[-1]


def test_a_plain_job_keeps_no_entries_and_its_outcome_tells_all() -> None:
    d = Driver()
    d.submit("a", "home")
    began = d.now
    assert d.job("a").story == ()
    d.wait(500)
    d.hello("w", credit=1)
    leased = d.now
    assert d.job("a").story == ()
    so_far = (
        r.StoryEntry(began, "submitted", "home"),
        r.StoryEntry(leased, "leased", "w", 1),
    )
    assert told(d.job("a")) == so_far
    d.wait(500)
    d.finish("w", "a")
    assert read_stored(last_outcome(d, "a").story) == so_far
    assert d.job("a").story == ()


def test_losses_releases_and_holders_are_told_in_order() -> None:
    d = Driver()
    d.hello("w1", credit=1)
    d.submit("a", "home")
    d.submit("a", "away")
    d.said("w1", m.Drain())
    d.said("w1", m.Release("a", 1))
    d.hello("w2", credit=1)
    d.hello("w2", credit=0)  # without the job
    d.cancel("a", "home")
    d.hello("w3", credit=1)
    d.submit("b", "away")  # a waits for nobody now, and w3 has it
    assert short(read_stored(last_outcome(d, "a").story)) == [
        ("submitted", "home", 0, ""),
        ("leased", "w1", 1, ""),
        ("held", "away", 0, ""),
        ("released", "w1", 1, ""),
        ("leased", "w2", 2, ""),
        ("lost", "w2", 2, ""),
        ("dropped", "home", 0, "Cancelled"),
        ("leased", "w3", 3, ""),
        ("dropped", "away", 0, "JobReplacedByClient"),
    ]
    assert last_outcome(d, "a").reason == "JobReplacedByClient"


def test_a_job_that_is_submitted_again_remembers_its_former_life() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("a", "home")
    d.cancel("a", "home")
    d.submit("a", "away")
    assert short(told(d.job("a"))) == [
        ("submitted", "", 0, ""),
        ("finished", "w", 1, "Cancelled"),
        ("submitted", "away", 0, ""),
        ("leased", "w", 2, ""),
    ]


def test_the_outcome_of_a_deletion_tells_of_the_answer_before() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("a")
    d.finish("w", "a")
    d.delete("a")
    assert last_outcome(d, "a").reason == "Deleted"
    assert short(read_stored(last_outcome(d, "a").story)) == [
        ("submitted", "", 0, ""),
        ("finished", "w", 1, "Success"),
    ]


def test_a_long_story_keeps_its_beginning_its_end_and_counts_the_rest() -> None:
    entries = [r.StoryEntry(time, "held", str(time)) for time in range(200)]
    story: tuple[r.StoryEntry, ...] = ()
    for at, entry in enumerate(entries):
        story = after(story, entry)
        omitted = [one for one in story if one.event == "omitted"]
        left_out = omitted[0].number if omitted else 0
        assert len(story) - len(omitted) + left_out == at + 1
        assert len(story) <= FIRST_KEPT + 1 + LAST_KEPT
    assert list(story[:FIRST_KEPT]) == entries[:FIRST_KEPT]
    assert list(story[-LAST_KEPT:]) == entries[-LAST_KEPT:]
    middle = story[FIRST_KEPT]
    gone = entries[FIRST_KEPT:-LAST_KEPT]
    assert middle == r.StoryEntry(gone[-1].time, "omitted", number=len(gone))


def test_giving_a_job_back_for_ever_stays_within_the_bound() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("a")
    for attempt in range(1, 100):
        d.said("w", m.Release("a", attempt))
        d.wait(60_000, beating=("w",))  # for as long it is spared the job
    story = d.job("a").story
    assert len(story) == FIRST_KEPT + 1 + LAST_KEPT
    assert (story[-1].event, story[-1].who, story[-1].number) == ("leased", "w", 100)
    assert sum(entry.number for entry in story if entry.event == "omitted") == 200 - len(story) + 1


def test_replay_and_snapshots_tell_the_same_story() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("a", "home")
    d.submit("a", "away")
    d.said("w", m.Release("a", 1))
    d.wait(1_000)  # and it is offered to w again
    d.cancel("a", "home")
    assert len(d.job("a").story) == 6
    for split in range(len(d.records) + 1):
        again = d.restart(snapshot_after=split)
        assert again.jobs.by_id["a"].story == d.job("a").story, split
        assert durable_state(again) == durable_state(d.engine), split


def test_an_outcome_from_before_there_were_stories_has_an_empty_one() -> None:
    assert read_stored(b"") == ()
    entry = r.StoryEntry(5, "leased", "w", 2)
    assert read_stored(stored((entry,))) == (entry,)
