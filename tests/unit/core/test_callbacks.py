"""When the engine says that a submitter may have asked to be told: once that the job waits, once
that it has ended, for each submission that made the job wait."""

from __future__ import annotations

import pytest

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd_protocol import messages as m
from tests.unit.core.driver import RESULT, Driver

CONTROL = b'{"callbacks":{}}'


class Story(Driver):
    """Remembers every callback."""

    def __init__(self, **settings: int) -> None:
        super().__init__(**settings)
        self.callbacks: list[fx.Callback] = []

    def step(self, event: ev.Event) -> list[fx.Effect]:
        effects = super().step(event)
        self.hear(effects)
        return effects

    def hear(self, effects: list[fx.Effect]) -> None:
        self.callbacks += [e for e in effects if type(e) is fx.Callback]

    def submit(
        self, job: str, namespace: str = "_", control: bytes = CONTROL, **_: object
    ) -> fx.Outcome:
        self.step(ev.Submit(self.draw(), job, b"{}", r.Needs(), namespace, control=control))
        return self.outcome

    @property
    def news(self) -> list[tuple[str, str, str]]:
        return [(one.kind, one.job, one.reason) for one in self.callbacks]


WAITS = ("queued", "j", "")


@pytest.fixture
def story() -> Story:
    return Story()


def test_once_that_it_waits_and_once_that_it_ended(story):
    story.submit("j", control=CONTROL)
    submitted = story.now
    story.submit("j", "other", control=b'{"mine":1}')  # a duplicate: nobody is told
    story.wait(1_000)
    story.hello("w", credit=1)
    story.finish("w", "j")
    story.finish("w", "j")
    story.submit("j")  # a stored answer
    waits, ended = story.callbacks
    assert waits == fx.Callback("queued", "j", CONTROL, submitted)
    assert ended == fx.Callback("finished", "j", CONTROL, submitted, "Success", "", RESULT.encode())


def test_they_leave_behind_the_record_that_they_tell_of(story):
    story.submit("j")
    kinds = [type(e) for e in story.effects]
    assert kinds.index(fx.Append) < kinds.index(fx.Callback)
    story.cancel("j")
    kinds = [type(e) for e in story.effects]
    ended = [i for i, e in enumerate(story.effects) if type(e) is fx.Append][-1]
    assert ended < kinds.index(fx.Callback)


def test_a_job_without_control_tells_nobody(story):
    story.submit("j", control=b"")
    story.cancel("j")
    assert story.callbacks == []


@pytest.mark.parametrize(("end", "reason"), [("cancel", "Cancelled"), ("delete", "Deleted")])
@pytest.mark.parametrize("running", [False, True])
def test_an_end_by_a_client(story, end, reason, running):
    if running:
        story.hello("w", credit=1)
    story.submit("j")
    getattr(story, end)("j")
    assert story.news == [WAITS, ("finished", "j", reason)]
    getattr(story, end)("j")
    assert len(story.news) == 2


def test_replaced(story):
    story.submit("j", "n")
    story.submit("k", "n")
    assert story.news == [WAITS, ("finished", "j", "JobReplacedByClient"), ("queued", "k", "")]


def test_an_answer_that_is_deleted_afterwards_has_ended_before(story):
    story.submit("j")
    story.hello("w", credit=1)
    story.finish("w", "j")
    story.delete("j")
    assert story.news == [WAITS, ("finished", "j", "Success")]


def test_a_requeue_is_no_news_and_being_given_up_is():
    story = Story(attempts_max=2)
    story.submit("j")
    for number in range(2):
        story.hello(f"w{number}", credit=1)
        story.gone(f"w{number}")
        story.wait(story.engine.settings.lease_ms + 1)
    assert story.news == [WAITS, ("finished", "j", "Error")]
    assert "lost" in story.callbacks[-1].message


def test_given_back_is_no_news(story):
    story.submit("j")
    story.hello("w", credit=1)
    story.said("w", m.Release("j", 1))
    assert story.news == [WAITS]


def test_submitted_again_after_it_was_cancelled_is_another_submission(story):
    story.submit("j", control=b'{"first":1}')
    story.cancel("j")
    story.wait(10)
    story.submit("j", control=b'{"second":1}')
    story.cancel("j")
    assert [one.control for one in story.callbacks] == [b'{"first":1}'] * 2 + [b'{"second":1}'] * 2
    times = [one.queued_time for one in story.callbacks]
    assert times[0] == times[1] != times[2] == times[3]


@pytest.mark.parametrize("snapshot", [False, True])
def test_after_a_restart_the_end_is_still_told_and_nothing_is_repeated(story, snapshot):
    story.submit("j")
    story.submit("done")
    story.cancel("done")
    submitted = story.callbacks[0].queued_time
    story.callbacks.clear()
    story.engine = story.restart(snapshot_after=len(story.records) if snapshot else None)
    story.hear(story.engine.start(story.now))
    assert story.callbacks == []
    story.hello("w", credit=1)
    story.finish("w", "j")
    [ended] = story.callbacks
    assert (ended.kind, ended.control, ended.queued_time) == ("finished", CONTROL, submitted)


def test_one_that_a_restart_ends_is_told(story):
    """Replaced while it ran, and its grace cut short by a crash."""
    story.hello("w", credit=1)
    story.submit("j", "n")
    story.wait(30_000, beating=("w",))
    story.submit("k", "n")
    assert ("finished", "j", "JobReplacedByClient") not in story.news
    story.hear(story.restarted())
    assert ("finished", "j", "JobReplacedByClient") in story.news
