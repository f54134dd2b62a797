"""The dialect alone: upstream's states in, our conversation's messages out, and back."""

import json
from typing import Any

import pytest

from gridd_protocol import job_id
from gridd_protocol.messages import (
    Acknowledged,
    Cancel,
    Credit,
    Finished,
    Heartbeat,
    Held,
    Hello,
    Log,
    LogLine,
    Push,
    Release,
    Resources,
    Welcome,
)
from gridd_worker.conversation import Conversation
from gridd_worker.preference import preferred
from gridd_worker.upstream.claims import SETTLE_MS, STRAY_MS
from gridd_worker.upstream.dialect import UpstreamDialect


def definition(command: str, **more: Any) -> dict[str, Any]:
    return {"image": "a", "command": command, **more}


A, B = definition("a"), definition("b")
JOB_A, JOB_B = job_id(A), job_id(B)


class World:
    """The dialect between a played server and a played conversation; time is moved by hand."""

    def __init__(self, credit: int = 2, **resources: Any) -> None:
        self.now = 1_000_000
        self.told: dict[tuple[str, int], int | None] = {}
        self.dialect = UpstreamDialect(self.on_told)
        self.heard: list[Any] = []
        self.hello = Hello(
            worker="w2",
            version="1",
            credit=credit,
            resources=Resources(cpus=2, **resources),
        )
        self.dialect.opened(self.now)
        self.sent = self.say(self.hello)

    def on_told(self, job: str, attempt: int, lines: int | None) -> None:
        self.told[job, attempt] = lines

    def again(self, *attempts: tuple[str, int]) -> list[dict[str, Any]]:
        """Connect again, with these attempts in hand."""
        self.dialect.opened(self.now)
        running = [Held(job, attempt) for job, attempt in attempts]
        resources = self.hello.resources
        return self.say(Hello("w2", credit=2, resources=resources, running=running))

    def say(self, *messages: Any) -> list[dict[str, Any]]:
        return self._frames(self.dialect.encode(messages, self.now, self.now + 7))

    def server(self, kind: str, payload: Any) -> list[Any]:
        """What the conversation hears; what was sent on the way is in ``sent``."""
        return self.raw(json.dumps({"type": kind, "payload": payload}))

    def raw(self, text: str) -> list[Any]:
        decoded = self.dialect.decode(text, self.now, self.now + 7)
        self.errors = decoded.errors
        self.sent = self._frames(self.dialect.take())
        return decoded.messages

    def state(self, full: bool = True, **jobs: tuple[str, str, int]) -> list[Any]:
        """``JOB=("Running", worker, queuedTime)``; ``a`` and ``b`` stand for the two jobs."""
        names = {"a": JOB_A, "b": JOB_B}
        shown = {
            names[name]: {"state": state, "worker": worker, "queuedTime": at, "time": at}
            for name, (state, worker, at) in jobs.items()
        }
        kind = "JobStates" if full else "JobStateUpdates"
        return self.server(kind, {"state": {"jobs": shown}, "isSubset": not full})

    def define(self, *definitions: dict[str, Any]) -> list[Any]:
        named = {job_id(one): one for one in definitions}
        return self.server("BroadcastJobDefinitions", {"definitions": named})

    def running(self) -> Push:
        """Bring job a to run here."""
        self.state(a=("Queued", "", 5))
        self.define(A)
        heard = self.state(a=("Running", "w2", 5))
        return next(one for one in heard if isinstance(one, Push))

    @staticmethod
    def _frames(texts: Any) -> list[dict[str, Any]]:
        return [json.loads(text) if text[0] == "{" else {"type": text} for text in texts]


def changes(frames: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (frame["payload"]["state"], frame["payload"]["job"])
        for frame in frames
        if frame["type"] == "StateChange"
    ]


def kinds(messages: list[Any]) -> list[type]:
    return [type(message) for message in messages]


