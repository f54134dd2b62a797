"""References to data: files that travel inside a definition or result, or by address (WIRE 5).

Reads and makes references. Fetches nothing and knows no address policy: that is the worker's.
"""

import base64
import binascii
import re
from typing import Any, NoReturn

import msgspec

from gridd_protocol.canonical import exact_json, without_surrogates
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.names import check_blob_key, is_job_id

INLINE_TYPES = frozenset(("utf8", "json", "base64"))
ADDRESS_TYPES = frozenset(("url", "key"))
_BLANKS = re.compile(r"[\t\n\f\r ]+")


class DataRef(msgspec.Struct, frozen=True):
    """A reference of the right form.

    ``type`` is one of ``utf8``, ``json``, ``base64``, ``url``, ``key``. ``value`` is any JSON for
    ``json`` and a text otherwise. ``hash`` is the sha256 of the bytes, None when none was given
    that the bytes could be checked against.
    """

    type: str
    value: Any
    hash: str | None = None

    @property
    def is_inline(self) -> bool:
        return self.type in INLINE_TYPES


def read_ref(reference: object, field: str) -> DataRef:
    """Read a reference as it stands in a definition or result.

    A missing or null ``type`` is ``utf8``, as upstream's types (not its worker) have it.
    Raises ``ProtocolError`` (``bad-definition``); ``field`` is its dotted path, such as
    ``definition.inputs.a``.
    """
    if not isinstance(reference, dict):
        _refuse(field, reference, "is not a reference: an object with value and type")
    kind = reference.get("type")
    kind = "utf8" if kind is None else kind
    if not isinstance(kind, str) or kind not in INLINE_TYPES | ADDRESS_TYPES:
        _refuse(f"{field}.type", kind, "is none of utf8, json, base64, url, key")
    if "value" not in reference:
        _refuse(f"{field}.value", None, "is missing")
    value = reference["value"]
    if kind != "json" and not isinstance(value, str):
        _refuse(f"{field}.value", value, f"is not a text, as the type {kind} asks")
    if kind == "key":
        _check_key(value, f"{field}.value")
    given = reference.get("hash")
    return DataRef(kind, value, given if isinstance(given, str) and is_job_id(given) else None)


def _check_key(value: object, field: str) -> None:
    try:
        check_blob_key(value, field)
    except ProtocolError as error:
        raise ProtocolError(
            ErrorCode.BAD_DEFINITION, error.message, field=field, limit=error.limit
        ) from None


def inline_bytes(reference: DataRef, field: str) -> bytes:
    """The bytes of an inline reference (WIRE 5.1): ``utf8`` text, ``json`` as compact JSON in the
    order of insertion, ``base64`` with blanks and missing padding forgiven.

    Lone surrogates become U+FFFD. Raises ``ProtocolError`` (``bad-definition``) for base64 that
    is none, and for ``url`` and ``key``, whose bytes are elsewhere.
    """
    if reference.type == "utf8":
        return without_surrogates(reference.value).encode()
    if reference.type == "json":
        return exact_json(reference.value, sort_keys=False).encode()
    if reference.type != "base64":
        _refuse(f"{field}.type", reference.type, "has no bytes of its own")
    return _forgiving_base64(reference.value, f"{field}.value")


def _forgiving_base64(text: str, field: str) -> bytes:
    plain = _BLANKS.sub("", text)
    if len(plain) % 4 == 0:
        plain = plain.removesuffix("=").removesuffix("=")
    try:
        if "=" in plain:
            raise ValueError("padding that does not fit")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        _refuse(field, text, "is not base64")


def inline_ref(data: bytes) -> dict[str, Any]:
    """A ``base64`` reference. For files up to ``limits.INLINE_BYTES_MAX``; larger ones are
    uploaded and named by ``url_ref``."""
    return {"value": base64.b64encode(data).decode("ascii"), "type": "base64"}


def url_ref(url: str, sha256: str | None = None) -> dict[str, Any]:
    """A ``url`` reference; ``sha256`` (64 lowercase hex digits) lets the reader check the bytes."""
    reference = {"value": url, "type": "url"}
    return reference if sha256 is None else {**reference, "hash": sha256}


def _refuse(field: str, value: object, why: str) -> NoReturn:
    field = without_surrogates(field)
    raise ProtocolError(
        ErrorCode.BAD_DEFINITION, f"{field} is {shown(value)}: it {why}", field=field
    )
