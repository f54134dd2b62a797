"""The bytes themselves: what docs/journal.md draws is what is written."""

import struct
from zlib import crc32

import msgpack  # type: ignore[import-untyped]
import pytest

from gridd.journal.base import JournalError, Position
from gridd.journal.format import (
    CHUNK_BYTES,
    HEADER_BYTES,
    MARK_BYTES,
    SEGMENT_MAGIC,
    SNAPSHOT_MAGIC,
    Broken,
    Header,
    SegmentWalk,
    batch_bytes_bound,
    decode_header,
    encode_batch,
    encode_header,
    encode_trailer,
    find_later_batch,
    frame_head,
    read_frame,
    snapshot_payloads,
)

HEADER = Header(b"ABCDEFGH", 7, 1234, 3, 1_700_000_000_000)


class BytesFile:
    """A file that is only read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[int] = []

    def read(self, offset: int, size: int) -> bytes:
        self.reads.append(size)
        return self.data[offset : offset + size]

    def size(self) -> int:
        return len(self.data)

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def truncate(self, size: int) -> None:
        raise NotImplementedError

    def sync(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def segment(*batches: list[bytes]) -> bytes:
    data = encode_header(SEGMENT_MAGIC, HEADER)
    for batch in batches:
        data += encode_batch(HEADER, HEADER.epoch, len(data), batch)[0]
    return data


def walk(data: bytes, start: int = 0) -> list[tuple[Position, bytes]]:
    return list(SegmentWalk(BytesFile(data), HEADER, len(data)).records(start))


def test_the_header_is_laid_out_as_documented() -> None:
    data = encode_header(SEGMENT_MAGIC, HEADER)
    assert len(data) == HEADER_BYTES == 64
    assert data[:8] == b"GRIDDSEG"
    assert struct.unpack(">I", data[8:12]) == (1,)
    assert data[12:20] == b"ABCDEFGH"
    assert struct.unpack(">QQQQ", data[20:52]) == (7, 1234, 3, 1_700_000_000_000)
    assert data[52:60] == bytes(8)
    assert struct.unpack(">I", data[60:]) == (crc32(data[:60]),)
    assert decode_header(SEGMENT_MAGIC, data) == HEADER


def test_a_header_of_another_kind_or_version_is_refused() -> None:
    data = encode_header(SEGMENT_MAGIC, HEADER)
    with pytest.raises(Broken, match="begins with b'GRIDDSEG'"):
        decode_header(SNAPSHOT_MAGIC, data)
    with pytest.raises(Broken, match="has 63 of 64 bytes"):
        decode_header(SEGMENT_MAGIC, data[:63])
    newer = data[:8] + struct.pack(">I", 2) + data[12:60]
    with pytest.raises(JournalError, match="format 2"):
        decode_header(SEGMENT_MAGIC, newer + struct.pack(">I", crc32(newer)))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 3 << 20])
def test_a_frame_is_a_msgpack_pair_of_checksum_and_bytes(size: int) -> None:
    payload = b"p" * size
    frame = frame_head(payload) + payload
    assert msgpack.unpackb(frame, max_bin_len=1 << 30) == [crc32(payload), payload]
    assert read_frame(BytesFile(b"...." + frame), 4, 4 + len(frame)) == payload


def test_a_batch_mark_is_a_frame_with_an_extension_body() -> None:
    data, offsets = encode_batch(HEADER, 9, 500, [b"one", b"three"])
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    crc, body = unpacker.unpack()
    assert unpacker.tell() == MARK_BYTES == 41
    assert body.code == 1
    assert body.data == b"ABCDEFGH" + struct.pack(">QQQ", 500, 9, len(data) - MARK_BYTES)
    assert crc == crc32(body.data)
    assert [unpacker.unpack()[1] for _ in range(2)] == [b"one", b"three"]
    assert offsets == [500 + 41, 500 + 41 + 8 + 3]
    assert len(data) <= batch_bytes_bound([b"one", b"three"])


def test_the_trailer_counts() -> None:
    body = msgpack.unpackb(encode_trailer(HEADER, 5))[1]
    assert (body.code, body.data) == (2, b"ABCDEFGH" + struct.pack(">Q", 5))


def test_walking_yields_what_was_encoded_across_chunks() -> None:
    batches = [[b"a" * 300, b"", b"b" * CHUNK_BYTES], [], [b"c" * (2 * CHUNK_BYTES + 5), b"d"]]
    data = segment(*batches)
    records = walk(data)
    assert [payload for _, payload in records] == [item for batch in batches for item in batch]
    for position, payload in records:
        assert position.segment == 7
        assert read_frame(BytesFile(data), position.offset, len(data)) == payload


def test_walking_holds_no_more_than_a_chunk_at_a_time() -> None:
    data = segment(*([b"x" * 1000] * 10 for _ in range(300)))
    file = BytesFile(data)
    assert sum(1 for _ in SegmentWalk(file, HEADER, len(data)).records()) == 3000
    assert max(file.reads) == CHUNK_BYTES


def test_a_small_record_is_read_at_once_and_a_large_one_in_two() -> None:
    data = segment([b"s" * 3000, b"l" * 100_000])
    for index, reads in ((0, 1), (1, 2)):
        file = BytesFile(data)
        read_frame(file, walk(data)[index][0].offset, len(data))
        assert len(file.reads) == reads


FRAME = frame_head(b"stray") + b"stray"


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (FRAME, "belongs to no batch"),
        (bytes(50), "this is not a frame"),
        (b"\x93\x01\x02\x03", "this is not a frame"),
        (b"\x92\xa1x\xc4\x00", "this is not a frame"),
        (FRAME[:-1], "cut off after 12 bytes"),
        (FRAME[:-1] + b"Y", "checksum does not match"),
        (encode_trailer(HEADER, 1), "a snapshot's frame in a segment"),
        (encode_batch(HEADER, 3, 0, [])[0], "belongs to another place"),
        (encode_batch(HEADER, 2, 64 + 41 + 12, [])[0], "epoch 2 after epoch 3"),
        (encode_batch(HEADER, 3, 64 + 41 + 12, [b"12"])[0][:-10], "has 0 of its 10 bytes"),
    ],
)
def test_a_bad_tail_is_broken_where_the_last_batch_ends(tail: bytes, reason: str) -> None:
    data = segment([b"kept"])
    walker = SegmentWalk(BytesFile(data + tail), HEADER, len(data) + len(tail))
    with pytest.raises(Broken, match=reason) as caught:
        list(walker.records())
    assert caught.value.offset == len(data)
    assert walker.batch == len(data), "the batch before it is known to be whole"


def test_a_batch_inside_another_is_broken() -> None:
    outer = encode_batch(HEADER, 3, 64, [b"x" * 100])[0][:MARK_BYTES]
    inner = encode_batch(HEADER, 3, 64 + MARK_BYTES, [b"y" * 59])[0]
    data = encode_header(SEGMENT_MAGIC, HEADER) + outer + inner + bytes(1)
    with pytest.raises(Broken, match="a batch begins inside one"):
        walk(data)


def test_walking_from_a_place_that_is_none_is_broken() -> None:
    data = segment([b"first"], [b"second"])
    starts = [at.offset for at, _ in walk(data)]
    good = {0, 64, starts[0], starts[0] + 13, starts[1], len(data)}
    for start in range(64, len(data) + 3):
        if start in good:
            expected = [p for at, p in walk(data) if at.offset >= start]
            assert [payload for _, payload in walk(data, start)] == expected
        else:
            with pytest.raises(Broken) as caught:
                walk(data, start)
            assert caught.value.offset == start


@pytest.mark.parametrize("gap", [0, 1, 7, CHUNK_BYTES - 60, CHUNK_BYTES - 44, 2 * CHUNK_BYTES])
def test_a_later_batch_is_found_wherever_the_chunks_divide_it(gap: int) -> None:
    data = segment([b"x" * gap]) + bytes(3)
    later = len(data)
    data += encode_batch(HEADER, 3, later, [b"later"])[0]
    assert find_later_batch(BytesFile(data), HEADER, 64, len(data)) == later
    assert find_later_batch(BytesFile(data), HEADER, later, len(data)) is None


def test_a_snapshot_file_with_a_batch_mark_is_broken() -> None:
    data = encode_header(SNAPSHOT_MAGIC, HEADER) + encode_batch(HEADER, 3, 64, [])[0]
    with pytest.raises(Broken, match="does not belong to these 0 payloads"):
        list(snapshot_payloads(BytesFile(data), HEADER))
