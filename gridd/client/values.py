"""A definition from Python values, with the same id as the command line's for the same job."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gridd.client.definition import Plan
from gridd.client.errors import UsageError
from gridd.client.files import text_upload
from gridd.client.input_files import add_reference, read_path
from gridd.client.transfer import Upload
from gridd.client.words import join_words


@runtime_checkable
class HasReference(Protocol):
    """An output of another job: what stands for it in a definition (WIRE 5.1)."""

    @property
    def reference(self) -> Mapping[str, Any]: ...


def plan_values(
    api: str,
    *,
    definition: Mapping[str, Any] | None = None,
    command: str | Sequence[str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    config_files: Mapping[str, Any] | None = None,
    **members: Any,
) -> Plan:
    """``members`` are the definition's other members by their wire names, ``None`` for not given;
    objects go over those of ``definition`` name by name.

    A file's value is text, bytes, a ``Path`` (a folder gives each of its files), an output of
    another job, or anything else that is JSON. Blocks on the disk. Raises ``UsageError``.
    """
    made = Plan(dict(definition or {}))
    if command is not None:
        members["command"] = command if isinstance(command, str) else join_words(command)
    for member, files in (("inputs", inputs), ("configFiles", config_files)):
        if files:
            members[member] = _references(files, api, made.uploads)
    for name, value in members.items():
        before = made.definition.get(name)
        if isinstance(value, Mapping):
            merged = {**(before if isinstance(before, Mapping) else {}), **value}
            made.definition.update({name: merged} if merged else {})
        elif value is not None:
            made.definition[name] = list(value) if isinstance(value, tuple) else value
    if not made.definition:
        raise UsageError("nothing to run: give an image, a command or a definition")
    return made


def _references(files: Mapping[str, Any], api: str, uploads: list[Upload]) -> dict[str, Any]:
    references: dict[str, Any] = {}
    for name, value in files.items():
        match value:
            case str():
                found = [text_upload(name, value.encode("utf-8", "surrogatepass"))]
            case bytes() | bytearray() | memoryview():
                found = [text_upload(name, bytes(value))]
            case Path():
                found = read_path(name, value)
            case HasReference():
                references[name], found = dict(value.reference), []
            case _:
                references[name], found = {"type": "json", "value": value}, []
        for upload in found:
            add_reference(references, upload, api, uploads)
    return references
