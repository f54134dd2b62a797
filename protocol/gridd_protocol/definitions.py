"""A job's definition: read once, checked, and measured.

Refuses what no worker could ever run, with the member's name. A reference of an odd form is
accepted, as upstream's clients send such: the worker ends that job with a reason. Unknown members
are ignored here; the text that was sent is what is stored and shown, not what is read here.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from gridd_protocol import limits
from gridd_protocol.canonical import INTEGER_MAX, read_json, without_surrogates
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.jobid import job_id
from gridd_protocol.messages import Kind
from gridd_protocol.units import parse_bytes, parse_duration

_FIELD_MAX = 200  # characters of a field's path in an error


class Build(msgspec.Struct, frozen=True, rename="camel"):
    """How to build the image (WIRE 6.8)."""

    context: str | None = None
    build_context: str | None = None
    filename: str | None = None
    target: str | None = None
    dockerfile: str | None = None
    build_args: list[str] | None = None
    platform: str | None = None


class Requirements(msgspec.Struct, frozen=True, rename="camel"):
    """What a worker must have, as written; ``Checked`` has the numbers."""

    cpus: float | None = None
    gpus: int | float | None = None
    memory: str | int | float | None = None
    max_duration: str | int | float | None = None


class Definition(msgspec.Struct, frozen=True, rename="camel"):
    """The known members as written (WIRE 1.3). None where absent or null.

    ``env`` values, and all of ``inputs`` and ``config_files`` but their names, are any JSON:
    ``datarefs.read_ref`` reads a reference. An empty ``max_duration`` or ``shm_size`` counts as
    not set.
    """

    v: Any = None
    image: str | None = None
    command: str | None = None
    entrypoint: str | None = None
    env: dict[str, Any] | None = None
    workdir: str | None = None
    shm_size: str | int | float | None = None
    build: Build | None = None
    inputs: dict[str, Any] | None = None
    config_files: dict[str, Any] | None = None
    max_duration: str | int | float | None = None
    tags: list[str | None] | None = None
    requirements: Requirements | None = None

    @property
    def kind(self) -> Kind:
        """``container`` when there is an image (even an empty name: that job fails, it does not
        become a process) or a build that says something, as only such a build is hashed."""
        if self.image is not None or (self.build is not None and self.build != _NO_BUILD):
            return "container"
        return "process"


_NO_BUILD = Build()


class Checked(msgspec.Struct, frozen=True):
    """A definition that was accepted, and what it asks for. 0 stands for not set.

    ``memory`` and ``shm_size`` in bytes; ``max_duration`` (of the definition) and
    ``required_duration`` (``requirements.maxDuration``: what a worker must allow) in ms.
    ``tags`` are sorted, each once.
    """

    id: str
    definition: Definition
    cpus: float = 1.0
    gpus: int = 0
    memory: int = 0
    required_duration: int = 0
    max_duration: int = 0
    shm_size: int = 0
    tags: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return self.definition.kind


def parse_definition(raw: bytes) -> Definition:
    """The definition in ``raw`` (JSON text), with every check. See ``checked``."""
    return checked(raw).definition


def checked(raw: bytes) -> Checked:
    """Decode, check, measure and hash a definition, decoding it once.

    Raises ``ProtocolError``: ``too-large``, ``bad-json``, or ``bad-definition`` with ``field`` set
    to the member, such as ``definition.requirements.gpus``.
    """
    members = _decoded(raw)
    try:
        definition = msgspec.convert(members, Definition)
    except msgspec.ValidationError as error:
        _refuse_shape(members, str(error))
    except UnicodeEncodeError:
        _refuse("", members, "has a member whose name holds half of a surrogate pair")
    _check_files("inputs", definition.inputs)
    _check_files("configFiles", definition.config_files)
    needs = definition.requirements or _NO_REQUIREMENTS
    return Checked(
        id=job_id(members),
        definition=definition,
        cpus=_cpus(needs.cpus),
        gpus=_gpus(needs.gpus),
        memory=_measured("requirements.memory", needs.memory, parse_bytes),
        required_duration=_measured("requirements.maxDuration", needs.max_duration, parse_duration),
        max_duration=_measured("maxDuration", definition.max_duration, parse_duration),
        shm_size=_measured("shmSize", definition.shm_size, parse_bytes),
        tags=tuple(sorted({tag for tag in definition.tags if tag})) if definition.tags else (),
    )


_NO_REQUIREMENTS = Requirements()


def _decoded(raw: bytes) -> dict[str, Any]:
    if len(raw) > limits.DEFINITION_BYTES_MAX:
        bound = limits.DEFINITION_BYTES_MAX
        raise ProtocolError(
            ErrorCode.TOO_LARGE,
            f"definition has {len(raw)} bytes; {bound} are allowed",
            field="definition",
            limit=bound,
        )
    try:
        members = read_json(raw)
    except RecursionError:
        _refuse_depth()
    except ValueError:
        raise ProtocolError(
            ErrorCode.BAD_JSON, "definition is not JSON in UTF-8", field="definition"
        ) from None
    if is_too_deep(raw, members):
        _refuse_depth()
    if not isinstance(members, dict):
        _refuse("", members, "is not an object")
    return members


def is_too_deep(raw: bytes, value: object) -> bool:
    """Whether ``value``, decoded from ``raw``, has more than ``DEFINITION_DEPTH_MAX`` levels."""
    # Brackets in strings count too: only a text with many is walked.
    brackets = raw.count(b"[") + raw.count(b"{")
    return brackets > limits.DEFINITION_DEPTH_MAX and _depth(value) > limits.DEFINITION_DEPTH_MAX


def _depth(value: object) -> int:
    """Levels of arrays and objects, counted only as far as is needed to refuse."""
    level: list[Any] = [value]
    depth = 0
    while depth <= limits.DEFINITION_DEPTH_MAX:
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            break
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _check_files(member: str, files: Mapping[str, Any] | None) -> None:
    if files and len(files) > limits.FILES_PER_JOB_MAX:
        bound = limits.FILES_PER_JOB_MAX
        _refuse(member, None, f"has {len(files)} files; {bound} are allowed", bound)
    for name, reference in files.items() if files else ():
        if reference is None:
            _refuse(f"{member}.{name}", None, "is null, not a reference")
        if ".." in name and ".." in re.split(r"[/\\]", name):
            _refuse(f"{member}.{name}", name, "must not have '..' segments")
        if len(name) > _FILE_NAME_SURELY_FITS:
            size = len(name.encode("utf-8", "surrogatepass"))
            bound = limits.FILE_NAME_BYTES_MAX
            if size > bound:
                why = f"has a name of {size} bytes; {bound} are allowed"
                _refuse(f"{member}.{name}", name, why, bound)


_FILE_NAME_SURELY_FITS = limits.FILE_NAME_BYTES_MAX // 4  # no character has more than 4 bytes


def _cpus(value: float | None) -> float:
    if value is None:
        return 1.0
    if not 0 <= value <= INTEGER_MAX:
        _refuse("requirements.cpus", value, f"is not between 0 and {INTEGER_MAX}", INTEGER_MAX)
    return value


def _gpus(value: int | float | None) -> int:
    if value is None:
        return 0
    if not 0 <= value <= INTEGER_MAX:
        _refuse("requirements.gpus", value, f"is not between 0 and {INTEGER_MAX}", INTEGER_MAX)
    if value != math.floor(value):
        _refuse("requirements.gpus", value, "is not a whole number")
    return int(value)


def _measured(field: str, value: str | int | float | None, parse: Any) -> int:
    """0 when not set: an empty text counts as that (the form of upstream's page sends it)."""
    if value is None or value == "":
        return 0
    try:
        return int(parse(value))
    except ValueError as error:
        _refuse(field, value, f"can't be used: {error}")


# --- refusing ---------------------------------------------------------------------------

_PLACE = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z]+)|\[([0-9]+)\]")


def _refuse_shape(members: object, complaint: str) -> NoReturn:
    """A member has another JSON type than it should: find it by the path in the complaint."""
    match = _PLACE.fullmatch(complaint)
    assert match is not None
    path = match[2] or ""
    value: Any = members
    for name, index in _STEP.findall(path):
        value = value[int(index)] if index else value[name]
    _refuse(path.removeprefix("."), value, f"has the wrong type: {match[1].lower()}")


def _refuse_depth() -> NoReturn:
    bound = limits.DEFINITION_DEPTH_MAX
    raise ProtocolError(
        ErrorCode.BAD_DEFINITION,
        f"definition is nested too deep; {bound} levels are allowed",
        field="definition",
        limit=bound,
    )


def _refuse(path: str, value: object, why: str, limit: int | None = None) -> NoReturn:
    # A name in the path is a stranger's text: it must survive encoding and stay short.
    field = without_surrogates(f"definition.{path}" if path else "definition")
    if len(field) > _FIELD_MAX:
        field = field[: _FIELD_MAX - 1] + "…"
    message = f"{field} is {shown(value)}: it {why}"
    raise ProtocolError(ErrorCode.BAD_DEFINITION, message, field=field, limit=limit)
