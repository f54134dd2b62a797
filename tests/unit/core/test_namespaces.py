"""A namespace holds one live job; the newest counts (WIRE 3.8)."""

import pytest

from gridd.core import effects as fx
from gridd_protocol import messages as m
from gridd_protocol.limits import NAMESPACES_PER_JOB_MAX
from tests.unit.core.driver import Driver


def runs_for(age: int) -> Driver:
    """``old`` runs in the namespace ``a`` since ``age`` ms."""
    d = Driver()
    d.hello("w", credit=1)
    d.submit("old", "a")
    d.wait(age, beating=("w",))
    return d


@pytest.mark.parametrize(
    ("age", "grace"),
    [(0, 0), (20_000, 0), (20_001, 4_000), (60_000, 4_000), (60_001, 8_000), (900_000, 8_000)],
)
def test_the_grace_of_a_replaced_job(age: int, grace: int) -> None:
    d = runs_for(age)
    d.submit("new", "a")
    if grace:
        assert d.shown("old") == "Running w #1"
        d.wait(grace - 1)
        assert d.shown("old") == "Running w #1"
        d.wait(1)
        assert m.Cancel("old", 1, "JobReplacedByClient") in d.told("w")
        assert d.pushed() == [("w", "new", 1)]
    assert d.shown("old") == "Finished JobReplacedByClient #1"


def test_a_waiting_job_has_no_grace() -> None:
    d = Driver()
    d.submit("old", "a")
    d.wait(100_000)
    d.submit("new", "a")
    assert d.shown("old") == "Finished JobReplacedByClient #0"


def test_a_job_that_ends_in_its_grace_leaves_its_answer() -> None:
    d = runs_for(30_000)
    d.submit("new", "a")
    assert d.finish("w", "old") == [m.Acknowledged("old", 1), d.told("w")[-1]]
    assert d.shown("old") == "Finished Success #1"
    d.wait(10_000)
    assert d.shown("old") == "Finished Success #1"


@pytest.mark.parametrize("namespace", ["a", "b", "_"])
def test_a_submission_within_the_grace_keeps_the_job(namespace: str) -> None:
    d = runs_for(30_000)
    d.submit("new", "a")
    d.wait(3_000, beating=("w",))
    outcome = d.submit("old", namespace)
    assert type(outcome) is fx.Accepted
    assert not outcome.new
    d.wait(20_000, beating=("w",))
    assert d.shown("old") == "Running w #1"
    assert d.job("old").namespaces == (namespace,)
    assert d.shown("new").startswith("Finished" if namespace == "a" else "Queued")


def test_replaced_kept_and_replaced_again_its_second_grace_counts() -> None:
    d = runs_for(30_000)
    d.submit("new", "a")
    d.wait(3_000, beating=("w",))
    d.submit("old", "b")
    d.wait(500)
    d.submit("newer", "b")  # now until +4 s
    d.wait(3_999, beating=("w",))
    assert d.shown("old") == "Running w #1"
    d.wait(1)
    assert d.shown("old") == "Finished JobReplacedByClient #1"


@pytest.mark.parametrize("how", ["cancel", "delete", "replace"])
def test_a_worker_was_told_to_stop_before_the_end_was_written(how: str) -> None:
    """Effects follow the records that cause them: a batch cut between the two would have stopped
    a run that the journal still holds as running."""
    d = runs_for(0)
    if how == "replace":
        d.submit("new", "a")
    else:
        getattr(d, how)("old", "a")
    order = [
        type(e.record if type(e) is fx.Append else e.message).__name__
        for e in d.effects
        if isinstance(e, fx.Append | fx.SendWorker)
    ]
    assert order.index("Finished") < order.index("Cancel")


@pytest.mark.parametrize("how", ["lost", "released", "forgotten"])
def test_nobody_wants_another_run_of_a_replaced_job(how: str) -> None:
    d = runs_for(61_000)
    d.submit("new", "a")
    if how == "lost":
        d.gone("w")
        d.wait(31_000)
    elif how == "released":
        assert d.said("w", m.Release("old", 1))[0] == m.Acknowledged("old", 1)
    else:
        d.hello("w", credit=0)
    assert d.shown("old") == "Finished JobReplacedByClient #1"


def test_a_restart_ends_the_grace() -> None:
    d = runs_for(30_000)
    d.submit("new", "a")
    d.restarted()
    assert d.shown("old") == "Finished JobReplacedByClient #1"
    assert m.Stale("old", 1) in d.hello("w", credit=0, running=[("old", 1)])


def test_a_job_of_two_namespaces_outlives_the_loss_of_one() -> None:
    d = Driver()
    d.submit("shared", "a")
    d.submit("shared", "b")
    d.submit("other", "a")
    assert d.shown("shared") == "Queued #0"
    assert d.job("shared").namespaces == ("b",)
    d.cancel("shared", "b")
    assert d.shown("shared") == "Finished Cancelled #0"


def test_the_default_namespace_holds_any_number_of_jobs() -> None:
    d = Driver()
    for n in range(5):
        d.submit(f"j{n}")
    assert [d.shown(f"j{n}") for n in range(5)] == ["Queued #0"] * 5


def test_an_answered_job_takes_its_namespace_from_the_one_that_holds_it() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("answered", "b")
    d.finish("w", "answered")
    d.submit("live", "a")
    d.submit("answered", "a")  # the newest submission of "a"
    assert d.shown("live") == "Finished JobReplacedByClient #1"
    assert d.shown("answered") == "Finished Success #1"
    d.submit("next", "a")
    assert d.shown("answered") == "Finished Success #1"


def test_a_job_is_held_by_a_bounded_number_of_namespaces() -> None:
    d = Driver()
    for n in range(NAMESPACES_PER_JOB_MAX):
        d.submit("j", f"n{n}")
    d.submit("other", "last")
    outcome = d.submit("j", "last")
    assert type(outcome) is fx.Refused
    assert outcome.code.value == "bad-request"
    assert outcome.limit == NAMESPACES_PER_JOB_MAX
    assert str(NAMESPACES_PER_JOB_MAX) in outcome.message
    assert d.shown("other") == "Queued #0", "a refused submission replaced a job"
    assert type(d.submit("j", "n0")) is fx.Accepted


def test_an_answer_is_given_to_whoever_asks_however_many_hold_it() -> None:
    d = Driver()
    d.hello("w", credit=1)
    for n in range(NAMESPACES_PER_JOB_MAX):
        d.submit("j", f"n{n}")
    d.finish("w", "j")
    outcome = d.submit("j", "last")
    assert type(outcome) is fx.Accepted
    assert outcome.view.finished_reason == "Success"
    assert len(outcome.view.namespaces) == NAMESPACES_PER_JOB_MAX


def test_a_namespace_that_does_not_hold_a_job_lets_go_of_nothing() -> None:
    d = Driver()
    d.submit("j", "a")
    assert d.cancel("j", "b") == fx.Cancelled("Queued", ended=False, held=False)
    assert d.cancel("j") == fx.Cancelled("Queued", ended=False, held=False)
    assert d.shown("j") == "Queued #0"
    assert d.cancel("j", "a") == fx.Cancelled("Queued", ended=True)
    d.submit("j", "a")
    assert d.cancel("j", "*") == fx.Cancelled("Queued", ended=True)
