"""The codec: round trips, frames taken apart, bounds that are too large to stand in a vector."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridd_protocol import codec as codec_module
from gridd_protocol import limits, messages
from gridd_protocol.codec import SUBPROTOCOLS, Codec, Decoded
from gridd_protocol.errors import ErrorCode, ProtocolError

JOB = "0a" * 32
JSON = Codec(messages.SUBPROTOCOL_JSON)
MSGPACK = Codec(messages.SUBPROTOCOL_MSGPACK)
CODECS = [pytest.param(JSON, id="json"), pytest.param(MSGPACK, id="msgpack")]


def packed(codec: Codec, frame: object) -> bytes | str:
    return msgspec.msgpack.encode(frame) if codec.binary else json.dumps(frame)


def one_error(decoded: Decoded[Any]) -> ProtocolError:
    assert len(decoded.errors) == 1, decoded
    json.dumps(decoded.errors[0].body(), ensure_ascii=False).encode()
    return decoded.errors[0]


# --- round trips --------------------------------------------------------------------------

JOBS = st.text("0123456789abcdef", min_size=64, max_size=64)
WHOLE = st.integers(0, 1 << 53)
ATTEMPTS = st.integers(1, 1 << 53)
LINES = st.lists(st.builds(messages.LogLine, st.text(), WHOLE, st.booleans()), max_size=3)
RESULTS = st.sampled_from(
    ["{}", '{"StatusCode":1,"duration":5,"other":[1]}', '{"error":"\\ud83d"}']
)
RESOURCES = st.builds(
    messages.Resources,
    cpus=st.floats(0, 1e6, exclude_min=True),
    gpus=WHOLE,
    memory=WHOLE,
    max_duration=ATTEMPTS,
    tags=st.lists(st.text(), max_size=2).map(tuple),
    runs=st.sampled_from([(), ("container",), ("process", "container")]),
)
HELD = st.builds(messages.Held, JOBS, ATTEMPTS)
KEPT = st.builds(messages.Kept, JOBS, ATTEMPTS, WHOLE)
CREDITS = st.integers(0, limits.CREDIT_MAX)
FROM_WORKER: list[st.SearchStrategy[messages.FromWorker]] = [
    st.builds(
        messages.Hello,
        worker=st.sampled_from(["w", "3a64", "ü x"]),
        resources=RESOURCES,
        credit=CREDITS,
        running=st.lists(HELD, max_size=2),
    ),
    st.builds(messages.Credit, CREDITS),
    st.builds(messages.Started, JOBS, ATTEMPTS, WHOLE),
    st.builds(messages.Log, JOBS, ATTEMPTS, st.just("Running"), WHOLE, LINES),
    st.builds(messages.Finished, JOBS, ATTEMPTS, st.just("TimedOut"), RESULTS),
    st.builds(messages.Release, JOBS, ATTEMPTS, st.text()),
    st.just(messages.Drain()),
    st.builds(messages.Heartbeat, WHOLE),
]
TO_WORKER: list[st.SearchStrategy[messages.ToWorker]] = [
    st.builds(
        messages.Welcome,
        st.text(max_size=9),
        WHOLE,
        WHOLE,
        WHOLE,
        WHOLE,
        st.lists(KEPT, max_size=2),
    ),
    st.builds(messages.Push, JOBS, ATTEMPTS, st.text(), WHOLE, WHOLE),
    st.builds(messages.Acknowledged, JOBS, ATTEMPTS),
    st.builds(messages.Stale, JOBS, ATTEMPTS),
    st.builds(messages.Cancel, JOBS, ATTEMPTS, st.text()),
    st.just(messages.Drain()),
    st.builds(messages.Heartbeat, WHOLE),
    st.builds(messages.Error, st.text(), st.text(), st.none() | st.text(), st.none() | WHOLE),
]


@pytest.mark.parametrize("codec", CODECS)
@given(frame=st.lists(st.one_of(FROM_WORKER), min_size=1, max_size=4))
def test_from_worker_round_trip(codec: Codec, frame: list[messages.FromWorker]) -> None:
    assert codec.decode_from_worker(codec.encode(frame)) == Decoded(frame, [])


@pytest.mark.parametrize("codec", CODECS)
@given(frame=st.lists(st.one_of(TO_WORKER), min_size=1, max_size=4))
def test_to_worker_round_trip(codec: Codec, frame: list[messages.ToWorker]) -> None:
    assert codec.decode_to_worker(codec.encode(frame)) == Decoded(frame, [])


def test_one_codec_for_each_subprotocol() -> None:
    assert [Codec(name).subprotocol for name in SUBPROTOCOLS] == list(SUBPROTOCOLS)
    assert isinstance(JSON.encode([messages.Drain()]), str)
    assert isinstance(MSGPACK.encode([messages.Drain()]), bytes)
    with pytest.raises(ValueError, match=r"'gridd\.v2\.json' is none of gridd\.v1\.msgpack"):
        Codec("gridd.v2.json")


@pytest.mark.parametrize("frame", [[], [messages.Drain()] * (limits.MESSAGES_PER_FRAME_MAX + 1)])
def test_our_own_frames_keep_to_the_bound(frame: Sequence[messages.Drain]) -> None:
    with pytest.raises(AssertionError):
        JSON.encode(frame)


# --- whole frames -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "data", "says"),
    [
        (JSON, b"[]", "gridd.v1.json travels in text frames"),
        (MSGPACK, "[]", "gridd.v1.msgpack travels in binary frames"),
        (JSON, '["\ud83d"]', "not UTF-8"),
        (JSON, "[" * 100_000, "not one JSON array"),
        (MSGPACK, b"\x91" * 100_000 + b"\x01", "not one MessagePack array"),
    ],
)
def test_frames_that_cannot_be_read(codec: Codec, data: bytes | str, says: str) -> None:
    for decode in (codec.decode_from_worker, codec.decode_to_worker):
        decoded = decode(data)
        assert decoded.messages == []
        error = one_error(decoded)
        assert error.code is ErrorCode.BAD_FRAME
        assert says in error.message


@pytest.mark.parametrize("codec", CODECS)
def test_frame_bounds(codec: Codec) -> None:
    most = limits.MESSAGES_PER_FRAME_MAX
    credit = {"type": "credit", "jobs": 1}
    assert len(codec.decode_from_worker(packed(codec, [credit] * most)).messages) == most
    # also when one of them is bad and the frame is taken apart
    for extra in (credit, {"type": "dance"}):
        error = one_error(codec.decode_from_worker(packed(codec, [credit] * most + [extra])))
        assert (error.code, error.limit) == (ErrorCode.BAD_FRAME, most)
    text = "x" * limits.FRAME_BYTES_MAX
    error = one_error(codec.decode_to_worker(packed(codec, [text])))
    assert (error.code, error.limit) == (ErrorCode.BAD_FRAME, limits.FRAME_BYTES_MAX)


# --- messages beside bad ones -------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_good_messages_survive_bad_neighbours_in_order(codec: Codec) -> None:
    frame = [
        {"type": "credit", "jobs": 1},
        {"type": "dance"},
        {"type": "credit", "jobs": "2"},
        {"type": "credit", "jobs": 3},
        {"type": "credit", "jobs": -4},
        "five",
        {"type": "credit", "jobs": 6},
    ]
    decoded = codec.decode_from_worker(packed(codec, frame))
    assert decoded.messages == [messages.Credit(jobs) for jobs in (1, 3, 6)]
    assert [(error.code.value, error.field) for error in decoded.errors] == [
        ("unknown-type", "type"),
        ("bad-message", "credit.jobs"),
        ("bad-message", "credit.jobs"),
        ("bad-message", None),
    ]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "fault", [{"type": "credit", "jobs": -1}, {"type": "dance"}, 5], ids=["bound", "type", "shape"]
)
def test_a_frame_of_faults_is_read_no_further(
    codec: Codec, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame of 8 MiB with 1,000 faults held everybody up for up to 3 s."""
    looked: list[Any] = []
    check = codec_module._checked
    read = codec_module._Side.read_one
    monkeypatch.setattr(codec_module, "_checked", lambda one: looked.append(one) or check(one))
    monkeypatch.setattr(
        codec_module._Side, "read_one", lambda side, one: looked.append(one) or read(side, one)
    )
    good = {"type": "credit", "jobs": 1}
    most = limits.FAULTS_PER_FRAME_MAX
    decoded = codec.decode_from_worker(packed(codec, [good, *[fault] * 900, good]))
    assert decoded.messages == [messages.Credit(1)]
    assert len(decoded.errors) == most + 1
    assert (decoded.errors[-1].code, decoded.errors[-1].limit) == (ErrorCode.BAD_FRAME, most)
    assert most < len(looked) <= most + 2
    bearable = codec.decode_from_worker(packed(codec, [*[fault] * (most - 1), good]))
    assert bearable.messages == [messages.Credit(1)]
    assert ErrorCode.BAD_FRAME not in {error.code for error in bearable.errors}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"\\ud800", "\\ud800"),  # an escaped backslash, and text
        (r"\\\ud800", "\\\ufffd"),
        (r"\ud83d\ude00 \ud83d", "\U0001f600 \ufffd"),
        (r"\ude00\ud83d\ud83d\ude00", "\ufffd\ufffd\U0001f600"),
        (r"\ud83d\n\ude00", "\ufffd\n\ufffd"),
        (r"\\\\\"\uD83D\"", '\\\\"\ufffd"'),
    ],
)
def test_halves_are_told_from_what_looks_like_them(written: str, read: str) -> None:
    half = r" \udc00"  # so that the frame needs mending at all
    text = f'[{{"type":"release","job":"{JOB}","attempt":1,"message":"{written}{half}"}}]'
    (message,) = JSON.decode_from_worker(text).messages
    assert isinstance(message, messages.Release)
    assert message.message == f"{read} \ufffd"


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_refused_is_not_kept(codec: Codec) -> None:
    """An error that remembers the calls it came through keeps all that they held, in a cycle."""
    log = {"type": "log", "job": JOB, "attempt": 1, "step": "Running", "cursor": 0}
    too_many = {**log, "lines": [["", 1]] * (limits.LOG_LINES_PER_MESSAGE_MAX + 1)}
    for frame in ([too_many], [too_many, {"type": "nope"}], [{}] * 1_001, 5):
        decoded = codec.decode_from_worker(packed(codec, frame))
        for error in decoded.errors:
            assert (error.__traceback__, error.__context__) == (None, None)
        assert decoded.errors


