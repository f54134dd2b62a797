"""Names: what is taken, what is refused, and what the refusal says."""

from collections.abc import Callable

import pytest

from gridd_protocol import limits
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.names import (
    check_blob_key,
    check_file_name,
    check_job_id,
    check_namespace,
    check_queue_name,
    check_worker_id,
    is_job_id,
)

Check = Callable[..., str]
BOUNDS: list[tuple[Check, int, ErrorCode]] = [
    (check_queue_name, limits.QUEUE_NAME_BYTES_MAX, ErrorCode.BAD_QUEUE),
    (check_namespace, limits.NAMESPACE_BYTES_MAX, ErrorCode.BAD_NAME),
    (check_worker_id, limits.WORKER_ID_BYTES_MAX, ErrorCode.BAD_NAME),
    (check_blob_key, limits.BLOB_KEY_BYTES_MAX, ErrorCode.BAD_NAME),
    (check_file_name, limits.FILE_NAME_BYTES_MAX, ErrorCode.BAD_NAME),
]


@pytest.mark.parametrize(("check", "bound", "code"), BOUNDS)
def test_length_in_bytes(check: Check, bound: int, code: ErrorCode) -> None:
    assert check("é" * (bound // 2)) == "é" * (bound // 2)
    for name in ("", "x" * (bound + 1), "é" * (bound // 2 + 1)):
        with pytest.raises(ProtocolError) as caught:
            check(name, "place.name")
        error = caught.value
        assert (error.code, error.field, error.limit) == (code, "place.name", bound)
        assert "place.name" in error.message
        assert str(bound) in error.message


@pytest.mark.parametrize(("check", "bound", "code"), BOUNDS)
@pytest.mark.parametrize("name", [None, 7, b"x", ["x"], "a\ud83d"])
def test_not_an_encodable_text(check: Check, bound: int, code: ErrorCode, name: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        check(name)
    assert (caught.value.code, caught.value.limit) == (code, None)
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (check_queue_name, "public1"),
        (check_queue_name, "my queue, the 2nd: 日本 😀 ?#%\\"),
        (check_queue_name, "..."),
        (check_namespace, "_"),
        (check_namespace, "a/b * c"),
        (check_namespace, "👨\u200d👩"),
        (check_worker_id, "3a64/ü x"),
        (check_job_id, "0a" * 32),
        (check_blob_key, "a..b c"),
        (check_blob_key, "é-日本"),
        (check_file_name, "dir/sub/file.txt"),
        (check_file_name, ".hidden/..x/a b\n"),
    ],
)
def test_taken_as_they_are(check: Check, name: str) -> None:
    assert check(name) == name


def test_a_leading_slash_is_dropped() -> None:
    assert check_file_name("/etc/app.conf") == "etc/app.conf"


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (check_queue_name, "a/b"),
        (check_queue_name, "."),
        (check_queue_name, ".."),
        (check_queue_name, "a\nb"),
        (check_queue_name, "a\x7f"),
        (check_queue_name, "a\u202eb"),
        (check_namespace, "*"),
        (check_namespace, "a\x00"),
        (check_namespace, "a\x85"),
        (check_worker_id, "a\tb"),
        (check_job_id, "0A" * 32),
        (check_job_id, "0" * 63),
        (check_job_id, "0" * 64 + "\n"),
        (check_job_id, None),
        (check_blob_key, "a/b"),
        (check_blob_key, "a\\b"),
        (check_blob_key, ".a"),
        (check_blob_key, ".."),
        (check_blob_key, "a\x00"),
        (check_blob_key, "a\x1f"),
        (check_file_name, "/"),
        (check_file_name, "//a"),
        (check_file_name, "a//b"),
        (check_file_name, "a/"),
        (check_file_name, "../a"),
        (check_file_name, "/../a"),
        (check_file_name, "a/./b"),
        (check_file_name, "a/.."),
        (check_file_name, "a\\b"),
        (check_file_name, "a\x00b"),
    ],
)
def test_refused(check: Check, name: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        check(name, "the.field")
    error = caught.value
    expected = ErrorCode.BAD_QUEUE if check is check_queue_name else ErrorCode.BAD_NAME
    assert (error.code, error.field) == (expected, "the.field")
    assert error.message.startswith("the.field ")


def test_is_job_id() -> None:
    assert is_job_id("0a" * 32)
    assert not is_job_id("0a" * 31 + "0A")
