"""The pure conversation: every message of the server in every phase, and what is owed to it."""

import pytest

from gridd_protocol.limits import CREDIT_MAX, LOG_LINES_PER_MESSAGE_MAX
from gridd_protocol.messages import (
    Acknowledged,
    Cancel,
    Credit,
    Drain,
    Error,
    Finished,
    FromWorker,
    Heartbeat,
    Held,
    Hello,
    Kept,
    Log,
    LogLine,
    Push,
    Release,
    Resources,
    Stale,
    Started,
    ToWorker,
    Welcome,
)
from gridd_worker import conversation as c
from gridd_worker.conversation import Conversation
from gridd_worker.in_hand import Phase
from gridd_worker.logs import LogBuffer

A, B, C = "a" * 64, "b" * 64, "c" * 64
RESOURCES = Resources(cpus=4)
OVER = (Phase.FINISHED, Phase.RELEASED)


def talk(credit: int = 4) -> Conversation:
    return Conversation("w1", "0.1", RESOURCES, credit)


def welcomed(credit: int = 4) -> Conversation:
    conversation = talk(credit)
    greet(conversation)
    return conversation


def greet(conversation: Conversation, *kept: Kept, now: int = 0) -> list[c.Action]:
    conversation.opened(now)
    assert [type(m) for m in conversation.take(now)] == [Hello]
    return conversation.receive(
        Welcome("q", lease_ms=30_000, heartbeat_ms=5_000, kept=[*kept]), now
    )


def push(job: str = A, attempt: int = 1) -> Push:
    return Push(job, attempt, "{}")


def line(text: str) -> LogLine:
    return LogLine(text, 1)


def in_phase(phase: Phase) -> Conversation:
    conversation = welcomed()
    assert conversation.receive(push(), 0) == [c.Start(push())]
    advance(conversation, phase)
    return conversation


def advance(conversation: Conversation, phase: Phase) -> None:
    if phase is Phase.RELEASED:
        conversation.release(A, 1, "why")
    if phase in (Phase.RUNNING, Phase.UPLOADING, Phase.FINISHED):
        conversation.started(A, 1, 99)
    if phase in (Phase.UPLOADING, Phase.FINISHED):
        conversation.uploading(A, 1)
    if phase is Phase.FINISHED:
        conversation.finished(Finished(A, 1, "Success", "{}"))
    assert conversation.phase(A, 1) is phase


def settle(conversation: Conversation, now: int = 0) -> list[FromWorker]:
    """Everything that is sent until nothing more is owed at ``now``."""
    said: list[FromWorker] = []
    while frame := conversation.take(now):
        said += frame
    return said


# --- greeting -----------------------------------------------------------------------------


def test_hello_comes_first_and_alone() -> None:
    conversation = talk()
    assert conversation.take(0) == []  # offline
    assert conversation.due(0) is None
    conversation.opened(0)
    assert conversation.due(0) == 0
    assert conversation.take(0) == [Hello("w1", 1, "0.1", RESOURCES, 4, [])]
    conversation.set_credit(2)
    assert conversation.take(0) == []
    assert not conversation.open
    assert conversation.receive(Welcome("q"), 0) == [c.Welcomed(0)]
    assert conversation.open
    assert conversation.take(0) == [Credit(2)]
    assert conversation.take(0) == []


@pytest.mark.parametrize("phase", list(Phase))
def test_hello_names_every_attempt_in_hand(phase: Phase) -> None:
    conversation = in_phase(phase)
    conversation.closed()
    conversation.opened(0)
    (hello,) = conversation.take(0)
    assert isinstance(hello, Hello)
    assert hello.running == [Held(A, 1)]


def test_a_welcome_without_hello_changes_nothing() -> None:
    conversation = welcomed()
    conversation.receive(push(), 0)
    (action,) = conversation.receive(Welcome("q"), 0)
    assert isinstance(action, c.Complaint)
    assert conversation.phase(A, 1) is Phase.PREPARING


# --- every message in every phase -------------------------------------------------------------


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("message", [Cancel(A, 1), Stale(A, 1), Acknowledged(A, 1)])
def test_what_ends_the_lease_stops_the_run_or_forgets_the_result(
    phase: Phase, message: ToWorker
) -> None:
    conversation = in_phase(phase)
    (action,) = conversation.receive(message, 0)
    assert isinstance(action, c.Forget if phase in OVER else c.Stop)
    assert (action.job, action.attempt) == (A, 1)
    assert (conversation.in_hand, conversation.active) == (0, 0)
    assert settle(conversation) == []  # nothing is said about what is not ours any more
    assert conversation.receive(message, 0) == []
    conversation.closed()
    conversation.opened(0)
    (hello,) = conversation.take(0)
    assert isinstance(hello, Hello)
    assert hello.running == []


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("message", [Cancel(A, 2), Stale(A, 2), Acknowledged(B, 1)])
def test_what_names_another_lease_changes_nothing(phase: Phase, message: ToWorker) -> None:
    conversation = in_phase(phase)
    assert conversation.receive(message, 0) == []
    assert conversation.phase(A, 1) is phase


