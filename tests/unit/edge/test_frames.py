"""Frames made once must be what a stranger's WebSocket reader expects."""

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from gridd.edge.frames import binary_frame, close_frame, text_frame


def parsed(data: bytes) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    generator = Frame.parse(reader.read_exact, mask=False)
    try:
        next(generator)
    except StopIteration as stop:
        frame = stop.value
    else:
        raise AssertionError("the frame is not whole")
    reader.feed_eof()
    with pytest.raises(EOFError):  # nothing is left behind the frame
        next(reader.read_exact(1))
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_data_frames_of_every_length_form(size):
    payload = b"x" * size
    text = parsed(text_frame(payload))
    assert (text.opcode, bytes(text.data), text.fin) == (Opcode.TEXT, payload, True)
    binary = parsed(binary_frame(payload))
    assert (binary.opcode, bytes(binary.data)) == (Opcode.BINARY, payload)


def test_a_close_frame_has_code_and_reason():
    frame = parsed(close_frame(4001, "replaced"))
    assert frame.opcode is Opcode.CLOSE
    assert Close.parse(frame.data) == Close(4001, "replaced")


def test_a_long_reason_is_cut_between_characters():
    close = Close.parse(parsed(close_frame(4002, "ü" * 100)).data)
    assert close.reason == "ü" * 61
