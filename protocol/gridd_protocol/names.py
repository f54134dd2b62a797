"""What a name may look like: queues, namespaces, workers, jobs, blobs, files.

Each check returns the name that it was given, or raises ``ProtocolError`` (``bad-name``, for
queues ``bad-queue``) that names the field, the value and what was asked. Lengths are in bytes of
UTF-8.
"""

import re
from typing import Final, NoReturn

from gridd_protocol import limits
from gridd_protocol.errors import ErrorCode, ProtocolError, shown

NO_NETWORK_TAG: Final = "no-network"
"""A job with this tag has no network while it runs, whatever its worker's owner allows. A tag,
because tags are part of the job's id (WIRE 4.1) and lead it to workers that know them only: those
that can keep a job from the network carry this one by themselves."""

_JOB_ID = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def check_queue_name(name: object, field: str = "queue") -> str:
    """1 to 128 bytes, printable (blanks included), without ``/``, not ``.`` or ``..``."""
    text = _text(name, field, limits.QUEUE_NAME_BYTES_MAX, ErrorCode.BAD_QUEUE)
    if not text.isprintable():
        _refuse(field, text, "holds characters that can't be printed", ErrorCode.BAD_QUEUE)
    if "/" in text or text in (".", ".."):
        _refuse(field, text, "must be one plain segment of a path", ErrorCode.BAD_QUEUE)
    return text


def check_namespace(name: object, field: str = "control.namespace") -> str:
    """1 to 256 bytes without control characters. ``*`` stands for all when cancelling, so no
    namespace is called that."""
    text = _text(name, field, limits.NAMESPACE_BYTES_MAX)
    if _CONTROL.search(text):
        _refuse(field, text, "holds control characters")
    if text == "*":
        _refuse(field, text, "is kept for all namespaces together")
    return text


def check_worker_id(name: object, field: str = "worker") -> str:
    """1 to 128 bytes, printable."""
    text = _text(name, field, limits.WORKER_ID_BYTES_MAX)
    if not text.isprintable():
        _refuse(field, text, "holds characters that can't be printed")
    return text


def is_job_id(text: str) -> bool:
    """True for 64 lowercase hex digits: a job id, or the sha256 of a blob."""
    return _JOB_ID.fullmatch(text) is not None


def check_job_id(name: object, field: str = "job") -> str:
    """64 lowercase hex digits."""
    if not isinstance(name, str) or not _JOB_ID.fullmatch(name):
        _refuse(field, name, "is not a job id (64 lowercase hex digits)")
    return name


def check_blob_key(name: object, field: str = "key") -> str:
    """1 to 255 bytes, one plain path segment: no ``/``, ``\\`` or control character, no leading
    dot."""
    text = _text(name, field, limits.BLOB_KEY_BYTES_MAX)
    if "/" in text or "\\" in text or text.startswith(".") or _CONTROL.search(text):
        _refuse(field, text, "must be one plain file name without a leading dot")
    return text


def check_file_name(name: object, field: str = "name") -> str:
    """The name of an input, config file or output, without one leading ``/``; at most 1,024 bytes.

    What is left is relative and stays inside: no empty, ``.`` or ``..`` segment, no ``\\``, no NUL.
    """
    text = _text(name, field, limits.FILE_NAME_BYTES_MAX)
    if "\\" in text or "\x00" in text:
        _refuse(field, text, "holds a backslash or a NUL")
    relative = text.removeprefix("/")
    if any(segment in ("", ".", "..") for segment in relative.split("/")):
        _refuse(field, text, "must not have empty, '.' or '..' segments")
    return relative


def _text(name: object, field: str, bytes_max: int, code: ErrorCode = ErrorCode.BAD_NAME) -> str:
    if not isinstance(name, str):
        _refuse(field, name, "is not a text", code)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        _refuse(field, name, "holds half of a surrogate pair", code)
    if not 1 <= size <= bytes_max:
        _refuse(field, name, f"has {size} bytes; 1 to {bytes_max} are allowed", code, bytes_max)
    return name


def _refuse(
    field: str,
    value: object,
    why: str,
    code: ErrorCode = ErrorCode.BAD_NAME,
    limit: int | None = None,
) -> NoReturn:
    raise ProtocolError(code, f"{field} {shown(value)} {why}", field=field, limit=limit)