def test_half_a_character_in_json_becomes_a_replacement() -> None:
    log = {"type": "log", "job": JOB, "attempt": 1, "step": "Running", "cursor": 0}
    text = json.dumps([{**log, "lines": [["a\ud83d\n", 5]]}])
    assert "\\ud83d" in text
    decoded = JSON.decode_from_worker(text)
    assert decoded.errors == []
    assert decoded.messages[0] == messages.Log(
        JOB, 1, "Running", 0, [messages.LogLine("a\ufffd\n", 5)]
    )


def test_a_map_with_odd_keys() -> None:
    for data in (b"\x91\x81\x90\x01", b"\x91\x81\x01\x02", b"\x91\xc7\x00\x05"):
        decoded = MSGPACK.decode_from_worker(data)
        assert decoded.messages == []
        assert one_error(decoded).code is ErrorCode.BAD_MESSAGE


# --- bounds inside messages ---------------------------------------------------------------

LINE = limits.LOG_LINE_BYTES_MAX
LINES_MAX = limits.LOG_LINES_PER_MESSAGE_MAX


def log(*lines: messages.LogLine) -> messages.Log:
    return messages.Log(JOB, 1, "Running", 0, list(lines))


def finished(result: str) -> messages.Finished:
    return messages.Finished(JOB, 1, "Success", result)


