import random

import msgspec
import pytest

from gridd.core import effects as fx
from gridd.core import events as ev
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.settings import Settings
from gridd_protocol import messages as m
from gridd_protocol.errors import ErrorCode
from tests.unit.core.driver import RESULT, Driver

LEASE = Settings().lease_ms


# --- lost workers ---------------------------------------------------------------------


def test_a_silent_worker_loses_its_job_at_the_end_of_its_lease() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.wait(LEASE - 1)
    assert d.shown("j") == "Running w #1"
    d.wait(1)
    assert d.shown("j") == "Queued #1"
    assert [type(e) for e in d.effects if type(e) is fx.CloseWorker] == [fx.CloseWorker]


@pytest.mark.parametrize(
    "sign",
    [
        m.Heartbeat(),
        m.Credit(1),
        m.Started("j", 1, 5),
        m.Log("j", 1, "Running", 0, []),
        m.Release("nothing", 1),
    ],
)
def test_every_message_is_a_sign_of_life(sign: m.FromWorker) -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.wait(LEASE - 1)
    d.said("w", sign)
    d.wait(LEASE - 1)
    assert d.shown("j") == "Running w #1"
    d.wait(1)
    assert d.shown("j") == "Queued #1"


def test_a_worker_that_comes_back_in_time_keeps_its_job() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.said("w", m.Log("j", 1, "Running", 0, [m.LogLine("a", 1)] * 3))
    d.gone("w")
    d.wait(LEASE - 1)
    (welcome,) = d.hello("w", credit=1, running=[("j", 1)])
    assert welcome.kept == [m.Kept("j", 1, 3)]
    d.wait(LEASE - 1)
    assert d.shown("j") == "Running w #1"


def test_a_worker_that_comes_back_too_late_is_told_stale() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.gone("w")
    d.wait(LEASE)
    assert m.Stale("j", 1) in d.hello("w", credit=0, running=[("j", 1)])
    assert d.finish("w", "j") == [m.Stale("j", 1)]
    assert d.shown("j") == "Queued #1"


def test_a_job_is_given_up_after_its_last_loss_and_says_so() -> None:
    d = Driver(attempts_max=3)
    d.submit("j")
    for n in range(3):
        d.hello("w", credit=1)
        assert d.shown("j") == f"Running w #{n + 1}"
        d.gone("w")
        d.wait(LEASE)
    assert d.shown("j") == "Finished Error #3"
    finished = d.records[-1]
    assert type(finished) is r.Finished
    assert "lost 3 times" in finished.message
    assert "lost 3 times" in msgspec.json.decode(finished.result)["error"]


def test_the_late_answer_to_a_job_that_was_given_up_was_acknowledged() -> None:
    """The server's own Error was taken for the worker's: the worker was told that its result
    is durable, and it was not kept."""
    d = Driver(attempts_max=1)
    d.submit("j")
    d.hello("w", credit=1)
    d.gone("w")
    d.wait(LEASE)
    assert d.shown("j") == "Finished Error #1"
    assert m.Stale("j", 1) in d.hello("w", running=[("j", 1)])
    assert d.finish("w", "j") == [m.Stale("j", 1)]


def test_releases_are_not_held_against_a_job() -> None:
    d = Driver(attempts_max=2)
    d.submit("j")
    d.hello("w", credit=1)
    for n in range(1, 20):
        d.said("w", m.Release("j", n))
        d.wait(60_000, beating=("w",))
    assert d.shown("j") == "Running w #20"


def test_a_new_submission_has_all_its_attempts_again() -> None:
    d = Driver(attempts_max=2)
    d.submit("j")
    d.hello("w", credit=1)
    d.hello("w", credit=1)
    assert (d.job("j").losses, d.shown("j")) == (1, "Running w #2")
    d.cancel("j")
    d.submit("j")
    assert (d.job("j").losses, d.shown("j")) == (0, "Running w #3")


def test_a_lost_job_keeps_its_place() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("first")
    d.submit("second")
    d.gone("w")
    d.wait(LEASE)
    d.hello("v", credit=1)
    assert d.pushed() == [("v", "first", 2)]


# --- connections ----------------------------------------------------------------------


