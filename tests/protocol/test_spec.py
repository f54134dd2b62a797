"""SPEC.md and the code say the same: messages, members, error codes, limits, examples."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from gridd_protocol import limits, messages
from gridd_protocol.codec import Codec, Decoded
from gridd_protocol.errors import ErrorCode
from gridd_protocol.results import Result

SPEC = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text(encoding="utf-8")

MESSAGES = {
    message.__struct_config__.tag: message
    for message in (*get_args(messages.FromWorker), *get_args(messages.ToWorker))
}
LIMITS = {name: value for name, value in vars(limits).items() if name.isupper()}


def section(heading: str) -> str:
    """From the heading to the next one of the same or a higher level. Raises when it is absent."""
    level = heading.split(" ")[0]
    found = re.search(rf"^{re.escape(heading)}$", SPEC, re.MULTILINE)
    assert found, f"SPEC.md has no heading {heading!r}"
    rest = SPEC[found.end() :]
    end = re.search(rf"^#{{2,{len(level)}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> dict[str, list[str]]:
    """Table rows by the name in their first cell; a cell may name several."""
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        for name in re.findall(r"`([^`]+)`", cells[0]) if cells else []:
            table[name] = cells
    return table


def wire_members(struct: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    return list(msgspec.structs.fields(struct))


@pytest.mark.parametrize("name", MESSAGES)
def test_each_message_has_a_heading_and_a_row_for_each_member(name: str) -> None:
    described = rows(section(f"### `{name}`"))
    for member in wire_members(MESSAGES[name]):
        assert member.encode_name in described, f"{name}.{member.encode_name} is not described"


@pytest.mark.parametrize("name", MESSAGES)
def test_members_with_a_plain_default_name_it(name: str) -> None:
    described = rows(section(f"### `{name}`"))
    for member in wire_members(MESSAGES[name]):
        if isinstance(member.default, int | str) and not isinstance(member.default, bool):
            written = f'`"{member.default}"`' if member.default == "" else str(member.default)
            cells = described[member.encode_name]
            assert any(written in cell.replace(",", "") for cell in cells[2:3]), (
                f"{name}.{member.encode_name} has the default {member.default!r}, SPEC says {cells}"
            )


def test_no_message_is_described_that_does_not_exist() -> None:
    headings = set(re.findall(r"^### `([^`]+)`$", SPEC, re.MULTILINE))
    assert headings == set(MESSAGES)


@pytest.mark.parametrize(
    ("struct", "heading"),
    [
        (messages.Resources, "### `hello`"),
        (messages.Held, "### `hello`"),
        (Result, "## 5. The worker conversation"),
    ],
)
def test_each_member_of_the_shapes_inside_has_a_row(
    struct: type[msgspec.Struct], heading: str
) -> None:
    described = rows(section(heading))
    for member in wire_members(struct):
        assert member.encode_name in described, f"{member.encode_name} is not under {heading}"


def test_kept_leases_are_described_with_every_member() -> None:
    text = section("### `welcome`")
    for member in wire_members(messages.Kept):
        assert f"`{member.encode_name}`" in text


def test_each_step_reason_and_kind_is_named() -> None:
    text = section("## 6. Messages from the worker")
    for word in (*get_args(messages.Step), *get_args(messages.Reason), *get_args(messages.Kind)):
        assert f"`{word}`" in text, f"{word} is not named"


def test_subprotocols_and_version_are_named() -> None:
    described = rows(section("## 5. The worker conversation"))
    assert messages.SUBPROTOCOL_MSGPACK in described
    assert messages.SUBPROTOCOL_JSON in described
    assert SPEC.startswith(f"# The gridd protocol, version {messages.PROTOCOL_VERSION}\n")


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.value)
def test_each_error_code_has_a_row_with_its_status_and_fatality(code: ErrorCode) -> None:
    cells = rows(section("## 11. Error codes"))[code.value]
    assert cells[1] == str(code.http)
    assert cells[2] == ("yes" if code.fatal else "no")


def test_no_error_code_is_described_that_does_not_exist() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", section("## 11. Error codes"), re.MULTILINE)
    assert sorted(listed) == sorted(code.value for code in ErrorCode)


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_has_a_row_with_its_value(name: str) -> None:
    cells = rows(section("## 12. Limits")).get(name)
    assert cells is not None, f"{name} has no row"
    assert cells[1].replace(",", "") == str(LIMITS[name])


def test_every_limit_that_the_text_names_exists() -> None:
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", SPEC))
    program = {"JOB_ID", "JOB_INPUTS", "JOB_OUTPUTS", "JOB_CACHE"}
    assert named - program == set(LIMITS)


def examples() -> list[Any]:
    found = re.findall(r"^```json messages (worker|server)\n(.*?)^```", SPEC, re.M | re.S)
    return [
        pytest.param(sender, text, id=f"{number}-{sender}")
        for number, (sender, text) in enumerate(found)
    ]


def test_each_message_has_an_example() -> None:
    shown = {
        message["type"]
        for example in examples()
        for message in msgspec.json.decode(example.values[1])
    }
    assert shown == set(MESSAGES)


@pytest.mark.parametrize(("sender", "text"), examples())
def test_examples_decode_and_name_no_unknown_member(sender: str, text: str) -> None:
    text = re.sub("([0-9a-f]{8})…", lambda short: short[1] * 8, text)  # ids are shortened there
    codec = Codec(messages.SUBPROTOCOL_JSON)
    decoded: Decoded[Any] = (
        codec.decode_from_worker(text) if sender == "worker" else codec.decode_to_worker(text)
    )
    assert not decoded.errors
    for message, written in zip(decoded.messages, msgspec.json.decode(text), strict=True):
        members = {member.encode_name for member in wire_members(type(message))}
        assert set(written) - {"type"} <= members
