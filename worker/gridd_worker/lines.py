"""Joins the pieces that a program prints into log lines: bytes in, ``LogLine`` out.

A line keeps its newline, so that the texts of one stream put together are what the program
printed. A line longer than ``LOG_LINE_BYTES_MAX`` goes out in several.
"""

from gridd_protocol.limits import LOG_LINE_BYTES_MAX
from gridd_protocol.messages import LogLine


class LineJoiner:
    """One stream of one program. Holds at most one unfinished line, below the line limit."""

    def __init__(self, *, stderr: bool = False, bytes_max: int = LOG_LINE_BYTES_MAX) -> None:
        self._stderr = stderr
        self._bytes_max = bytes_max
        self._held = bytearray()
        self._held_ms = 0
        self._gone = 0  # bytes of the unfinished line that went out already, it being too long
        self._skip = 0  # bytes to leave out of what comes, because they went out before a drop

    @property
    def holds(self) -> bool:
        """A line was begun and its end has not come."""
        return bool(self._held or self._gone)

    def feed(self, piece: bytes, time_ms: int) -> list[LogLine]:
        """The lines that ``piece``, printed at ``time_ms``, completes. A line that came in pieces
        has the time of its first."""
        lines: list[LogLine] = []
        for part in _split(piece):
            if self._skip:
                skipped = min(self._skip, len(part))
                self._skip -= skipped
                self._gone += skipped
                part = part[skipped:]
            if not self._held:
                self._held_ms = time_ms
            self._held += part
            if part.endswith(b"\n"):
                lines += self._take(len(self._held))
                self._gone = 0
            while len(self._held) >= self._bytes_max:
                lines += self._take(_cut(self._held, self._bytes_max))
        return lines

    def finish(self) -> list[LogLine]:
        """The last line, if it had no newline."""
        return self._take(len(self._held)) if self._held else []

    def drop(self) -> None:
        """Forgets the unfinished line, because it is about to be read again from its start. What
        went out of it will not go out twice."""
        self._held.clear()
        self._skip, self._gone = self._skip + self._gone, 0

    def _take(self, size: int) -> list[LogLine]:
        data = bytes(self._held[:size])
        del self._held[:size]
        self._gone += size
        text = data.decode("utf-8", "replace")
        # Each byte that is no UTF-8 becomes a sign of three bytes, so the bound is looked at here.
        if len(text) * 3 <= self._bytes_max or len(text.encode()) <= self._bytes_max:
            return [LogLine(text, self._held_ms, self._stderr)]
        return [LogLine(t, self._held_ms, self._stderr) for t in split_text(text, self._bytes_max)]


def split_text(text: str, bytes_max: int) -> list[str]:
    """``text`` in parts of at most ``bytes_max`` bytes of UTF-8, cut between characters."""
    data = text.encode("utf-8", "replace")
    parts = []
    while data:
        end = _cut(data, min(bytes_max, len(data)))
        parts.append(data[:end].decode())
        data = data[end:]
    return parts


def _split(piece: bytes) -> list[bytes]:
    """Cut after each newline. Not ``splitlines``: a carriage return, as progress bars print it,
    ends no line."""
    parts = [part + b"\n" for part in piece.split(b"\n")]
    parts[-1] = parts[-1][:-1]
    return parts if parts[-1] else parts[:-1]


def _cut(data: bytes | bytearray, size: int) -> int:
    """``size``, or up to 3 less so that no UTF-8 character is split there."""
    for back in range(1, min(4, size)):
        lead = data[size - back]
        if lead & 0xC0 == 0x80:
            continue
        length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        return size if length <= back else size - back
    return size
