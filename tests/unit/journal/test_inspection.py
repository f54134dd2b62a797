"""What is still found in broken segments, what may follow what, and files that stay unchanged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gridd.core import records as r
from gridd.core.jobs import Jobs
from gridd.inspection.continuity import ENDED, UNKNOWN, step_to
from gridd.journal.base import Damaged, Position
from gridd.journal.files import FileJournal
from gridd.journal.format import HEADER_BYTES, MARK_BYTES
from gridd.journal.fs import RealFiles
from gridd.journal.salvage import HOLES_MAX
from gridd.journal.survey import DAMAGES_MAX, Survey
from gridd.journal.unchanged import UnchangedFiles

Q, J = "lab", "job"


def payload(number: int, size: int = 20) -> bytes:
    return msgspec.msgpack.encode(["tag", number, b"." * size])


def written(directory: Path, batches: list[int], **options: int) -> dict[Position, bytes]:
    """A journal of batches of as many records; each is unlike all others."""
    journal = FileJournal(directory, **options)
    records: dict[Position, bytes] = {}
    for count in batches:
        batch = [payload(len(records) + number) for number in range(count)]
        records.update(zip(journal.append(batch, journal.end), batch, strict=True))
    journal.close()
    return records


def survey(directory: Path) -> tuple[dict[Position, bytes], Survey]:
    looked = Survey(directory)
    found = dict(looked.records())
    looked.close()
    return found, looked


def test_one_flipped_bit_costs_one_record(tmp_path: Path) -> None:
    """Anywhere in a segment: in the header, a mark, a length, a checksum or a payload.

    A few flips make a payload claim the records behind it, and it can't be told whether they are
    its own: up to where both ways meet again, they are given up.
    """
    records = written(tmp_path, [3, 1, 4, 2])
    path = tmp_path / "00000001.seg"
    data = path.read_bytes()
    last = len(data) - MARK_BYTES  # the empty batch of the close; a tear there is no damage
    dear = 0
    for index in range(last):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[index] ^= 1 << bit
            path.write_bytes(flipped)
            found, looked = survey(tmp_path)
            where = f"bit {bit} of byte {index}: {looked.damages}"
            assert found.items() <= records.items(), where
            (damage,) = looked.damages
            if damage.records is None:
                dear += 1
                assert len(records) - len(found) <= 4, where
            else:
                assert len(records) - len(found) == damage.records <= 1, where
    assert 0 < dear < last * 8 / 50


def test_a_lost_first_block_is_bridged(tmp_path: Path) -> None:
    """Header and first mark are zeros: the id is learned from a mark behind them."""
    records = written(tmp_path, [2, 3, 1, 2])
    path = tmp_path / "00000001.seg"
    data = path.read_bytes()
    positions = sorted(records)
    lost = positions[2].offset - 5  # into the second mark
    path.write_bytes(bytes(lost) + data[lost:])
    found, looked = survey(tmp_path)
    assert found == {at: records[at] for at in positions[5:]}
    assert looked.damages[0].what == "the checksum of the header does not match"
    path.write_bytes(bytes(HEADER_BYTES + MARK_BYTES) + data[HEADER_BYTES + MARK_BYTES :])
    assert survey(tmp_path)[0].items() >= {at: records[at] for at in positions[2:]}.items()


def test_a_segment_of_which_no_mark_is_left_is_given_up(tmp_path: Path) -> None:
    written(tmp_path, [2])
    path = tmp_path / "00000001.seg"
    path.write_bytes(b"\xff" * path.stat().st_size)
    found, looked = survey(tmp_path)
    assert found == {}
    assert [damage.offset for damage in looked.damages] == [0, HEADER_BYTES]
    assert looked.damages[1].bytes == path.stat().st_size - HEADER_BYTES


def test_two_broken_frames_in_one_batch(tmp_path: Path) -> None:
    records = written(tmp_path, [8, 1])
    positions = sorted(records)
    path = tmp_path / "00000001.seg"
    data = bytearray(path.read_bytes())
    for broken in (positions[1], positions[5]):
        data[broken.offset + 12] ^= 1
    path.write_bytes(data)
    found, looked = survey(tmp_path)
    assert found == {at: records[at] for at in positions if at not in (positions[1], positions[5])}
    assert [damage.records for damage in looked.damages] == [1, 1]


def test_a_segment_with_too_many_holes_is_given_up(tmp_path: Path) -> None:
    records = written(tmp_path, [1] * (2 * HOLES_MAX + 200))
    path = tmp_path / "00000001.seg"
    data = bytearray(path.read_bytes())
    for at in sorted(records)[::2]:
        data[at.offset + 12] ^= 1
    path.write_bytes(data)
    found, looked = survey(tmp_path)
    assert len(found) == HOLES_MAX - 1
    assert looked.damage_count == HOLES_MAX + 1
    assert len(looked.damages) == DAMAGES_MAX


def test_a_link_that_does_not_fit_says_what_is_lost(tmp_path: Path) -> None:
    written(tmp_path, [2] * 9, segment_bytes=200)
    path = tmp_path / "00000002.seg"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size - 30)
    _, looked = survey(tmp_path)
    told = f"it has {size - 30} bytes and was closed with {size}"
    assert (str(path), size - 30, 30, None, told) in looked.damages


def test_records_are_read_by_position_or_not_at_all(tmp_path: Path) -> None:
    records = written(tmp_path, [2, 2])
    looked = Survey(tmp_path)
    at = min(records)
    assert looked.read(at) == records[at]
    for place in (Position(0, 0), Position(1, 3), Position(1, at.offset + 1), Position(9, 64)):
        assert looked.read(place) is None
    assert looked.read(Position(1, 1 << 40)) is None
    looked.close()


# --- files that stay as they are ------------------------------------------------------------


def test_a_journal_over_unchanged_files_mends_only_in_memory(tmp_path: Path) -> None:
    records = written(tmp_path, [2, 2])
    path = tmp_path / "00000001.seg"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - MARK_BYTES - 1)  # into the second batch
    (tmp_path / "00000002.seg").write_bytes(b"")
    (tmp_path / "00000002.seg").unlink()
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    fs = UnchangedFiles()
    journal = FileJournal(tmp_path, fs=fs, segment_bytes=300)
    assert dict(journal.replay()) == dict(list(records.items())[:2])
    (at,) = journal.append([b"more"], journal.end)
    assert journal.read(at) == b"more"
    for _ in range(5):
        journal.append([b"." * 90], journal.end)  # into new segments
    assert len(list(journal.replay())) == 8
    journal.close()
    fs.close()
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}


def test_unchanged_files_refuse_what_the_real_ones_do(tmp_path: Path) -> None:
    written(tmp_path, [1])
    fs = UnchangedFiles()
    path = str(tmp_path / "00000001.seg")
    with pytest.raises(FileExistsError):
        fs.create(path)
    with pytest.raises(OSError, match="only looked at"):
        fs.rename(path, path + "x")
    with pytest.raises(FileNotFoundError):
        fs.make_directory(str(tmp_path / "none"))
    fs.remove(path)
    with pytest.raises(FileNotFoundError):
        fs.open(path)
    assert "00000001.seg" not in fs.list(str(tmp_path))
    fs.create(path).write(b"new")
    assert fs.open(path).read(0, 9) == b"new"
    assert "00000001.seg" in fs.list(str(tmp_path))
    fs.close()
    assert RealFiles().open(path).size() > 64


def test_damage_is_refused_over_unchanged_files_too(tmp_path: Path) -> None:
    records = written(tmp_path, [2, 2])
    path = tmp_path / "00000001.seg"
    data = bytearray(path.read_bytes())
    data[min(records).offset + 12] ^= 1
    path.write_bytes(data)
    fs = UnchangedFiles()
    with pytest.raises(Damaged):
        FileJournal(tmp_path, fs=fs)
    fs.close()


# --- what may follow what -------------------------------------------------------------------

NEEDS = r.Needs()


def submitted(job: str = J, namespace: str = "_") -> r.Submitted:
    return r.Submitted(Q, job, 1, namespace, b"{}", NEEDS)


def finished(attempt: int = 0, reason: r.FinishedReason = "Success") -> r.Finished:
    return r.Finished(Q, J, 4, reason, attempt, "w", "", b"{}", b"")


def leased(attempt: int = 1) -> r.Leased:
    return r.Leased(Q, J, 2, "w", attempt)


def requeued(attempt: int = 1) -> r.Requeued:
    return r.Requeued(Q, J, 3, attempt, True, 5, 6)


EXPIRED = r.Expired(Q, J, 9)
ADDED = r.NamespaceAdded(Q, J, 2, "a")
DROPPED = r.NamespaceDropped(Q, J, 2, "a", "Cancelled")
GIVEN_BACK = r.Requeued(Q, J, 2, 1, False, 0, 0)

ORDERS: list[tuple[list[r.Record], r.Record, list[r.Record] | str]] = [
    # what is known, what comes, what must lie between (or why it can't come)
    ([], submitted(), []),
    ([], leased(), UNKNOWN),
    ([], requeued(), UNKNOWN),
    ([], finished(), UNKNOWN),
    ([], EXPIRED, UNKNOWN),
    ([], ADDED, UNKNOWN),
    ([], DROPPED, UNKNOWN),
    ([submitted()], leased(), []),
    ([submitted()], finished(), []),
    ([submitted()], ADDED, []),
    ([submitted()], requeued(1), [r.Leased(Q, J, 3, "", 1)]),
    ([submitted()], finished(2), [r.Leased(Q, J, 4, "w", 2)]),
    ([submitted(), leased()], requeued(), []),
    ([submitted(), leased()], finished(1), []),
    ([submitted(), leased()], leased(2), [GIVEN_BACK]),
    (
        [submitted(), leased()],
        requeued(2),
        [msgspec.structs.replace(GIVEN_BACK, time=3), r.Leased(Q, J, 3, "", 2)],
    ),
    (
        [submitted(), leased()],
        finished(3),
        [msgspec.structs.replace(GIVEN_BACK, time=4), r.Leased(Q, J, 4, "w", 3)],
    ),
    ([submitted(), finished()], submitted(), []),
    ([submitted(), finished()], leased(), ENDED),
    ([submitted(), finished()], requeued(), ENDED),
    ([submitted(), finished()], finished(0, "Deleted"), []),
    ([submitted(), finished()], EXPIRED, []),
    ([submitted()], submitted(), [r.Finished(Q, J, 1, "Deleted", 0, "", "", b"", b"")]),
    (
        [submitted(), leased()],
        EXPIRED,
        [r.Finished(Q, J, 9, "Deleted", 1, "w", "", b"", b"")],
    ),
    (
        [submitted("other", "a")],
        submitted(J, "a"),
        [r.NamespaceDropped(Q, "other", 1, "a", "JobReplacedByClient")],
    ),
    (
        [submitted("other", "a"), submitted()],
        ADDED,
        [r.NamespaceDropped(Q, "other", 2, "a", "JobReplacedByClient")],
    ),
    ([submitted("other", "_")], submitted(J, "_"), []),
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order[1]).__name__)
def test_what_must_lie_between(
    order: tuple[list[r.Record], r.Record, list[r.Record] | str],
) -> None:
    known, record, between = order
    jobs = Jobs()
    for each in known:
        jobs.apply(each)
    step = step_to(jobs, record)
    if isinstance(between, str):
        assert step == ([], between)
        return
    assert step == (between, None)
    for each in (*step.added, record):
        jobs.apply(each)
    live = [job for job in jobs.by_id.values() if job.live]
    assert jobs.live == len(live)
    assert jobs.running == sum(job.state == "Running" for job in live)
