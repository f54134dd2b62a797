"""Frames, results and submissions from strangers: a message or a reported error, never anything
else, in bounded time and memory.

``guided`` looks for more by hand; what it found lies in ``corpus/`` and is replayed here.
"""

import json
import random
import time
import tracemalloc
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gridd_protocol import codec as module
from gridd_protocol.codec import Codec
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import DEFINITION_DEPTH_MAX, MESSAGES_PER_FRAME_MAX
from gridd_protocol.messages import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK
from tests.fuzz.guided import CORPUS, corpus
from tests.fuzz.targets import TARGETS, assert_reportable, made, submission

SECONDS_MAX = 2.0  # of the processor, for one input; chosen: far above any, on a slow machine
JOB = "0a" * 32

bounded = settings(
    max_examples=400, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def put_in(name: str, data: bytes) -> None:
    began = time.process_time()
    TARGETS[name][0](data)
    assert time.process_time() - began < SECONDS_MAX, f"{name} took too long"


def test_each_target_has_a_corpus() -> None:
    assert {path.stem for path in CORPUS.glob("*.json")} == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_before(name: str) -> None:
    assert corpus(name)
    for data in corpus(name):
        put_in(name, data)


@pytest.mark.parametrize("name", TARGETS)
@bounded
@given(chance=st.randoms(use_true_random=False))
def test_inputs_that_are_almost_right(name: str, chance: random.Random) -> None:
    put_in(name, made(name, chance))


@pytest.mark.parametrize("name", TARGETS)
@bounded
@given(data=st.binary(max_size=300))
def test_inputs_that_are_anything(name: str, data: bytes) -> None:
    put_in(name, data)


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
MEMBERS = st.sampled_from(
    ["type", "job", "attempt", "image", "env", "inputs", "tags", "requirements", "build", "lines"]
)


@settings(bounded, max_examples=150)
@given(members=st.dictionaries(MEMBERS | st.text(), JSON_VALUES, max_size=8))
def test_members_of_any_type(members: dict[str, Any]) -> None:
    text = json.dumps(members).encode()
    put_in("submission", b'{"definition":%b}' % text)
    put_in("submission", b'{"definition":{"image":"a"},"control":%b}' % text)
    put_in("json_frame", b"[%b]" % text)
    put_in("result", text)


HUGE = {
    "an array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a map of 4 billion in a message": b"\x91\xdf\xff\xff\xff\xff",
    "a text of 4 GiB": b"\x91\xdb\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\x91\xc6\xff\xff\xff\xff",
    "an extension of 4 GiB": b"\x91\xc9\xff\xff\xff\xff\x01",
    "2 billion leases": b"\x91\x82\xa4type\xa5hello\xa7running\xdd\x7f\xff\xff\xff",
    "arrays in arrays": b"\x91" * 1_000_000,
    "maps in maps": b"\x91" + b"\x81\xa1a" * 500_000,
    "huge arrays in huge arrays": b"\xdd\x00\x10\x00\x00" * 200_000,
}


@pytest.mark.parametrize("what", HUGE)
def test_a_length_that_is_claimed_is_not_made_room_for(what: str) -> None:
    tracemalloc.start()
    try:
        decoded = Codec(SUBPROTOCOL_MSGPACK).decode_from_worker(HUGE[what])
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [error.code for error in decoded.errors] == [ErrorCode.BAD_FRAME]
    assert used < 1 << 20, f"{used} bytes for a frame of {len(HUGE[what])}"


DEEP = {
    "arrays": b"[" * 2_000_000,
    "objects": b'[{"a":' * 500_000,
    "in a definition": b'{"definition":{"image":"a","x":' + b"[" * 500_000,
    "in a control": b'{"definition":{"image":"a"},"control":' + b"[" * 500_000,
    "an integer": b'[{"type":"heartbeat","time":' + b"9" * 3_000_000 + b"}]",
    "members": b"[{" + b'"a":1,' * 300_000 + b'"type":"drain"}]',
    "half surrogates": b'[{"type":"' + b"\\ud800" * 300_000 + b'"}]',
}


@pytest.mark.parametrize("what", DEEP)
@pytest.mark.parametrize("name", ["json_frame", "submission"])
def test_deep_and_long_texts(name: str, what: str) -> None:
    put_in(name, DEEP[what])


# --- what went wrong once --------------------------------------------------------------------


@pytest.mark.parametrize("coding", [SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK])
def test_a_frame_of_millions_of_messages_is_refused_before_they_are_looked_at(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 2,700,000 ``{}`` was written anew first: half a minute in which nobody was served."""

    def fail(*_: object, **__: object) -> NoReturn:
        pytest.fail("a message was looked at")

    monkeypatch.setattr(module._Side, "read_one", fail)
    many = 200_000
    packed = b"\xdd" + many.to_bytes(4, "big") + b"\x80" * many
    frame: bytes | str = "[" + "{}," * many + "0]" if coding == SUBPROTOCOL_JSON else packed
    (error,) = Codec(coding).decode_from_worker(frame).errors
    assert (error.code, error.limit) == (ErrorCode.BAD_FRAME, MESSAGES_PER_FRAME_MAX)


def test_an_error_does_not_repeat_all_that_it_complains_about() -> None:
    """A reason of 8 MiB came back in an error of 8 MiB."""
    frame = [{"type": "finished", "job": JOB, "attempt": 1, "reason": "x" * 1_000_000}]
    (error,) = Codec(SUBPROTOCOL_JSON).decode_from_worker(json.dumps(frame)).errors
    assert error.field == "finished.reason"
    assert_reportable(error)
    assert_reportable(ProtocolError(ErrorCode.BAD_NAME, "x" * 9_999, field="y" * 9_999))


def test_a_value_is_shown_without_being_written_out() -> None:
    """Of a list with a million items each was written, to show the first sixty characters."""

    class Item:
        written = 0

        def __repr__(self) -> str:
            Item.written += 1
            return "item"

    assert shown([Item() for _ in range(10_000)]).startswith("[item, item, ")
    assert Item.written < 100
    assert shown([1, {"b": "c"}]) == "[1, {'b': 'c'}]"


@pytest.mark.parametrize(
    "body",
    [
        b'{"definition":{"image":"a","\\ud800":1}}',
        b'{"definition":{"image":"a","requirements":{"\\udc00":1}}}',
        b'{"definition":{"image":"a"},"\\ud800":1}',
    ],
)
def test_a_name_with_half_a_surrogate_pair_is_refused(body: bytes) -> None:
    """It was an internal error."""
    submission(body)


@pytest.mark.parametrize("text", ['{"error":"\\ud83d"}', '{"outputs":{"a":{"value":"\\udc00"}}}'])
def test_a_result_with_half_a_surrogate_pair_can_be_read(text: str) -> None:
    """It was acknowledged, and everyone who asked for it got an internal error."""
    TARGETS["result"][0](text.encode())


def test_a_result_that_is_too_deep_is_not_acknowledged() -> None:
    """It could be kept, and not be read again."""
    text = '{"x":' + "[" * DEFINITION_DEPTH_MAX + "]" * DEFINITION_DEPTH_MAX + "}"
    frame = [{"type": "finished", "job": JOB, "attempt": 1, "reason": "Error", "result": text}]
    (error,) = Codec(SUBPROTOCOL_JSON).decode_from_worker(json.dumps(frame)).errors
    assert (error.code, error.field) == (ErrorCode.BAD_MESSAGE, "finished.result")
    assert error.limit == DEFINITION_DEPTH_MAX
