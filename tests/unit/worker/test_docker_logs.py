"""Frames, stamps and lines of the engine's log stream, without an engine."""

import struct

import pytest

from gridd_protocol.messages import LogLine
from gridd_worker.docker.logs import FrameReader, LogReader, parse_time
from gridd_worker.lines import LineJoiner, split_text

SECOND = 1_700_000_000


def frame(text: bytes, nanos: int, stream: int = 1) -> bytes:
    payload = f"2023-11-14T22:13:20.{nanos:09d}Z ".encode() + text
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def read(reader: LogReader, data: bytes, step: int = 1 << 20) -> list[LogLine]:
    lines = []
    for at in range(0, len(data), step):
        lines += reader.feed(data[at : at + step])
    return lines


def test_parse_time() -> None:
    assert parse_time("2023-11-14T22:13:20.123456789Z") == SECOND * 10**9 + 123_456_789
    assert parse_time("2023-11-14T22:13:20.5Z") == SECOND * 10**9 + 500_000_000
    assert parse_time("2023-11-14T22:13:20Z") == SECOND * 10**9
    with pytest.raises(ValueError, match="time data"):
        parse_time("yesterday")


@pytest.mark.parametrize("step", [1, 2, 7, 9, 1_000])
def test_any_cut_of_the_bytes_gives_the_same_lines(step: int) -> None:
    data = (
        frame("ä\n".encode(), 1_000_000) + frame(b"err\n", 2_000_000, 2) + frame(b"end", 3_000_000)
    )
    reader = LogReader()
    lines = read(reader, data, step) + reader.finish()
    assert lines == [
        LogLine("ä\n", SECOND * 1000 + 1),
        LogLine("err\n", SECOND * 1000 + 2, True),
        LogLine("end", SECOND * 1000 + 3),
    ]


def test_pieces_of_a_long_line_are_joined_as_bytes() -> None:
    text = ("x" + "€" * 7_000).encode()
    pieces = [text[:16_384], text[16_384:] + b"\n"]
    reader = LogReader()
    lines = read(reader, b"".join(frame(piece, 5) for piece in pieces))
    assert [line.text for line in lines] == [text.decode() + "\n"]


def test_a_newline_that_the_engine_left_out_is_put_back() -> None:
    data = frame(b"a" * 16_384, 5) + frame(b"b", 5) + frame(b"next\n", 9)
    assert [line.text for line in read(LogReader(), data)] == ["a" * 16_384 + "b\n", "next\n"]


def test_what_is_no_log_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="log frame of stream 72"):
        FrameReader().feed(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(ValueError, match="16777216 bytes"):
        FrameReader().feed(struct.pack(">BxxxL", 1, 1 << 24))


def test_reading_again_leaves_out_what_was_handed_over() -> None:
    """After a break the request overlaps; nothing comes twice, nothing is lost."""
    part = [frame(b"1\n", 100), frame(b"e1\n", 90, 2), frame(b"2\n", 200)]
    more = [frame(b"e2\n", 199, 2), frame(b"3\n", 300)]
    reader = LogReader()
    assert reader.since is None
    lines = read(reader, b"".join(part) + more[0][:5])
    assert reader.since == f"{SECOND - 1}.990000200"
    reader.again()
    lines += read(reader, b"".join(part + more))
    assert [line.text for line in lines] == ["1\n", "e1\n", "2\n", "e2\n", "3\n"]


def test_an_unfinished_line_is_read_again_from_its_first_piece() -> None:
    start = frame(b"x" * 16_384, 100)
    reader = LogReader()
    assert read(reader, start + frame(b"e\n", 10**8, 2)) == [
        LogLine("e\n", SECOND * 1000 + 100, True)
    ]
    assert reader.since == f"{SECOND}.000000100"
    reader.again()
    lines = read(reader, start + frame(b"y\n", 100) + frame(b"e\n", 10**8, 2))
    assert [line.text for line in lines] == ["x" * 16_384 + "y\n"]


def test_a_line_that_went_out_in_part_goes_on_where_it_was() -> None:
    pieces = [frame(bytes([97 + n]) * 16_384, 100) for n in range(5)]
    last = frame(b"end\n", 100)
    reader = LogReader()
    lines = read(reader, b"".join(pieces))
    assert sum(len(line.text) for line in lines) == 65_536
    for _ in range(2):
        reader.again()
        lines += read(reader, b"".join(pieces[:2]))
    reader.again()
    lines += read(reader, b"".join([*pieces, last]))
    expected = "".join(chr(97 + n) * 16_384 for n in range(5)) + "end\n"
    assert "".join(line.text for line in lines) == expected


# --- lines ---------------------------------------------------------------------------------


def test_joiner_keeps_every_byte_and_every_bound() -> None:
    text = "😀aä€\r" * 200 + "\n" + "\r\n" + "tail"
    data = text.encode()
    for step in (1, 3, 10, 5_000):
        joiner = LineJoiner(bytes_max=100)
        lines = []
        for at in range(0, len(data), step):
            lines += joiner.feed(data[at : at + step], 1)
        lines += joiner.finish()
        assert "".join(line.text for line in lines) == text
        assert max(len(line.text.encode()) for line in lines) <= 100
        assert not joiner.finish()


def test_joiner_dates_a_line_by_its_first_piece() -> None:
    joiner = LineJoiner(stderr=True)
    assert joiner.feed(b"a", 1) == []
    assert joiner.holds
    assert joiner.feed(b"b\nc\n", 2) == [LogLine("ab\n", 1, True), LogLine("c\n", 2, True)]
    assert not joiner.holds


def test_bytes_that_are_no_text_stay_in_bounds() -> None:
    joiner = LineJoiner(bytes_max=100)
    lines = joiner.feed(b"\xff" * 250 + b"\n", 1)
    assert "".join(line.text for line in lines) == "\ufffd" * 250 + "\n"
    assert max(len(line.text.encode()) for line in lines) <= 100


def test_split_text() -> None:
    assert split_text("", 4) == []
    assert split_text("abcdef", 4) == ["abcd", "ef"]
    assert split_text("€€€", 4) == ["€", "€", "€"]
