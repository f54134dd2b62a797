"""Notes about runs, for the worker's next process."""

import os
from pathlib import Path

import pytest

from gridd_protocol.messages import Finished, LogLine, Push
from gridd_worker.checkpoints import Checkpoint, Checkpoints, Said, checkpoint
from gridd_worker.keeping import Keeping
from gridd_worker.logs import LogBuffer
from gridd_worker.spool import Spool, spooled
from gridd_worker.told import Told


def note(job: str, attempt: int = 1, queue: str = "q") -> Checkpoint:
    return Checkpoint(queue, Push(job, attempt, "{}"), 5)


def test_a_note_comes_back_with_the_log_up_to_the_start(tmp_path: Path) -> None:
    log = LogBuffer(first=3)
    log.append("docker image pull", [LogLine("a", 1), LogLine("b", 2, True)])
    push = Push("j", 2, '{"image": "x"}', max_duration=9)
    notes = Checkpoints(tmp_path / "running")
    notes.save("room", checkpoint("q", push, 77, ("1", "3"), log))
    [found] = Checkpoints(tmp_path / "running").load("room")
    said = [Said("docker image pull", [LogLine("a", 1), LogLine("b", 2, True)])]
    assert found == Checkpoint("q", push, 77, ("1", "3"), 3, said)
    assert found.key == ("q", "j", 2)
    buffer = found.buffer()
    assert (buffer.end, list(buffer.parts())) == (5, list(log.parts()))
    assert notes.load("other") == []
    notes.remove("room", "j", 2)
    notes.remove("room", "j", 2)
    assert list(notes.folder.iterdir()) == []


def test_a_note_without_lines_keeps_the_number_of_the_next(tmp_path: Path) -> None:
    assert checkpoint("q", Push("j", 1, "{}"), 1, (), LogBuffer(first=9)).buffer().end == 9


def test_what_cannot_be_read_is_removed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Checkpoints(tmp_path)
    (tmp_path / "room-x-1.json").write_text("{")
    (tmp_path / "room-y-1.tmp").write_text("{")
    assert notes.load("room") == []
    assert "room-x-1.json" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["room-y-1.tmp"]


def test_old_notes_go(tmp_path: Path) -> None:
    notes = Checkpoints(tmp_path)
    notes.save("room", note("old"))
    notes.save("room", note("new"))
    os.utime(tmp_path / "room-old-1.json", (1, 1))
    notes.prune()
    assert [found.push.job for found in notes.load("room")] == ["new"]


def test_a_disk_that_fails_costs_the_note_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Checkpoints(tmp_path / "running")
    notes.folder.rmdir()
    notes.save("room", note("j"))
    assert "would be lost" in caplog.text


def test_a_result_wins_over_a_note_and_a_newer_attempt_over_an_older(tmp_path: Path) -> None:
    spool, notes = Spool(tmp_path / "spool"), Checkpoints(tmp_path / "running")
    for one in (note("a"), note("b", 2), note("b", 10), note("c")):
        notes.save("room", one)
    spool.write("room", spooled("q", Finished("c", 1, "Success", "{}"), LogBuffer()))
    keeping = Keeping(spool, notes, Told(tmp_path / "told"))
    assert {found.key for found in keeping.left_over("room")} == {("q", "a", 1), ("q", "b", 10)}
    assert {found.key for found in notes.load("room")} == {("q", "a", 1), ("q", "b", 10)}
    keeping.forget("room", "a", 1)
    keeping.note("room", note("d"))
    keeping.close()
    assert {found.push.job for found in notes.load("room")} == {"b", "d"}
