"""A submission as it arrives (WIRE 1.3), checked and turned into an event.

Everything that a client can get wrong about a job is refused here, with the member's name, so
that the engine never sees it.
"""

import json
from typing import Any

import msgspec

from gridd.core.events import Submit
from gridd.core.jobs import DEFAULT_NAMESPACE
from gridd.core.records import Needs
from gridd.webhooks.asked import Callbacks, check_callbacks
from gridd_protocol.canonical import read_json
from gridd_protocol.definitions import Checked, checked
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import SUBMIT_BODY_BYTES_MAX
from gridd_protocol.names import check_namespace
from gridd_protocol.units import parse_duration


class _Control(msgspec.Struct):
    namespace: str | None = None
    callbacks: Callbacks | None = None
    max_duration: str | int | float | None = msgspec.field(name="maxDuration", default=None)


class _Submission(msgspec.Struct):
    definition: msgspec.Raw = msgspec.Raw(b"")
    id: str | None = None
    control: msgspec.Raw = msgspec.Raw(b"")
    debug: bool | None = None


class _Shown(msgspec.Struct):
    """The two members of a definition that stand in every view of the job, as they were sent."""

    tags: msgspec.Raw = msgspec.Raw(b"")
    requirements: msgspec.Raw = msgspec.Raw(b"")


_read = msgspec.json.Decoder(_Submission).decode
_read_control = msgspec.json.Decoder(_Control).decode
_read_shown = msgspec.json.Decoder(_Shown).decode


def read_submission(body: bytes | msgspec.Raw) -> tuple[Checked, Submit]:
    """The event for ``body`` (``ref`` 0, for the caller to set) and what was checked.

    Raises ``ProtocolError``: ``bad-json``, ``bad-request``, ``bad-definition``, ``bad-name``,
    ``too-large``, or ``id-mismatch`` when a given ``id`` is not the definition's.
    """
    submission = _parse(bytes(body))
    definition = _present(submission.definition)
    if not definition:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            'a submission needs a definition: {"definition": {"image": …, "command": …}}',
            field="definition",
        )
    found = checked(definition)
    if submission.id and submission.id != found.id:  # "" is none, as upstream reads it
        raise ProtocolError(
            ErrorCode.ID_MISMATCH,
            f"id is {shown(submission.id)} but this definition's id is {found.id}; "
            "leave id out or send the right one",
            field="id",
        )
    control = _present(submission.control)
    namespace, run_ms_max, calls = _read_control_block(control)
    tags, requirements = shown_members(definition)
    return found, Submit(
        ref=0,
        job=found.id,
        definition=definition,
        needs=needs_of(found),
        namespace=namespace,
        tags=tags,
        requirements=requirements,
        control=control if calls else b"",
        run_ms_max=run_ms_max,
        debug=bool(submission.debug),
    )


def needs_of(found: Checked) -> Needs:
    return Needs(
        kind=found.kind,
        cpus_milli=round(found.cpus * 1_000),
        gpus=found.gpus,
        memory=found.memory,
        max_duration=found.required_duration,
        tags=found.tags,
    )


def _parse(body: bytes) -> _Submission:
    if len(body) > SUBMIT_BODY_BYTES_MAX:
        raise ProtocolError(
            ErrorCode.TOO_LARGE,
            f"a submission has {len(body)} bytes; {SUBMIT_BODY_BYTES_MAX} are allowed",
            field="body",
            limit=SUBMIT_BODY_BYTES_MAX,
        )
    try:
        return _read(body)
    except msgspec.ValidationError as error:
        if body.strip() in (b"null", b"false", b"0", b'""'):
            raise ProtocolError(ErrorCode.BAD_REQUEST, "No job provided") from None
        raise _wrong(error, ErrorCode.BAD_REQUEST) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = _parse_with_surrogates(body)
        if found is not None:
            return found
        raise ProtocolError(
            ErrorCode.BAD_JSON, f"the body is not JSON: {str(error).lower()}", field="body"
        ) from None


def _parse_with_surrogates(body: bytes) -> _Submission | None:
    """msgspec refuses a lone surrogate (``\\ud800``), which JavaScript writes and upstream takes.
    Such a definition is kept value for value, its text written anew in ASCII. ``None``: that was
    not what is wrong with ``body``."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return None
    try:
        members = read_json(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    for name in ("definition", "control"):
        if name in members:
            members[name] = msgspec.Raw(_ascii(members[name]))
    try:
        return msgspec.convert(members, _Submission)
    except msgspec.ValidationError as error:
        raise _wrong(error, ErrorCode.BAD_REQUEST) from None
    except UnicodeEncodeError:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            "a member of the body has a name that holds half of a surrogate pair",
            field="body",
        ) from None


def _ascii(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _read_control_block(control: bytes) -> tuple[str, int, bool]:
    """The namespace, the submitter's own bound on the run in ms (0: none), and whether anybody is
    to be called: only then is the rest of the block of use to anyone later."""
    if not control:
        return DEFAULT_NAMESPACE, 0, False
    try:
        block = _read_control(control)
    except msgspec.ValidationError as error:
        raise _wrong(error, ErrorCode.BAD_REQUEST, "control") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_JSON, str(error), field="control") from None
    check_callbacks(block.callbacks)
    namespace = block.namespace or DEFAULT_NAMESPACE  # "" is none, as upstream reads it
    check_namespace(namespace, "control.namespace")
    return namespace, _duration(block.max_duration), block.callbacks is not None


def _duration(value: str | int | float | None) -> int:
    if value is None or value == "":
        return 0
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"control.maxDuration: {error}", field="control.maxDuration"
        ) from None


def shown_members(definition: bytes) -> tuple[bytes, bytes]:
    """``tags`` and ``requirements`` as JSON texts, empty when absent or null."""
    if b"tags" not in definition and b"requirements" not in definition:
        return b"", b""
    try:
        found = _read_shown(definition)
        return _present(found.tags), _present(found.requirements)
    except msgspec.DecodeError:  # lone surrogates
        members = read_json(definition)
        texts = (_ascii(members.get(name)) for name in ("tags", "requirements"))
        tags, requirements = (_present(msgspec.Raw(text)) for text in texts)
        return tags, requirements


def _present(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    return b"" if text == b"null" else text


def _wrong(error: msgspec.ValidationError, code: ErrorCode, under: str = "") -> ProtocolError:
    """msgspec says ``Expected `str`, got `int` - at `$.control.namespace```."""
    what, _, where = str(error).partition(" - at `$")
    member = where.strip("`").strip(".")
    field = ".".join(part for part in (under, member) if part) or "body"
    return ProtocolError(code, f"{field}: {what[0].lower()}{what[1:]}", field=field)
