"""What upstream's worker says, read (WIRE 2.5, 3.2), and what it can't take.

Shapes only: which of it counts is ``upstream_talk``'s to judge. Members that nobody uses are
not read, and unknown ones are ignored.
"""

import re
from typing import Any, Final, TypeVar

import msgspec

from gridd_protocol.canonical import INTEGER_MAX, read_json, without_halves
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import CREDIT_MAX, LOG_LINE_BYTES_MAX, UPSTREAM_DEFINITION_BYTES_MAX
from gridd_protocol.messages import LogLine, Resources
from gridd_protocol.names import check_worker_id
from gridd_protocol.units import format_duration, parse_duration

_T = TypeVar("_T")


class Frame(msgspec.Struct):
    type: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class Registration(msgspec.Struct):
    id: str
    version: str = ""
    cpus: int | float = 1
    gpus: int | float = 0
    max_job_duration: str | int | float | None = msgspec.field(name="maxJobDuration", default=None)


class StateChange(msgspec.Struct):
    state: str
    job: str
    value: msgspec.Raw = msgspec.Raw(b"{}")


class RunningValue(msgspec.Struct):
    time: int | float = 0  # ms since the epoch, by the worker's clock


class FinishedValue(msgspec.Struct):
    reason: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")


class JobLogs(msgspec.Struct):
    job: str = msgspec.field(name="jobId")
    step: str
    logs: list[LogLine]


class DefinitionsRequest(msgspec.Struct):
    jobs: list[str] = msgspec.field(name="jobIds")


def read_frame(text: str) -> Frame:
    """Raises ``ProtocolError`` (bad-message)."""
    try:
        return decode(text.encode(), Frame)
    except ValueError:
        raise ProtocolError(
            ErrorCode.BAD_MESSAGE, f"{shown(text)} is not a message of a worker", field="frame"
        ) from None


def read_as(raw: msgspec.Raw, kind: type[_T], under: str) -> _T:
    """Raises ``ProtocolError`` (bad-message) that names the member."""
    try:
        return decode(bytes(raw), kind)
    except ValueError as error:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"{under}: {error}", field=under) from None


def decode(text: bytes, kind: type[_T]) -> _T:
    """Raises ``ValueError``. Half of a surrogate pair, as JavaScript writes it when output was
    cut between two chunks, becomes U+FFFD."""
    try:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return msgspec.json.decode(without_halves(text), type=kind)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def resources_of(registration: Registration) -> tuple[Resources, int]:
    """What the worker has, and how many jobs it takes at once: one per cpu, whatever they ask
    for (WIRE 6.6). Raises ``ProtocolError``."""
    check_worker_id(registration.id, "payload.id")
    if len(registration.version) > 128 or not 0 <= registration.cpus <= CREDIT_MAX:
        raise _wrong("payload.cpus", f"{registration.cpus} is not between 0 and {CREDIT_MAX}")
    if not 0 <= registration.gpus <= CREDIT_MAX:
        raise _wrong("payload.gpus", f"{registration.gpus} is not between 0 and {CREDIT_MAX}")
    longest = Resources().max_duration
    if registration.max_job_duration is not None:
        try:
            longest = parse_duration(registration.max_job_duration)
        except ValueError as error:
            raise _wrong("payload.maxJobDuration", str(error)) from None
    has = Resources(
        cpus=float(registration.cpus),
        gpus=int(registration.gpus),
        max_duration=longest,
        runs=("container",),
    )
    return has, int(registration.cpus)


def wire_time(time: int | float) -> int:
    """Ms since the epoch; 0 for what can't be one."""
    return int(time) if 0 <= time <= INTEGER_MAX else 0


def split_lines(lines: list[LogLine]) -> list[LogLine]:
    """Lines as the log keeps them: none longer than ``LOG_LINE_BYTES_MAX``."""
    if all(len(line.text) <= _SURELY_SHORT and 0 <= line.time <= INTEGER_MAX for line in lines):
        return lines
    return [part for line in lines for part in _split(line)]


_SURELY_SHORT: Final = LOG_LINE_BYTES_MAX // 4  # characters; UTF-8 takes at most four bytes each


def _split(line: LogLine) -> list[LogLine]:
    text, time, step = line.text, wire_time(line.time), _SURELY_SHORT
    if len(text.encode()) <= LOG_LINE_BYTES_MAX:
        return [LogLine(text, time, line.stderr)]
    parts = [text[at : at + step] for at in range(0, len(text), step)]
    return [LogLine(part, time, line.stderr) for part in parts]


def limited(definition: str, run_ms_max: int) -> str:
    """The definition for a worker that knows no other bound than ``maxDuration`` in it: the
    submitter's own bound stands there when it is the shorter one. 0: there is none."""
    if not run_ms_max:
        return definition
    try:
        members = decode(definition.encode(), dict[str, msgspec.Raw])
        written = members.get("maxDuration")
        if written is not None and parse_duration(decode(bytes(written), Any)) <= run_ms_max:
            return definition
    except ValueError:
        return definition
    members["maxDuration"] = msgspec.Raw(msgspec.json.encode(format_duration(run_ms_max)))
    return msgspec.json.encode(members).decode()


def why_unfit(definition: str) -> str | None:
    """A sentence when the definition would end upstream's worker process (WIRE 10, D29 and D53):
    each worker that claims such a job dies of it, again after each restart."""
    # It keeps text as Latin-1 when it can, and else in two bytes a character.
    size = len(definition) if definition.isascii() else 2 * len(definition)
    if size > UPSTREAM_DEFINITION_BYTES_MAX:
        return (
            f"its definition takes {size} bytes, and workers of this kind can't take more than "
            f"{UPSTREAM_DEFINITION_BYTES_MAX}; put large members into files"
        )
    if "${" not in definition:
        return None
    members: dict[str, Any] = read_json(definition.encode())
    for name in ("command", "entrypoint"):
        words = members.get(name)
        if isinstance(words, str) and _FATAL.search(words):
            return f"its {name} has an empty or unclosed ${{…}}, which ends workers of this kind"
    return None


_FATAL = re.compile(r"\$\{\}|\$\{[^}]*$", re.DOTALL)


def _wrong(field: str, text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_MESSAGE, f"{field}: {text}", field=field)
