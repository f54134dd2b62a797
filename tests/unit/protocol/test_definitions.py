"""Checking a definition: each refusal with its field, each number with its default."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridd_protocol import limits
from gridd_protocol.definitions import (
    Build,
    Checked,
    Definition,
    Requirements,
    checked,
    parse_definition,
)
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.jobid import job_id


def check(definition: object) -> Checked:
    return checked(json.dumps(definition).encode())


def refusal(raw: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        checked(raw)
    json.dumps(caught.value.body(), ensure_ascii=False).encode()
    return caught.value


def test_everything_is_read() -> None:
    definition = {
        "v": 1,
        "image": "a",
        "command": "c",
        "entrypoint": "e",
        "env": {"A": "1", "N": 2},
        "workdir": "/w",
        "shmSize": "64m",
        "build": {"buildContext": "sub", "buildArgs": ["A=1"], "unknown": 1},
        "inputs": {"f": {"value": "x"}},
        "configFiles": {"/etc/c": "odd"},
        "maxDuration": "10m",
        "tags": ["b", "a", None, "", "b"],
        "requirements": {"cpus": 2, "gpus": 1.0, "memory": "1g", "maxDuration": 5000},
        "unknown": [1],
    }
    found = check(definition)
    assert found == Checked(
        id=job_id(definition),
        definition=Definition(
            v=1,
            image="a",
            command="c",
            entrypoint="e",
            env={"A": "1", "N": 2},
            workdir="/w",
            shm_size="64m",
            build=Build(build_context="sub", build_args=["A=1"]),
            inputs={"f": {"value": "x"}},
            config_files={"/etc/c": "odd"},
            max_duration="10m",
            tags=["b", "a", None, "", "b"],
            requirements=Requirements(cpus=2.0, gpus=1.0, memory="1g", max_duration=5000),
        ),
        cpus=2.0,
        gpus=1,
        memory=1 << 30,
        required_duration=5000,
        max_duration=600_000,
        shm_size=64 << 20,
        tags=("a", "b"),
    )
    assert isinstance(found.gpus, int)
    assert parse_definition(json.dumps(definition).encode()) == found.definition


def test_defaults() -> None:
    assert check({}) == Checked(id=job_id({}), definition=Definition())
    empty = {"maxDuration": "", "shmSize": "", "requirements": {"memory": "", "maxDuration": None}}
    found = check(empty)
    numbers = (found.cpus, found.gpus, found.memory, found.required_duration, found.max_duration)
    assert numbers == (1.0, 0, 0, 0, 0)
    assert (found.shm_size, found.tags) == (0, ())


@pytest.mark.parametrize(
    ("definition", "kind"),
    [
        ({"image": "a"}, "container"),
        ({"image": ""}, "container"),
        ({"build": {"dockerfile": "FROM a"}}, "container"),
        ({"command": "x"}, "process"),
        ({"command": "x", "image": None, "build": None}, "process"),
        # hashed like no build at all, so it must also run like that
        ({"command": "x", "build": {}}, "process"),
        ({"command": "x", "build": {"unknown": 1, "target": None}}, "process"),
    ],
)
def test_kind(definition: dict[str, Any], kind: str) -> None:
    assert check(definition).kind == kind
    assert check(definition).definition.kind == kind


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ([], "definition"),
        (None, "definition"),
        ("text", "definition"),
        ({"image": 1}, "definition.image"),
        ({"command": ["a"]}, "definition.command"),
        ({"entrypoint": ["a"]}, "definition.entrypoint"),
        ({"workdir": {}}, "definition.workdir"),
        ({"env": False}, "definition.env"),
        ({"tags": ["a", 1]}, "definition.tags[1]"),
        ({"build": {"target": 5}}, "definition.build.target"),
        ({"build": {"buildArgs": ["a", None]}}, "definition.build.buildArgs[1]"),
        ({"requirements": 0}, "definition.requirements"),
        ({"requirements": {"cpus": True}}, "definition.requirements.cpus"),
        ({"requirements": {"cpus": -0.1}}, "definition.requirements.cpus"),
        ({"requirements": {"cpus": 1e300}}, "definition.requirements.cpus"),
        ({"requirements": {"cpus": 10**400}}, "definition.requirements.cpus"),
        ({"requirements": {"gpus": -1}}, "definition.requirements.gpus"),
        ({"requirements": {"gpus": 0.5}}, "definition.requirements.gpus"),
        ({"requirements": {"gpus": 10**30}}, "definition.requirements.gpus"),
        ({"requirements": {"memory": "lots"}}, "definition.requirements.memory"),
        ({"requirements": {"memory": -1}}, "definition.requirements.memory"),
        ({"requirements": {"memory": [1]}}, "definition.requirements.memory"),
        ({"requirements": {"maxDuration": "soon"}}, "definition.requirements.maxDuration"),
        ({"maxDuration": "1h abc"}, "definition.maxDuration"),
        ({"maxDuration": "-5m"}, "definition.maxDuration"),
        ({"maxDuration": -5}, "definition.maxDuration"),
        ({"maxDuration": True}, "definition.maxDuration"),
        ({"shmSize": "big"}, "definition.shmSize"),
        ({"inputs": []}, "definition.inputs"),
        ({"inputs": {"a": None}}, "definition.inputs.a"),
        ({"configFiles": {"/c": None}}, "definition.configFiles./c"),
        ({"inputs": {"../a": {"value": ""}}}, "definition.inputs.../a"),
        ({"inputs": {"a/../../b": {"value": ""}}}, "definition.inputs.a/../../b"),
        ({"inputs": {"a\\..\\b": {"value": ""}}}, "definition.inputs.a\\..\\b"),
        ({"configFiles": {"/..": {"value": ""}}}, "definition.configFiles./.."),
        ({"inputs": {"\ud83d": None}}, "definition.inputs.\ufffd"),
    ],
)
def test_refused(definition: object, field: str) -> None:
    error = refusal(json.dumps(definition).encode())
    assert (error.code, error.field) == (ErrorCode.BAD_DEFINITION, field)
    assert error.message.startswith(f"{field} is ")


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" * 5_000])
@pytest.mark.parametrize("member", ["cpus", "gpus", "memory", "maxDuration"])
def test_numbers_without_end(number: bytes, member: str) -> None:
    error = refusal(b'{"requirements":{"%s":%s}}' % (member.encode(), number))
    assert (error.code, error.field) == (
        ErrorCode.BAD_DEFINITION,
        f"definition.requirements.{member}",
    )


@pytest.mark.parametrize(
    "definition",
    [
        {"inputs": {"..a": {}, "a..": 7, "...": "x", "": {}, "a//b": [], "back\\slash": {}}},
        {"inputs": {"\x00": {"type": 7}, "\ud83d": {}}, "env": {"\ud83d": None}},
        {"maxDuration": 0, "shmSize": 64, "requirements": {"cpus": 0, "memory": 1.5}},
    ],
)
def test_odd_but_accepted(definition: dict[str, Any]) -> None:
    assert check(definition).id == job_id(definition)


def test_file_names_have_a_bound() -> None:
    bound = limits.FILE_NAME_BYTES_MAX
    assert check({"inputs": {"x" * bound: {}}, "configFiles": {"é" * (bound // 2): {}}})
    for name in ("x" * (bound + 1), "é" * (bound // 2 + 1), "\ud83d" * bound):
        error = refusal(json.dumps({"configFiles": {name: {}}}).encode())
        assert (error.code, error.limit) == (ErrorCode.BAD_DEFINITION, bound)
        assert error.field is not None
        assert error.field.startswith("definition.configFiles.")
        assert len(error.field) <= 200


def test_size_bound() -> None:
    bound = limits.DEFINITION_BYTES_MAX
    frame = b'{"command":""}'
    fits = frame.replace(b'""', b'"%s"' % (b"x" * (bound - len(frame))))
    assert len(fits) == bound
    assert checked(fits)
    error = refusal(fits + b" ")
    assert (error.code, error.field, error.limit) == (ErrorCode.TOO_LARGE, "definition", bound)


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    """A definition of ``depth`` levels, its own included."""
    inside = opening * (depth - 1) + b"1" + closing * (depth - 1)
    return b'{"unknown":%s}' % inside


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_bound(opening: bytes, closing: bytes) -> None:
    bound = limits.DEFINITION_DEPTH_MAX
    assert checked(nested(bound, opening, closing))
    for depth in (bound + 1, 1_000, 100_000):
        error = refusal(nested(depth, opening, closing))
        assert (error.code, error.field, error.limit) == (
            ErrorCode.BAD_DEFINITION,
            "definition",
            bound,
        )


def test_many_brackets_are_not_depth() -> None:
    assert check({"image": "a", "env": {"A": "[" * 500}, "extra": [[] for _ in range(500)]})


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"{}{}", b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b'{"a":NaN}', b"'a'"]
)
def test_not_json(raw: bytes) -> None:
    error = refusal(raw)
    assert (error.code, error.field) == (ErrorCode.BAD_JSON, "definition")


@given(st.binary())
def test_any_bytes_are_a_definition_or_a_protocol_error(raw: bytes) -> None:
    try:
        checked(raw)
    except ProtocolError as error:
        assert error.code in (ErrorCode.BAD_JSON, ErrorCode.BAD_DEFINITION)  # noqa: PT017


MEMBERS = st.sampled_from([*Definition.__struct_encode_fields__, "unknown"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["cpus", "gpus", "memory", "target"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(MEMBERS, VALUES, max_size=3))
def test_any_members_give_the_id_or_a_named_member(definition: dict[str, Any]) -> None:
    try:
        found = check(definition)
    except ProtocolError as error:
        assert error.field is not None  # noqa: PT017
        assert error.field.startswith("definition")  # noqa: PT017
    else:
        assert found.id == job_id(definition)


@pytest.mark.parametrize("member", ["inputs", "configFiles"])
def test_one_file_too_many_is_refused(member: str) -> None:
    def text(count: int) -> bytes:
        files = {str(n): {"value": ""} for n in range(count)}
        return json.dumps({"image": "a", member: files}).encode()

    checked(text(limits.FILES_PER_JOB_MAX))
    with pytest.raises(ProtocolError) as caught:
        checked(text(limits.FILES_PER_JOB_MAX + 1))
    assert caught.value.field == f"definition.{member}"
    assert caught.value.limit == limits.FILES_PER_JOB_MAX
    assert "4097 files; 4096" in caught.value.message
