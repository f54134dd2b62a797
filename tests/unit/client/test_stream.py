"""Server-sent events from bytes."""

import pytest

from gridd.client import stream
from gridd.client.stream import EventParser, StreamTooLong

TEXT = (
    b': a comment\n\nevent: state\ndata: {"state":"Queued"}\n\n'
    b"event:run-log\r\ndata:1\r\ndata: 2\r\n\r\nretry: 10\nid: 3\n\ndata: plain\n\n"
    b"event: unfinished\ndata: x\n"
)
EVENTS = [("state", b'{"state":"Queued"}'), ("run-log", b"1\n2"), ("message", b"plain")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(TEXT)])
def test_events_do_not_depend_on_how_bytes_arrive(size):
    parser, found = EventParser(), []
    for at in range(0, len(TEXT), size):
        found += parser.feed(TEXT[at : at + size])
    assert found == EVENTS


@pytest.mark.parametrize("endless", [b"data: " + b"x" * 40, b"data: xxxxxxxx\n"])
def test_an_event_without_end_is_given_up(monkeypatch, endless):
    monkeypatch.setattr(stream, "EVENT_BYTES_MAX", 100)
    parser = EventParser()

    def feed_on():
        for _ in range(20):
            list(parser.feed(endless))

    with pytest.raises(StreamTooLong, match="100 bytes"):
        feed_on()


def test_many_small_events_are_no_long_one(monkeypatch):
    monkeypatch.setattr(stream, "EVENT_BYTES_MAX", 100)
    parser = EventParser()
    assert sum(len(list(parser.feed(b"data: xxxxxxxx\n\n"))) for _ in range(50)) == 50
