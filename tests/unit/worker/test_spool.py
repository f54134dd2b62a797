"""Results on disk until they are acknowledged."""

import logging
import os
from pathlib import Path

import pytest

from gridd_protocol.messages import Finished, LogLine
from gridd_worker.logs import LogBuffer
from gridd_worker.spool import Spool, Spooled, queue_hash, spooled

ROOM = queue_hash("http://grid", "q")
JOB = "ab" * 32


def result(job: str = JOB, attempt: int = 1) -> Spooled:
    return Spooled("q", job, attempt, "Success", '{"StatusCode":0}')


def test_a_result_survives_the_process(tmp_path: Path) -> None:
    buffer = LogBuffer()
    buffer.append("docker build", [LogLine("sent", 1)])
    buffer.take(10, 10_000)
    buffer.append("Running", [LogLine("one\n", 2), LogLine("two\n", 3, True)])
    finished = Finished(JOB, 3, "TimedOut", "{}")
    assert Spool(tmp_path).write(ROOM, spooled("q", finished, buffer))

    (found,) = Spool(tmp_path).load(ROOM)
    assert found.finished() == finished
    restored = found.buffer()
    batches = [restored.take(10, 10_000) for _ in range(3)]
    assert [(batch.step, batch.cursor, batch.lines) for batch in batches if batch] == [
        ("docker build", 0, [LogLine("sent", 1)]),  # what a lost server had and did not store
        ("Running", 1, [LogLine("one\n", 2), LogLine("two\n", 3, True)]),
    ]


def test_a_removed_result_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(ROOM, result())
    spool.remove(ROOM, JOB, 1)
    spool.remove(ROOM, JOB, 1)
    assert list(tmp_path.iterdir()) == []
    assert spool.size_bytes == 0


def test_queues_and_servers_are_kept_apart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(ROOM, result())
    assert spool.load(queue_hash("http://grid", "other")) == []
    assert spool.load(queue_hash("http://elsewhere", "q")) == []
    assert len(spool.load(ROOM)) == 1


def test_of_two_attempts_of_a_job_the_newest_counts(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for attempt in (2, 10, 9):
        spool.write(ROOM, result(attempt=attempt))
    assert [found.attempt for found in spool.load(ROOM)] == [10]
    assert [path.name for path in tmp_path.iterdir()] == [f"{ROOM}-{JOB}-10.json"]


def test_a_half_written_file_is_no_result(tmp_path: Path) -> None:
    (tmp_path / f"{ROOM}-{JOB}-1.json.tmp").write_text('{"queue":"q","jo')
    assert Spool(tmp_path).load(ROOM) == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_removed_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"{ROOM}-{JOB}-1.json").write_bytes(b'{"queue":"q","job":\xff')
    assert Spool(tmp_path).load(ROOM) == []
    assert list(tmp_path.iterdir()) == []
    assert "can't be read" in caplog.text


def test_beyond_the_number_of_files_nothing_more_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, files_max=1)
    assert spool.write(ROOM, result())
    assert not spool.write(ROOM, result("cd" * 32))
    assert "memory only" in caplog.text
    spool.remove(ROOM, JOB, 1)
    assert spool.write(ROOM, result("cd" * 32))


def test_beyond_the_bytes_nothing_more_is_stored(tmp_path: Path) -> None:
    spool = Spool(tmp_path, bytes_max=200)
    assert spool.write(ROOM, result())
    assert not spool.write(ROOM, result("cd" * 32))
    assert Spool(tmp_path, bytes_max=200).size_bytes == spool.size_bytes


def test_a_failing_disk_is_told_and_leaves_no_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    assert not spool.write(ROOM, result())
    assert "memory only" in caplog.text


def test_what_no_server_knows_any_more_is_pruned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    spool = Spool(tmp_path)
    spool.write(ROOM, result())
    spool.prune()
    assert len(spool.load(ROOM)) == 1
    (path,) = tmp_path.iterdir()
    os.utime(path, (0, 0))
    spool.prune()
    assert spool.load(ROOM) == []
    assert "28 days" in caplog.text
