"""Frames to messages and back, in both codings, with every bound on what a message may hold.

A frame is a non-empty array of messages. A good frame is decoded in one go. When that fails, it
is taken apart: one bad or unknown message does not take its neighbours with it. A frame with
``FAULTS_PER_FRAME_MAX`` of them is read no further: its sender is broken, and each fault costs
more than a good message. Nothing that a peer sends raises here; what was wrong comes back as
errors to answer with.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar, get_args

import msgspec

from gridd_protocol import limits, messages
from gridd_protocol.canonical import INTEGER_MAX, read_json, without_halves
from gridd_protocol.definitions import is_too_deep
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.messages import FromWorker, ToWorker
from gridd_protocol.names import check_job_id, check_worker_id
from gridd_protocol.results import Result

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Decoded(Generic[M]):
    """What a frame held: the good messages in order, and an error for each bad one.

    A ``bad-frame`` error is the last: the frame, or the rest of it, could not be read.
    """

    messages: list[M]
    errors: list[ProtocolError]


class Codec:
    """One of the two codings: ``gridd.v1.msgpack`` (binary frames), ``gridd.v1.json`` (text)."""

    def __init__(self, subprotocol: str) -> None:
        """Raises ``ValueError`` for another subprotocol."""
        if subprotocol not in SUBPROTOCOLS:
            raise ValueError(f"{shown(subprotocol)} is none of {', '.join(SUBPROTOCOLS)}")
        self.subprotocol = subprotocol
        self.binary = subprotocol == messages.SUBPROTOCOL_MSGPACK
        form: Any = msgspec.msgpack if self.binary else msgspec.json
        self._encoder = form.Encoder()
        self._from_worker = _Side(form, FromWorker)
        self._to_worker = _Side(form, ToWorker)
        self._apart = _msgpack_items if self.binary else _json_items

    def encode(self, frame: Sequence[FromWorker | ToWorker]) -> bytes | str:
        """One frame: ``bytes`` or ``str`` by coding. The caller keeps to the bounds of a frame."""
        assert 1 <= len(frame) <= limits.MESSAGES_PER_FRAME_MAX, len(frame)
        data: bytes = self._encoder.encode(frame)
        return data if self.binary else data.decode()

    def decode_from_worker(self, data: bytes | str) -> Decoded[FromWorker]:
        """What a worker sent."""
        return self._decode(self._from_worker, data)

    def decode_to_worker(self, data: bytes | str) -> Decoded[ToWorker]:
        """What a server sent."""
        return self._decode(self._to_worker, data)

    def _decode(self, side: "_Side", data: bytes | str) -> Decoded[Any]:
        try:
            raw = self._frame_bytes(data)
            try:
                frame = side.frame.decode(raw)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                return self._one_by_one(side, raw)
            _check_count(len(frame))
        except ProtocolError as error:
            return Decoded([], [_without_frames(error)])
        return _sorted_out(frame, _checked)

    def _frame_bytes(self, data: bytes | str) -> bytes:
        if isinstance(data, str) is self.binary:
            wanted = "binary" if self.binary else "text"
            _refuse_frame(f"{self.subprotocol} travels in {wanted} frames")
        try:
            raw = data.encode() if isinstance(data, str) else data
        except UnicodeEncodeError:
            _refuse_frame("the frame is not UTF-8")
        if len(raw) > limits.FRAME_BYTES_MAX:
            bound = limits.FRAME_BYTES_MAX
            _refuse_frame(f"the frame has {len(raw)} bytes; {bound} are allowed", bound)
        return raw

    def _one_by_one(self, side: "_Side", raw: bytes) -> Decoded[Any]:
        items = self._apart(raw)
        _check_count(len(items))  # before each is read: a frame can hold millions of ``{}``
        return _sorted_out(items, side.read_one)


SUBPROTOCOLS = (messages.SUBPROTOCOL_MSGPACK, messages.SUBPROTOCOL_JSON)


def _sorted_out(items: Iterable[Any], read: Callable[[Any], Any]) -> Decoded[Any]:
    """Each item by ``read``, until there are too many faults."""
    good: list[Any] = []
    errors: list[ProtocolError] = []
    for item in items:
        try:
            good.append(read(item))
        except ProtocolError as error:
            errors.append(_without_frames(error))
            if len(errors) == limits.FAULTS_PER_FRAME_MAX:
                errors.append(_too_many_faults())
                break
    return Decoded(good, errors)


def _without_frames(error: ProtocolError) -> ProtocolError:
    """What was raised remembers the frames of its calls, and they what was decoded: of 8 MiB that
    were refused, some 80 would stay, in a cycle, until the collector runs."""
    error.__context__ = None
    return error.with_traceback(None)


def _too_many_faults() -> ProtocolError:
    bound = limits.FAULTS_PER_FRAME_MAX
    return ProtocolError(
        ErrorCode.BAD_FRAME,
        f"the frame has {bound} faulty messages; what follows them was not read",
        limit=bound,
    )


# --- a frame, taken apart ---------------------------------------------------------------


class _Decoder(Protocol):
    def decode(self, data: bytes, /) -> Any: ...


class _Typed(msgspec.Struct):
    """Of a message that can't be decoded: which one it wants to be. The rest is skipped over."""

    type: msgspec.Raw = msgspec.Raw(b"")