def test_hello_registers_and_the_first_frame_welcomes():
    world = World()
    (registration,) = world.sent
    assert registration["type"] == "WorkerRegistration"
    assert registration["payload"] == {
        "time": world.now + 7,
        "version": "1",
        "id": "w2",
        "cpus": 2,
        "gpus": 0,
        "maxJobDuration": "5m",
    }
    assert kinds(world.state()) == [Welcome]
    assert kinds(world.state()) == []


def test_a_job_runs_only_after_the_server_named_us():
    world = World()
    world.state(a=("Queued", "", 5))
    assert world.sent == [{"type": "RequestJobDefinitions", "payload": {"jobIds": [JOB_A]}}]
    assert world.define(A) == []
    assert changes(world.sent) == [("Running", JOB_A)]
    assert world.sent[0]["payload"]["value"] == {
        "type": "Running",
        "worker": "w2",
        "time": world.now + 7,
    }
    (push,) = world.state(a=("Running", "w2", 5))
    assert (push.job, push.queued_time) == (JOB_A, 5)
    assert json.loads(push.definition) == A
    assert world.state(a=("Running", "w2", 5)) == []


def test_the_oldest_is_claimed_first_and_no_more_than_there_is_credit_for():
    world = World(credit=1)
    world.state(a=("Queued", "", 9), b=("Queued", "", 5))
    world.define(A, B)
    assert changes(world.sent) == [("Running", JOB_B)]
    world.state(a=("Queued", "", 9), b=("Running", "w2", 5))
    assert changes(world.sent) == []
    world.say(Credit(2))
    world.state(a=("Queued", "", 9), b=("Running", "w2", 5))
    assert changes(world.sent) == [("Running", JOB_A)]


def test_a_claim_that_another_won_is_given_up_before_anything_ran():
    world = World()
    world.state(a=("Queued", "", 5))
    world.define(A)
    assert world.state(a=("Running", "w1", 5)) == []
    world.now += 60_000
    assert world.state(a=("Running", "w1", 5)) == []
    assert changes(world.sent) == []


def test_a_claim_that_we_win_is_waited_for():
    world = World()
    world.state(a=("Queued", "", 5))
    world.define(A)
    assert world.state(a=("Running", "w3", 5)) == []  # it will have to give way to us
    assert kinds(world.state(a=("Running", "w2", 5))) == [Push]


def test_a_claim_that_no_state_confirms_is_given_up_and_tried_again():
    world = World()
    world.state(a=("Queued", "", 5))
    world.define(A)
    world.now += 6_000
    world.state(a=("Queued", "", 5))
    assert changes(world.sent) == [("Running", JOB_A)], "not said again"
    world.now += 5_000
    world.state(a=("Queued", "", 5))
    assert changes(world.sent) == [("Running", JOB_A)], "not claimed anew"


def test_logs_and_the_result_in_upstreams_form_until_a_state_shows_it():
    world = World()
    push = world.running()
    lines = [LogLine("out\n", 5), LogLine("err\n", 6, stderr=True)]
    (pulled,) = world.say(Log(JOB_A, push.attempt, "docker image pull", 0, [LogLine("p\n", 4)]))
    (logged,) = world.say(Log(JOB_A, push.attempt, "Running", 1, lines))
    assert pulled["payload"]["step"] == "docker image pull"
    assert logged["payload"]["logs"] == [["out\n", 5], ["err\n", 6, True]]
    result = '{"StatusCode":3,"logs":[["bye",9,true]]}'
    (finished,) = world.say(Finished(JOB_A, push.attempt, "Success", result))
    value = finished["payload"]["value"]
    assert (value["reason"], value["worker"]) == ("Success", "w2")
    assert value["result"] == {
        "StatusCode": 3,
        "isTimedOut": False,
        "outputs": {},
        "logs": [["out\n", 5], ["err\n", 6, True], ["bye", 9, True]],
    }
    assert world.state(a=("Running", "w2", 5)) == [], "acknowledged before a state showed it"
    world.now += 6_000
    world.state(a=("Running", "w2", 5))
    assert changes(world.sent) == [("Finished", JOB_A)], "not sent again"
    assert world.state(a=("Finished", "w2", 5)) == [Acknowledged(JOB_A, push.attempt)]