def test_a_connection_that_now_speaks_for_another_worker() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.peers["v"] = d.peers["w"]
    d.hello("v", credit=1, new=False)
    assert d.shown("j") == "Running w #1"
    assert d.finish("v", "j") == [m.Stale("j", 1)]
    d.wait(LEASE, beating=("v",))
    assert d.shown("j") == "Running v #2"


def test_the_end_of_a_replaced_connection_ends_nothing() -> None:
    d = Driver()
    d.hello("w", credit=1)
    former = d.peers["w"]
    d.submit("j")
    d.hello("w", credit=1, running=[("j", 1)])
    d.step(ev.WorkerGone(former))
    assert d.engine.sessions.by_worker["w"].peer == d.peers["w"]
    assert type(d.finish("w", "j")[0]) is m.Acknowledged


def test_a_worker_without_jobs_is_forgotten_when_it_leaves() -> None:
    d = Driver()
    for n in range(100):
        d.hello(f"w{n}", credit=0)
        d.gone(f"w{n}")
    assert not d.engine.sessions.by_worker
    assert d.engine.idle
    d.wait(LEASE)
    assert d.engine.next_alarm() is None


def test_a_draining_worker_is_given_nothing_and_may_report() -> None:
    d = Driver()
    d.hello("w", credit=2, cpus=2.0)
    d.submit("j")
    d.said("w", m.Drain())
    d.submit("k")
    assert d.pushed() == []
    assert d.finish("w", "j") == [m.Acknowledged("j", 1)]
    assert d.pushed() == []


def test_a_worker_that_drained_and_says_hello_again_is_given_jobs() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.said("w", m.Drain())
    d.submit("j")
    assert d.pushed() == []
    d.hello("w", credit=1, new=False)
    assert d.pushed() == [("w", "j", 1)]


def test_push_carries_what_the_worker_needs() -> None:
    d = Driver()
    d.step(ev.Submit(1, "j", '{"a":"é"}'.encode(), r.Needs(), run_ms_max=5_000))
    _, push = d.hello("w", credit=1)
    assert push == m.Push("j", 1, '{"a":"é"}', queued_time=d.now, max_duration=5_000)


# --- restart --------------------------------------------------------------------------


