"""The log of one attempt: cursors, bounds, resending."""

import pytest

from gridd_protocol.limits import LOG_LINE_BYTES_MAX
from gridd_protocol.messages import LogLine
from gridd_worker.logs import LINE_OVERHEAD_BYTES, Batch, LogBuffer


def lines(*texts: str) -> list[LogLine]:
    return [LogLine(text, 7) for text in texts]


def texts(batch: Batch | None) -> list[str]:
    assert batch is not None
    return [line.text for line in batch.lines]


def test_lines_come_out_once_in_order_with_absolute_cursors() -> None:
    buffer = LogBuffer()
    buffer.append("Running", lines("a", "b", "c"))
    first = buffer.take(2, 10_000)
    assert first is not None
    assert (first.step, first.cursor, texts(first)) == ("Running", 0, ["a", "b"])
    second = buffer.take(2, 10_000)
    assert second is not None
    assert (second.cursor, texts(second)) == (2, ["c"])
    assert buffer.take(2, 10_000) is None
    assert not buffer.backlog


def test_a_batch_never_mixes_steps() -> None:
    buffer = LogBuffer()
    buffer.append("docker image pull", lines("p1", "p2"))
    buffer.append("Running", lines("r1"))
    buffer.append("Running", lines("r2"))
    taken = [buffer.take(10, 10_000) for _ in range(2)]
    assert [(b.step, b.cursor, texts(b)) for b in taken if b] == [
        ("docker image pull", 0, ["p1", "p2"]),
        ("Running", 2, ["r1", "r2"]),
    ]


def test_a_batch_keeps_to_its_bytes_but_always_moves_on() -> None:
    buffer = LogBuffer()
    buffer.append("Running", lines("x" * 100, "y" * 100, "z"))
    assert texts(buffer.take(10, 2 * (100 + LINE_OVERHEAD_BYTES))) == ["x" * 100, "y" * 100]
    buffer.rewind(0)
    assert texts(buffer.take(10, 1)) == ["x" * 100]


def test_rewind_sends_again_from_where_the_server_is() -> None:
    buffer = LogBuffer()
    buffer.append("Running", lines("a", "b", "c"))
    buffer.take(10, 10_000)
    buffer.rewind(1)
    again = buffer.take(10, 10_000)
    assert again is not None
    assert (again.cursor, texts(again)) == (1, ["b", "c"])
    buffer.rewind(99)  # a server ahead of us: there is nothing to tell it
    assert buffer.take(10, 10_000) is None


def test_the_tail_is_kept_and_a_marker_stands_in_the_place_of_the_last_dropped_line() -> None:
    buffer = LogBuffer(lines_max=8)
    buffer.append("Running", lines(*(str(n) for n in range(9))))
    batch = buffer.take(100, 10_000)
    assert batch is not None
    dropped = int(batch.lines[0].text.split()[1])
    assert batch.lines[0].stderr
    assert batch.cursor == dropped - 1
    assert texts(batch)[1:] == [str(n) for n in range(dropped, 9)]
    assert buffer.end == 9


def test_sent_lines_that_were_dropped_leave_no_marker_unless_they_are_asked_for_again() -> None:
    buffer = LogBuffer(lines_max=8)
    buffer.append("Running", lines(*(str(n) for n in range(8))))
    buffer.take(100, 10_000)
    buffer.append("Running", lines("8"))
    assert texts(buffer.take(100, 10_000)) == ["8"]
    buffer.rewind(0)
    assert "2 lines dropped" in texts(buffer.take(100, 10_000))[0]


def test_bytes_are_bounded_and_the_newest_line_always_stays() -> None:
    buffer = LogBuffer(bytes_max=1_000)
    for number in range(1_000):
        buffer.append("Running", lines(f"{number:03d}" * 30))
        assert buffer.kept_bytes <= 1_000
    buffer.append("Running", lines("x" * 5_000))
    assert texts(buffer.take(10, 10_000))[-1] == "x" * 5_000


def test_the_bound_counts_bytes_not_characters() -> None:
    buffer = LogBuffer(bytes_max=1_000)
    buffer.append("Running", lines(*["ä" * 100] * 10))
    assert buffer.kept_bytes == sum(200 + LINE_OVERHEAD_BYTES for _ in range(3))


@pytest.mark.parametrize("character", ["a", "ä", "€", "🙂"])
def test_a_long_line_is_split_between_characters(character: str) -> None:
    text = character * (2 * LOG_LINE_BYTES_MAX) + "\n"
    buffer = LogBuffer()
    buffer.append("Running", lines(text))
    batch = buffer.take(1_000, 1 << 30)
    assert batch is not None
    assert "".join(texts(batch)) == text
    assert all(len(piece.encode()) <= LOG_LINE_BYTES_MAX for piece in texts(batch))


def test_half_a_surrogate_pair_does_not_reach_a_frame() -> None:
    buffer = LogBuffer()
    buffer.append("Running", lines("bad \udc80 end"))
    assert texts(buffer.take(1, 1_000)) == ["bad ? end"]


def test_steps_are_still_right_after_dropping() -> None:
    buffer = LogBuffer(lines_max=3)
    buffer.append("docker build", lines("b0", "b1", "b2"))
    buffer.append("Running", lines("r0", "r1", "r2"))
    batch = buffer.take(10, 10_000)
    assert batch is not None
    assert batch.step == "Running"
    assert texts(batch)[1:] == ["r0", "r1", "r2"]


def test_a_spool_is_given_sent_lines_too() -> None:
    """The server that had them may be gone before it stored them."""
    buffer = LogBuffer(lines_max=4)
    assert list(buffer.parts()) == []
    buffer.append("docker build", lines("a", "b"))
    buffer.append("Running", lines("c", "d"))
    buffer.take(10, 10_000)
    assert [
        (cursor, step, [line.text for line in kept]) for cursor, step, kept in buffer.parts()
    ] == [
        (0, "docker build", ["a", "b"]),
        (2, "Running", ["c", "d"]),
    ]
    buffer.append("Running", lines("e"))  # "a" had to go
    assert [(cursor, len(kept)) for cursor, _, kept in buffer.parts()] == [(1, 1), (2, 3)]


def test_a_log_that_begins_later_says_what_is_missing() -> None:
    """Of a long log only the end is kept, and spooled: the server may want more."""
    buffer = LogBuffer(first=5)
    buffer.append("Running", lines("f"))
    assert texts(buffer.take(10, 10_000)) == ["f"]
    buffer.rewind(2)
    batch = buffer.take(10, 10_000)
    assert batch is not None
    assert (batch.cursor, texts(batch)[1:]) == (4, ["f"])
    assert "3 lines dropped" in texts(batch)[0]


def test_a_log_that_is_read_again_sends_only_what_the_server_lacks() -> None:
    buffer = LogBuffer(first=2)
    buffer.rewind(5, replaying=True)
    assert (buffer.backlog, buffer.take(10, 1_000)) == (False, None)
    buffer.append("Running", [LogLine(str(number), 1) for number in range(2, 5)])
    assert not buffer.backlog
    buffer.append("Running", [LogLine("5", 1), LogLine("6", 1)])
    batch = buffer.take(10, 1_000)
    assert batch is not None
    assert (batch.cursor, [line.text for line in batch.lines]) == (5, ["5", "6"])
    buffer.rewind(3, replaying=True)  # a server that was restarted has fewer
    batch = buffer.take(10, 1_000)
    assert batch is not None
    assert (batch.cursor, len(batch.lines)) == (3, 4)