def test_a_result_is_acknowledged_by_absence_too():
    world = World()
    push = world.running()
    world.say(Finished(JOB_A, push.attempt, "Success", "{}"))
    assert world.state() == [Acknowledged(JOB_A, push.attempt)]


def test_a_result_survives_that_the_server_queued_the_job_again():
    world = World()
    push = world.running()
    world.say(Finished(JOB_A, push.attempt, "Success", "{}"))
    world.now += 6_000
    world.state(a=("Queued", "", 5))
    assert changes(world.sent) == [("Finished", JOB_A)]


def test_a_failed_build_has_its_output_in_the_result():
    world = World()
    push = world.running()
    world.say(Log(JOB_A, push.attempt, "docker build", 0, [LogLine("no\n", 4)]))
    (finished,) = world.say(Finished(JOB_A, push.attempt, "Error", '{"error":"x"}'))
    assert finished["payload"]["value"]["result"]["logs"] == [["no\n", 4]]


def test_a_job_absent_from_a_full_state_is_cancelled_after_a_second_look():
    world = World()
    push = world.running()
    assert world.state() == []
    world.now += 5_999
    assert world.state() == []
    world.now += 1
    assert world.state() == [Cancel(JOB_A, push.attempt)]


def test_a_job_that_is_back_in_time_goes_on():
    world = World()
    world.running()
    world.state()
    world.now += 5_000
    world.state(a=("Running", "w2", 5))
    world.now += 5_000
    assert world.state() == []


def test_an_empty_update_cancels_nothing():
    world = World()
    world.running()
    world.now += 60_000
    assert world.state(full=False) == []
    assert world.state(full=False) == []


def test_a_job_that_the_server_queued_again_is_claimed_again_while_it_runs():
    world = World()
    world.running()
    world.now += 6_000
    world.state(a=("Queued", "", 5))
    assert changes(world.sent) == [("Running", JOB_A)]


def test_another_runner_that_sorts_first_ends_ours_and_one_that_does_not_does_not():
    world = World()
    push = world.running()
    for _ in range(3):
        world.now += 6_000
        assert world.state(a=("Running", "w3", 5)) == []
    world.state(a=("Running", "w1", 5))
    world.now += 6_000
    assert world.state(a=("Running", "w1", 5)) == [Cancel(JOB_A, push.attempt)]


def test_giving_back_queues_it_again_and_leaves_it_to_others_for_a_while():
    world = World()
    push = world.running()
    (lost,) = world.say(Release(JOB_A, push.attempt, "draining"))
    assert lost["payload"]["value"]["reason"] == "WorkerLost"
    assert world.state(a=("Queued", "", 5)) == [Acknowledged(JOB_A, push.attempt)]
    assert changes(world.sent) == []
    world.now += 30_001
    world.state(a=("Queued", "", 5))
    assert changes(world.sent) == [("Running", JOB_A)]


@pytest.mark.parametrize(
    "more",
    [
        {"requirements": {"cpus": 3}},
        {"requirements": {"gpus": 1}},
        {"tags": ["gpu"]},
        {"requirements": {"maxDuration": "1h"}},
        {"image": None},
        {"image": 5},
    ],
)
def test_what_does_not_fit_is_not_claimed(more):
    world = World()
    unfit = {**A, **more}
    name = "f" * 64 if more == {"image": 5} else job_id(unfit)
    seen = {"state": "Queued", "worker": "", "queuedTime": 5}
    world.server("JobStates", {"state": {"jobs": {name: seen}}, "isSubset": False})
    world.server("BroadcastJobDefinitions", {"definitions": {name: unfit}})
    assert changes(world.sent) == []
    world.now += 10_000
    world.server("JobStates", {"state": {"jobs": {name: seen}}, "isSubset": False})
    assert world.sent == [], "asked for again and again"


