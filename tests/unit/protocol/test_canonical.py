"""Canonical JSON: the written-out rules against known texts, the fast path against them."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gridd_protocol.canonical import (
    canonical_bytes,
    canonical_json,
    exact_json,
    read_json,
    without_surrogates,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates included
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ANY_TEXT, inner, max_size=5),
    max_leaves=30,
)


@given(ANY_JSON)
@example({"\uff5e": 1, "\U0001f600": 2})
@example([0.001, 0.00099, 1e15, 1e15 + 0.5, 1e16, -0.0, 2.0, 0.5, 1 << 53, (1 << 53) + 1])
def test_fast_and_exact_print_the_same(value: Any) -> None:
    assert canonical_json(value) == exact_json(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(ANY_JSON)
def test_canonical_text_is_utf8_and_canonical(value: Any) -> None:
    text = canonical_bytes(value)
    assert canonical_bytes(read_json(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (100.5, "100.5"),
        (-1.5e-10, "-1.5e-10"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (123e-20, "1.23e-18"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740993, "9007199254740992"),
        (-9007199254740993, "-9007199254740992"),
        (123456789012345680000, "123456789012345680000"),
        (10**400, "null"),
        (math.inf, "null"),
        (-math.inf, "null"),
        (math.nan, "null"),
        ((1, (), {}), "[1,[],{}]"),
        (True, "true"),
        ("\x00\x1f\x7f\u2028/", '"\\u0000\\u001f\x7f\u2028/"'),
        ('\b\t\n\f\r"\\', '"\\b\\t\\n\\f\\r\\"\\\\"'),
        ("\ud83d", '"\\ud83d"'),
        ("\ude00\ud83d", '"\\ude00\\ud83d"'),
        ("\ud83d\ude00", '"\U0001f600"'),
        ({"10": 0, "9": 0, "a": 0, "Z": 0}, '{"10":0,"9":0,"Z":0,"a":0}'),
    ],
)
def test_known_texts(value: object, text: str) -> None:
    assert canonical_json(value) == text


def test_insertion_order_on_demand() -> None:
    assert exact_json({"b": {"d": 1.0, "c": None}, "a": []}, sort_keys=False) == (
        '{"b":{"d":1,"c":null},"a":[]}'
    )


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError, match="a set is not JSON"):
        canonical_json([{1}])


def test_reading_what_the_fast_decoder_refuses() -> None:
    assert read_json(b'["\\ud83d", 1e400, -1e400]') == ["\ud83d", math.inf, -math.inf]
    assert read_json(b"[" + b"1" * 5_000 + b"]") == [math.inf]
    assert read_json(b'["\\ud83d", 12345678901234567890]') == ["\ud83d", 12345678901234567000.0]
    assert read_json(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[NaN]",
        b"[Infinity]",
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\x01"',
    ],
)
def test_reading_what_is_not_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_surrogates_are_replaced() -> None:
    assert without_surrogates("a\ud83db\U0001f600") == "a\ufffdb\U0001f600"
