"""Frames to messages and back, in both codings, with every bound on what a message may hold.

A frame is a non-empty array of messages. A good frame is decoded in one go. When that fails, it
is taken apart: one bad or unknown message does not take its neighbours with it. Nothing that a
peer sends raises here; what was wrong comes back as errors to answer with.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar, get_args

import msgspec

from gridd_protocol import limits, messages
from gridd_protocol.canonical import INTEGER_MAX, read_json, without_surrogates
from gridd_protocol.definitions import is_too_deep
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.messages import FromWorker, ToWorker
from gridd_protocol.names import check_job_id, check_worker_id
from gridd_protocol.results import Result

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Decoded(Generic[M]):
    """What a frame held: the good messages in order, and an error for each bad one.

    A ``bad-frame`` error stands alone: the frame as a whole could not be read.
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
            return Decoded([], [error])
        good: list[Any] = []
        errors: list[ProtocolError] = []
        for message in frame:
            try:
                _check(message)
            except ProtocolError as error:
                errors.append(error)
            else:
                good.append(message)
        return Decoded(good, errors)

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
        good: list[Any] = []
        errors: list[ProtocolError] = []
        for item in items:
            try:
                good.append(side.read_one(item))
            except ProtocolError as error:
                errors.append(error)
        return Decoded(good, errors)


SUBPROTOCOLS = (messages.SUBPROTOCOL_MSGPACK, messages.SUBPROTOCOL_JSON)


# --- a frame, taken apart ---------------------------------------------------------------


class _Decoder(Protocol):
    def decode(self, data: bytes, /) -> Any: ...


class _Side:
    """The decoders of one direction in one coding."""

    def __init__(self, form: Any, union: Any) -> None:
        self.frame: _Decoder = form.Decoder(list[union])
        self.one: _Decoder = form.Decoder(union)
        self.any: _Decoder = form.Decoder()
        self.types = {type_.__struct_config__.tag for type_ in get_args(union)}

    def read_one(self, item: bytes) -> Any:
        try:
            message = self.one.decode(item)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            self._explain(item, str(error))
        _check(message)
        return message

    def _explain(self, item: bytes, complaint: str) -> NoReturn:
        """Say what is wrong with a message that did not decode."""
        try:
            value = self.any.decode(item)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError):
            _refuse_message("", "the message can't be decoded")
        if not isinstance(value, dict):
            _refuse_message("", f"the message {shown(value)} is not a map")
        kind = value.get("type")
        if not isinstance(kind, str):
            _refuse_message("type", f"type is {shown(kind)}: it is not a text")
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


_MISSING = re.compile(r"missing required field `(\w+)`")


def _msgpack_items(raw: bytes) -> list[bytes]:
    try:
        items = _raw_items.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        _refuse_frame("the frame is not one MessagePack array of messages")
    _check_count(len(items))
    return [bytes(item) for item in items]


_raw_items = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _json_items(raw: bytes) -> list[bytes]:
    try:
        items = read_json(raw)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        _refuse_frame("the frame is not one JSON array of messages")
    _check_count(len(items))  # before each is written anew: a frame can hold millions of ``{}``
    # Half a surrogate pair in a text, as a worker in JavaScript may send, becomes U+FFFD.
    return [without_surrogates(json.dumps(item, ensure_ascii=False)).encode() for item in items]


def _check_count(count: int) -> None:
    bound = limits.MESSAGES_PER_FRAME_MAX
    if not 1 <= count <= bound:
        _refuse_frame(f"the frame has {count} messages; 1 to {bound} are allowed", bound)


# --- bounds of each message ---------------------------------------------------------------


def _check(message: Any) -> None:
    """Raises ``ProtocolError`` (``bad-message``, for a result ``too-large``) with the field as
    ``type.member``."""
    kind = type(message)
    try:
        _CHECKS[kind](message)
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
