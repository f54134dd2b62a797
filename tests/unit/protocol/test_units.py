"""Durations and sizes: numbers, bounds and the way back. Texts are in ``vectors/units.json``."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridd_protocol.units import format_bytes, format_duration, parse_bytes, parse_duration

PARSERS = [parse_duration, parse_bytes]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("value", [-1, -0.5, math.inf, math.nan, 1 << 54, 10**400, True, None, [1]])
def test_numbers_that_are_refused(parse: Callable[[Any], int], value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"\S+ "):
        parse(value)


@pytest.mark.parametrize("parse", PARSERS)
def test_bare_numbers(parse: Callable[[Any], int]) -> None:
    assert (parse(0), parse(90), parse(2.0), parse(1 << 53)) == (0, 90, 2, 1 << 53)


def test_fractions() -> None:
    assert (parse_duration(0.2), parse_duration(1.6), parse_bytes(1.6)) == (1, 2, 1)


def test_complaints_name_the_value() -> None:
    with pytest.raises(ValueError, match=r"'1h abc' is not a duration: write it like '90s'"):
        parse_duration("1h abc")
    with pytest.raises(ValueError, match=r"'-1mb' is not a size: write it like '512m'"):
        parse_bytes("-1mb")
    with pytest.raises(ValueError, match=r"'-5m' is not between 0 and 9007199254740992 ms"):
        parse_duration("-5m")


@given(st.integers(0, 10**12))
def test_a_duration_reads_back(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms)) == duration_ms


@given(st.text())
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for parse in PARSERS:
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert "is not" in str(error)  # noqa: PT017


def test_durations_for_people() -> None:
    assert [format_duration(ms) for ms in (0, 1, 1500, 60_000, 5_400_000, 172_800_000)] == [
        "0s",
        "1ms",
        "1s500ms",
        "1m",
        "1h30m",
        "2d",
    ]


def test_sizes_for_people() -> None:
    sizes = [0, 1023, 1024, 1536, 2047, 512 << 20, 3 << 40, 1 << 62]
    assert [format_bytes(size) for size in sizes] == [
        "0 B",
        "1023 B",
        "1 KiB",
        "1.5 KiB",
        "1.9 KiB",
        "512 MiB",
        "3 TiB",
        "4096 PiB",
    ]
