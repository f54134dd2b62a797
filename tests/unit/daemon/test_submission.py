"""What a client can get wrong about a submission, and what becomes of a right one."""

import json
from pathlib import Path

import pytest

from gridd.core.records import Needs
from gridd.submission import read_submission
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.jobid import job_id
from gridd_protocol.limits import DEFINITION_BYTES_MAX, SUBMIT_BODY_BYTES_MAX

VECTORS = Path(__file__).parents[3] / "protocol" / "vectors"
DEFINITION = {"image": "alpine:3.18.5", "command": "echo hi"}


def body(**members: object) -> bytes:
    return json.dumps(members).encode()


def test_a_bare_definition_becomes_an_event():
    raw = b'{"definition": {"image" : "a", "v": 1.0, "unknown": [1e2]} }'
    found, event = read_submission(raw)
    assert event.definition == b'{"image" : "a", "v": 1.0, "unknown": [1e2]}', "not as sent"
    assert event.job == found.id == job_id({"image": "a", "v": 1.0})
    assert (event.namespace, event.run_ms_max, event.debug) == ("_", 0, False)
    assert (event.tags, event.requirements, event.control) == (b"", b"", b"")
    assert event.needs == Needs()


def test_needs_come_from_requirements_and_tags():
    definition = {
        "image": "a",
        "tags": ["b", "a", "b"],
        "requirements": {"cpus": 0.5, "gpus": 2, "memory": "1g", "maxDuration": "10m", "x": 1},
    }
    _, event = read_submission(body(definition=definition))
    assert event.needs == Needs("container", 500, 2, 1 << 30, 600_000, ("a", "b"))
    assert json.loads(event.tags) == ["b", "a", "b"]
    assert json.loads(event.requirements)["x"] == 1


def test_a_job_without_image_and_build_asks_for_a_process():
    assert read_submission(body(definition={"command": "ls"}))[1].needs.kind == "process"


def test_control_and_debug_are_kept():
    control = {"namespace": "n", "maxDuration": "90s", "callbacks": {"queued": {"url": "http://x"}}}
    _, event = read_submission(body(definition=DEFINITION, control=control, debug=True))
    assert (event.namespace, event.run_ms_max, event.debug) == ("n", 90_000, True)
    assert json.loads(event.control) == control


@pytest.mark.parametrize("callbacks", [{}, {"callbacks": None}])
def test_a_control_block_that_asks_for_no_call_is_not_kept(callbacks: dict[str, None]):
    control = {"namespace": "n", "maxDuration": "90s", **callbacks}
    _, event = read_submission(body(definition=DEFINITION, control=control))
    assert (event.namespace, event.run_ms_max, event.control) == ("n", 90_000, b"")


def test_the_right_id_is_accepted():
    assert read_submission(body(id=job_id(DEFINITION), definition=DEFINITION))[1].job


CASES = [
    ("not JSON", b"{nope", ErrorCode.BAD_JSON, "body"),
    ("empty", b"", ErrorCode.BAD_JSON, "body"),
    ("not UTF-8", b'{"id": "\xff"}', ErrorCode.BAD_JSON, "body"),
    ("deep", b'{"x":' + b"[" * 100_000, ErrorCode.BAD_JSON, "body"),
    ("null", b" null ", ErrorCode.BAD_REQUEST, None),
    ("zero", b"0", ErrorCode.BAD_REQUEST, None),
    ("a list", b"[]", ErrorCode.BAD_REQUEST, "body"),
    ("no definition", b"{}", ErrorCode.BAD_REQUEST, "definition"),
    ("null definition", b'{"definition":null}', ErrorCode.BAD_REQUEST, "definition"),
    ("text definition", b'{"definition":"x"}', ErrorCode.BAD_DEFINITION, "definition"),
    ("id only", body(id="a" * 64), ErrorCode.BAD_REQUEST, "definition"),
    ("id of a wrong type", body(id=5, definition=DEFINITION), ErrorCode.BAD_REQUEST, "id"),
    ("wrong id", body(id="a" * 64, definition=DEFINITION), ErrorCode.ID_MISMATCH, "id"),
    ("debug", body(debug="yes", definition=DEFINITION), ErrorCode.BAD_REQUEST, "debug"),
    ("control", body(control=[], definition=DEFINITION), ErrorCode.BAD_REQUEST, "control"),
    (
        "namespace object",
        body(control={"namespace": {}}, definition=DEFINITION),
        ErrorCode.BAD_REQUEST,
        "control.namespace",
    ),
    (
        "namespace too long",
        body(control={"namespace": "n" * 300}, definition=DEFINITION),
        ErrorCode.BAD_NAME,
        "control.namespace",
    ),
    (
        "namespace star",
        body(control={"namespace": "*"}, definition=DEFINITION),
        ErrorCode.BAD_NAME,
        "control.namespace",
    ),
    (
        "control.maxDuration",
        body(control={"maxDuration": "soon"}, definition=DEFINITION),
        ErrorCode.BAD_REQUEST,
        "control.maxDuration",
    ),
    (
        "definition too large",
        body(definition={"command": "x" * DEFINITION_BYTES_MAX}),
        ErrorCode.TOO_LARGE,
        "definition",
    ),
    ("body too large", b" " * (SUBMIT_BODY_BYTES_MAX + 1), ErrorCode.TOO_LARGE, "body"),
]


@pytest.mark.parametrize(
    ("raw", "code", "field"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_what_is_wrong_is_named(raw, code, field):
    with pytest.raises(ProtocolError) as caught:
        read_submission(raw)
    assert (caught.value.code, caught.value.field) == (code, field), caught.value.message
    if field and field != "body":
        assert field in caught.value.message, "the sentence does not name the member"


def test_a_wrong_id_is_told_the_right_one():
    with pytest.raises(ProtocolError, match=job_id(DEFINITION)):
        read_submission(body(id="a" * 64, definition=DEFINITION))


def test_a_lone_surrogate_is_kept_value_for_value():
    definition = b'{"image":"a","command":"\\ud800","tags":["\\uDC00"]}'
    raw = b'{"definition":%b,"control":{"namespace":"n"}}' % definition
    found, event = read_submission(raw)
    assert found.id == job_id({"image": "a", "command": "\ud800", "tags": ["\udc00"]})
    assert json.loads(event.definition) == {"image": "a", "command": "\ud800", "tags": ["\udc00"]}
    assert json.loads(event.tags) == ["\udc00"]
    assert event.namespace == "n"


def test_every_definition_with_a_known_id_is_accepted():
    vectors = json.loads((VECTORS / "job-id.json").read_text())
    assert len(vectors) == 187
    for vector in vectors:
        raw = json.dumps({"id": vector["id"], "definition": vector["definition"]}).encode()
        assert read_submission(raw.replace(b"Infinity", b"1e400"))[1].job == vector["id"], vector[
            "name"
        ]


def test_every_malformed_definition_is_refused():
    for vector in json.loads((VECTORS / "malformed-definitions.json").read_text()):
        with pytest.raises(ProtocolError) as caught:
            read_submission(body(definition=vector["definition"]))
        assert caught.value.code is ErrorCode.BAD_DEFINITION, vector["name"]
        assert caught.value.field is not None