class _Side:
    """The decoders of one direction in one coding."""

    def __init__(self, form: Any, union: Any) -> None:
        self.frame: _Decoder = form.Decoder(list[union])
        self.one: _Decoder = form.Decoder(union)
        self.typed: _Decoder = form.Decoder(_Typed)
        self.any: _Decoder = form.Decoder()
        self.types = {type_.__struct_config__.tag for type_ in get_args(union)}

    def read_one(self, item: msgspec.Raw) -> Any:
        raw = bytes(item)
        try:
            message = self.one.decode(raw)
        except (UnicodeError, RecursionError):
            _refuse_message("", "the message can't be decoded")
        except msgspec.MsgspecError as error:
            self._explain(raw, str(error))
        return _checked(message)

    def _explain(self, item: bytes, complaint: str) -> NoReturn:
        """Say what is wrong with a message that did not decode."""
        try:
            typed = self.typed.decode(item)
        except msgspec.ValidationError:
            _refuse_message("", f"the message {self._shown(item)} is not a map")
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            _refuse_message("", "the message can't be decoded")
        named = bytes(typed.type)
        kind = self._short(named)
        if not isinstance(kind, str):
            what = self._shown(named) if named else "missing"
            _refuse_message("type", f"type is {what}: it is not a text")
        if kind not in self.types:
            raise ProtocolError(
                ErrorCode.UNKNOWN_TYPE, f"type {shown(kind)} is not known here", field="type"
            )
        what, _, place = complaint.partition(" - at `$")
        field = f"{kind}{place.removesuffix('`')}"
        missing = _MISSING.search(what)
        if missing:
            field = f"{field}.{missing[1]}"
        _refuse_message(field, f"{field}: {what[:1].lower()}{what[1:]}")

    def _short(self, raw: bytes) -> Any:
        """The value, unless decoding it for an error sentence would cost more than it is worth."""
        if len(raw) > _SHORT_BYTES:
            return None
        try:
            return self.any.decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError):
            return None

    def _shown(self, raw: bytes) -> str:
        value = self._short(raw)
        return f"of {len(raw)} bytes" if value is None else shown(value)


_MISSING = re.compile(r"missing required field `(\w+)`")
_SHORT_BYTES = 2_000


def _msgpack_items(raw: bytes) -> list[msgspec.Raw]:
    try:
        return _raw_msgpack.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        _refuse_frame("the frame is not one MessagePack array of messages")


_raw_msgpack = msgspec.msgpack.Decoder(list[msgspec.Raw])
_raw_json = msgspec.json.Decoder(list[msgspec.Raw])


def _json_items(raw: bytes) -> list[msgspec.Raw]:
    try:
        try:
            return _raw_json.decode(raw)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return _raw_json.decode(without_halves(raw))
    except (msgspec.MsgspecError, RecursionError):
        _refuse_frame("the frame is not one JSON array of messages")


def _check_count(count: int) -> None:
    bound = limits.MESSAGES_PER_FRAME_MAX
    if not 1 <= count <= bound:
        _refuse_frame(f"the frame has {count} messages; 1 to {bound} are allowed", bound)


# --- bounds of each message ---------------------------------------------------------------


def _checked(message: Any) -> Any:
    """The message. Raises ``ProtocolError`` (``bad-message``, for a result ``too-large``) with the
    field as ``type.member``."""
    kind = type(message)
    try:
        _CHECKS[kind](message)
        return message
    except ProtocolError as error:
        tag = kind.__struct_config__.tag
        field = f"{tag}.{error.field}"
        raise ProtocolError(
            error.code, f"{tag}.{error.message}", field=field, limit=error.limit
        ) from None


def _check_hello(hello: messages.Hello) -> None:
    _checked_name(check_worker_id, hello.worker, "worker")
    _whole("protocol", hello.protocol)
    _size("version", hello.version, limits.WORKER_ID_BYTES_MAX)
    _check_resources(hello.resources)
    _whole("credit", hello.credit, 0, limits.CREDIT_MAX)
    _whole("running", len(hello.running), 0, limits.CREDIT_MAX)
    for index, held in enumerate(hello.running):
        _check_held(held, f"running[{index}].")


def _check_resources(resources: messages.Resources) -> None:
    if not (math.isfinite(resources.cpus) and 0 < resources.cpus <= INTEGER_MAX):
        _refuse_message(
            "resources.cpus",
            f"resources.cpus is {resources.cpus}: it must be above 0 and at most {INTEGER_MAX}",
            INTEGER_MAX,
        )
    _whole("resources.gpus", resources.gpus)
    _whole("resources.memory", resources.memory)
    _whole("resources.maxDuration", resources.max_duration, 1)


