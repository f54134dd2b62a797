"""Snapshots that are cut, flipped, half written or gone."""

import errno
import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from gridd.journal.base import Damaged, JournalError, Position
from gridd.journal.files import FileJournal
from gridd.journal.fs import RealFile, RealFiles

OLDER = [b"older", b""]
NEWER = [b"newer", b"state" * 8, b"\x00"]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FileJournal]:
    opened = FileJournal(tmp_path, segment_bytes=200)
    yield opened
    opened.close()


def fill(journal: FileJournal, count: int = 4) -> Position:
    for _ in range(count):
        journal.append([b"." * 80], journal.end)
    return journal.end


def two_snapshots(journal: FileJournal) -> tuple[Position, Position]:
    older, newer = fill(journal), fill(journal)
    journal.write_snapshot(older, OLDER)
    journal.write_snapshot(newer, NEWER)
    return older, newer


def path_of(directory: Path, at: Position) -> Path:
    return directory / f"snapshot-{at.segment:08d}-{at.offset:012d}.snap"


def read(journal: FileJournal) -> tuple[Position, list[bytes]] | None:
    snapshot = journal.read_snapshot()
    return snapshot and (snapshot[0], list(snapshot[1]))


def test_cut_at_every_length_the_older_one_is_used(
    tmp_path: Path, journal: FileJournal, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = two_snapshots(journal)
    path = path_of(tmp_path, newer)
    data = path.read_bytes()
    assert read(journal) == (newer, NEWER)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert read(journal) == (older, OLDER), f"cut at {length}"
        assert f"{path.name}: damaged at byte" in caplog.text


def test_a_flipped_bit_never_makes_a_wrong_state(tmp_path: Path, journal: FileJournal) -> None:
    older, newer = two_snapshots(journal)
    path = path_of(tmp_path, newer)
    data = path.read_bytes()
    for index in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[index] ^= 1 << bit
            path.write_bytes(flipped)
            assert read(journal) == (older, OLDER), f"bit {bit} of byte {index}"


def test_bytes_after_the_trailer_are_damage(tmp_path: Path, journal: FileJournal) -> None:
    older, newer = two_snapshots(journal)
    data = path_of(tmp_path, newer).read_bytes()
    path_of(tmp_path, newer).write_bytes(data + data[64:])
    assert read(journal) == (older, OLDER)


def test_a_frame_less_is_noticed(tmp_path: Path, journal: FileJournal) -> None:
    older, newer = two_snapshots(journal)
    data = path_of(tmp_path, newer).read_bytes()
    frame = data.index(b"newer") - 8
    path_of(tmp_path, newer).write_bytes(data[:frame] + data[frame + 8 + len(b"newer") :])
    assert read(journal) == (older, OLDER)


def test_a_snapshot_under_another_name_is_not_believed(
    tmp_path: Path, journal: FileJournal
) -> None:
    older, newer = two_snapshots(journal)
    path_of(tmp_path, newer).rename(path_of(tmp_path, Position(newer.segment, newer.offset - 1)))
    assert read(journal) == (older, OLDER)


def test_without_a_whole_snapshot_the_log_is_enough_until_something_was_forgotten(
    tmp_path: Path, journal: FileJournal
) -> None:
    for at in two_snapshots(journal):
        path_of(tmp_path, at).write_bytes(b"")
    assert read(journal) is None
    assert len(list(journal.replay())) == 8


def test_without_a_whole_snapshot_and_with_a_forgotten_beginning_it_is_damage(
    tmp_path: Path, journal: FileJournal
) -> None:
    snapshots = two_snapshots(journal)
    journal.forget(snapshots[0])
    for at in snapshots:
        path_of(tmp_path, at).unlink()
    with pytest.raises(Damaged, match="no whole snapshot is left, and the log begins with 5"):
        journal.read_snapshot()


def test_the_older_snapshot_still_has_its_log(tmp_path: Path, journal: FileJournal) -> None:
    older, newer = two_snapshots(journal)
    journal.forget(journal.end)
    path_of(tmp_path, newer).write_bytes(b"")
    assert read(journal) == (older, OLDER)
    assert len(list(journal.replay(older))) == 4


def test_the_last_two_are_kept(tmp_path: Path, journal: FileJournal) -> None:
    for _ in range(4):
        journal.write_snapshot(fill(journal, 1), [b"state"])
    assert len(list(tmp_path.glob("snapshot-*"))) == 2


def test_one_that_rots_between_the_check_and_the_reading_is_damage(
    tmp_path: Path, journal: FileJournal
) -> None:
    at = fill(journal)
    journal.write_snapshot(at, NEWER)
    snapshot = journal.read_snapshot()
    assert snapshot is not None
    data = bytearray(path_of(tmp_path, at).read_bytes())
    data[-40] ^= 1
    path_of(tmp_path, at).write_bytes(data)
    with pytest.raises(Damaged, match=r"\.snap: damaged at byte \d+"):
        list(snapshot[1])


def test_an_unknown_version_is_refused_and_not_passed_over(
    tmp_path: Path, journal: FileJournal
) -> None:
    _, newer = two_snapshots(journal)
    path = path_of(tmp_path, newer)
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack(">I", 7)
    data[60:64] = struct.pack(">I", crc32(data[:60]))
    path.write_bytes(data)
    with pytest.raises(JournalError, match=rf"{path.name}: written in journal format 7"):
        journal.read_snapshot()


class FullFile(RealFile):
    def write(self, data: bytes) -> None:
        super().write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullForSnapshots(RealFiles):
    full = False

    def create(self, path: str) -> RealFile:
        file = super().create(path)
        if not self.full:
            return file
        file.close()
        return FullFile(os.open(path, os.O_RDWR | os.O_APPEND))


def test_a_full_disk_leaves_the_log_and_the_older_snapshot(tmp_path: Path) -> None:
    fs = FullForSnapshots()
    journal = FileJournal(tmp_path, fs=fs)
    at = fill(journal)
    journal.write_snapshot(at, OLDER)
    journal.append([b"more"], journal.end)
    fs.full = True
    with pytest.raises(JournalError, match=r"\.snap: the snapshot was not kept: .*No space left"):
        journal.write_snapshot(journal.end, NEWER)
    assert read(journal) == (at, OLDER)
    assert not list(tmp_path.glob("*.part"))
    journal.append([b"goes on"], journal.end)
    journal.close()


def test_payloads_that_fail_half_way_leave_nothing(tmp_path: Path, journal: FileJournal) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * (2 << 20)
        raise RuntimeError("the state could not be walked")

    with pytest.raises(RuntimeError, match="could not be walked"):
        journal.write_snapshot(journal.end, failing())
    assert read(journal) is None
    assert not list(tmp_path.glob("*.part"))


def test_a_half_written_one_is_removed_at_the_next_opening(tmp_path: Path) -> None:
    part = tmp_path / "snapshot-00000001-000000000064.snap.part"
    part.write_bytes(b"half")
    FileJournal(tmp_path).close()
    assert not part.exists()


def test_a_large_snapshot_is_written_and_read_in_pieces(journal: FileJournal) -> None:
    at = fill(journal)
    journal.write_snapshot(at, (b"%d" % n + b"." * 1000 for n in range(5000)))
    snapshot = journal.read_snapshot()
    assert snapshot is not None
    for number, payload in enumerate(snapshot[1]):
        assert payload == b"%d" % number + b"." * 1000
    assert number == 4999
