"""Frames alone: their order, their bounds, every log its turn."""

import pytest

from gridd_protocol.limits import LOG_LINES_PER_MESSAGE_MAX, MESSAGES_PER_FRAME_MAX
from gridd_protocol.messages import Finished, FromWorker, Log, LogLine, Started
from gridd_worker import owed as o
from gridd_worker.in_hand import Attempt, Phase
from gridd_worker.logs import LogBuffer
from gridd_worker.owed import LOG_INTERVAL_MS, Owed


def attempt(job: str, lines: int = 0, *, ended: bool = False) -> Attempt:
    made = Attempt(job, 1, Phase.RUNNING, LogBuffer(), started=Started(job, 1, 7))
    made.log.append("Running", [LogLine(f"{n}\n", 1) for n in range(lines)])
    if ended:
        made.phase, made.ending = Phase.FINISHED, Finished(job, 1, "Success", "{}")
    return made


def take(owed: Owed, now_ms: int = 0) -> list[FromWorker]:
    frame: list[FromWorker] = []
    owed.take(frame, now_ms)
    return frame


def test_an_end_comes_behind_its_start_and_all_its_lines() -> None:
    owed = Owed()
    one = attempt("a", LOG_LINES_PER_MESSAGE_MAX + 1, ended=True)
    owed.add(one, urgent=False)
    owed.add(one, urgent=True)
    frame = take(owed)
    assert [type(message) for message in frame] == [Started, Log, Log, Finished]
    assert not owed.urgent
    assert owed.lines_due_ms is None
    assert take(owed, 99) == []


def test_lines_keep_their_distance_and_every_log_gets_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(o, "FRAME_TARGET_BYTES", 1)
    owed = Owed()
    for job in "ab":
        owed.add(attempt(job, 2), urgent=False)
    heard = []
    for turn in range(4):
        assert owed.lines_due_ms is not None
        frame = take(owed, turn * LOG_INTERVAL_MS)
        heard += [message.job for message in frame if isinstance(message, Log)]
        assert take(owed, turn * LOG_INTERVAL_MS + LOG_INTERVAL_MS - 1) == []
    assert heard == ["a", "b", "a", "b"]


def test_a_frame_has_room_for_so_many_messages() -> None:
    owed = Owed()
    for number in range(MESSAGES_PER_FRAME_MAX):
        owed.add(attempt(str(number), ended=True), urgent=True)
    sizes = []
    while frame := take(owed):
        sizes.append(len(frame))
    assert sum(sizes) == 2 * MESSAGES_PER_FRAME_MAX
    assert max(sizes) <= MESSAGES_PER_FRAME_MAX


def test_what_is_dropped_or_cleared_is_not_said() -> None:
    owed = Owed()
    for job in "ab":
        owed.add(attempt(job, 1), urgent=False)
        owed.add(attempt(job, 1), urgent=True)
    owed.drop("a")
    owed.drop("a")
    assert {message.job for message in take(owed) if isinstance(message, Log)} == {"b"}
    owed.add(attempt("c"), urgent=True)
    owed.clear()
    assert not owed.urgent
    assert take(owed, 99) == []
