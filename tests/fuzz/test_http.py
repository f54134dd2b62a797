"""HTTP from strangers: requests made from our own description of the routes, and bytes that are
nearly HTTP. No 500, no hang, and nobody else is disturbed.

``GRIDD_FUZZ=20`` tries twenty times as much, from another seed each time.
"""

import os
import random
import re
import socket
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks as found_by

from gridd.edge.openapi import description

TIMES = int(os.environ.get("GRIDD_FUZZ", "1"))


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples * TIMES, deadline=None, derandomize=TIMES == 1, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


# An event stream of a job that nobody submitted waits for it: it is asked for in another test.
described = schemathesis.openapi.from_dict(description()).exclude(path_regex="/stream$")

CHECKS = [
    found_by.not_a_server_error,
    found_by.status_code_conformance,
    found_by.content_type_conformance,
    found_by.response_schema_conformance,
]


@described.parametrize()
@bounded(5)
def test_every_answer_is_one_that_is_described(case: Any, watched: Any) -> None:
    case.call_and_validate(base_url=watched.url, checks=CHECKS, timeout=10)
    parameters = case.path_parameters or {}
    if "job" in parameters:  # and once more for a job that is there
        case.path_parameters = {**parameters, "job": watched.job}
        if case.method.upper() == "GET":
            case.call_and_validate(base_url=watched.url, checks=CHECKS, timeout=10)


def test_nobody_was_disturbed(watched: Any) -> None:
    watched.check()


# --- bytes that are nearly HTTP ---------------------------------------------------------------

METHODS = [b"GET", b"PUT", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"TRACE", b"",
           b"G E T", b"get", b"\x00", b"PRI", b"M" * 9000]  # fmt: skip
JOB = b"0a" * 32
TARGETS = [
    b"/", b"/healthz", b"/openapi.json", b"/q/a", b"/q/a/j", b"/q/a/j/" + JOB, b"/j/" + JOB,
    b"/j/" + JOB + b".json", b"/q/a/j/" + JOB + b"/stream", b"/q/a/j/" + JOB + b"/result.json",
    b"/q/a/j/" + JOB + b"/inputs/../../etc/passwd", b"/f/name", b"/f/name/exists", b"/f/" + JOB,
    b"/q/a/client", b"/q/a/worker", b"/a/worker/x", b"/q/a/status", b"/q/%ff%00/j", b"/q/%/metrics",
    b"//", b"*", b"http://elsewhere.example/q/a", b"elsewhere.example:443", b"/q/a?since=\xff",
    b"/q/a/j/" + JOB + b"/run-logs.json?since=1e999", b"/q/" + b"a" * 9000, b"/\x00", b"", b"?",
    b"/q/a/j/" + JOB + b"/cancel?namespace=%00&message=%ff", b"/f/..%2f..%2fetc%2fpasswd", b"/%2e",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"",
            b"HTTP/11", b"HTTP/1.1\x00"]  # fmt: skip
HEADERS = [
    b"Host: x", b"Host: a\r\nHost: b", b"Host: \xff", b"Content-Length: 5", b"Content-Length: -1",
    b"Content-Length: +5", b"Content-Length: 5, 6", b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 99999999999999999999999", b"Content-Length: \xb2", b"Content-Length:",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, chunked", b"Connection: close",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked", b"Connection: upgrade",
    b"Expect: 100-continue", b"Expect: nonsense", b"Range: bytes=0-", b"Range: bytes=9-1,5-",
    b"If-None-Match: \"", b"Accept: text/html", b"Origin: null", b"Cookie: " + b"a=b;" * 500,
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: gridd.v1.json",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 99",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: short",
    b"Upgrade: h2c", b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Content-Type: \xff",
    b"Content-Encoding: br", b"Content-Encoding: zstd", b"Content-Type: multipart/form-data",
    b"X-Long: " + b"a" * 10_000, b"no colon here", b" folded: x", b": empty", b"X-Null: a\x00b",
    b"X-Bare: a\nb", b"X-Bare: a\rb", b"\r\n".join(b"X-%d: y" % n for n in range(300)),
]  # fmt: skip
BODIES = [
    b"", b"hello", b'{"definition":{"image":"a"}}', b"{", b"\x1f\x8b\x08\x00" + b"\xff" * 20,
    b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\nzz\r\n", b"-1\r\n", b"5\nhello\n0\n\n", b"0\r\n",
    b"FFFFFFFFFFFFFFFFF\r\nhello", b"5;" + b"x" * 9000 + b"\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
    b"\x82\x7f" + b"\xff" * 8,
    b"\x81\x85\x00\x00\x00\x00hello", b"\xff" * 2000, b"\r\n" * 500,
]  # fmt: skip
LINE_ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]

requests = st.builds(
    lambda method, target, version, headers, end, body: (
        method + b" " + target + b" " + version + end
        + b"".join(header + end for header in headers) + end + body
    ),
    st.sampled_from(METHODS[:4]) | st.sampled_from(METHODS),
    st.sampled_from(TARGETS),
    st.sampled_from(VERSIONS[:2]) | st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(HEADERS), max_size=5),
    st.sampled_from(LINE_ENDS),
    st.sampled_from(BODIES),
)  # fmt: skip


def exchanged(port: int, data: bytes) -> bytes:
    """What comes back. The other side must end the connection soon after we end ours."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        got = b""
        try:
            connection.sendall(data)
            connection.settimeout(0.05)
            got += received(connection)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            got += received(connection, until_end=True)
        except ConnectionError:  # it hung up on us
            pass
        return got


def received(connection: socket.socket, *, until_end: bool = False) -> bytes:
    got = b""
    while True:
        try:
            piece = connection.recv(1 << 16)
        except TimeoutError:
            assert not until_end, f"it hangs after {got[:200]!r}"
            return got
        if not piece:
            return got
        got += piece


STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3}) ", re.MULTILINE)


@bounded(120)
@given(
    sent=st.lists(requests, min_size=1, max_size=4),
    cut=st.integers(0, 200),
    chance=st.randoms(use_true_random=False),
)
def test_bytes_that_are_nearly_http(
    sent: list[bytes], cut: int, chance: random.Random, watched: Any
) -> None:
    data = bytearray(b"".join(sent))
    for _ in range(chance.randrange(4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    got = exchanged(watched.port, bytes(data[: len(data) - cut] or data))
    statuses = [int(status) for status in STATUS.findall(got)]
    assert all(100 <= status < 500 for status in statuses), got[:500]
    assert b"Traceback" not in got


@pytest.mark.parametrize("what", ["GET /q/a HTTP/1.1\r\nHost: x\r\n\r\n", "\x00", "GET"])
def test_a_thousand_at_once_and_then_silence(what: str, watched: Any) -> None:
    """Pipelined requests of one peer, who then never reads."""
    with socket.create_connection(("127.0.0.1", watched.port), timeout=5) as connection:
        connection.sendall(what.encode() * 1_000)
        watched.check()


def test_it_still_serves(watched: Any) -> None:
    watched.check()
