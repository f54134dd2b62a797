"""What a peer can get wrong, as codes for machines and sentences for people.

``SPEC.md`` has a line for each code; a test compares. ``http`` is the status of the code on
REST; ``fatal`` says that a socket is closed after the error was sent.
"""

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
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        field: str | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.limit = limit

    def body(self) -> dict[str, object]:
        """The JSON object that REST answers and error messages carry."""
        body: dict[str, object] = {"error": self.message, "code": self.code.value}
        if self.field is not None:
            body["field"] = self.field
        if self.limit is not None:
            body["limit"] = self.limit
        return body


def shown(value: object, length: int = 60) -> str:
    """``value`` for an error sentence: as written, cut to ``length`` characters."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"