def test_a_definition_under_a_wrong_id_is_not_run():
    world = World()
    world.state(a=("Queued", "", 5))
    world.server("BroadcastJobDefinitions", {"definitions": {JOB_A: B}})
    assert changes(world.sent) == []


def test_a_definition_that_does_not_come_is_asked_for_again_and_holds_nobody_up():
    world = World()
    world.state(a=("Queued", "", 5), b=("Queued", "", 6))
    world.define(B)
    assert changes(world.sent) == [("Running", JOB_B)]
    world.now += 2_000
    world.state(a=("Queued", "", 5), b=("Running", "w2", 6))
    assert world.sent == [{"type": "RequestJobDefinitions", "payload": {"jobIds": [JOB_A]}}]


def test_heartbeats_are_pings_and_registration_is_repeated():
    world = World()
    assert world.say(Heartbeat()) == [{"type": "PING"}]
    assert world.raw("PONG w2") == [
        Welcome("", time=world.now + 7, lease_ms=30_000, heartbeat_ms=5_000),
        Heartbeat(),
    ]
    assert world.raw("PONG unknown") == [Heartbeat()]
    assert [frame["type"] for frame in world.sent] == ["WorkerRegistration"]
    world.now += 10_000
    assert [frame["type"] for frame in world.say(Heartbeat())] == ["PING", "WorkerRegistration"]


# --- the timing rules of WIRE 2.8, each by the clock --------------------------------------------


