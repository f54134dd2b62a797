"""Job files: a definition, or a whole submission, as JSON or TOML; from a file, standard input or
a link to a page.

A file may name a file beside it in place of an input's content: ``{"path": "data.csv"}``.
"""

import json
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridd.client.errors import UsageError
from gridd.client.links import is_link, read_link
from gridd_protocol import limits
from gridd_protocol.canonical import read_json

_BYTES_MAX = limits.DEFINITION_BYTES_MAX


@dataclass(slots=True)
class JobFile:
    """``definition`` as written; ``control`` and ``debug`` where a whole submission was given
    (WIRE 1.3). ``folder``: where its ``path``s start; ``None``: it may name none."""

    definition: dict[str, Any] = field(default_factory=dict)
    control: dict[str, Any] = field(default_factory=dict)
    debug: bool = False
    folder: Path | None = None


def read_job_file(source: str) -> JobFile:
    """``source``: a path, ``-``, or a link. Blocks on the disk. Raises ``UsageError``."""
    if is_link(source):
        link = read_link(source)
        if link.definition is None:
            raise UsageError(
                f"--definition: {source} holds no definition; `gridd definition` can fetch it"
            )
        return JobFile(link.definition, link.control, link.debug)
    name = "standard input" if source == "-" else source
    value = _decoded(name, _read(source, name), is_toml=source.lower().endswith(".toml"))
    folder = Path() if source == "-" else Path(source).parent
    if not isinstance(value.get("definition"), dict):
        return JobFile(value, folder=folder)
    control = value.get("control") or {}
    if not isinstance(control, dict):
        raise UsageError(f"--definition: {name}: control is not an object")
    return JobFile(value["definition"], control, value.get("debug") is True, folder)


def _read(source: str, name: str) -> bytes:
    try:
        if source == "-":
            data = sys.stdin.buffer.read(_BYTES_MAX + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"--definition: {source} can't be read ({error.strerror})") from error
    if len(data) > _BYTES_MAX:
        raise UsageError(f"--definition: {name} has more than {_BYTES_MAX} bytes, the limit")
    return data


def _decoded(name: str, data: bytes, *, is_toml: bool) -> dict[str, Any]:
    try:
        if is_toml:
            value = tomllib.loads(data.decode("utf-8"))
            json.dumps(value, allow_nan=False)  # dates and infinity are TOML and not JSON
            return value
        value = read_json(data)
    except (ValueError, TypeError, RecursionError) as error:
        what = "is not a job in TOML" if is_toml else "does not hold a JSON object"
        raise UsageError(f"--definition: {name} {what} ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f"--definition: {name} does not hold a JSON object")
    return value
