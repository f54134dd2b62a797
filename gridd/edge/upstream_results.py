"""The result that upstream's worker sends, in the shape that native workers send theirs.

Upstream's ``result.logs`` is the whole log, with the worker's own remarks at its end; natively it
holds only lines that were not streamed, and readers are shown the streamed ones in front of them
(``documents.finished_of``). So what we have of the stream is taken out again. When our part of
the stream is not how the log begins (this server was restarted meanwhile, or the worker told its
log twice), the whole log is kept and marked ``logsComplete``: it is shown as it is.
"""

from typing import Any

import msgspec

from gridd.core.logs import JobLog
from gridd.documents import wire_lines
from gridd.edge.upstream_messages import decode, split_lines
from gridd_protocol.limits import RESULT_BYTES_MAX
from gridd_protocol.messages import LogLine, Reason

_ROOM_BYTES = RESULT_BYTES_MAX - 1_000  # for what this module adds itself
_TRIES_MAX = 100
"""Places in a log that are compared; a log of equal lines would otherwise be compared for ever."""


def native_result(
    reason: Reason, raw: bytes, log: JobLog | None, now_ms: int
) -> tuple[Reason, str]:
    """``raw`` is the JSON of ``result``; ``log`` what was streamed of this attempt. A result that
    can't be read or kept becomes an ``Error`` that says why: its worker will not send another."""
    try:
        result = decode(raw, dict[str, Any])
    except ValueError as error:
        return _failed(f"its worker sent no result that can be read: {error}")
    try:
        told = split_lines(msgspec.convert(result.pop("logs", None) or [], list[LogLine]))
    except msgspec.ValidationError as error:
        return _failed(f"its worker's log can't be read: {error}")
    result.pop("logsComplete", None)
    room = _ROOM_BYTES - len(msgspec.json.encode(result))
    if room < 0:
        return _failed(f"its worker's result is larger than {RESULT_BYTES_MAX} bytes")
    _put_logs(result, told, _streamed(reason, log), room, now_ms)
    return reason, msgspec.json.encode(result).decode()


def _put_logs(
    result: dict[str, Any], told: list[LogLine], streamed: list[LogLine], room: int, now_ms: int
) -> None:
    at = _where(told, streamed)
    if at == 0:
        result["logs"] = wire_lines(_tail(told[len(streamed) :], room, now_ms))
        return
    if _size(told) <= room or at is None:
        result["logs"] = wire_lines(_tail(told, room, now_ms))
        result["logsComplete"] = True
        return
    rest = told[at + len(streamed) :]
    result["logs"] = wire_lines(_tail(rest, room, now_ms))  # what comes before is in the log


def _streamed(reason: Reason, log: JobLog | None) -> list[LogLine]:
    """What ``documents.finished_of`` will put in front."""
    if log is None:
        return []
    return list(log.run.lines or (log.build.lines if reason == "Error" else ()))


def _where(told: list[LogLine], streamed: list[LogLine]) -> int | None:
    """The index in ``told`` at which ``streamed`` stands, as one piece; ``None``: nowhere."""
    count = len(streamed)
    if told[:count] == streamed:
        return 0
    tries = _TRIES_MAX
    for at in range(len(told) - count, 0, -1):
        if told[at + count - 1] == streamed[-1]:
            if told[at : at + count] == streamed:
                return at
            if not (tries := tries - 1):
                break
    return None


def _size(lines: list[LogLine]) -> int:
    return len(msgspec.json.encode(lines))


def _tail(lines: list[LogLine], room: int, now_ms: int) -> list[LogLine]:
    """The newest lines, as many as there is room for, and a remark when some were left out."""
    if _size(lines) <= room:
        return lines
    first, room = len(lines), room - 200
    while first and (room := room - _size(lines[first - 1 : first])) >= 0:
        first -= 1
    remark = LogLine(f"({first} earlier lines were too much to keep)\n", now_ms, True)
    return [remark, *lines[first:]]


def _failed(text: str) -> tuple[Reason, str]:
    result = {"error": text, "isTimedOut": False, "outputs": {}}
    return "Error", msgspec.json.encode(result).decode()