class Timed:
    """The conversation and the dialect as a connection drives them, asked every ms that one of
    them names. ``sent`` is ``(ms after opening, frame type)``."""

    def __init__(self) -> None:
        self.now = self.began = 5_000_000
        self.conversation = Conversation("w2", "1", Resources(cpus=2), 2)
        self.dialect = UpstreamDialect()
        self.dialect.opened(self.now)
        self.conversation.opened(self.now)
        self.sent: list[tuple[int, str]] = []
        self.answers = {"PING": "PONG w2"}
        self.flush()

    def flush(self) -> None:
        messages = self.conversation.take(self.now, self.now)
        texts = [*self.dialect.take(), *self.dialect.encode(messages, self.now, self.now)]
        for frame in World._frames(texts):
            self.sent.append((self.now - self.began, frame["type"]))
            if frame["type"] in self.answers:
                self.hear(self.answers[frame["type"]])

    def hear(self, text: str) -> None:
        for message in self.dialect.decode(text, self.now, self.now).messages:
            self.conversation.receive(message, self.now)

    def states(self) -> None:
        payload = {"state": {"jobs": {}}, "isSubset": False}
        self.hear(json.dumps({"type": "JobStates", "payload": payload}))

    def go(self, until_ms: int, states_every: int = 10_000) -> str | None:
        """To ``until_ms`` after opening; the reason when the connection is given up before."""
        while self.now < self.began + until_ms:
            passed = self.now - self.began
            if passed % states_every == 0:
                self.states()
            self.flush()
            self.flush()  # what is owed to an answer
            if (why := self.dialect.lost(self.now)) is not None:
                return f"{passed}: {why}"
            dues = [self.dialect.due(), self.conversation.due(self.now) or self.now]
            dues.append(self.began + (passed // states_every + 1) * states_every)
            self.now = max(min(dues), self.now + 1)
        return None

    def times(self, kind: str) -> list[int]:
        return [at for at, sent in self.sent if sent == kind]


def test_a_ping_every_5_s_and_a_registration_every_10() -> None:
    timed = Timed()
    assert timed.go(61_000) is None
    assert timed.times("PING") == list(range(5_000, 61_000, 5_000))
    assert timed.times("WorkerRegistration") == list(range(0, 61_000, 10_000))


def test_talking_does_not_put_registration_off() -> None:
    """What is said meanwhile stands for a heartbeat elsewhere; not on this server (D14)."""
    timed = Timed()
    timed.states()
    for _ in range(6):
        timed.conversation.set_credit(1 + timed.conversation._credit % 2)
        timed.go(timed.now - timed.began + 4_000)
    assert timed.times("WorkerRegistration")[:3] == [0, 10_000, 20_000]


def test_without_a_pong_for_10_s_the_connection_is_given_up() -> None:
    timed = Timed()
    assert timed.go(12_000) is None
    timed.answers.clear()
    assert timed.go(60_000) == "20000: the server answered no PING for too long"


def test_without_states_for_20_s_the_connection_is_given_up() -> None:
    timed = Timed()
    timed.go(1)
    assert timed.go(60_000, states_every=10**9) == "20000: the server showed no jobs for too long"
    timed = Timed()
    assert timed.go(120_000, states_every=19_000) is None


def test_an_empty_update_is_a_state_too() -> None:
    world = World()
    world.state()
    world.now += 9_000
    world.raw("PONG w2")
    world.now += 9_000
    world.raw("PONG w2")
    world.state(full=False)
    world.now += 9_000
    assert world.dialect.lost(world.now) is None
    world.raw("PONG w2")
    world.now += 11_000
    world.raw("PONG w2")
    assert world.dialect.lost(world.now) == "the server showed no jobs for too long"


def test_a_new_connection_has_its_full_time() -> None:
    world = World()
    world.now += 30_000
    assert world.dialect.lost(world.now)
    world.dialect.opened(world.now)
    assert world.dialect.lost(world.now + 9_999) is None


def test_a_pong_with_another_id_is_answered_with_a_registration_at_once() -> None:
    """The first registration on an unused queue may be lost (FINDINGS 9)."""
    timed = Timed()
    timed.answers["PING"] = "PONG unknown"
    timed.go(7_000)
    assert timed.times("WorkerRegistration") == [0, 5_000]


def test_after_a_reconnect_runs_are_announced_and_lines_are_not_said_twice():
    world = World()
    push = world.running()
    world.say(Log(JOB_A, push.attempt, "Running", 0, [LogLine("1\n", 1), LogLine("2\n", 2)]))
    world.dialect.opened(world.now)
    hello = Hello("w2", credit=2, resources=Resources(cpus=2), running=[Held(JOB_A, push.attempt)])
    sent = world.say(hello)
    assert [frame["type"] for frame in sent] == ["WorkerRegistration", "StateChange"]
    (welcome,) = world.state(a=("Running", "w2", 5))
    assert [(kept.job, kept.cursor) for kept in welcome.kept] == [(JOB_A, 2)]


def test_a_result_of_an_earlier_process_is_sent_on():
    world = World()
    world.dialect.opened(world.now)
    world.say(Hello("w2", credit=2, running=[Held(JOB_A, 7)]))
    (welcome,) = world.state(a=("Running", "w2", 5))
    assert [(kept.job, kept.attempt, kept.cursor) for kept in welcome.kept] == [(JOB_A, 7, 0)]
    (finished,) = world.say(Finished(JOB_A, 7, "Success", "{}"))
    assert finished["payload"]["state"] == "Finished"
    assert world.state(a=("Finished", "w2", 5)) == [Acknowledged(JOB_A, 7)]


def lines(cursor: int, *texts: str, attempt: int = 1) -> Log:
    return Log(JOB_A, attempt, "Running", cursor, [LogLine(text, 5) for text in texts])


def logged(frames: list[dict[str, Any]]) -> list[str]:
    return [
        line[0]
        for frame in frames
        if frame["type"] == "JobStatusLogs"
        for line in frame["payload"]["logs"]
    ]


def test_what_an_earlier_process_told_is_not_told_again_while_the_job_is_still_ours():
    world = World()
    world.dialect.take_up(JOB_A, 7, 2)
    world.again((JOB_A, 7))
    (welcome,) = world.state(a=("Running", "w2", 5))
    assert welcome.kept[0].cursor == 0, "the result needs every line"
    assert logged(world.say(lines(0, "1", "2", "3", attempt=7))) == ["3"]
    assert world.told == {(JOB_A, 7): 3}
    (finished,) = world.say(Finished(JOB_A, 7, "Success", "{}"))
    said = finished["payload"]["value"]["result"]["logs"]
    assert [line[0] for line in said] == ["1", "2", "3"]
    world.state(a=("Finished", "w2", 5))
    assert world.told == {(JOB_A, 7): None}


def test_a_job_that_was_queued_again_is_told_from_its_beginning():
    """With that its server forgot the lines (D28); what anybody else says it drops."""
    world = World()
    world.dialect.take_up(JOB_A, 7, 2)
    world.again((JOB_A, 7))
    world.state(a=("Queued", "", 5))
    assert logged(world.say(lines(0, "1", "2", "3", attempt=7))) == []
    world.state(a=("Running", "w2", 5))
    assert logged(world.sent) == ["1", "2", "3"]
    world.state(a=("Queued", "", 5))
    world.state(a=("Running", "w2", 5))
    assert logged(world.sent) == ["1", "2", "3"]


def test_after_being_cut_off_lines_go_on_or_begin_again_as_the_server_has_them():
    world = World()
    push = world.running()
    assert logged(world.say(lines(0, "1", "2"))) == ["1", "2"]
    for queued, expected in ((False, ["3"]), (True, ["1", "2", "3", "4"])):
        world.again((JOB_A, push.attempt))
        cursor = 3 if queued else 2
        if queued:
            world.state(a=("Queued", "", 5))
        assert logged(world.say(lines(cursor, str(cursor + 1)))) == [], "nobody named us yet"
        world.state(a=("Running", "w2", 5))
        assert logged(world.sent) == expected


def test_a_result_waits_for_its_lines_to_be_taken_but_not_for_ever():
    world = World()
    push = world.running()
    world.again((JOB_A, push.attempt))
    world.state(a=("Queued", "", 5))
    assert world.say(lines(0, "1"), Finished(JOB_A, push.attempt, "Success", "{}")) == []
    world.state(a=("Running", "w2", 5))
    assert [frame["type"] for frame in world.sent] == ["JobStatusLogs", "StateChange"]
    assert world.say(Finished(JOB_A, push.attempt, "Success", "{}")) == [], "said already"
    world.again((JOB_A, push.attempt))
    world.state(a=("Queued", "", 5))
    world.now += 5_000
    world.state(a=("Queued", "", 5))
    assert changes(world.sent) == [("Finished", JOB_A)]


def test_a_state_that_comes_before_our_hello_is_looked_at_after_it():
    world = World()
    push = world.running()
    world.say(lines(0, "1"))
    world.dialect.opened(world.now)
    assert world.state(a=("Queued", "", 5), b=("Queued", "", 6)) == []
    assert world.sent == []
    sent = world.say(Hello("w2", credit=2, running=[Held(JOB_A, push.attempt)]))
    assert [frame["type"] for frame in sent] == ["WorkerRegistration", "StateChange"]
    assert kinds(world.state(a=("Running", "w2", 5))) == [Welcome]
    assert logged(world.sent) == [], "the server has them"


def test_a_job_that_is_shown_as_ours_and_that_nobody_runs_is_given_up():
    """A process that was killed while it pulled comes back before it was missed: as long as it is
    there, that server waits for it."""
    world = World()
    world.state(a=("Running", "w2", 5))
    assert world.dialect.due() == world.now + STRAY_MS
    world.now += STRAY_MS - 1
    world.state(a=("Running", "w2", 5))
    assert changes(world.sent) == []
    world.now += 1
    world.dialect.tick(world.now, 7)
    (lost,) = world._frames(world.dialect.take())
    assert (lost["payload"]["job"], lost["payload"]["value"]["reason"]) == (JOB_A, "WorkerLost")
    assert world.dialect.due() > world.now, "asked again without end"
    world.state(a=("Queued", "", 5))
    assert world.sent == [{"type": "RequestJobDefinitions", "payload": {"jobIds": [JOB_A]}}]
    world.define(A)
    assert kinds(world.state(a=("Running", "w2", 5))) == [Push]


def test_giving_back_takes_nothing_from_another_that_runs_it_by_now():
    world = World()
    push = world.running()
    world.again((JOB_A, push.attempt))
    world.state(a=("Running", "w1", 5))
    assert world.say(Release(JOB_A, push.attempt, "the engine is gone")) == []
    assert world.state(a=("Running", "w1", 5)) == [Acknowledged(JOB_A, push.attempt)]


def test_what_is_ours_for_a_moment_longer_is_not_given_up():
    world = World()
    push = world.running()
    world.say(Release(JOB_A, push.attempt, "draining"))
    world.state(a=("Running", "w2", 5))  # on its way before the server heard
    world.state(a=("Running", "w1", 5))
    world.now += STRAY_MS
    world.state(a=("Running", "w2", 5))
    assert changes(world.sent) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "undefined",
        "{",
        '{"type":5}',
        '{"type":"JobStates"}',
        '{"type":"JobStates","payload":{}}',
        '{"type":"JobStates","payload":{"state":{"jobs":[]}}}',
        '{"type":"Nope","payload":[]}',
        '{"type":"BroadcastJobDefinitions","payload":{"definitions":5}}',
    ],
)
def test_what_can_not_be_read_does_no_harm(text):
    world = World()
    push = world.running()
    world.raw(text)
    assert world.state(a=("Running", "w2", 5)) == []
    assert changes(world.say(Finished(JOB_A, push.attempt, "Success", "{}")))