def _check_held(lease: Any, prefix: str = "") -> None:
    """``job`` and ``attempt``, which most messages have."""
    _checked_name(check_job_id, lease.job, f"{prefix}job")
    _whole(f"{prefix}attempt", lease.attempt, 1)


def _check_credit(credit: messages.Credit) -> None:
    _whole("jobs", credit.jobs, 0, limits.CREDIT_MAX)


def _check_started(started: messages.Started) -> None:
    _check_held(started)
    _whole("time", started.time)


def _check_log(log: messages.Log) -> None:
    _check_held(log)
    _whole("cursor", log.cursor)
    _whole("lines", len(log.lines), 0, limits.LOG_LINES_PER_MESSAGE_MAX)
    for index, line in enumerate(log.lines):
        if len(line.text) > _LINE_SURELY_FITS:
            _size(f"lines[{index}][0]", line.text, limits.LOG_LINE_BYTES_MAX)
        if not 0 <= line.time <= INTEGER_MAX:
            _whole(f"lines[{index}][1]", line.time)


_LINE_SURELY_FITS = limits.LOG_LINE_BYTES_MAX // 4  # no character has more than 4 bytes


def _check_finished(finished: messages.Finished) -> None:
    _check_held(finished)
    _size("result", finished.result, limits.RESULT_BYTES_MAX, ErrorCode.TOO_LARGE)
    raw = finished.result.encode()
    try:
        result = read_json(raw)
        msgspec.convert(result, Result)
    except (ValueError, RecursionError) as error:
        _refuse_message("result", f"result is not the JSON text of a result: {error}")
    if is_too_deep(raw, result):
        bound = limits.DEFINITION_DEPTH_MAX  # what is kept must also be readable again
        _refuse_message("result", f"result is nested too deep; {bound} levels are allowed", bound)


def _check_release(release: messages.Release) -> None:
    _check_held(release)
    _size("message", release.message, limits.LOG_LINE_BYTES_MAX)


def _check_heartbeat(heartbeat: messages.Heartbeat) -> None:
    _whole("time", heartbeat.time)


def _check_welcome(welcome: messages.Welcome) -> None:
    _size("queue", welcome.queue, limits.QUEUE_NAME_BYTES_MAX)
    _whole("protocol", welcome.protocol)
    _whole("time", welcome.time)
    _whole("leaseMs", welcome.lease_ms)
    _whole("heartbeatMs", welcome.heartbeat_ms)
    _whole("kept", len(welcome.kept), 0, limits.CREDIT_MAX)
    for index, kept in enumerate(welcome.kept):
        _check_held(kept, f"kept[{index}].")
        _whole(f"kept[{index}].cursor", kept.cursor)


def _check_push(push: messages.Push) -> None:
    _check_held(push)
    _size("definition", push.definition, limits.DEFINITION_BYTES_MAX)
    _whole("queuedTime", push.queued_time)
    _whole("maxDuration", push.max_duration)


def _check_nothing(_: object) -> None:
    """A message without bounds of its own; the frame's size bounds it."""


_CHECKS: dict[type, Callable[[Any], None]] = {
    messages.Hello: _check_hello,
    messages.Credit: _check_credit,
    messages.Started: _check_started,
    messages.Log: _check_log,
    messages.Finished: _check_finished,
    messages.Release: _check_release,
    messages.Drain: _check_nothing,
    messages.Heartbeat: _check_heartbeat,
    messages.Welcome: _check_welcome,
    messages.Push: _check_push,
    messages.Acknowledged: _check_held,
    messages.Stale: _check_held,
    messages.Cancel: _check_held,
    messages.Error: _check_nothing,
}


def _checked_name(check: Callable[[object, str], str], value: str, field: str) -> None:
    try:
        check(value, field)
    except ProtocolError as error:
        _refuse_message(field, error.message, error.limit)


def _whole(field: str, value: int, least: int = 0, most: int = INTEGER_MAX) -> None:
    """``value`` lies within the bounds; beyond 2^53 not every peer could read it."""
    if not least <= value <= most:
        limit = most if value > most else least
        _refuse_message(field, f"{field} is {shown(value)}; {least} to {most} are allowed", limit)


def _size(field: str, text: str, bytes_max: int, code: ErrorCode = ErrorCode.BAD_MESSAGE) -> None:
    size = len(text.encode())
    if size > bytes_max:
        message = f"{field} has {size} bytes; {bytes_max} are allowed"
        raise ProtocolError(code, message, field=field, limit=bytes_max)


def _refuse_message(field: str, message: str, limit: int | None = None) -> NoReturn:
    raise ProtocolError(ErrorCode.BAD_MESSAGE, message, field=field or None, limit=limit)


def _refuse_frame(message: str, limit: int | None = None) -> NoReturn:
    raise ProtocolError(ErrorCode.BAD_FRAME, message, limit=limit)
