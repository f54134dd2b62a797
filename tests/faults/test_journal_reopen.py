"""Going on after a failed write: nothing that was not durable is kept, nothing durable is lost."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gridd.journal.base import Damaged, Fenced, WriteFailed
from gridd.journal.files import FileJournal
from gridd.journal.format import HEADER_BYTES

Disk = Any  # conftest.FailingFiles


@pytest.fixture
def disk(failing_disk: Callable[[], Disk]) -> Disk:
    return failing_disk()


def open_on(directory: Path, disk: Disk, **more: Any) -> FileJournal:
    return FileJournal(directory, fs=disk, room_bytes=1 << 16, **more)


def payloads(journal: FileJournal) -> list[bytes]:
    return [payload for _, payload in journal.replay()]


def lose(journal: FileJournal, *batch: bytes) -> None:
    with pytest.raises(WriteFailed):
        journal.append(batch or [b"lost"], journal.end)


@pytest.mark.parametrize("can_truncate", [True, False])
@pytest.mark.parametrize(
    ("operation", "lands"), [("write", 0), ("write", 1), ("write", 41), ("write", 60), ("sync", 0)]
)
def test_only_what_was_durable_is_kept(
    tmp_path: Path, disk: Disk, operation: str, lands: int, can_truncate: bool
) -> None:
    journal = open_on(tmp_path, disk)
    (at,) = journal.append([b"kept"], journal.end)
    disk.fail(operation, lands=lands)
    if not can_truncate:
        disk.fail("truncate", lands=lands)
    lose(journal)
    for _ in range(2):
        with pytest.raises(WriteFailed, match="can't be written yet"):
            journal.reopen()
        assert (payloads(journal), journal.read(at)) == ([b"kept"], b"kept")
        lose(journal)
    disk.heal()
    journal.reopen()
    assert payloads(journal) == [b"kept"]
    (later,) = journal.append([b"later"], journal.end)
    assert (journal.read(at), journal.read(later)) == (b"kept", b"later")
    journal.close()
    assert payloads(open_on(tmp_path, disk)) == [b"kept", b"later"]


def test_bytes_that_read_back_whole_after_a_failed_sync_are_not_believed(
    tmp_path: Path, disk: Disk
) -> None:
    """The page cache shows them, the disk need not have them: opening anew would take them."""
    journal = open_on(tmp_path, disk)
    end = journal.end
    disk.fail("sync")
    disk.fail("truncate")
    lose(journal)
    assert (tmp_path / "00000001.seg").stat().st_size > end.offset
    disk.heal()
    journal.reopen()
    assert payloads(journal) == []


def test_a_journal_that_was_reopened_survives_a_kill(tmp_path: Path, disk: Disk) -> None:
    journal = open_on(tmp_path / "journal", disk)
    kept = []
    for index in range(5):
        kept.append(b"%d" % index)
        journal.append([kept[-1]], journal.end)
        disk.fail("sync")
        lose(journal, b"x" * 1000)
        disk.heal()
        journal.reopen()
    shutil.copytree(tmp_path / "journal", tmp_path / "image")
    assert payloads(open_on(tmp_path / "image", disk)) == kept


def test_a_mark_that_still_fits_does_not_pass_for_room(tmp_path: Path, disk: Disk) -> None:
    journal = open_on(tmp_path, disk)
    disk.room = 100
    lose(journal, b"x" * 1000)
    with pytest.raises(WriteFailed, match="No space left"):
        journal.reopen()
    assert not list(tmp_path.glob("*.part"))
    disk.room = 1 << 16
    journal.reopen()
    journal.append([b"x" * 1000], journal.end)
    assert not list(tmp_path.glob("*.part"))


def test_a_segment_that_could_not_be_begun_is_taken_back(tmp_path: Path, disk: Disk) -> None:
    journal = open_on(tmp_path, disk, segment_bytes=HEADER_BYTES + 100)
    journal.append([b"x" * 60], journal.end)
    disk.fail("sync")
    disk.fail("remove")
    lose(journal, b"y" * 60)
    assert (tmp_path / "00000002.seg").exists()
    disk.heal()
    journal.reopen()
    journal.append([b"y" * 60], journal.end)
    journal.close()
    assert payloads(open_on(tmp_path, disk)) == [b"x" * 60, b"y" * 60]


def test_the_lock_is_held_all_the_time(tmp_path: Path, disk: Disk) -> None:
    journal = open_on(tmp_path, disk)
    disk.fail("write", errno.ENOSPC)
    lose(journal)
    disk.heal()
    with pytest.raises(Fenced, match="in use by another process"):
        open_on(tmp_path, disk)
    journal.reopen()
    with pytest.raises(Fenced, match="in use by another process"):
        open_on(tmp_path, disk)


@pytest.mark.parametrize("wrote", ["a mark", "a segment", "another journal"])
def test_whoever_got_round_the_lock_keeps_what_he_wrote(
    tmp_path: Path, disk: Disk, wrote: str
) -> None:
    journal = open_on(tmp_path, disk)
    journal.append([b"kept"], journal.end)
    disk.fail("write")
    lose(journal)
    disk.heal()
    (tmp_path / "lock").unlink()
    if wrote == "another journal":
        (tmp_path / "00000001.seg").unlink()
    other = open_on(tmp_path, disk, segment_bytes=HEADER_BYTES + 120)
    other.append([b"o" * 100], other.end)
    if wrote == "a segment":
        other.append([b"o" * 100], other.end)
    theirs = {path: path.read_bytes() for path in tmp_path.glob("*.seg")}
    for _ in range(2):
        with pytest.raises(Fenced):
            journal.reopen()
    assert {path: path.read_bytes() for path in tmp_path.glob("*.seg")} == theirs


def test_a_directory_that_is_away_is_waited_for(tmp_path: Path, disk: Disk) -> None:
    journal = open_on(tmp_path / "journal", disk)
    journal.append([b"kept"], journal.end)
    disk.fail("sync")
    lose(journal)
    disk.heal()
    os.rename(tmp_path / "journal", tmp_path / "elsewhere")
    with pytest.raises(WriteFailed, match="No such file"):
        journal.reopen()
    os.rename(tmp_path / "elsewhere", tmp_path / "journal")
    journal.reopen()
    assert payloads(journal) == [b"kept"]


@pytest.mark.parametrize("harm", ["cut", "flip"])
def test_durable_bytes_that_are_gone_are_damage(tmp_path: Path, disk: Disk, harm: str) -> None:
    journal = open_on(tmp_path, disk)
    journal.append([b"kept"], journal.end)
    disk.fail("sync")
    lose(journal)
    disk.heal()
    path = tmp_path / "00000001.seg"
    data = bytearray(path.read_bytes())
    if harm == "cut":
        del data[-10:]
    else:
        data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match=r"00000001\.seg: damaged at byte \d+"):
        journal.reopen()
    assert path.read_bytes() == data, "damage is left as it is"


def test_reopening_is_for_a_journal_that_failed(tmp_path: Path, disk: Disk) -> None:
    journal = open_on(tmp_path, disk)
    size = (tmp_path / "00000001.seg").stat().st_size
    journal.reopen()
    assert (tmp_path / "00000001.seg").stat().st_size == size
    journal.close()
    with pytest.raises(WriteFailed, match="closed"):
        journal.reopen()
