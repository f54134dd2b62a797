"""``history.json`` as the daemon tells it: live, ended, deleted, restarted, from old records."""

import json

import msgspec
import pytest

from gridd.core import records as r
from gridd.core.job import Job
from gridd.core.story import stored
from gridd.history import History, of_ended, of_live
from gridd_protocol import messages as m
from tests.unit.daemon.test_daemon import World, finish


@pytest.fixture
async def world():
    world = World()
    yield world
    await world.daemon.close()


async def told(world: World, job: str) -> History:
    history = await world.daemon.history("q", job)
    assert history is not None
    return history


def events(history: History) -> list[str]:
    return [one.event for one in history.events]


async def test_the_story_of_a_job_from_its_submission_to_its_answer(world):
    job = await world.submit("x", namespace="home")
    first = await told(world, job)
    assert (first.state, events(first), first.events[0].namespace) == (
        "Queued",
        ["submitted"],
        "home",
    )
    _, peer = world.worker()
    running = await told(world, job)
    assert (running.state, running.attempt) == ("Running", 1)
    assert (running.events[1].event, running.events[1].worker) == ("leased", "w")
    await finish(world, peer, job)
    ended = await told(world, job)
    assert (ended.state, ended.finished_reason) == ("Finished", "Success")
    assert events(ended) == ["submitted", "leased", "finished"]
    submitted, leased, finished = ended.events
    assert leased.waited == leased.time - submitted.time == ended.waited
    assert finished.ran == finished.time - leased.time == ended.ran
    assert (finished.worker, finished.attempt, finished.reason) == ("w", 1, "Success")
    assert finished.exit_code == 3


@pytest.mark.parametrize("with_snapshot", [False, True])
async def test_a_restart_tells_the_same(world, with_snapshot):
    ended, waiting = await world.submit("ended"), await world.submit("waiting")
    _, peer = world.worker(credit=1)
    await finish(world, peer, ended)
    world.say(peer, m.Release(waiting, 1))
    world.say(peer, m.Drain())
    before = [msgspec.to_builtins(await told(world, job)) for job in (ended, waiting)]
    assert [one["event"] for one in before[1]["events"]][:3] == ["submitted", "leased", "released"]
    if with_snapshot:
        await world.daemon.close()
    await world.restart()
    after = [msgspec.to_builtins(await told(world, job)) for job in (ended, waiting)]
    for each in (*before, *after):  # of a live job they go on
        each.pop("waited"), each.pop("ran")
    assert after == before


async def test_cancelled_and_deleted_jobs_have_a_story_too(world):
    cancelled, deleted = await world.submit("c"), await world.submit("d")
    await world.daemon.cancel("q", cancelled, "_", "not needed")
    await world.daemon.delete("q", deleted, "_")
    history = await told(world, cancelled)
    assert events(history) == ["submitted", "dropped", "finished"]
    assert (history.events[-1].reason, history.events[-1].message) == ("Cancelled", "not needed")
    assert history.waited == history.events[-1].time - history.events[0].time
    history = await told(world, deleted)
    assert (history.state, history.finished_reason) == ("Removed", "Deleted")
    assert await world.daemon.job("q", deleted) is None


async def test_an_unknown_job_has_none(world):
    assert await world.daemon.history("q", "0" * 64) is None


async def test_what_went_wrong_is_the_message(world):
    job = await world.submit("x")
    _, peer = world.worker()
    world.say(peer, m.Finished(job, 1, "Error", json.dumps({"error": "no such image"})))
    assert (await told(world, job)).events[-1].message == "no such image"


@pytest.mark.parametrize("result", [b"", b"[]", b"not JSON", b'{"error":{"reason":"x"}}'])
def test_an_error_that_is_no_text_has_no_message(result: bytes) -> None:
    record = outcome("Error", result=result)
    assert of_ended(ended_job("Error"), msgspec.msgpack.encode(record)).events[-1].message == ""


@pytest.mark.parametrize("result", [b"", b"[]", b'{"StatusCode":"3"}', b'{"duration":1.5}'])
def test_a_result_that_is_none_tells_no_exit_code(result: bytes) -> None:
    record = outcome("Success", result=result)
    ended = of_ended(ended_job("Success"), msgspec.msgpack.encode(record))
    assert ended.events[-1].exit_code is None


async def test_what_ended_is_listed_after_a_restart_too(world):
    done, cancelled = await world.submit("done"), await world.submit("cancelled")
    _, peer = world.worker(credit=1)
    await finish(world, peer, done)
    await world.daemon.cancel("q", cancelled, "_", "")
    await world.submit("waits")
    listed = await world.daemon.ended("q")
    assert list(listed) == [cancelled, done]
    assert [view.finished_reason for view in listed.values()] == ["Cancelled", "Success"]
    await world.restart()
    assert await world.daemon.ended("q") == listed
    assert await world.daemon.ended("unknown") == {}


def test_an_outcome_from_before_there_were_stories_tells_what_the_job_knows() -> None:
    for payload in (None, msgspec.msgpack.encode(outcome("Success"))):
        history = of_ended(ended_job("Success"), payload)
        assert events(history) == ["submitted", "finished"]
        assert (history.waited, history.ran) == (0, 0), "nobody knows when it was leased"


def test_what_was_left_out_is_not_counted() -> None:
    story = (
        r.StoryEntry(0, "submitted", "_"),
        r.StoryEntry(10, "leased", "w", 1),
        r.StoryEntry(15, "omitted", number=7),
        r.StoryEntry(100, "lost", "w", 5),
        r.StoryEntry(103, "leased", "w", 6),
    )
    job = Job("j", state="Running", story=story, time=103, attempt=6)
    history = of_live(job, 110)
    assert (history.waited, history.ran) == (10 + 3, 7)
    assert [one.count for one in history.events] == [0, 0, 7, 0, 0]
    assert history.events[3].ran is None


def test_the_sums_begin_anew_with_each_submission() -> None:
    story = (
        r.StoryEntry(0, "submitted"),
        r.StoryEntry(50, "finished", "w", 1, "Cancelled"),
        r.StoryEntry(100, "submitted", "_"),
        r.StoryEntry(104, "leased", "w", 2),
    )
    record = msgspec.structs.replace(outcome("Success"), time=110, story=stored(story))
    job = ended_job("Success")
    job.time = 110
    history = of_ended(job, msgspec.msgpack.encode(record))
    assert (history.waited, history.ran) == (4, 6)


def ended_job(reason: r.FinishedReason) -> Job:
    return Job("j", state="Finished", reason=reason, queued_time=5, time=9, worker="w", attempt=1)


def outcome(reason: r.FinishedReason, result: bytes = b"{}") -> r.Finished:
    return r.Finished("q", "j", 9, reason, 1, "w", "", result, b"")
