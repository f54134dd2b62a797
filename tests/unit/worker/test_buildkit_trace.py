"""BuildKit's progress as lines: protobuf in, text out."""

import contextlib

import pytest

from gridd_worker.images.buildkit_trace import TraceReader, fields
from gridd_worker.images.error import ImageError


def varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def message(**members: int | bytes | str) -> bytes:
    """``f3="x"``: field 3."""
    data = b""
    for name, value in members.items():
        number = int(name[1:])
        if isinstance(value, int):
            data += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            data += varint(number << 3 | 2) + varint(len(raw)) + raw
    return data


def at(seconds: int, nanos: int = 0) -> bytes:
    return message(f1=seconds, f2=nanos)


def vertex(digest: str, name: str, **members: int | bytes | str) -> bytes:
    return message(f1=message(f1=digest, f3=name, **members))


def log(digest: str, text: bytes, stream: int = 1) -> bytes:
    return message(f3=message(f1=digest, f2=at(1), f3=stream, f4=text))


def test_a_build_that_fails():
    reader = TraceReader()
    told = [
        vertex("c", "[internal] load remote build context", f5=at(1), f6=at(1)),
        vertex("a", "[1/2] FROM x") + vertex("b", "[2/2] RUN make"),  # announced
        vertex("a", "[1/2] FROM x", f4=1, f5=at(1), f6=at(1)),
        vertex("b", "[2/2] RUN make", f5=at(2)),
        log("b", b"one\ntw"),
        log("b", b"no ", 2) + log("b", b"o\r\n"),
        log("b", "way \u00e9".encode(), 2),
        vertex("b", "[2/2] RUN make", f5=at(2), f6=at(3), f7="exit code: 2"),
        log("none", b"never seen\n"),
    ]
    assert [line for trace in told for line in reader.read(trace)] == [
        ("#1 [1/2] FROM x", False),
        ("#1 CACHED", False),
        ("#2 [2/2] RUN make", False),
        ("#2 one", False),
        ("#2 two", False),
        ("#2 no way \u00e9", True),
        ("#2 ERROR: exit code: 2", True),
    ]
    assert reader.failed == "[2/2] RUN make"
    assert reader.finish() == []


def test_times_sizes_warnings_and_what_was_printed_without_an_end():
    reader = TraceReader()
    reader.read(vertex("a", "[1/1] FROM x", f5=at(10, 900_000_000)))
    done = message(f1="sha256:1", f2="a", f4=12_300_000, f5=12_300_000, f8=at(2))
    assert reader.read(message(f2=done)) == [("#1 sha256:1 12.3 MB done", False)]
    assert reader.read(message(f2=done)) == []
    assert reader.read(message(f2=message(f1="half", f2="a", f4=1))) == []
    assert reader.read(message(f4=message(f1="a", f3="FromAsCasing"))) == [
        ("WARNING: FromAsCasing", True)
    ]
    end = vertex("a", "[1/1] FROM x", f5=at(10, 900_000_000), f6=at(12))
    assert reader.read(end) == [("#1 DONE 1.1s", False)]
    assert reader.read(end) == []
    reader.read(log("a", b"rest"))
    assert reader.finish() == [("#1 rest", False)]


def test_a_line_without_end_is_bounded():
    reader = TraceReader()
    reader.read(vertex("a", "x", f5=at(1)))
    lines = [line for _ in range(100) for line in reader.read(log("a", b"x" * 1_000))]
    assert sum(len(text) for text, _ in lines) > 60_000


def test_other_fields_are_skipped_and_nonsense_is_named():
    assert list(fields(b"\x09" + b"8" * 8 + b"\x15" + b"4444" + message(f3="x"))) == [
        (1, b"8" * 8), (2, b"4444"), (3, b"x"),
    ]  # fmt: skip
    assert TraceReader().read(message(f9="later", f1=7)) == []
    whole = vertex("a", "[1/1] RUN x", f5=at(1), f6=at(2), f7="no")
    for cut in range(len(whole)):
        with contextlib.suppress(ImageError):  # and no other error
            TraceReader().read(whole[:cut])
    for nonsense in (b"\xff" * 12, b"\x0b", b"\x0a\x05ab"):
        with pytest.raises(ImageError, match="can't be understood"):
            TraceReader().read(nonsense)