def test_half_a_character_in_one_definition_does_not_keep_the_others_back():
    world = World()
    world.state(a=("Queued", "", 5), b=("Queued", "", 6))
    texts = {JOB_A: definition("\ud800"), JOB_B: B}
    world.server("BroadcastJobDefinitions", {"definitions": texts})
    assert world.errors == []
    assert changes(world.sent) == [("Running", JOB_B)]


def test_a_status_request_is_answered():
    world = World()
    world.server("StatusRequest", None)
    (answer,) = world.sent
    assert (answer["type"], answer["payload"]["id"]) == ("WorkerStatusResponse", "w2")
    assert answer["payload"]["queue"] == {}
    world.running()
    world.server("StatusRequest", None)
    (answer,) = world.sent
    assert answer["payload"]["queue"] == {
        JOB_A: {"jobId": JOB_A, "definition": {}, "finished": True}
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "b"),
        ("a", "B"),
        ("B", "c"),
        ("_", "-"),
        ("-", "0"),
        ("9", "a"),
        ("a", "A"),
        ("w", "w1"),
    ],
)
def test_who_wins_sorts_first_as_javascript_sorts(first, second):
    assert preferred(first, second)
    assert not preferred(second, first)


def test_nobody_is_preferred_to_itself():
    assert not preferred("w", "w")


def test_a_worker_that_others_sort_before_waits_a_moment_before_it_runs():
    world = World()
    world.server("Workers", {"workers": [{"id": "w1"}, {"id": "w2"}]})
    world.state(a=("Queued", "", 5))
    world.define(A)
    assert world.state(a=("Running", "w2", 5)) == []
    due = world.dialect.due()
    assert due == world.now + SETTLE_MS
    world.now = due - 1
    assert world.dialect.tick(world.now, 7) == []
    world.now = due
    assert kinds(world.dialect.tick(world.now, 7)) == [Push]
    assert world.dialect.due() > world.now


def test_a_worker_that_was_overtaken_in_that_moment_runs_nothing():
    world = World()
    world.server("Workers", {"workers": [{"id": "w1"}, {"id": "w2"}]})
    world.state(a=("Queued", "", 5))
    world.define(A)
    world.state(a=("Running", "w2", 5))
    world.now += 100
    assert world.state(a=("Running", "w1", 5)) == []
    world.now += 10_000
    assert world.dialect.tick(world.now, 7) == []


def test_a_worker_that_sorts_first_does_not_wait():
    world = World()
    world.server("Workers", {"workers": [{"id": "w2"}, {"id": "w3"}]})
    world.running()