@pytest.mark.parametrize("phase", list(Phase))
def test_the_same_push_again_is_ignored(phase: Phase) -> None:
    conversation = in_phase(phase)
    assert conversation.receive(push(), 0) == []
    assert conversation.phase(A, 1) is phase


@pytest.mark.parametrize("phase", list(Phase))
def test_a_newer_attempt_ends_the_older_one(phase: Phase) -> None:
    conversation = in_phase(phase)
    ended, started = conversation.receive(push(A, 2), 0)
    assert isinstance(ended, c.Forget if phase in OVER else c.Stop)
    assert started == c.Start(push(A, 2))
    assert conversation.receive(push(A, 1), 0) == []  # an older one never comes back
    assert conversation.in_hand == conversation.active == 1


@pytest.mark.parametrize("phase", list(Phase))
def test_heartbeat_and_error_change_nothing(phase: Phase) -> None:
    conversation = in_phase(phase)
    settle(conversation)
    assert conversation.receive(Heartbeat(5), 0) == []
    (action,) = conversation.receive(Error("bad-message", "no good"), 0)
    assert action == c.Complaint("the server says: no good (bad-message)")
    assert conversation.phase(A, 1) is phase
    assert settle(conversation) == []


@pytest.mark.parametrize("phase", list(Phase))
def test_drain_from_the_server_lets_go_on_what_is_in_hand(phase: Phase) -> None:
    conversation = in_phase(phase)
    assert conversation.receive(Drain(), 0) == [c.Leave()]
    assert conversation.phase(A, 1) is phase
    assert conversation.receive(push(B), 0) == []
    said = settle(conversation)
    assert Credit(0) in said
    assert Release(B, 1, "this worker is draining") in said


# --- credit -------------------------------------------------------------------------------------


def test_a_push_beyond_the_credit_is_given_back() -> None:
    conversation = welcomed(credit=1)
    conversation.receive(push(A), 0)
    assert conversation.receive(push(B), 0) == []
    (release,) = conversation.take(0)
    assert isinstance(release, Release)
    assert (release.job, release.attempt) == (B, 1)
    assert conversation.receive(Acknowledged(B, 1), 0) == [c.Forget(B, 1, "acknowledged")]


def test_a_result_that_waits_for_its_acknowledgement_takes_no_credit() -> None:
    """The next push may overtake the acknowledgement in the server's frame."""
    conversation = welcomed(credit=1)
    conversation.receive(push(A), 0)
    conversation.finished(Finished(A, 1, "Success", "{}"))
    assert conversation.receive(push(B), 0) == [c.Start(push(B))]


def test_a_push_that_crossed_a_smaller_credit_is_given_back() -> None:
    conversation = welcomed(credit=4)
    conversation.set_credit(0)
    assert conversation.receive(push(), 0) == [c.Start(push())]  # it did not know yet
    assert conversation.take(0) == [Credit(0)]
    assert conversation.receive(push(B), 0) == []
    assert [type(m) for m in conversation.take(0)] == [Release]


def test_credit_goes_out_before_a_release_so_that_the_job_does_not_come_back() -> None:
    conversation = in_phase(Phase.PREPARING)
    conversation.set_credit(0)
    conversation.release(A, 1, "no engine")
    assert conversation.take(0) == [Credit(0), Release(A, 1, "no engine")]


def test_credit_keeps_to_the_protocols_bound() -> None:
    conversation = welcomed()
    conversation.set_credit(10 * CREDIT_MAX)
    assert conversation.take(0) == [Credit(CREDIT_MAX)]
    conversation.set_credit(-1)
    assert conversation.take(0) == [Credit(0)]


def test_draining_is_said_once_on_each_connection() -> None:
    conversation = welcomed()
    conversation.drain()
    assert conversation.take(0) == [Drain(), Credit(0)]
    assert conversation.take(0) == []
    conversation.closed()
    conversation.opened(0)
    (hello,) = conversation.take(0)
    assert isinstance(hello, Hello)
    assert hello.credit == 0
    conversation.receive(Welcome("q"), 0)
    assert conversation.take(0) == [Drain()]


