import msgspec
import pytest

from gridd.core import logs
from gridd.core.logs import JobLog, LogBuffer, StoredLogs
from gridd.journal.base import PAYLOAD_BYTES_MAX
from gridd_protocol.limits import (
    LOG_BYTES_PER_JOB_MAX,
    LOG_LINE_BYTES_MAX,
    LOG_LINES_PER_JOB_MAX,
    RESULT_BYTES_MAX,
)
from gridd_protocol.messages import LogLine


def lines(first: int, count: int, text: str = "line") -> list[LogLine]:
    return [LogLine(f"{text} {first + n}\n", n) for n in range(count)]


def texts(buffer: LogBuffer) -> list[str]:
    return [line.text for line in buffer.lines]


def test_at_the_bound_of_lines_head_and_tail_stay_and_the_rest_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "LOG_LINES_PER_JOB_MAX", 20)
    buffer = LogBuffer()
    buffer.extend(lines(0, 20))
    assert (buffer.head, buffer.first, buffer.dropped) == ([], 0, 0)
    for n in range(20, 40, 5):
        buffer.extend(lines(n, 5))
        assert len(buffer.head) + len(buffer.lines) == 20
    assert buffer.head == lines(0, 40)[:2]
    assert (buffer.first, buffer.next, buffer.dropped) == (22, 40, 20)
    assert texts(buffer)[0] == "line 22\n"


def test_the_head_has_its_share_of_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES_PER_JOB_MAX", 1_000)
    buffer = LogBuffer()
    for n in range(60):
        buffer.extend([LogLine("x" * 30, n)])
        assert buffer.bytes <= 1_000
        assert buffer.bytes == 30 * (len(buffer.head) + len(buffer.lines))
    assert [line.time for line in buffer.head] == [0, 1, 2]
    assert buffer.lines[-1].time == 59
    assert buffer.dropped == 60 - 33


def test_at_the_bound_of_bytes_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES_PER_JOB_MAX", 100)
    buffer = LogBuffer()
    for n in range(20):
        buffer.extend([LogLine("x" * 30, n)])
        assert buffer.bytes <= 100
    assert len(buffer.lines) == 3
    assert buffer.first == buffer.dropped == 17
    assert buffer.bytes == 90


def test_one_line_larger_than_the_bound_is_dropped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES_PER_JOB_MAX", 100)
    buffer = LogBuffer()
    buffer.extend([LogLine("x" * 101, 1)])
    assert (buffer.first, buffer.bytes, len(buffer.lines)) == (1, 0, 0)


