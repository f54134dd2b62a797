"""Bytes that are missing, torn or flipped in a journal's directory, and what opening it does.

The rule under test (docs/journal.md): only the last batch of the last segment may be cut, and
only when nothing shows that it was durable. All other damage stops the start.
"""

import itertools
import logging
import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest

from gridd.journal.base import Damaged, JournalError, Position
from gridd.journal.files import FileJournal
from gridd.journal.format import HEADER_BYTES, MARK_BYTES

BATCHES = [
    [b"first", b"second", b""],
    [b"\x00" * 20],
    [b"third" * 4, b"\xff" * 9],
    [b"fourth"],
    [b"fifth", b"\x92\xce\x00\x00\x00\x00\xc4\x05sixth"],
    [b"seventh", b"eighth"],
]


@dataclass
class Written:
    """A journal's directory as a crash would leave it, and where each batch lies."""

    directory: Path
    starts: list[Position]
    end: Position

    def path(self, segment: int) -> Path:
        return self.directory / f"{segment:08d}.seg"

    def records(self, batches: int) -> list[bytes]:
        return list(itertools.chain.from_iterable(BATCHES[:batches]))


def write(root: Path, *, segments: tuple[int, ...], clean: bool = False) -> Written:
    """``BATCHES`` in new segments, which hold as many batches each as ``segments`` says."""
    live = root / "live"
    starts, batches = [], iter(BATCHES)
    journal = FileJournal(live, segment_bytes=1 << 20)
    for number, count in enumerate(segments, 1):
        journal._segment_bytes = 1 if number > 1 else 1 << 20
        for batch in itertools.islice(batches, count):
            (first, *_) = journal.append(batch, journal.end)
            starts.append(Position(first.segment, first.offset - MARK_BYTES))
            journal._segment_bytes = 1 << 20
    end = journal.end
    image = root / "image"
    if clean:
        journal.close()
    shutil.copytree(live, image, ignore=shutil.ignore_patterns("lock"))
    journal.close()
    return Written(image, starts, end)


def read_all(directory: Path) -> list[bytes]:
    journal = FileJournal(directory)
    try:
        return [payload for _, payload in journal.replay()]
    finally:
        journal.close()


def read_prefix(directory: Path) -> tuple[list[bytes], Damaged | None]:
    """What is replayed before ``Damaged``, if that comes."""
    records: list[bytes] = []
    try:
        journal = FileJournal(directory)
    except Damaged as damage:
        return records, damage
    try:
        records.extend(payload for _, payload in journal.replay())
    except Damaged as damage:
        return records, damage
    finally:
        journal.close()
    return records, None


def restore(directory: Path, files: dict[str, bytes]) -> None:
    for path in directory.iterdir():
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("segments", [(6,), (2, 1, 3)])
def test_cut_at_every_length_leaves_the_whole_batches(
    tmp_path: Path, segments: tuple[int, ...]
) -> None:
    written = write(tmp_path, segments=segments)
    last = len(segments)
    files = contents(written.directory)
    data = files[written.path(last).name]
    ends = [*written.starts[1:], written.end]
    for length in range(len(data) + 1):
        restore(written.directory, {**files, written.path(last).name: data[:length]})
        whole = sum(end.segment < last or end.offset <= length for end in ends)
        if length < HEADER_BYTES:
            whole = sum(segments[:-1])
        journal = FileJournal(written.directory)
        assert [p for _, p in journal.replay()] == written.records(whole), f"cut at {length}"
        journal.append([b"goes on"], journal.end)
        journal.close()
        assert read_all(written.directory) == [*written.records(whole), b"goes on"]


def test_a_cut_is_logged_with_its_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written = write(tmp_path, segments=(6,))
    start = written.starts[-1].offset
    with written.path(1).open("r+b") as file:
        file.truncate(written.end.offset - 1)
    with caplog.at_level(logging.WARNING):
        assert read_all(written.directory) == written.records(5)
    cut = written.end.offset - 1 - start
    assert f"00000001.seg: torn tail: cut {cut} bytes after byte {start}" in caplog.text


def test_a_whole_journal_is_opened_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    with caplog.at_level(logging.WARNING):
        assert read_all(written.directory) == written.records(6)
    assert caplog.text == ""


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    for index, bit in itertools.product(range(len(data)), range(8)):
        flipped = bytearray(data)
        flipped[index] ^= 1 << bit
        yield index, bytes(flipped)