def test_in_hand_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "IN_HAND_MAX", 1)
    conversation = welcomed(credit=0)
    assert conversation.receive(push(A), 0) == []
    (action,) = conversation.receive(push(B), 0)
    assert isinstance(action, c.Complaint)
    assert conversation.in_hand == 1
    assert not conversation.restore(Finished(C, 1, "Success", "{}"), LogBuffer())


# --- what is said about a run -------------------------------------------------------------------


def test_a_run_is_told_in_order() -> None:
    conversation = welcomed()
    conversation.receive(push(), 0)
    conversation.say(A, 1, "docker image pull", [line("pulled")])
    conversation.started(A, 1, 99)
    conversation.say(A, 1, "Running", [line("one"), line("two")])
    conversation.finished(Finished(A, 1, "Success", "{}"))
    assert conversation.take(0) == [
        Started(A, 1, 99),
        Log(A, 1, "docker image pull", 0, [line("pulled")]),
        Log(A, 1, "Running", 1, [line("one"), line("two")]),
        Finished(A, 1, "Success", "{}"),
    ]
    assert conversation.take(0) == []
    assert conversation.phase(A, 1) is Phase.FINISHED


def test_what_comes_after_the_end_is_dropped() -> None:
    conversation = in_phase(Phase.FINISHED)
    settle(conversation)
    conversation.say(A, 1, "Running", [line("late")])
    conversation.started(A, 1, 100)
    conversation.release(A, 1, "late")
    conversation.finished(Finished(A, 1, "Error", "{}"))
    conversation.uploading(A, 1)
    assert settle(conversation) == []
    assert conversation.phase(A, 1) is Phase.FINISHED


def test_what_comes_after_a_cancel_is_dropped() -> None:
    conversation = in_phase(Phase.RUNNING)
    settle(conversation)
    conversation.receive(Cancel(A, 1), 0)
    conversation.say(A, 1, "Running", [line("late")])
    conversation.started(A, 1, 1)
    conversation.uploading(A, 1)
    conversation.finished(Finished(A, 1, "Success", "{}"))
    assert settle(conversation) == []
    assert conversation.in_hand == 0


def test_the_first_line_goes_at_once_and_more_are_gathered_for_20_ms() -> None:
    conversation = in_phase(Phase.RUNNING)
    settle(conversation, 1_000)
    conversation.say(A, 1, "Running", [line("1")])
    assert conversation.due(1_000) == 1_000
    assert len(conversation.take(1_000)) == 1
    conversation.say(A, 1, "Running", [line("2")])
    assert conversation.take(1_005) == []
    assert conversation.due(1_005) == 1_020
    conversation.say(A, 1, "Running", [line("3")])
    assert conversation.take(1_020) == [Log(A, 1, "Running", 1, [line("2"), line("3")])]


def test_an_end_does_not_wait_for_the_lines_turn() -> None:
    conversation = in_phase(Phase.RUNNING)
    conversation.say(A, 1, "Running", [line("1")])
    settle(conversation, 1_000)
    conversation.say(A, 1, "Running", [line("2")])
    conversation.finished(Finished(A, 1, "Success", "{}"))
    assert conversation.due(1_001) == 1_001
    assert [type(m) for m in conversation.take(1_001)] == [Log, Finished]


def test_frames_and_log_messages_keep_to_their_bounds() -> None:
    conversation = welcomed()
    for job in (A, B):
        conversation.receive(push(job), 0)
        conversation.say(job, 1, "Running", [line("x" * 300) for _ in range(7_000)])
        conversation.finished(Finished(job, 1, "Success", "{}"))
    told: dict[str, int] = {A: 0, B: 0}
    ended: list[str] = []
    while frame := conversation.take(0):
        size = 0
        for message in frame:
            if isinstance(message, Log):
                assert len(message.lines) <= LOG_LINES_PER_MESSAGE_MAX
                assert message.cursor == told[message.job]
                told[message.job] += len(message.lines)
                size += sum(len(item.text) for item in message.lines)
            elif isinstance(message, Finished):
                assert told[message.job] == 7_000
                ended.append(message.job)
        assert size < 1 << 20
    assert ended == [A, B]


