"""References: reading, bytes, making."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridd_protocol.datarefs import DataRef, inline_bytes, inline_ref, read_ref, url_ref
from gridd_protocol.errors import ErrorCode, ProtocolError

SHA = "ab" * 32


def test_read() -> None:
    assert read_ref({"type": "url", "value": "https://x", "hash": SHA, "size": 1}, "f") == DataRef(
        "url", "https://x", SHA
    )
    assert read_ref({"value": "x"}, "f") == DataRef("utf8", "x")
    assert read_ref({"type": None, "value": "x"}, "f") == DataRef("utf8", "x")
    assert read_ref({"type": "json", "value": None}, "f") == DataRef("json", None)
    assert read_ref({"type": "key", "value": SHA}, "f").is_inline is False
    assert read_ref({"type": "base64", "value": ""}, "f").is_inline is True


@pytest.mark.parametrize("given_hash", ["abc", SHA.upper(), 7, None])
def test_a_hash_that_nothing_can_be_checked_against_is_left_out(given_hash: object) -> None:
    assert read_ref({"value": "x", "hash": given_hash}, "f").hash is None


@pytest.mark.parametrize(
    ("reference", "field"),
    [
        (None, "inputs.a"),
        ("text", "inputs.a"),
        ([], "inputs.a"),
        ({"type": "unknown", "value": "x"}, "inputs.a.type"),
        ({"type": "", "value": "x"}, "inputs.a.type"),
        ({"type": 7, "value": "x"}, "inputs.a.type"),
        ({"type": ["utf8"], "value": "x"}, "inputs.a.type"),
        ({"type": "utf8"}, "inputs.a.value"),
        ({"type": "json"}, "inputs.a.value"),
        ({"type": "utf8", "value": 5}, "inputs.a.value"),
        ({"type": "url", "value": {}}, "inputs.a.value"),
        ({"type": "base64", "value": None}, "inputs.a.value"),
        ({"type": "key", "value": "a/b"}, "inputs.a.value"),
        ({"type": "key", "value": ""}, "inputs.a.value"),
    ],
)
def test_wrong_forms(reference: object, field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_ref(reference, "inputs.a")
    assert (caught.value.code, caught.value.field) == (ErrorCode.BAD_DEFINITION, field)
    assert field in caught.value.message


def test_an_error_can_always_be_encoded() -> None:
    with pytest.raises(ProtocolError) as caught:
        read_ref("\ud83d", "inputs.\ud83d")
    assert caught.value.field == "inputs.\ufffd"
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        ("utf8", "é\n", b"\xc3\xa9\n"),
        ("utf8", "a\ud83d", b"a\xef\xbf\xbd"),
        ("json", {"b": [1.0, None], "a": "é"}, b'{"b":[1,null],"a":"\xc3\xa9"}'),
        ("json", "\ud83d", b'"\\ud83d"'),
        ("base64", "", b""),
        ("base64", "aGVsbG8=", b"hello"),
        ("base64", "aGVsbG8", b"hello"),
        ("base64", " aGVs\r\nbG\t8= ", b"hello"),
        ("base64", "aA==", b"h"),
        ("base64", "aA", b"h"),
        ("base64", "aB==", b"h"),
    ],
)
def test_inline_bytes(kind: str, value: object, data: bytes) -> None:
    assert inline_bytes(DataRef(kind, value), "f") == data


@pytest.mark.parametrize(
    "text", ["a", "aGVsbG8=a", "aA=", "====", "aGVs-_8=", "é", "aG\xa0Vs", "\ud83d"]
)
def test_bad_base64(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        inline_bytes(DataRef("base64", text), "inputs.a")
    assert (caught.value.code, caught.value.field) == (ErrorCode.BAD_DEFINITION, "inputs.a.value")


@pytest.mark.parametrize("kind", ["url", "key"])
def test_bytes_that_are_elsewhere(kind: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        inline_bytes(DataRef(kind, "x"), "inputs.a")
    assert caught.value.field == "inputs.a.type"


@given(st.binary())
def test_inline_reads_back(data: bytes) -> None:
    assert inline_bytes(read_ref(inline_ref(data), "f"), "f") == data


def test_made_references() -> None:
    assert inline_ref(b"") == {"value": "", "type": "base64"}
    assert url_ref("https://x/f/1") == {"value": "https://x/f/1", "type": "url"}
    assert url_ref("https://x/f/1", SHA) == {"value": "https://x/f/1", "type": "url", "hash": SHA}