def test_a_flipped_bit_never_makes_a_wrong_record(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    files = contents(written.directory)
    everything = written.records(6)
    last_start = written.starts[-1].offset
    for number in (1, 2, 3):
        name = written.path(number).name
        for index, flipped in flips(files[name]):
            restore(written.directory, {**files, name: flipped})
            records, damage = read_prefix(written.directory)
            where = f"{name} byte {index}"
            if number == 3 and index >= last_start:
                assert damage is None, where
                assert records == written.records(5), where
            else:
                assert damage is not None, where
                assert records == everything[: len(records)], where
                # A flip in a link says where the file before should end: that one is named.
                match = re.search(r"(\d{8}\.seg): damaged at byte (\d+)", str(damage))
                assert match, damage
                assert match[1] == name, where
                assert int(match[2]) <= index, where


def test_after_a_clean_end_every_flip_in_a_record_is_damage(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(6,), clean=True)
    files = contents(written.directory)
    name = written.path(1).name
    for index, flipped in flips(files[name]):
        restore(written.directory, {name: flipped})
        records, damage = read_prefix(written.directory)
        if index < written.end.offset:
            assert damage is not None, index
        else:  # the empty batch that closes the file holds nothing to lose
            assert records == written.records(6), index


def test_any_torn_mix_of_the_last_batch_is_cut_and_never_called_damage(tmp_path: Path) -> None:
    """A disk may write the blocks of an unfinished batch in any order: each subset of 16-byte
    blocks is tried, with the file ending after the last block that landed and at full size."""
    written = write(tmp_path, segments=(2, 1, 3))
    files = contents(written.directory)
    name = written.path(3).name
    data, start = files[name], written.starts[-1].offset
    edges = [start, *range((start // 16 + 1) * 16, len(data), 16), len(data)]
    blocks = list(itertools.pairwise(edges))
    assert 4 <= len(blocks) <= 8
    for landed in itertools.product([True, False], repeat=len(blocks)):
        torn = bytearray(data[:start] + bytes(len(data) - start))
        for (low, high), there in zip(blocks, landed, strict=True):
            if there:
                torn[low:high] = data[low:high]
        ends = [high for (_, high), there in zip(blocks, landed, strict=True) if there]
        for size in {len(data), max(ends, default=start)}:
            restore(written.directory, {**files, name: bytes(torn[:size])})
            whole = 6 if bytes(torn[:size]) == data else 5
            assert read_all(written.directory) == written.records(whole), landed


def test_a_zeroed_block_before_a_later_batch_is_damage(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(6,))
    data = written.path(1).read_bytes()
    for batch in range(5):
        start = written.starts[batch].offset
        stop = written.starts[batch + 1].offset
        zeroed = data[:start] + bytes(stop - start) + data[stop:]
        written.path(1).write_bytes(zeroed)
        with pytest.raises(
            Damaged, match=rf"00000001\.seg: damaged at byte {start}: .*later batch"
        ):
            FileJournal(written.directory)
        assert written.path(1).read_bytes() == zeroed, "a damaged file is left as it is"


def test_a_later_batch_is_seen_though_its_mark_is_damaged_too(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(6,))
    data = bytearray(written.path(1).read_bytes())
    data[written.starts[4].offset + MARK_BYTES + 8] ^= 1
    data[written.starts[5].offset] ^= 1
    written.path(1).write_bytes(data)
    with pytest.raises(Damaged, match=f"a later batch begins at byte {written.starts[5].offset}"):
        FileJournal(written.directory)


def test_a_payload_that_looks_like_a_mark_does_not_turn_a_torn_tail_into_damage(
    tmp_path: Path,
) -> None:
    other = write(tmp_path / "other", segments=(6,))
    foreign = other.path(1).read_bytes()[HEADER_BYTES:]
    journal = FileJournal(tmp_path / "journal")
    journal.append([b"kept"], journal.end)
    journal.append([foreign, b"torn"], journal.end)
    path = tmp_path / "journal" / "00000001.seg"
    data = path.read_bytes()
    journal.close()
    path.write_bytes(data[:-1])
    assert read_all(tmp_path / "journal") == [b"kept"]


def test_a_segment_cut_short_is_damage_when_another_follows(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    files = contents(written.directory)
    name = written.path(1).name
    for length in range(len(files[name])):
        restore(written.directory, {**files, name: files[name][:length]})
        with pytest.raises(Damaged, match=rf"{name}: damaged at byte \d+"):
            FileJournal(written.directory)


def test_bytes_after_the_end_of_a_sealed_segment_are_damage(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    size = written.path(2).stat().st_size
    with written.path(2).open("ab") as file:
        file.write(b"more")
    message = rf"00000002\.seg: damaged at byte {size}: it has {size + 4} bytes"
    with pytest.raises(Damaged, match=message):
        FileJournal(written.directory)


def test_a_missing_middle_segment_is_damage(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    written.path(2).unlink()
    with pytest.raises(Damaged, match=r"00000002\.seg: .*missing, though .*00000003\.seg"):
        FileJournal(written.directory)


def test_a_segment_under_another_number_is_damage(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    written.path(3).rename(written.path(4))
    written.path(2).rename(written.path(3))
    written.path(1).rename(written.path(2))
    with pytest.raises(Damaged, match=r"00000002\.seg: .*it is segment 1"):
        FileJournal(written.directory)


def test_a_segment_of_another_journal_is_damage(tmp_path: Path) -> None:
    ours = write(tmp_path / "a", segments=(2, 1, 3))
    theirs = write(tmp_path / "b", segments=(1, 1, 4))
    shutil.copy(theirs.path(2), ours.path(2))
    with pytest.raises(Damaged, match=r"00000001\.seg: damaged at byte"):
        FileJournal(ours.directory)


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1, HEADER_BYTES])
def test_a_last_segment_that_was_never_used_is_made_again(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    written.path(4).write_bytes(b"\x00" * size)
    with caplog.at_level(logging.WARNING):
        assert read_all(written.directory) == written.records(6)
    assert f"00000004.seg: created but never used ({size} bytes), removed" in caplog.text


def test_no_tail_is_cut_when_a_later_segment_was_begun(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    with written.path(3).open("r+b") as file:
        file.truncate(written.end.offset - 1)
    written.path(4).write_bytes(b"")
    with pytest.raises(Damaged, match=r"00000003\.seg: .*a later segment was begun"):
        FileJournal(written.directory)


def test_a_broken_header_before_records_is_damage(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    data = written.path(3).read_bytes()
    written.path(3).write_bytes(bytes(HEADER_BYTES) + data[HEADER_BYTES:])
    with pytest.raises(
        Damaged, match=r"00000003\.seg: damaged at byte 0: the checksum of the head"
    ):
        FileJournal(written.directory)


@pytest.mark.parametrize("segment", [1, 2, 3])
def test_an_unknown_version_is_refused_with_a_sentence(tmp_path: Path, segment: int) -> None:
    written = write(tmp_path, segments=(2, 1, 3))
    data = bytearray(written.path(segment).read_bytes())
    data[8:12] = struct.pack(">I", 2)
    data[60:64] = struct.pack(">I", crc32(data[:60]))
    written.path(segment).write_bytes(data)
    message = rf"0000000{segment}\.seg: written in journal format 2; this version of gridd reads"
    with pytest.raises(JournalError, match=message):
        FileJournal(written.directory)
    assert written.path(segment).read_bytes() == data


def test_an_empty_directory_is_an_empty_journal(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    assert read_all(tmp_path / "journal") == []
    assert read_all(tmp_path / "not" / "yet" / "there") == []


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    written = write(tmp_path, segments=(6,))
    for name in ("notes.txt", "1.seg", "00000001.seg.bak", "snapshot-1.snap"):
        (written.directory / name).write_text("mine")
    assert read_all(written.directory) == written.records(6)
    assert (written.directory / "1.seg").read_text() == "mine"


def test_no_segment_beside_a_snapshot_is_damage(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append([b"one"], journal.end)
    journal.write_snapshot(journal.end, [b"state"])
    journal.close()
    (tmp_path / "00000001.seg").unlink()
    with pytest.raises(Damaged, match="no segment is left"):
        FileJournal(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".snap"]


def test_reading_one_damaged_record_names_it_and_spares_the_others(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    first, second = journal.append([b"first", b"second"], journal.end)
    path = tmp_path / "00000001.seg"
    data = bytearray(path.read_bytes())
    for index in range(first.offset, second.offset):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[index] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(Damaged, match=rf"00000001\.seg: damaged at byte {first.offset}:"):
                journal.read(first)
            assert journal.read(second) == b"second"
    path.write_bytes(data)
    journal.close()


def test_a_position_inside_a_record_is_damage(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    (at,) = journal.append([b"a record"], journal.end)
    for offset in (HEADER_BYTES, at.offset - 1, at.offset + 1):
        with pytest.raises(Damaged, match=f"damaged at byte {offset}"):
            journal.read(Position(1, offset))
    for offset in (at.offset - 1, at.offset + 1):
        with pytest.raises(Damaged, match=f"damaged at byte {offset}"):
            list(journal.replay(Position(1, offset)))
    journal.close()
