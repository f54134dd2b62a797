"""Server-sent events: bytes in, named events out. Pure; bounded.

Understands what the standard allows (comments, several data lines, any line end); a grid sends
less (WIRE 1.8).
"""

from collections.abc import Iterator

EVENT_BYTES_MAX = 64 << 20  # the whole kept log of a job in one event, escaped, is below it


class StreamTooLong(Exception):
    """One event is longer than ``EVENT_BYTES_MAX``: this is no event stream."""


class EventParser:
    """Feed it what arrives; ``feed`` returns the events that became whole."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._name = ""
        self._data: list[bytes] = []
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bytes]]:
        """``(event name, data)`` for each event completed by ``chunk``."""
        searched = max(0, len(self._rest) - 1)
        self._rest += chunk
        start = 0
        while (end := self._rest.find(b"\n", max(searched, start))) >= 0:
            line = bytes(self._rest[start:end]).removesuffix(b"\r")
            start = end + 1
            event = self._line(line)
            if event is not None:
                yield event
        del self._rest[:start]
        if len(self._rest) + self._held_bytes > EVENT_BYTES_MAX:
            raise StreamTooLong(f"one event is longer than {EVENT_BYTES_MAX} bytes")

    def _line(self, line: bytes) -> tuple[str, bytes] | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(value)
            self._held_bytes += len(value)
        return None  # comments, ids and retry times say nothing to us

    def _dispatch(self) -> tuple[str, bytes] | None:
        name, data = self._name or "message", self._data
        self._name, self._data, self._held_bytes = "", [], 0
        return (name, b"\n".join(data)) if data else None