def test_text_is_counted_in_bytes_not_in_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of emojis held four times its bound."""
    monkeypatch.setattr(logs, "LOG_BYTES_PER_JOB_MAX", 100)
    buffer = LogBuffer()
    buffer.extend([LogLine("\N{SNOWMAN}" * 30, n) for n in range(3)])
    assert len(buffer.lines) == 1


def test_a_log_of_zeros_made_a_record_that_no_journal_takes() -> None:
    """A NUL is one byte on the way in and six in the record (``\\u0000``)."""
    log = JobLog()
    line = LogLine("\0" * (LOG_LINE_BYTES_MAX - 1) + "\n", 1)
    count = LOG_BYTES_PER_JOB_MAX // LOG_LINE_BYTES_MAX
    log.add("docker build", 0, [line] * count)
    log.add("Running", count, [line] * count)
    stored = log.stored()
    assert len(stored) + RESULT_BYTES_MAX < PAYLOAD_BYTES_MAX
    assert msgspec.json.decode(stored, type=StoredLogs).run


def test_the_most_that_is_stored_fits_a_record() -> None:
    """Both bounds at once, both kinds: 100,000 lines that fill 8 MiB."""
    each = LOG_BYTES_PER_JOB_MAX // LOG_LINES_PER_JOB_MAX
    line = LogLine("x" * each, 1_785_941_341_026, True)
    log = JobLog()
    log.add("docker build", 0, [line] * LOG_LINES_PER_JOB_MAX)
    log.add("Running", LOG_LINES_PER_JOB_MAX, [line] * LOG_LINES_PER_JOB_MAX)
    assert len(log.run.lines) == LOG_LINES_PER_JOB_MAX
    assert len(log.stored()) + RESULT_BYTES_MAX < PAYLOAD_BYTES_MAX


def test_lines_that_were_taken_already_are_left_out() -> None:
    log = JobLog()
    assert log.add("Running", 0, lines(0, 5)) == (0, lines(0, 5))
    first, new = log.add("Running", 3, lines(3, 5))
    assert (first, [line.text for line in new]) == (5, ["line 5\n", "line 6\n", "line 7\n"])
    assert log.add("Running", 0, lines(0, 8)) == (8, [])
    assert log.cursor == 8
    assert texts(log.run) == [f"line {n}\n" for n in range(8)]


def test_a_gap_means_lines_that_the_worker_had_to_drop() -> None:
    log = JobLog()
    log.add("Running", 0, lines(0, 2))
    assert log.add("Running", 10, lines(10, 2))[0] == 2  # the index goes on without a hole
    assert log.cursor == 12
    assert log.add("Running", 9, lines(9, 4))[1] == lines(9, 4)[3:]


def test_an_empty_message_moves_nothing() -> None:
    log = JobLog()
    assert log.add("Running", 7, []) == (0, [])
    assert log.cursor == 0


def test_cursors_count_over_both_kinds_and_indices_within_each() -> None:
    log = JobLog()
    assert log.add("docker build", 0, lines(0, 2))[0] == 0
    assert log.add("Running", 2, lines(2, 3))[0] == 0
    assert log.add("docker image push", 5, lines(5, 1))[0] == 2
    assert (log.build.next, log.run.next, log.cursor) == (3, 3, 6)


def test_a_new_attempt_begins_at_cursor_0_and_its_indices_go_on() -> None:
    log = JobLog()
    log.add("Running", 0, lines(0, 5))
    log.restart()
    assert (log.cursor, log.run.first, len(log.run.lines), log.run.dropped) == (0, 5, 0, 0)
    first, new = log.add("Running", 0, lines(0, 2, "second"))
    assert (first, len(new)) == (5, 2)


def test_since_answers_head_then_marker_and_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read on with ``next`` until there are no more: nothing twice, and the gap is told once."""
    monkeypatch.setattr(logs, "LOG_LINES_PER_JOB_MAX", 20)
    buffer = LogBuffer(first=100)
    said = lines(0, 50)
    buffer.extend(said)
    assert buffer.since(0) == (100, said[:2], 102, True)
    assert buffer.since(101) == (101, said[1:2], 102, True)
    first, tail, after, more = buffer.since(102)
    assert (first, after, more) == (131, 150, False)
    assert tail[0].text.startswith("… 30 lines dropped here")
    assert (tail[0].stderr, tail[1:]) == (True, said[32:])
    assert buffer.since(131) == (first, tail, after, more)
    assert buffer.since(132) == (132, said[32:], 150, False)
    assert buffer.since(150) == (150, [], 150, False)
    assert buffer.since(999) == (999, [], 150, False)


def test_a_stored_runaway_log_is_told_with_head_marker_and_tail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "LOG_LINES_PER_JOB_MAX", 20)
    log = JobLog()
    log.add("Running", 0, lines(0, 50))
    stored = msgspec.json.decode(log.stored(), type=StoredLogs)
    told = [line.text for line in stored.told("run")]
    assert told[:2] == ["line 0\n", "line 1\n"]
    assert told[2].startswith("… 30 lines dropped here")
    assert told[3:] == [f"line {n}\n" for n in range(32, 50)]
    assert stored.told("build") == []
    assert stored.since("run", 0) == log.run.since(0)
    assert stored.since("run", 2) == log.run.since(2)


def test_what_is_stored_reads_back_with_its_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_LINES_PER_JOB_MAX", 4)
    log = JobLog()
    log.add("docker build", 0, lines(0, 2))
    log.restart()
    log.add("docker build", 0, lines(0, 1))
    log.add("Running", 1, lines(1, 6))
    stored = msgspec.json.decode(log.stored(), type=StoredLogs)
    assert stored == StoredLogs(
        build=lines(0, 1),
        run=lines(1, 6)[2:],
        build_first=2,
        run_first=2,
        build_dropped=0,
        run_dropped=2,
        build_steps=[(2, "docker build")],
    )


def test_the_steps_of_a_build_log_are_known_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_STEPS_PER_JOB_MAX", 2)
    log = JobLog()
    log.add("docker image pull", 0, lines(0, 2))
    log.add("docker image pull", 0, lines(0, 3))
    log.add("docker build", 3, lines(3, 1))
    log.add("docker image pull", 4, lines(4, 1))
    log.add("Running", 5, lines(5, 1))
    assert log.build_steps == [(0, "docker image pull"), (3, "docker build")]
    assert msgspec.json.decode(log.stored(), type=StoredLogs).build_steps == log.build_steps
    log.restart()
    assert log.build_steps == []
    log.add("docker build", 0, lines(0, 1))
    assert log.build_steps == [(5, "docker build")]


def test_nothing_logged_is_stored_as_nothing() -> None:
    assert JobLog().stored() == b""
