"""What a peer can get wrong, as codes for machines and sentences for people.

``SPEC.md`` has a line for each code; a test compares. ``http`` is the status of the code on
REST; ``fatal`` says that a socket is closed after the error was sent.
"""

import reprlib
from enum import Enum


class ErrorCode(Enum):
    """A code of the protocol. ``value`` is what stands on the wire."""

    http: int
    fatal: bool

    def __new__(cls, code: str, http: int, fatal: bool) -> "ErrorCode":
        member = object.__new__(cls)
        member._value_ = code
        member.http = http
        member.fatal = fatal
        return member

    BAD_JSON = "bad-json", 400, False
    BAD_REQUEST = "bad-request", 400, False
    BAD_DEFINITION = "bad-definition", 400, False
    BAD_QUEUE = "bad-queue", 400, False
    BAD_NAME = "bad-name", 400, False
    ID_MISMATCH = "id-mismatch", 409, False
    TOO_LARGE = "too-large", 413, False
    HASH_MISMATCH = "hash-mismatch", 422, False
    NOT_FOUND = "not-found", 404, False
    GONE = "gone", 410, False
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, False
    FOREIGN_ORIGIN = "foreign-origin", 403, False
    QUEUE_FULL = "queue-full", 429, False
    TOO_MANY = "too-many", 429, False
    UNAVAILABLE = "unavailable", 503, False
    INTERNAL = "internal", 500, False
    # only on sockets
    BAD_FRAME = "bad-frame", 400, True
    BAD_MESSAGE = "bad-message", 400, False
    UNKNOWN_TYPE = "unknown-type", 400, False
    HELLO_FIRST = "hello-first", 400, True
    BAD_VERSION = "bad-version", 400, True


class ProtocolError(Exception):
    """A peer broke the protocol. Reported to that peer; nothing else is disturbed.

    ``field`` is a dotted path such as ``definition.inputs.a.type``; ``limit`` is the bound that
    was passed, in the unit its field has. The sentence names field, value and limit by itself.
    Both texts are cut, since either may quote what the peer sent.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        field: str | None = None,
        limit: int | None = None,
    ) -> None:
        message = _cut(message, _MESSAGE_MAX)
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = None if field is None else _cut(field, _FIELD_MAX)
        self.limit = limit

    def body(self) -> dict[str, object]:
        """The JSON object that REST answers and error messages carry."""
        body: dict[str, object] = {"error": self.message, "code": self.code.value}
        if self.field is not None:
            body["field"] = self.field
        if self.limit is not None:
            body["limit"] = self.limit
        return body


_MESSAGE_MAX = 500  # characters; chosen: longer than any sentence of ours with its names
_FIELD_MAX = 300


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def shown(value: object, length: int = 60) -> str:
    """``value`` for an error sentence: as written, cut to ``length`` characters."""
    # A peer's value may have millions of items: what is cut off must not be written out first.
    text = repr(value[:length]) if isinstance(value, str) else _brief.repr(value)
    return _cut(text, length)


_brief = reprlib.Repr()
_brief.maxlist = _brief.maxdict = _brief.maxtuple = 40
_brief.maxstring = _brief.maxother = _brief.maxlong = 200  # beyond any ``length`` in use
