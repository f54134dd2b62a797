"""One call to be made, and what is sent with it (WIRE 7; the shapes are in SPEC 13)."""

import hashlib
from typing import Any

import msgspec

from gridd.core.effects import Callback
from gridd.webhooks.asked import Asked
from gridd_protocol.canonical import read_json
from gridd_protocol.limits import WEBHOOK_MESSAGE_BYTES_MAX


class Call(msgspec.Struct, eq=False):
    """Times are in seconds of the loop's clock. ``under_way``: a try is being made right now."""

    number: int  # counts up: the lower, the older
    queue: str
    host: str
    kind: str
    job: str
    url: str
    body: bytes
    key: str  # the same for every try, also after the receiver's answer was lost
    born: float
    tries: int = 0
    under_way: bool = False
    timer: Any = None  # of the next try

    @property
    def size(self) -> int:
        """Bytes that it holds while it waits."""
        return len(self.body) + len(self.url)


class _Result(msgspec.Struct):
    """All that is read of a result, which may have megabytes of outputs."""

    StatusCode: Any = None
    error: Any = None


_read_result = msgspec.json.Decoder(_Result).decode


def make_call(number: int, queue: str, event: Callback, asked: Asked, now: float) -> Call:
    return Call(
        number=number,
        queue=queue,
        host=(asked.url.host or "").lower(),
        kind=event.kind,
        job=event.job,
        url=str(asked.url),
        body=body_of(queue, event, asked),
        key=key_of(queue, event),
        born=now,
    )


def key_of(queue: str, event: Callback) -> str:
    """One name for this call, by which a receiver can tell that it was told before. A job that is
    submitted again after it was cancelled or deleted has another ``queued_time``."""
    told = msgspec.json.encode([queue, event.job, event.queued_time, event.kind])
    return hashlib.sha256(told).hexdigest()[:32]


def body_of(queue: str, event: Callback, asked: Asked) -> bytes:
    body: dict[str, Any] = {
        "jobId": event.job,
        "queue": queue,
        "namespace": asked.namespace,
        "config": msgspec.Raw(asked.payload),
    }
    if event.kind == "finished":
        exit_code, error = _result(event.result)
        body["state"] = "Finished"
        body["finishedReason"] = event.reason
        message = event.message or error
        if message:
            body["message"] = _cut(message)
        if exit_code is not None:
            body["exitCode"] = exit_code
    return msgspec.json.encode(body)


def _result(text: bytes) -> tuple[int | None, str]:
    """The program's exit code, and what went wrong, where the result says so."""
    if not text:
        return None, ""
    try:
        result = _read_result(text)
    except msgspec.ValidationError:  # not an object
        result = _Result()
    except msgspec.DecodeError:  # half of a surrogate pair, which JavaScript writes
        members = read_json(text)
        result = _Result(members.get("StatusCode"), members.get("error"))
    code, error = result.StatusCode, result.error
    is_code = isinstance(code, int) and not isinstance(code, bool)
    return code if is_code else None, error if isinstance(error, str) else ""


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:WEBHOOK_MESSAGE_BYTES_MAX].decode("utf-8", "ignore")