def test_a_frame_has_at_most_a_thousand_messages() -> None:
    conversation = welcomed(credit=2_000)
    jobs = [f"{number:064x}" for number in range(1_500)]
    for job in jobs:
        conversation.receive(push(job), 0)
        conversation.started(job, 1, 1)
        conversation.finished(Finished(job, 1, "Success", "{}"))
    frames = []
    while frame := conversation.take(0):
        frames.append(frame)
    assert all(len(frame) <= 1_000 for frame in frames)
    ended = [m.job for frame in frames for m in frame if isinstance(m, Finished)]
    assert ended == jobs


def test_a_loud_job_does_not_silence_the_others() -> None:
    conversation = welcomed()
    for job in (A, B):
        conversation.receive(push(job), 0)
    conversation.say(A, 1, "Running", [line("x" * 1_000) for _ in range(5_000)])
    conversation.say(B, 1, "Running", [line("hello")])
    heard: list[str] = []
    for now in range(20, 400, 20):
        heard += [m.job for m in conversation.take(now) if isinstance(m, Log)]
        conversation.say(A, 1, "Running", [line("x" * 1_000) for _ in range(2_000)])
    assert B in heard[:4]


# --- reconnecting -------------------------------------------------------------------------------


def test_logs_go_on_where_the_server_is_without_loss_or_repetition() -> None:
    conversation = in_phase(Phase.RUNNING)
    conversation.say(A, 1, "Running", [line(str(n)) for n in range(5)])
    settle(conversation)
    conversation.closed()
    conversation.say(A, 1, "Running", [line("5")])
    assert greet(conversation, Kept(A, 1, 3), now=1_000) == [c.Welcomed(1)]
    assert settle(conversation, 1_000) == [
        Started(A, 1, 99),
        Log(A, 1, "Running", 3, [line("3"), line("4"), line("5")]),
    ]


def test_a_result_is_sent_again_until_it_is_acknowledged() -> None:
    conversation = in_phase(Phase.FINISHED)
    for now in (0, 1_000, 2_000):
        assert Finished(A, 1, "Success", "{}") in settle(conversation, now)
        conversation.closed()
        greet(conversation, Kept(A, 1), now=now + 500)
    conversation.receive(Acknowledged(A, 1), 3_000)
    conversation.closed()
    greet(conversation, now=4_000)
    assert settle(conversation, 4_000) == []


def test_a_result_that_came_while_offline_is_sent_after_the_welcome() -> None:
    conversation = in_phase(Phase.RUNNING)
    settle(conversation)
    conversation.closed()
    conversation.finished(Finished(A, 1, "Success", "{}"))
    assert conversation.take(10) == []
    greet(conversation, Kept(A, 1), now=20)
    assert settle(conversation, 20) == [Started(A, 1, 99), Finished(A, 1, "Success", "{}")]


@pytest.mark.parametrize("phase", list(Phase))
def test_what_a_welcome_does_not_keep_is_stopped_or_forgotten(phase: Phase) -> None:
    conversation = in_phase(phase)
    conversation.closed()
    welcome, ended = greet(conversation)
    assert welcome == c.Welcomed(0)
    assert isinstance(ended, c.Forget if phase in OVER else c.Stop)
    assert conversation.receive(Stale(A, 1), 0) == []
    assert conversation.in_hand == 0


def test_a_lease_that_we_do_not_know_is_given_back() -> None:
    conversation = talk()
    assert greet(conversation, Kept(B, 7)) == [c.Welcomed(1)]
    (release,) = conversation.take(0)
    assert isinstance(release, Release)
    assert (release.job, release.attempt) == (B, 7)


def test_a_lease_beside_a_newer_one_is_only_complained_about() -> None:
    conversation = in_phase(Phase.RUNNING)
    conversation.closed()
    _, complaint = greet(conversation, Kept(A, 1), Kept(A, 9))
    assert isinstance(complaint, c.Complaint)
    assert conversation.phase(A, 1) is Phase.RUNNING


def test_a_restored_result_is_announced_and_sent() -> None:
    conversation = talk()
    buffer = LogBuffer(first=2)
    buffer.append("Running", [line("last")])
    assert conversation.restore(Finished(A, 3, "Success", "{}"), buffer)
    conversation.opened(0)
    (hello,) = conversation.take(0)
    assert isinstance(hello, Hello)
    assert hello.running == [Held(A, 3)]
    conversation.receive(Welcome("q", kept=[Kept(A, 3, 2)]), 0)
    assert settle(conversation) == [
        Log(A, 3, "Running", 2, [line("last")]),
        Finished(A, 3, "Success", "{}"),
    ]
    assert conversation.active == 0


# --- signs of life --------------------------------------------------------------------------------


