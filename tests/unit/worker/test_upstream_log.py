"""One job's log for a server that keeps no count: what is told, once more when it forgot."""

import pytest

from gridd_protocol.messages import Log, LogLine, Step
from gridd_worker.upstream import log as upstream_log
from gridd_worker.upstream.log import JobLog


def said(cursor: int, *texts: str, step: Step = "Running", time: int = 5) -> Log:
    return Log("j", 1, step, cursor, [LogLine(text, time) for text in texts])


def told(log: JobLog) -> list[tuple[str, str]]:
    return [(part.step, line.text) for part in log.untold() for line in part.lines]


def test_each_line_is_told_once_and_all_of_them_again() -> None:
    log = JobLog()
    log.append(said(0, "p", step="docker image pull"))
    log.append(said(1, "a", "b"))
    assert told(log) == [("docker image pull", "p"), ("Running", "a"), ("Running", "b")]
    assert told(log) == []
    log.append(said(3, "c"))
    assert told(log) == [("Running", "c")]
    assert (log.cursor, log.told) == (4, 4)
    assert log.again()
    assert not log.again(), "there was nothing to forget"
    assert [text for _, text in told(log)] == ["p", "a", "b", "c"]
    assert [line.text for line in log.printed()] == ["a", "b", "c"]
    assert [line.text for line in log.built()] == ["p"]


def test_what_an_earlier_process_told_is_left_out_of_what_comes_again() -> None:
    log = JobLog(told=3, until_ms=10)
    log.append(said(0, "a", "b"))
    assert told(log) == []
    log.append(said(2, "c", "d"))
    assert told(log) == [("Running", "d")]
    assert [line.text for line in log.printed()] == ["a", "b", "c", "d"]


def test_a_beginning_that_is_gone_keeps_no_new_line_back() -> None:
    """The engine gave 40 lines up, so the numbers are not those of the earlier process."""
    log = JobLog(told=50, until_ms=10)
    log.append(said(0, *"abcdefghij", time=10))
    assert told(log) == []
    log.append(Log("j", 1, "Running", 10, [LogLine("old", 10), LogLine("new", 11)]))
    log.append(said(12, "more", time=12))
    assert [text for _, text in told(log)] == ["new", "more"]


@pytest.mark.parametrize("limit", ["LOG_BYTES_PER_JOB_MAX", "LOG_LINES_PER_JOB_MAX"])
def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(upstream_log, limit, 3)
    log = JobLog()
    for at in range(5):
        log.append(said(at, str(at)))
    assert [line.text for line in log.printed()] == ["2", "3", "4"]
    assert [text for _, text in told(log)] == ["2", "3", "4"]
    assert log.cursor == 5
