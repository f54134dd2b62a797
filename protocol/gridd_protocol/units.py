"""Durations and sizes as people write them.

Durations follow upstream's reader (WIRE 6.1), but what it would half understand (``1h abc``) or
what has no use (a negative time) is refused. Sizes follow Docker: every unit is a power of 1024.
"""

import math
import re
from functools import lru_cache

from gridd_protocol.canonical import INTEGER_MAX
from gridd_protocol.errors import shown

_TEXT_MAX = 64  # characters; no sensible duration or size is longer

_SECOND = 1_000.0
_UNITS_MS = {
    "ns": 1e-6,
    "us": 1e-3,
    "ms": 1.0,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3_600 * _SECOND,
    "d": 86_400 * _SECOND,
    "w": 7 * 86_400 * _SECOND,
    "mo": 365.25 / 12 * 86_400 * _SECOND,
    "y": 365.25 * 86_400 * _SECOND,
}
_UNIT_WORDS = {
    "ns": ("ns", "nano", "nanosecond"),
    "us": ("us", "µs", "μs", "micro", "microsecond"),
    "ms": ("ms", "milli", "millisecond", "msec"),
    "s": ("s", "sec", "second"),
    "m": ("m", "min", "minute"),
    "h": ("h", "hr", "hour"),
    "d": ("d", "day"),
    "w": ("w", "wk", "week"),
    "mo": ("mo", "mth", "month"),
    "y": ("y", "yr", "year"),
}
_UNIT_OF = {word: unit for unit, words in _UNIT_WORDS.items() for word in words}
_UNIT_OF |= {f"{word}s": unit for word, unit in _UNIT_OF.items() if len(word) > 1}
_SMALLER = dict(zip(list(_UNITS_MS)[1:], list(_UNITS_MS), strict=False))

_IN_NUMBER = re.compile(r"(?<=[0-9])[,_\s]+(?=[0-9])")
_PART = re.compile(r"[\s,]*([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?\s*([a-zµμ]*)", re.ASCII)
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*(?:([kmgtp]?)(?:i?b)?)", re.ASCII)
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@lru_cache(maxsize=1_024, typed=True)  # the same few texts come with every job
def parse_duration(value: str | int | float) -> int:
    """Milliseconds. ``90`` and ``"90"`` are milliseconds, ``1h30`` is ninety minutes.

    Rounded to whole ms; anything above zero is at least 1. Raises ``ValueError`` with a sentence.
    """
    duration_ms = _sum_of_parts(value) if isinstance(value, str) else float(_plain(value))
    if not 0 <= duration_ms <= INTEGER_MAX:
        raise ValueError(f"the duration {shown(value)} is not between 0 and {INTEGER_MAX} ms")
    return max(round(duration_ms), 1 if duration_ms > 0 else 0)


def parse_duration_setting(text: str) -> int:
    """Milliseconds of a duration that a person typed as a setting: it needs a unit.

    Upstream's reader takes a bare number as ms, which nobody means by ``--retention 28``. Raises
    ``ValueError`` with a sentence.
    """
    value = parse_duration(text)
    if value and not any(character.isalpha() for character in text):
        raise ValueError(f"{shown(text)} has no unit: write it like '90s', '20m' or '28d'")
    return value


def _sum_of_parts(value: str) -> float:
    text = _IN_NUMBER.sub("", value.strip().lower()) if len(value) <= _TEXT_MAX else ""
    negative = text.startswith("-")
    at, total, unit = int(negative), 0.0, ""
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            break
        number, exponent, word = part[1], part[2] or "", part[3]
        # A number without a unit is in ms, or in the unit below the one before it.
        unit = _UNIT_OF.get(word, "") if word else _SMALLER.get(unit, "ms")
        if not unit:
            break
        total += float(number + exponent) * _UNITS_MS[unit]
        at = part.end()
    if at < len(text) or at == int(negative):
        raise ValueError(f"{shown(value)} is not a duration: write it like '90s' or '1h30m'")
    return -total if negative else total


@lru_cache(maxsize=1_024, typed=True)
def parse_bytes(value: str | int | float) -> int:
    """Bytes. Units ``b k kb kib m … p`` in any case, all powers of 1024; a bare number is bytes.

    Fractions are cut to whole bytes. Raises ``ValueError`` with a sentence.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip().lower()) if len(value) <= _TEXT_MAX else None
        if match is None:
            raise ValueError(f"{shown(value)} is not a size: write it like '512m' or '2g'")
        size = float(match[1]) * 1024 ** _SIZE_POWERS[match[2]]
    else:
        size = float(_plain(value))
    if not 0 <= size <= INTEGER_MAX:
        raise ValueError(f"the size {shown(value)} is not between 0 and {INTEGER_MAX} bytes")
    return int(size)


def _plain(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{shown(value)} is neither a number nor a text")
    if not math.isfinite(min(value, INTEGER_MAX + 1) if isinstance(value, int) else value):
        raise ValueError(f"{shown(value)} is not a finite number")
    return min(max(value, -1), INTEGER_MAX * 2)


def format_duration(duration_ms: int) -> str:
    """Exact and readable by ``parse_duration``: ``1h30m``, ``2d``, ``1s500ms``, ``0s``."""
    parts: list[str] = []
    rest = duration_ms
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, int(_UNITS_MS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_bytes(size_bytes: int) -> str:
    """For people: at most one decimal, rounded down: ``512 MiB``, ``1.5 GiB``."""
    power = 0
    while power < 5 and size_bytes >= 1024 ** (power + 1):
        power += 1
    tenths = size_bytes * 10 // 1024**power
    number = f"{tenths // 10}.{tenths % 10}".removesuffix(".0")
    return f"{number} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[power]}"
