"""Reading beside the writer: what is held at the moment, and segments that go meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gridd.journal.base import Damaged, JournalError, Position
from gridd.journal.files import FileJournal
from gridd.journal.format import HEADER_BYTES
from gridd.journal.fs import File, RealFiles
from gridd.journal.held import Held
from gridd.journal.log_reader import LogReader
from gridd.journal.names import segment_path


class Disk:
    """Opens segments of ``folder``; ``gone`` is called before an open fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.fails = False
        self.gone: Callable[[], object] = lambda: None
        self.opened: list[File] = []

    def open(self, number: int) -> File:
        if self.fails:
            self.gone()
            raise FileNotFoundError(number)
        self.opened.append(RealFiles().open(segment_path(self.folder, number)))
        return self.opened[-1]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Held, list[Position]]:
    """Three segments, a record in each."""
    journal = FileJournal(tmp_path, segment_bytes=1)
    places = [journal.append([payload], journal.end)[0] for payload in (b"a", b"b", b"c")]
    held = Held(journal._held.headers, journal._held.end)
    journal.close()
    return held, places


def test_records_in_order_and_one_by_its_place(
    tmp_path: Path, written: tuple[Held, list[Position]]
) -> None:
    held, places = written
    disk = Disk(tmp_path)
    reader = LogReader(disk.folder, held, disk.open)
    assert [payload for _, payload in reader.replay()] == [b"a", b"b", b"c"]
    assert [payload for _, payload in reader.replay(places[1])] == [b"b", b"c"]
    assert reader.read(places[2]) == b"c"
    before = len(disk.opened)
    assert reader.read(places[2]) == b"c"
    assert len(disk.opened) == before, "opened again"
    reader.drop(places[2].segment)
    assert reader.read(places[2]) == b"c"
    assert len(disk.opened) == before + 1
    reader.close()


def test_what_the_writer_has_not_made_durable_is_not_there(
    tmp_path: Path, written: tuple[Held, list[Position]]
) -> None:
    held, places = written
    held.end = places[2]
    disk = Disk(tmp_path)
    reader = LogReader(disk.folder, held, disk.open)
    with pytest.raises(KeyError):
        reader.read(places[2])
    with pytest.raises(Damaged, match="the journal ends at"):
        reader.replay(Position(places[2].segment, places[2].offset + 1))
    reader.close()


def test_a_segment_that_goes_while_it_is_opened_was_not_there(
    tmp_path: Path, written: tuple[Held, list[Position]]
) -> None:
    held, places = written
    disk = Disk(tmp_path)
    reader = LogReader(disk.folder, held, disk.open)
    disk.fails = True
    with pytest.raises(JournalError, match=disk.folder):
        reader.read(places[0])
    disk.gone = lambda: held.drop(places[0].segment)
    with pytest.raises(KeyError):
        reader.read(places[0])
    with pytest.raises(Damaged, match="the oldest segment held"):
        reader.replay(places[0])
    reader.close()


def test_looking_sees_one_state_while_it_changes(written: tuple[Held, list[Position]]) -> None:
    held, _ = written
    headers, end = held.look()
    last = max(headers)
    held.begin(last + 1, headers[last])
    first = held.drop(min(headers))
    assert (headers, end) != held.look()
    assert sorted(headers) == [*range(min(headers), last + 1)], "changed under the reader's eyes"
    assert held.end == Position(last + 1, HEADER_BYTES)
    held.take_back(min(headers), first)
    assert set(held.headers) == {*headers, last + 1}
