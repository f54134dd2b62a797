"""What a submission asks for in ``control.callbacks`` (WIRE 1.3, 7), read and checked.

Owns the shape and the bounds of a webhook. Refuses, with the member's name and value, whatever
could never be called; whether this grid calls that address is the policy's to say.
"""

from typing import Literal

import msgspec
from yarl import URL

from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import WEBHOOK_PAYLOAD_BYTES_MAX, WEBHOOK_URL_BYTES_MAX

Kind = Literal["queued", "finished"]


class _Callback(msgspec.Struct, frozen=True):
    """No ``url`` (or an empty one): nothing is called, as upstream does."""

    url: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


class Callbacks(msgspec.Struct, frozen=True):
    queued: _Callback | None = None
    finished: _Callback | None = None


class Asked(msgspec.Struct, frozen=True):
    """One call: where to, for which namespace, and the submitter's own JSON (``config``)."""

    url: URL
    namespace: str
    payload: bytes


class _Control(msgspec.Struct):
    namespace: str | None = None
    callbacks: Callbacks | None = None


_read_control = msgspec.json.Decoder(_Control).decode


def check_callbacks(callbacks: Callbacks | None) -> None:
    """Raises ``ProtocolError`` (bad-request, too-large) that names the member."""
    if callbacks is not None:
        for kind, callback in (("queued", callbacks.queued), ("finished", callbacks.finished)):
            if callback is not None and callback.url:
                _check(callback, f"control.callbacks.{kind}")


def read_asked(control: bytes, kind: Kind) -> Asked | None:
    """What ``control``, as it stands in the job's record, asks for; ``None``: nothing of the kind.
    Raises ``ProtocolError`` as ``check_callbacks``: records of older releases were not checked."""
    if not control:
        return None
    try:
        found = _read_control(control)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"control.callbacks: {error}", field="control.callbacks"
        ) from None
    callback = None if found.callbacks is None else getattr(found.callbacks, kind)
    if callback is None or not callback.url:
        return None
    url = _check(callback, f"control.callbacks.{kind}")
    payload = bytes(callback.payload)
    empty = payload in (b"", b"null")
    return Asked(url, found.namespace or "_", b"{}" if empty else payload)


def read_url(text: str, field: str) -> URL:
    """An address that can be called. Raises ``ProtocolError`` (bad-request, too-large)."""
    size = len(text.encode("utf-8", "replace"))
    if size > WEBHOOK_URL_BYTES_MAX:
        raise ProtocolError(
            ErrorCode.TOO_LARGE,
            f"{field} has {size} bytes; {WEBHOOK_URL_BYTES_MAX} are allowed",
            field=field,
            limit=WEBHOOK_URL_BYTES_MAX,
        )
    try:
        url = URL(text)
        why = _why_not(text, url)
    except ValueError:  # also UnicodeError: a host that can't be written in ASCII
        why = "is not a URL"
    if why:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            f"{field}: {shown(text)} {why}; write it as https://example.org/path",
            field=field,
        )
    return url.with_fragment(None)


def _check(callback: _Callback, field: str) -> URL:
    if len(callback.payload) > WEBHOOK_PAYLOAD_BYTES_MAX:
        raise ProtocolError(
            ErrorCode.TOO_LARGE,
            f"{field}.payload has {len(callback.payload)} bytes; "
            f"{WEBHOOK_PAYLOAD_BYTES_MAX} are allowed",
            field=f"{field}.payload",
            limit=WEBHOOK_PAYLOAD_BYTES_MAX,
        )
    return read_url(callback.url or "", f"{field}.url")


def _why_not(text: str, url: URL) -> str:
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in text):
        return "holds a character that a URL can't"
    if url.scheme not in ("http", "https"):
        return "is neither http nor https"
    if not url.host:
        return "names no host"
    if url.user is not None or url.password is not None:
        return "holds a user or password, which others could read"
    return "has the port 0" if url.port == 0 else ""