def test_a_heartbeat_goes_out_when_we_were_silent() -> None:
    conversation = welcomed()
    assert conversation.due(0) == 5_000
    assert conversation.take(4_999, 77) == []
    assert conversation.take(5_000, 77) == [Heartbeat(77)]
    assert conversation.take(5_001, 77) == []
    assert conversation.due(5_001) == 10_000


def test_a_talking_worker_still_asks_a_silent_server_for_a_sign() -> None:
    """Otherwise a worker with much to tell would take the server for lost."""
    conversation = in_phase(Phase.RUNNING)
    asked = 0
    for now in range(0, 60_000, 100):
        conversation.say(A, 1, "Running", [line("x")])
        if any(isinstance(message, Heartbeat) for message in conversation.take(now)):
            asked += 1
            conversation.receive(Heartbeat(), now)
        assert not conversation.lost(now)
    assert 10 <= asked <= 13


@pytest.mark.parametrize("greeted", [False, True])
def test_a_server_that_says_nothing_for_three_heartbeats_is_lost(greeted: bool) -> None:
    conversation = talk()
    conversation.opened(0)
    conversation.take(0)
    if greeted:
        conversation.receive(Welcome("q", heartbeat_ms=5_000, lease_ms=30_000), 0)
    now = 0
    while (due := conversation.due(now)) is not None and not conversation.lost(due):
        assert due > now or conversation.take(due)
        conversation.take(due)
        now = due
    assert due == 15_000
    assert not conversation.lost(14_999)
    conversation.closed()
    assert not conversation.lost(60_000)


def test_due_never_lies_in_the_past() -> None:
    conversation = in_phase(Phase.RUNNING)
    settle(conversation)
    assert conversation.due(99_000) == 99_000


# --- a run of an earlier process ------------------------------------------------------------


def lines_at(*times_ms: int, text: str = "x\n") -> list[LogLine]:
    return [LogLine(text, time) for time in times_ms]


def taken_up(cursor: int) -> Conversation:
    """One that has taken up a run at the time 1,000; the server has ``cursor`` of its lines."""
    talk = Conversation("w", "1", Resources(), 2)
    assert talk.take_up(Started("j", 3, 7), LogBuffer(), 1_000)
    assert not talk.take_up(Started("j", 2, 7), LogBuffer(), 1_000), "one attempt for each job"
    talk.opened(0)
    [hello] = talk.take(0)
    assert isinstance(hello, Hello)
    assert hello.running == [Held("j", 3)]
    talk.receive(Welcome("q", 30_000, 5_000, kept=[Kept("j", 3, cursor)]), 0)
    return talk


def sent(talk: Conversation) -> list[tuple[int, int]]:
    """First number and count of the lines of each log message that is owed."""
    talk._owed._lines_ms = -1_000_000
    return [(m.cursor, len(m.lines)) for m in talk.take(0) if isinstance(m, Log)]


def test_a_run_taken_up_tells_its_start_again_and_only_the_lines_that_are_new() -> None:
    talk = taken_up(cursor=3)
    assert talk.take(0) == [Started("j", 3, 7)]
    assert (talk.active, talk.phase("j", 3)) == (1, Phase.RUNNING)
    talk.say("j", 3, "Running", lines_at(10, 20, 30, 40, 1_001))
    assert sent(talk) == [(3, 2)]


def test_old_and_new_lines_may_come_together_before_the_server_is_there() -> None:
    talk = Conversation("w", "1", Resources(), 2)
    talk.take_up(Started("j", 3, 7), LogBuffer(), 1_000)
    talk.say("j", 3, "Running", lines_at(10, 20, 1_001))
    talk.opened(0)
    talk.take(0)
    talk.receive(Welcome("q", 30_000, 5_000, kept=[Kept("j", 3, 2)]), 0)
    assert sent(talk) == [(2, 1)]


def test_a_log_that_lost_its_beginning_is_numbered_behind_what_the_server_has() -> None:
    talk = taken_up(cursor=100_000)
    talk.say("j", 3, "Running", lines_at(*[10] * 150, text="x" * 60_000))
    assert sent(talk) == []
    talk.say("j", 3, "Running", lines_at(20, 1_001, 1_002))
    assert sent(talk) == [(100_000, 2)]


def test_a_short_log_has_lost_nothing_whatever_the_clock_says() -> None:
    """Set back while the worker was away: all that is read again looks new."""
    talk = taken_up(cursor=3)
    talk.say("j", 3, "Running", lines_at(5_000, 5_001))
    assert sent(talk) == []
    talk.say("j", 3, "Running", lines_at(5_002, 1_500))
    assert sent(talk) == [(3, 1)]