def test_a_running_job_goes_on_after_a_restart() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.wait(LEASE // 2, beating=("w",))
    d.restarted()
    d.wait(LEASE - 1)  # a full term from the start
    (welcome,) = d.hello("w", credit=1, running=[("j", 1)])
    assert welcome.kept == [m.Kept("j", 1, 0)]
    assert type(d.finish("w", "j")[0]) is m.Acknowledged


def test_a_worker_that_does_not_come_back_after_a_restart_loses_its_job() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.restarted()
    d.wait(LEASE)
    assert d.shown("j") == "Queued #1"
    assert not d.engine.sessions.by_worker


def test_a_result_that_was_taken_before_the_restart_is_acknowledged_after_it() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.finish("w", "j")
    d.restarted()
    assert m.Acknowledged("j", 1) in d.hello("w", running=[("j", 1)])


def test_lines_of_the_next_attempt_count_on_after_a_restart() -> None:
    """The index began at 0 again, and a reader that asked for "from 3 on" missed three lines."""
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.said("w", m.Log("j", 1, "Running", 0, [m.LogLine("a", 1)] * 3))
    d.hello("w", credit=0)
    d.restarted()
    d.hello("w", credit=1)
    d.said("w", m.Log("j", 2, "Running", 0, [m.LogLine("b", 1)]))
    assert [e.first for e in d.effects if type(e) is fx.LogAdded] == [3]


# --- answers and retention ------------------------------------------------------------


def test_a_stored_answer_is_given_again_without_a_run() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.finish("w", "j")
    outcome = d.submit("j")
    assert type(outcome) is fx.Accepted
    assert not outcome.new
    assert outcome.view.finished_reason == "Success"
    assert d.pushed() == []
    d.delete("j")
    d.submit("j")
    assert d.pushed() == [("w", "j", 2)]


def test_the_record_of_an_answer_holds_result_and_log() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.said("w", m.Log("j", 1, "Running", 0, [m.LogLine("out\n", 7, True)]))
    d.finish("w", "j")
    finished = d.records[-1]
    assert type(finished) is r.Finished
    assert finished.result == RESULT.encode()
    assert msgspec.json.decode(finished.logs) == {"run": [["out\n", 7, True]]}


def test_old_answers_are_forgotten_a_bounded_number_in_a_step() -> None:
    d = Driver(retention_ms=60_000, expire_batch=3)
    for n in range(10):
        d.submit(f"j{n}")
        d.cancel(f"j{n}")
    d.now += 60_000
    counts = []
    while (due := d.engine.next_alarm()) is not None:
        d.now = max(d.now, due)
        effects = d.step(ev.AlarmRang())
        counts.append(sum(type(e) is fx.Append for e in effects))
    assert counts == [3, 3, 3, 1]
    assert d.engine.idle


def test_retention_counts_from_the_last_ending() -> None:
    d = Driver(retention_ms=60_000)
    d.submit("j")
    d.cancel("j")
    d.wait(50_000)
    d.submit("j")
    d.cancel("j")
    d.wait(59_999)
    assert d.shown("j") == "Finished Cancelled #0"
    d.wait(1)
    assert d.shown("j") == "unknown"


def test_a_live_job_never_expires() -> None:
    d = Driver(retention_ms=60_000)
    d.submit("j")
    d.cancel("j")
    d.submit("j")
    d.wait(600_000)
    assert d.shown("j") == "Queued #0"


# --- limits ---------------------------------------------------------------------------


def test_a_full_queue_refuses_and_changes_nothing() -> None:
    d = Driver(live_jobs_max=3)
    d.hello("w", credit=1)
    for n in range(3):
        d.submit(f"j{n}", "a" if n == 2 else "_")
    outcome = d.submit("j3", "a")
    assert outcome == fx.Refused(ErrorCode.QUEUE_FULL, outcome.message, 3)  # type: ignore[union-attr]
    assert "3" in outcome.message  # type: ignore[union-attr]
    assert d.shown("j2") == "Queued #0", "a refused submission replaced a job"
    assert d.shown("j3") == "unknown"
    assert type(d.submit("j1")) is fx.Accepted  # it is there already
    d.finish("w", "j0")
    assert type(d.submit("j3")) is fx.Accepted


# --- determinism ----------------------------------------------------------------------


def scribble(seed: int) -> list[list[fx.Effect]]:
    """A few hundred events at random."""
    chance = random.Random(seed)
    engine, now = Engine("q"), 1_000_000
    greetings = [ev.WorkerSaid(peer, m.Hello(f"w{peer}", credit=2)) for peer in (1, 2, 3)]
    story = [engine.step(greeting, now) for greeting in greetings]
    for n in range(400):
        now += chance.randrange(0, 3_000)
        job = f"j{chance.randrange(30)}"
        namespace = chance.choice("_abc")
        needs = r.Needs(cpus_milli=chance.choice((500, 1_000)))
        peer, attempt = chance.randrange(1, 4), chance.randrange(1, 4)
        event = chance.choice(
            (
                ev.Submit(n, job, b"{}", needs, namespace),
                ev.Submit(n, job, b"{}", needs, namespace),
                ev.Cancel(n, job, namespace),
                ev.Delete(n, job, namespace),
                ev.WorkerSaid(peer, m.Finished(job, attempt, "Success", "{}")),
                ev.WorkerSaid(peer, m.Release(job, attempt)),
                ev.WorkerSaid(peer, m.Hello(f"w{peer}", credit=3)),
                ev.WorkerGone(peer),
                ev.AlarmRang(),
            )
        )
        story.append(engine.step(event, now))
        engine.check()
    return story


@pytest.mark.parametrize("seed", range(5))
def test_the_same_events_at_the_same_times_give_the_same_effects(seed: int) -> None:
    assert scribble(seed) == scribble(seed)


def test_an_alarm_that_is_not_due_does_nothing() -> None:
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    assert d.step(ev.AlarmRang()) == []
    assert d.engine.next_alarm() == d.now + LEASE


def test_that_its_program_began_is_told_once() -> None:
    """Clients' clocks count from it; a worker says it again after each break of its line."""
    d = Driver()
    d.hello("w", credit=1)
    d.submit("j")
    d.said("w", m.Started("j", 1, 5))
    told = [e for e in d.effects if type(e) is fx.JobChanged]
    assert [(e.cause, e.view.state, e.view.started_time) for e in told] == [("start", "Running", 5)]
    d.said("w", m.Started("j", 1, 5))
    assert not [e for e in d.effects if type(e) is fx.JobChanged]
