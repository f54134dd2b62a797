"""The files of ``protocol/vectors``, run against the code, both codings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from gridd_protocol import messages
from gridd_protocol.codec import Codec, Decoded
from gridd_protocol.definitions import checked
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.jobid import job_id
from gridd_protocol.units import parse_bytes, parse_duration

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
CODECS = {
    "json": Codec(messages.SUBPROTOCOL_JSON),
    "msgpack": Codec(messages.SUBPROTOCOL_MSGPACK),
}
PARSERS: dict[str, Callable[[str], int]] = {"duration": parse_duration, "size": parse_bytes}
TYPES = {
    "worker-to-server": {t.__struct_config__.tag for t in get_args(messages.FromWorker)},
    "server-to-worker": {t.__struct_config__.tag for t in get_args(messages.ToWorker)},
}


def cases(file: str) -> list[Any]:
    return json.loads((VECTORS / file).read_text(encoding="utf-8"))


def named(file: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{case['name']} {case.get('coding', '')}".strip())
        for case in cases(file)
    ]


def as_text(definition: object) -> bytes:
    """``1e400`` was read as infinity, which the standard library writes as no other can read."""
    return json.dumps(definition).replace("Infinity", "1e400").encode()


def decode(coding: str, direction: str, data: bytes | str) -> Decoded[Any]:
    codec = CODECS[coding]
    if direction == "worker-to-server":
        return codec.decode_from_worker(data)
    return codec.decode_to_worker(data)


def test_vectors_are_plain_json_in_files_that_the_readme_names() -> None:
    readme = (VECTORS / "README.md").read_text(encoding="utf-8")
    for path in VECTORS.glob("*.json"):
        assert f"`{path.name}`" in readme
        json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize("case", named("job-id.json"))
def test_job_id(case: dict[str, Any]) -> None:
    assert job_id(case["definition"]) == case["id"]
    assert checked(as_text(case["definition"])).id == case["id"]


@pytest.mark.parametrize("case", named("malformed-definitions.json"))
def test_malformed_definition(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        checked(as_text(case["definition"]))
    assert caught.value.code is ErrorCode.BAD_DEFINITION
    assert caught.value.field is not None
    member = caught.value.field.split(".")[1].split("[")[0]
    assert member in case["definition"]


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=f"{c['kind']} {c['text'][:20]!r}") for c in cases("units.json")]
)
def test_units(case: dict[str, Any]) -> None:
    parse = PARSERS[case["kind"]]
    if case["value"] is None:
        with pytest.raises(ValueError, match=r"is not|is neither"):
            parse(case["text"])
    else:
        assert parse(case["text"]) == case["value"]


@pytest.mark.parametrize("case", named("frames.json"))
def test_frame(case: dict[str, Any]) -> None:
    binary = bytes.fromhex(case["msgpack"])
    from_json = decode("json", case["direction"], json.dumps(case["messages"]))
    from_msgpack = decode("msgpack", case["direction"], binary)
    assert from_json.errors == from_msgpack.errors == []
    assert from_json.messages == from_msgpack.messages
    assert [m.__struct_config__.tag for m in from_json.messages] == [
        m["type"] for m in case["messages"]
    ]
    if case["exact"]:
        assert CODECS["msgpack"].encode(from_json.messages) == binary
        assert json.loads(CODECS["json"].encode(from_json.messages)) == case["messages"]


@pytest.mark.parametrize("case", named("frames-bad.json"))
def test_bad_frame(case: dict[str, Any]) -> None:
    data = case["data"] if case["coding"] == "json" else bytes.fromhex(case["data"])
    decoded = decode(case["coding"], case["direction"], data)
    assert len(decoded.errors) == 1, decoded.errors
    error = decoded.errors[0]
    assert (error.code.value, error.field) == (case["code"], case.get("field")), error.message
    if "limit" in case:
        assert error.limit == case["limit"]
    assert len(decoded.messages) == case.get("kept", 0)


@pytest.mark.parametrize("direction", TYPES)
def test_every_message_has_a_vector_and_every_member_stands_in_one(direction: str) -> None:
    seen: dict[str, set[str]] = {}
    for case in cases("frames.json"):
        if case["direction"] == direction:
            for message in case["messages"]:
                seen.setdefault(message["type"], set()).update(message)
    assert set(seen) == TYPES[direction]
    union = messages.FromWorker if direction == "worker-to-server" else messages.ToWorker
    for type_ in get_args(union):
        assert set(type_.__struct_encode_fields__) <= seen[type_.__struct_config__.tag]
