"""What every journal does, whatever it is made of. A new kind of journal joins by a ``Kind``."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gridd.journal.base import (
    PAYLOAD_BYTES_MAX,
    START,
    Damaged,
    Fenced,
    Journal,
    Position,
    WriteFailed,
)
from gridd.journal.files import FileJournal
from gridd.journal.memory import MemoryJournal

SEGMENT_BYTES = 400


@dataclass
class Kind:
    """``open`` makes an empty journal. ``crash`` opens what survives of one that never closed."""

    open: Callable[[], Journal]
    crash: Callable[[Journal], Journal]


def file_kind(root: Path, made: list[Journal]) -> Kind:
    homes: dict[int, Path] = {}

    def start(directory: Path) -> Journal:
        journal = FileJournal(directory, segment_bytes=SEGMENT_BYTES)
        homes[id(journal)] = directory
        made.append(journal)
        return journal

    def crash(journal: Journal) -> Journal:
        image = root / f"image{len(homes)}"
        shutil.copytree(homes[id(journal)], image, ignore=shutil.ignore_patterns("lock"))
        return start(image)

    return Kind(lambda: start(root / "journal"), crash)


def memory_kind() -> Kind:
    def crash(journal: Journal) -> Journal:
        assert isinstance(journal, MemoryJournal)
        return journal.crash()

    return Kind(lambda: MemoryJournal(segment_bytes=SEGMENT_BYTES), crash)


@pytest.fixture(params=["memory", "files"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    made: list[Journal] = []
    yield memory_kind() if request.param == "memory" else file_kind(tmp_path, made)
    for journal in made:
        journal.close()


@pytest.fixture
def journal(kind: Kind) -> Journal:
    return kind.open()


def payloads(journal: Journal, after: Position = START) -> list[bytes]:
    return [payload for _, payload in journal.replay(after)]


def fill(journal: Journal, count: int, size: int = 90) -> list[Position]:
    """``count`` batches of one record each, enough for several segments."""
    positions = []
    for index in range(count):
        positions += journal.append([b"%03d" % index + b"." * (size - 3)], journal.end)
    return positions


def test_an_empty_journal_has_no_records_and_no_snapshot(journal: Journal) -> None:
    assert payloads(journal) == []
    assert journal.read_snapshot() is None
    assert journal.end > START


def test_records_come_back_in_order_with_their_positions(journal: Journal) -> None:
    batches = [[b"one", b"two"], [b""], [b"x" * 300, b"\x00\xff", b"z" * 70_000]]
    positions = [at for batch in batches for at in journal.append(batch, journal.end)]
    written = [payload for batch in batches for payload in batch]
    assert list(journal.replay()) == list(zip(positions, written, strict=True))
    assert [journal.read(at) for at in positions] == written
    assert positions == sorted(set(positions))
    assert positions[-1] < journal.end


def test_an_empty_batch_moves_nothing(journal: Journal) -> None:
    end = journal.end
    assert journal.append([], end) == []
    assert journal.end == end


def test_append_is_fenced_unless_after_is_the_end(journal: Journal) -> None:
    stale = journal.end
    journal.append([b"first"], stale)
    with pytest.raises(Fenced):
        journal.append([b"second"], stale)
    with pytest.raises(Fenced):
        journal.append([], stale)
    journal.append([b"third"], journal.end)
    assert payloads(journal) == [b"first", b"third"]


def test_a_payload_over_the_limit_is_refused_and_changes_nothing(journal: Journal) -> None:
    journal.append([b"before"], journal.end)
    with pytest.raises(ValueError, match=f"{PAYLOAD_BYTES_MAX + 1} bytes.*{PAYLOAD_BYTES_MAX}"):
        journal.append([b"fine", bytes(PAYLOAD_BYTES_MAX + 1)], journal.end)
    journal.append([b"after"], journal.end)
    assert payloads(journal) == [b"before", b"after"]


def test_a_payload_at_the_limit_comes_back(journal: Journal) -> None:
    largest = bytes(PAYLOAD_BYTES_MAX)
    (at,) = journal.append([largest], journal.end)
    assert journal.read(at) == largest
    assert payloads(journal) == [largest]


def test_replay_begins_where_it_is_told(journal: Journal) -> None:
    positions = fill(journal, 12)
    ends = [*positions[1:], journal.end]
    assert positions[-1].segment >= 3, "the test needs several segments"
    everything = list(journal.replay())
    for index, (position, end) in enumerate(zip(positions, ends, strict=True)):
        assert list(journal.replay(position)) == everything[index:]
        assert list(journal.replay(end)) == everything[index + 1 :]


def test_replay_from_each_end_as_the_writer_saw_it(journal: Journal) -> None:
    ends = [journal.end]
    for index in range(12):
        journal.append([b"%02d" % index + b"." * 90] * 2, journal.end)
        ends.append(journal.end)
    everything = payloads(journal)
    for index, end in enumerate(ends):
        assert payloads(journal, end) == everything[2 * index :]


def test_replay_past_the_end_is_damage(journal: Journal) -> None:
    journal.append([b"one"], journal.end)
    with pytest.raises(Damaged):
        journal.replay(Position(journal.end.segment, journal.end.offset + 1))
    with pytest.raises(Damaged):
        journal.replay(Position(journal.end.segment + 1, 0))


def test_replay_holds_what_was_there_when_it_began(journal: Journal) -> None:
    journal.append([b"one"], journal.end)
    records = journal.replay()
    journal.append([b"two"], journal.end)
    assert [payload for _, payload in records] == [b"one"]


def test_reading_an_unknown_position_is_a_key_error(journal: Journal) -> None:
    journal.append([b"one"], journal.end)
    for position in (journal.end, Position(99, 64), START):
        with pytest.raises(KeyError):
            journal.read(position)


def test_what_was_acknowledged_survives_a_crash(kind: Kind) -> None:
    journal = kind.open()
    positions = fill(journal, 9)
    after_crash = kind.crash(journal)
    assert [at for at, _ in after_crash.replay()] == positions
    more = after_crash.append([b"more"], after_crash.end)
    again = kind.crash(after_crash)
    assert [at for at, _ in again.replay()] == positions + more
    assert again.read(more[0]) == b"more"


def test_an_end_from_before_a_crash_is_still_a_place_to_replay_from(kind: Kind) -> None:
    journal = kind.open()
    fill(journal, 3)
    at = journal.end
    after_crash = kind.crash(journal)
    after_crash.append([b"more"], after_crash.end)
    assert payloads(after_crash, at) == [b"more"]


def test_the_epoch_rises_with_each_opening(kind: Kind) -> None:
    journal = kind.open()
    epochs = []
    for _ in range(3):
        assert isinstance(journal, FileJournal | MemoryJournal)
        epochs.append(journal.epoch)
        journal = kind.crash(journal)
    assert epochs == [1, 2, 3]


def test_the_newest_snapshot_is_the_one_read(kind: Kind) -> None:
    journal = kind.open()
    for index in range(4):
        fill(journal, 2)
        journal.write_snapshot(journal.end, [b"state", b"", b"%d" % index])
    at = journal.end
    fill(journal, 1)
    for survivor in (journal, kind.crash(journal)):
        snapshot = survivor.read_snapshot()
        assert snapshot is not None
        assert snapshot[0] == at
        assert list(snapshot[1]) == [b"state", b"", b"3"]
        assert len(payloads(survivor, at)) == 1


def test_a_snapshot_may_be_empty_and_may_be_written_again(journal: Journal) -> None:
    journal.write_snapshot(journal.end, [])
    snapshot = journal.read_snapshot()
    assert snapshot is not None
    assert list(snapshot[1]) == []
    journal.write_snapshot(journal.end, [b"better"])
    snapshot = journal.read_snapshot()
    assert snapshot is not None
    assert list(snapshot[1]) == [b"better"]


def test_a_snapshot_past_the_end_is_refused(journal: Journal) -> None:
    with pytest.raises(ValueError, match="the journal ends at"):
        journal.write_snapshot(Position(journal.end.segment, journal.end.offset + 1), [])


def test_nothing_is_forgotten_that_no_snapshot_covers(journal: Journal) -> None:
    positions = fill(journal, 9)
    journal.forget(journal.end)
    assert [at for at, _ in journal.replay()] == positions
    covered = positions[3]
    journal.write_snapshot(covered, [b"state"])
    journal.forget(journal.end)
    assert payloads(journal, covered) == [journal.read(at) for at in positions[3:]]


def test_whole_segments_are_forgotten(kind: Kind) -> None:
    journal = kind.open()
    positions = fill(journal, 16)
    for _ in range(2):
        journal.write_snapshot(journal.end, [b"state"])
    middle = positions[8]
    journal.forget(middle)
    kept = [at for at in positions if at.segment >= middle.segment]
    gone = [at for at in positions if at.segment < middle.segment]
    assert gone
    for survivor in (journal, kind.crash(journal)):
        assert [at for at, _ in survivor.replay()] == kept
        assert [at for at, _ in survivor.replay(kept[0])] == kept
        for position in gone:
            with pytest.raises(KeyError):
                survivor.read(position)
            with pytest.raises(Damaged):
                survivor.replay(position)


def test_a_segment_that_ends_at_before_goes_and_its_end_stays_a_place(journal: Journal) -> None:
    ends = [journal.end]
    for _ in range(9):
        fill(journal, 1)
        ends.append(journal.end)
    border = max(end for end in ends if end.segment == 2)
    records = payloads(journal, border)
    journal.write_snapshot(border, [])
    journal.forget(border)
    assert min(at.segment for at, _ in journal.replay()) == 3
    assert payloads(journal, border) == records


def test_the_older_of_two_snapshots_keeps_its_records(journal: Journal) -> None:
    positions = fill(journal, 6)
    older = journal.end
    journal.write_snapshot(older, [b"older"])
    positions += fill(journal, 6)
    journal.write_snapshot(journal.end, [b"newer"])
    journal.forget(journal.end)
    assert [at for at, _ in journal.replay(older)] == positions[6:]


def test_the_last_segment_is_never_forgotten(kind: Kind) -> None:
    journal = kind.open()
    fill(journal, 9)
    journal.write_snapshot(journal.end, [])
    journal.forget(journal.end)
    end = journal.end
    after_crash = kind.crash(journal)
    assert payloads(after_crash, end) == []
    after_crash.append([b"goes on"], after_crash.end)
    assert payloads(after_crash, end) == [b"goes on"]


def test_a_closed_journal_refuses_to_append(journal: Journal) -> None:
    journal.append([b"one"], journal.end)
    journal.close()
    journal.close()
    with pytest.raises(WriteFailed, match="closed"):
        journal.append([b"two"], journal.end)
