"""JSON text as JavaScript reads and writes it: canonical text for hashing, and a forgiving reader.

Owns number formatting, key order and escapes (WIRE 4.3). Knows nothing of definitions.
"""

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

INTEGER_MAX = 1 << 53
"""Beyond it JavaScript does not tell neighbouring integers apart."""

_ESCAPED = re.compile('["\\\\\x00-\x1f\ud800-\udfff]')
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
# First bytes of UTF-8 for U+10000 and up: only such keys sort differently in UTF-16.
_ASTRAL = re.compile(b"[\xf0-\xf4]")
_sorted_encoder = msgspec.json.Encoder(order="sorted")


def canonical_json(value: object) -> str:
    """The canonical text of a JSON value (WIRE 4.3): no blanks, keys in UTF-16 order, numbers as
    JavaScript prints them. Infinity and NaN print as ``null``, as they do there.

    Raises ``TypeError`` for what is not JSON, ``RecursionError`` for very deep values.
    """
    return canonical_bytes(value).decode()


def canonical_bytes(value: object) -> bytes:
    """``canonical_json`` in UTF-8. Takes the fast encoder where both surely print the same."""
    if _prints_alike(value):
        try:
            text = _sorted_encoder.encode(value)
        except UnicodeEncodeError:  # a lone surrogate
            return exact_json(value).encode()
        if text.isascii() or _ASTRAL.search(text) is None:
            return text
    return exact_json(value).encode()


def _prints_alike(value: Any) -> bool:
    """False when the value may hold a number that JavaScript prints in its own way."""
    waiting: list[Iterable[Any]] = [(value,)]
    while waiting:
        for item in waiting.pop():
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is dict:
                waiting.append(item.values())
            elif kind is list:
                waiting.append(item)
            elif kind is int:
                if not -INTEGER_MAX <= item <= INTEGER_MAX:
                    return False
            # With a fraction and in this range both print plain digits and a point.
            elif kind is not float or not 1e-3 <= abs(item) <= 1e15 or item.is_integer():
                return False
    return True


def exact_json(value: object, *, sort_keys: bool = True) -> str:
    """The same rules, written out. ``sort_keys=False`` keeps the order of insertion: this is
    ``JSON.stringify`` (WIRE 5.1, files of type ``json``)."""
    parts: list[str] = []
    _write(value, sort_keys, parts)
    return "".join(parts)


def _write(value: object, sort_keys: bool, parts: list[str]) -> None:
    if value is None:
        parts.append("null")
    elif value is True:
        parts.append("true")
    elif value is False:
        parts.append("false")
    elif isinstance(value, str):
        parts.append(_string(value))
    elif isinstance(value, (int, float)):
        parts.append(_number(value))
    elif isinstance(value, dict):
        _write_object(value, sort_keys, parts)
    elif isinstance(value, (list, tuple)):
        _write_array(value, sort_keys, parts)
    else:
        raise TypeError(f"a {type(value).__name__} is not JSON")


def _write_object(value: dict[str, object], sort_keys: bool, parts: list[str]) -> None:
    opening = "{"
    for key in sorted(value, key=_utf16) if sort_keys else value:
        parts.append(opening)
        parts.append(_string(key))
        parts.append(":")
        _write(value[key], sort_keys, parts)
        opening = ","
    parts.append("{}" if opening == "{" else "}")


def _write_array(value: list[object] | tuple[object, ...], sort: bool, parts: list[str]) -> None:
    opening = "["
    for item in value:
        parts.append(opening)
        _write(item, sort, parts)
        opening = ","
    parts.append("[]" if opening == "[" else "]")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _string(text: str) -> str:
    if _SURROGATE.search(text):
        # Two halves that stand side by side are one character in JavaScript.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT_ESCAPES.get(char) or f"\\u{ord(char):04x}"


def _number(value: int | float) -> str:
    """ECMA-262 Number::toString for base 10."""
    if isinstance(value, int):
        if -INTEGER_MAX <= value <= INTEGER_MAX:
            return str(value)
        try:
            value = float(value)
        except OverflowError:
            return "null"
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    if value == 0:
        return "0"
    # repr has the shortest digits that read back as the same double, as JavaScript has.
    sign, digit_tuple, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digit_tuple))
    point = len(text) + exponent  # the value is 0.text times ten to the power of point
    digits = text.rstrip("0")
    return ("-" if sign else "") + _place_point(digits, point)


def _place_point(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def read_json(text: bytes) -> Any:
    """Decode JSON as JavaScript does. Duplicate members: the last one counts.

    Takes what the fast decoder refuses but JSON allows: lone surrogates in escapes, and numbers
    too large for a double (read as infinity). Raises ``ValueError`` for anything else, and
    ``RecursionError`` when nested too deep.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(text.decode(), parse_int=_read_int, parse_constant=_refuse_constant)


def _read_int(digits: str) -> int | float:
    # Long digit strings cost quadratic time as integers, and JavaScript rounds them anyway.
    return int(digits) if len(digits) <= 16 else float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def without_halves(text: bytes) -> bytes:
    """JSON text with each escape of a lone surrogate, as JavaScript writes it when it cuts a
    character in two, replaced by U+FFFD's. On the text as it stands: strange JSON of some MB takes
    seconds to be read and written anew."""
    # Escaped backslashes first, so that each one left begins an escape.
    return _HALF.sub(rb"\\ufffd", text.replace(rb"\\", rb"\u005c"))


_XX = rb"[0-9a-fA-F]{2}"
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB]" + _XX + rb"(?!\\u[dD][c-fC-F]" + _XX + rb")"
    rb"|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F]" + _XX + rb")"
)


def without_surrogates(text: str) -> str:
    """``text`` with each lone surrogate replaced by U+FFFD, so that it can be encoded."""
    return _SURROGATE.sub("\ufffd", text)
