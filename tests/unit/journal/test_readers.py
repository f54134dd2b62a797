"""The bounded set of open segments."""

import errno
import threading
from pathlib import Path

import pytest

from gridd.journal.base import Position
from gridd.journal.files import FileJournal
from gridd.journal.fs import File
from gridd.journal.readers import OPEN_SEGMENTS_MAX, OpenSegments

CONDITION_S = 20.0


class CountedFile:
    def __init__(self, segment: int, opened: list[int]) -> None:
        self.segment, self.opened = segment, opened
        opened.append(segment)

    def read(self, offset: int, size: int) -> bytes:
        assert self.segment in self.opened, "read after close"
        return b"%d" % self.segment

    def write(self, data: bytes) -> None:
        raise AssertionError("a reader writes nothing")

    def truncate(self, size: int) -> None:
        raise AssertionError("a reader cuts nothing")

    def size(self) -> int:
        return 0

    def sync(self) -> None:
        raise AssertionError("a reader syncs nothing")

    def close(self) -> None:
        self.opened.remove(self.segment)


def opener(opened: list[int]) -> OpenSegments:
    def open_segment(segment: int) -> File:
        if segment < 0:
            raise OSError(errno.ENOENT, "gone")
        return CountedFile(segment, opened)

    return OpenSegments(open_segment, limit=3)


def test_at_most_the_limit_stay_open_and_the_least_recently_used_goes() -> None:
    opened: list[int] = []
    segments = opener(opened)
    for segment in (1, 2, 3, 1, 4):
        with segments.borrow(segment) as file:
            assert file.read(0, 1) == b"%d" % segment
        assert len(opened) <= 3
    assert sorted(opened) == [1, 3, 4]
    assert len(segments) == 3


def test_a_file_that_is_read_is_closed_only_afterwards() -> None:
    opened: list[int] = []
    segments = opener(opened)
    with segments.borrow(1) as outer:
        for segment in range(2, 9):
            with segments.borrow(segment):
                pass
        assert outer.read(0, 1) == b"1"
        assert len(opened) == 4
        segments.drop(1)
        segments.close()
        assert opened == [1]
    assert opened == []


def test_a_dropped_file_is_opened_again() -> None:
    opened: list[int] = []
    segments = opener(opened)
    with segments.borrow(1) as first:
        segments.drop(1)
        with segments.borrow(1) as second:
            assert first is not second
    assert opened == [1]
    segments.close()
    assert opened == []


def test_a_file_that_does_not_open_leaves_nothing_behind() -> None:
    segments = opener([])
    with pytest.raises(OSError, match="gone"), segments.borrow(-1):
        pass
    assert len(segments) == 0


def test_a_journal_of_many_segments_keeps_few_of_them_open(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, segment_bytes=200)
    positions = [
        journal.append([b"%02d" % index + b"." * 90], journal.end)[0]
        for index in range(OPEN_SEGMENTS_MAX * 3)
    ]
    assert positions[-1].segment == len(positions)
    before = open_descriptors()
    for index, position in enumerate(positions):
        assert journal.read(position).startswith(b"%02d" % index)
    assert open_descriptors() - before == OPEN_SEGMENTS_MAX
    journal.close()
    assert open_descriptors() == before - 2, "the active segment and the lock are closed too"


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_reading_beside_appending_and_forgetting(tmp_path: Path) -> None:
    """Two readers ask for what was acknowledged while a writer appends, rolls and forgets: they
    get the record that was written there, or hear that it was forgotten."""
    journal = FileJournal(tmp_path, segment_bytes=4000)
    written: list[tuple[Position, bytes]] = []
    done = threading.Event()
    wrong: list[object] = []
    reads = [0] * 2

    def reader(number: int) -> None:
        step = 0
        while not done.is_set() or step < 200:
            if not written:
                continue
            position, payload = written[-1 - (step * 7 + number) % min(len(written), 200)]
            step += 1
            try:
                if journal.read(position) != payload:
                    wrong.append(position)
            except KeyError:
                pass
            except Exception as error:
                wrong.append(error)
                return
            reads[number] = step

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for index in range(120):
        batch = [b"%d.%d" % (index, item) + b"." * (item * 50) for item in range(6)]
        written += zip(journal.append(batch, journal.end), batch, strict=True)
        if index % 20 == 19:
            journal.write_snapshot(journal.end, [])
            journal.forget(journal.end)
    done.set()
    for thread in threads:
        thread.join(CONDITION_S)
        assert not thread.is_alive(), f"reads so far: {reads}"
    assert wrong == []
    assert min(reads) >= 200
    journal.close()