def result_of(size: int) -> str:
    return '{"error":"%s"}' % ("x" * (size - len('{"error":""}')))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(log(messages.LogLine("x" * LINE, 0)), id="line"),
        pytest.param(log(messages.LogLine("é" * (LINE // 2), 0)), id="wide line"),
        pytest.param(log(*[messages.LogLine("x", 0)] * LINES_MAX), id="lines"),
        pytest.param(finished(result_of(limits.RESULT_BYTES_MAX)), id="result"),
        pytest.param(messages.Release(JOB, 1, "x" * LINE), id="release"),
        pytest.param(
            messages.Hello("w" * limits.WORKER_ID_BYTES_MAX, credit=limits.CREDIT_MAX), id="hello"
        ),
        pytest.param(
            messages.Hello("w", running=[messages.Held(JOB, 1)] * limits.CREDIT_MAX), id="running"
        ),
    ],
)
def test_at_the_bound(codec: Codec, message: messages.FromWorker) -> None:
    assert codec.decode_from_worker(codec.encode([message])) == Decoded([message], [])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("message", "code", "field", "limit"),
    [
        (log(messages.LogLine("x" * (LINE + 1), 0)), "bad-message", "log.lines[0][0]", LINE),
        (log(messages.LogLine("é" * LINE, 0)), "bad-message", "log.lines[0][0]", LINE),
        (log(*[messages.LogLine("", 0)] * (LINES_MAX + 1)), "bad-message", "log.lines", LINES_MAX),
        (
            finished(result_of(limits.RESULT_BYTES_MAX + 1)),
            "too-large",
            "finished.result",
            limits.RESULT_BYTES_MAX,
        ),
        (messages.Release(JOB, 1, "x" * (LINE + 1)), "bad-message", "release.message", LINE),
        (
            messages.Hello("w", running=[messages.Held(JOB, 1)] * (limits.CREDIT_MAX + 1)),
            "bad-message",
            "hello.running",
            limits.CREDIT_MAX,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_over_the_bound(
    codec: Codec, message: messages.FromWorker, code: str, field: str, limit: int
) -> None:
    decoded = codec.decode_from_worker(codec.encode([messages.Credit(1), message]))
    assert decoded.messages == [messages.Credit(1)]
    error = one_error(decoded)
    assert (error.code.value, error.field, error.limit) == (code, field, limit)
    assert str(limit) in error.message


@pytest.mark.parametrize("codec", CODECS)
def test_over_the_bound_from_a_server(codec: Codec) -> None:
    push = messages.Push(JOB, 1, "x" * (limits.DEFINITION_BYTES_MAX + 1))
    welcome = messages.Welcome("q", kept=[messages.Kept(JOB, 1)] * (limits.CREDIT_MAX + 1))
    for message, field, limit in (
        (push, "push.definition", limits.DEFINITION_BYTES_MAX),
        (welcome, "welcome.kept", limits.CREDIT_MAX),
    ):
        error = one_error(codec.decode_to_worker(codec.encode([message])))
        assert (error.field, error.limit) == (field, limit)


def test_a_result_nested_too_deep() -> None:
    message = finished('{"error":' + "[" * 100_000 + "]" * 100_000 + "}")
    error = one_error(MSGPACK.decode_from_worker(MSGPACK.encode([message])))
    assert (error.code, error.field) == (ErrorCode.BAD_MESSAGE, "finished.result")


# --- anything at all ----------------------------------------------------------------------


def harmless(decoded: Decoded[Any]) -> None:
    assert decoded.messages or decoded.errors
    for error in decoded.errors:
        json.dumps(error.body(), ensure_ascii=False).encode()


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    for decode in (MSGPACK.decode_from_worker, MSGPACK.decode_to_worker):
        harmless(decode(data))


@given(st.text(st.characters(exclude_categories=())))
def test_any_text(data: str) -> None:
    for decode in (JSON.decode_from_worker, JSON.decode_to_worker):
        decoded = decode(data)
        harmless(decoded)
        assert decoded.messages == []


@given(st.lists(st.one_of(FROM_WORKER), min_size=1, max_size=3), st.data())
def test_a_damaged_frame(frame: list[messages.FromWorker], data: st.DataObject) -> None:
    packed_frame = MSGPACK.encode(frame)
    assert isinstance(packed_frame, bytes)
    damaged = bytearray(packed_frame)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    harmless(MSGPACK.decode_from_worker(bytes(damaged)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 60) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TAGS = st.sampled_from(["hello", "credit", "started", "log", "finished", "push", "welcome", "x"])
MEMBERS = st.sampled_from(
    ["job", "attempt", "jobs", "lines", "cursor", "result", "worker", "queue"]
)


@given(
    st.lists(
        st.builds(
            lambda tag, members: {"type": tag, **members},
            TAGS,
            st.dictionaries(MEMBERS, VALUES, max_size=4),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_members(frame: list[dict[str, Any]]) -> None:
    for codec in (JSON, MSGPACK):
        for decode in (codec.decode_from_worker, codec.decode_to_worker):
            decoded = decode(packed(codec, frame))
            harmless(decoded)
            if ErrorCode.BAD_FRAME not in {error.code for error in decoded.errors}:
                assert len(decoded.messages) + len(decoded.errors) == len(frame)
