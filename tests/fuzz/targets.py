"""What is fuzzed, as functions of bytes. Each raises (an assertion, or whatever escapes) when
something other than a reported error came of them."""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

from gridd.core.effects import JobView
from gridd.core.records import Finished
from gridd.documents import finished_of
from gridd.submission import read_submission
from gridd_protocol import messages
from gridd_protocol.codec import Codec, Decoded
from gridd_protocol.errors import ProtocolError
from gridd_protocol.limits import MESSAGES_PER_FRAME_MAX
from gridd_protocol.messages import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK
from tests.fuzz.mutation import (
    JSON_TOKENS,
    MSGPACK_TOKENS,
    frame_seeds,
    mutated,
    result_seeds,
    submission_seeds,
)

_TEXTS, _PACKED = frame_seeds()
_JSON, _MSGPACK = Codec(SUBPROTOCOL_JSON), Codec(SUBPROTOCOL_MSGPACK)


def json_frame(data: bytes) -> None:
    _both_sides(_JSON, data.decode("utf-8", "surrogateescape"))


def msgpack_frame(data: bytes) -> None:
    _both_sides(_MSGPACK, data)


def _both_sides(codec: Codec, data: Any) -> None:
    decoders: list[Callable[[Any], Decoded[Any]]] = [
        codec.decode_from_worker,
        codec.decode_to_worker,
    ]
    for decode in decoders:
        decoded = decode(data)
        assert len(decoded.messages) + len(decoded.errors) <= MESSAGES_PER_FRAME_MAX
        assert decoded.messages or decoded.errors, "neither a message nor an error"
        for error in decoded.errors:
            assert_reportable(error)
        if decoded.messages:
            again = decode(codec.encode(decoded.messages))
            assert again.messages == decoded.messages, "a good message reads back as another"


def submission(data: bytes) -> None:
    try:
        found, event = read_submission(data)
    except ProtocolError as error:
        assert_reportable(error)
        return
    assert event.job == found.id
    again, _ = read_submission(b'{"definition":%b}' % event.definition)
    assert again.id == found.id, "what is stored has another id than what was sent"


def result(data: bytes) -> None:
    """What a worker may say is kept, and then anyone must be able to read it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    said = messages.Finished("0a" * 32, 1, "Success", text)
    decoded = _MSGPACK.decode_from_worker(_MSGPACK.encode([said]))
    for error in decoded.errors:
        assert_reportable(error)
    if decoded.messages:
        record = Finished("q", said.job, 1, "Success", 1, "w", "", data, b"")
        shown = finished_of(msgspec.msgpack.encode(record), _VIEW, None)
        assert "result" in json.loads(shown)["finished"]


_VIEW = JobView(state="Finished", queued_time=1, time=1, worker="w", namespaces=("_",))


def assert_reportable(error: ProtocolError) -> None:
    """It can be sent: JSON in UTF-8, a sentence, not longer than a screen."""
    body = json.dumps(error.body(), ensure_ascii=False).encode()
    assert error.message
    assert len(body) < 4_000, f"an error of {len(body)} bytes"


Target = Callable[[bytes], None]
Maker = Callable[[random.Random], bytes]

TARGETS: dict[str, tuple[Target, list[bytes], list[bytes]]] = {
    "json_frame": (json_frame, _TEXTS, JSON_TOKENS),
    "msgpack_frame": (msgpack_frame, _PACKED, MSGPACK_TOKENS),
    "result": (result, result_seeds(), JSON_TOKENS),
    "submission": (submission, submission_seeds(), JSON_TOKENS),
}


def made(name: str, chance: random.Random) -> bytes:
    _, seeds, tokens = TARGETS[name]
    return mutated(seeds, tokens, chance)
