"""What BuildKit tells of a build, as lines for people.

The engine's plain API gives it as protobuf (``moby.buildkit.trace``, a ``StatusResponse`` of
BuildKit's control API): vertices (a step each), their status and their output. Of that format only
the few fields are read that are shown; the others are skipped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gridd_worker.images.error import ImageError

_STEPS_MAX: Final = 10_000
_HELD_BYTES_MAX: Final = 64 << 10  # of a line without an end
_STATUSES_MAX: Final = 2_000
_NAME_MAX: Final = 500
_VARINT_BYTES_MAX: Final = 10
_OWN: Final = (
    "[internal] load remote build context",
    "copy /context /",
    "[internal] preparing inline document",
)
"""How the context gets from us to the engine and into a step: no work of the build's author."""

Line = tuple[str, bool]
"""Text, and whether it is an error's."""


@dataclass(slots=True)
class _Step:
    number: int
    name: str
    began: bool = False
    ended: bool = False
    held: dict[int, bytes] = field(default_factory=dict)  # by stream: output without its end


class TraceReader:
    """Feed it each trace in order. ``failed``: the text of the step that went wrong."""

    def __init__(self) -> None:
        self.failed: str | None = None
        self._steps: dict[bytes, _Step] = {}
        self._done: set[tuple[bytes, bytes]] = set()

    def read(self, trace: bytes) -> list[Line]:
        """The lines that ``trace`` adds. Raises ``ImageError`` for what is not of this format."""
        try:
            return list(self._lines(trace))
        except (ValueError, IndexError):
            raise ImageError("the engine's BuildKit can't be understood", building=True) from None

    def finish(self) -> list[Line]:
        """What was printed without a line's end."""
        return [line for step in self._steps.values() for line in _rest(step)]

    def _lines(self, trace: bytes) -> Iterator[Line]:
        for number, value in fields(trace):
            if not isinstance(value, bytes):
                continue
            if number == 1:
                yield from self._vertex(Members.of(value))
            elif number == 2:
                yield from self._status(Members.of(value))
            elif number == 3:
                yield from self._log(Members.of(value))
            elif number == 4:
                text = Members.of(value).text(3)
                yield f"WARNING: {text[:_NAME_MAX]}", True

    def _vertex(self, vertex: "Members") -> Iterator[Line]:
        """Fields: 1 digest, 3 name, 4 cached, 5 started, 6 completed, 7 error."""
        name, error = vertex.text(3), vertex.text(7)
        if name in _OWN and not error:
            return
        begins = bool(vertex.last(5))
        if not begins and not error:
            return  # only announced
        step = self._step(vertex.last(1), name)
        if step is None:
            return
        if not step.began:
            step.began = True
            yield f"#{step.number} {step.name}", False
        if not vertex.last(6) or (step.ended and not error):
            return
        step.ended = True
        yield from _rest(step)
        if error:
            self.failed = self.failed or name
            yield f"#{step.number} ERROR: {error}", True
        elif vertex.last(4):
            yield f"#{step.number} CACHED", False
        else:
            yield f"#{step.number} DONE {_seconds(vertex):.1f}s", False

    def _status(self, status: "Members") -> Iterator[Line]:
        """Fields: 1 id, 2 vertex, 4 current, 5 total, 8 completed. Shown when complete."""
        step = self._steps.get(status.data(2))
        key = (status.data(2), status.data(1))
        if step is None or not status.last(8) or key in self._done:
            return
        if len(self._done) < _STATUSES_MAX:
            self._done.add(key)
            size = status.last(4)
            shown_size = (
                f" {size / 1e6:.1f} MB" if isinstance(size, int) and size >= 100_000 else ""
            )
            yield f"#{step.number} {status.text(1)[:_NAME_MAX]}{shown_size} done", False

    def _log(self, log: "Members") -> Iterator[Line]:
        """Fields: 1 vertex, 3 stream, 4 what was printed, cut anywhere."""
        step = self._steps.get(log.data(1))
        if step is None:
            return
        stream = 2 if log.last(3) == 2 else 1
        *whole, rest = (step.held.pop(stream, b"") + log.data(4)).split(b"\n")
        if len(rest) > _HELD_BYTES_MAX:
            whole, rest = [*whole, rest], b""
        if rest:
            step.held[stream] = rest
        for line in whole:
            yield _printed(step, line, stream)

    def _step(self, digest: "int | bytes", name: str) -> _Step | None:
        if not isinstance(digest, bytes):
            return None
        if digest not in self._steps and len(self._steps) < _STEPS_MAX:
            plain = re.sub(r"\s+", " ", name)[:_NAME_MAX]
            self._steps[digest] = _Step(len(self._steps) + 1, plain)
        return self._steps.get(digest)


def _printed(step: _Step, line: bytes, stream: int) -> Line:
    return f"#{step.number} {line.decode('utf-8', 'replace').rstrip(chr(13))}", stream == 2


def _rest(step: _Step) -> Iterator[Line]:
    for stream, line in sorted(step.held.items()):
        yield _printed(step, line, stream)
    step.held.clear()


def _seconds(vertex: "Members") -> float:
    began, ended = (Members.of(vertex.data(number)) for number in (5, 6))
    seconds = ended.integer(1) - began.integer(1) + (ended.integer(2) - began.integer(2)) / 1e9
    return max(0.0, seconds)


# --- protobuf ---------------------------------------------------------------------------


class Members:
    """A message's fields by number; of a repeated one the last."""

    def __init__(self, found: dict[int, int | bytes]) -> None:
        self._found = found

    @classmethod
    def of(cls, message: bytes) -> "Members":
        return cls(dict(fields(message)))

    def last(self, number: int) -> int | bytes:
        return self._found.get(number, 0)

    def integer(self, number: int) -> int:
        value = self._found.get(number, 0)
        return value if isinstance(value, int) else 0

    def data(self, number: int) -> bytes:
        value = self._found.get(number, b"")
        return value if isinstance(value, bytes) else b""

    def text(self, number: int) -> str:
        return self.data(number).decode("utf-8", "replace")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """``(number, value)`` of each field: an int for a varint, bytes for all else. Raises
    ``ValueError`` or ``IndexError`` for a message that is cut or none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + size > len(message):
            raise ValueError("the message is cut")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(_VARINT_BYTES_MAX):
        byte = message[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError("a number without end")
