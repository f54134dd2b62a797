"""A job definition from what stands on the command line (the flags of BROWSER 4.2).

Equal flags give the same definition, and so the same job id, as upstream's ``cq``: files are
inlined as base64 up to ``INLINE_BYTES_MAX`` bytes and uploaded beyond it.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridd.client.context import pack
from gridd.client.errors import UsageError
from gridd.client.files import text_upload
from gridd.client.input_files import add_reference, read_path
from gridd.client.job_file import JobFile, read_job_file
from gridd.client.transfer import Upload
from gridd.client.words import join_words
from gridd_protocol.errors import shown
from gridd_protocol.units import parse_bytes, parse_duration

_NONCE_VARIABLE = "CQ_NONCE"
_TEXT_FLAGS = {"image": "image", "entrypoint": "entrypoint", "workdir": "workdir"}
_BUILD_FLAGS = {
    "context": "context",
    "build_context": "buildContext",
    "filename": "filename",
    "target": "target",
    "platform": "platform",
}


@dataclass(slots=True)
class Plan:
    """A definition, the bytes that the grid must have before it is submitted, and what stands
    beside it in the submission (WIRE 1.3)."""

    definition: dict[str, Any]
    uploads: list[Upload] = field(default_factory=list)
    control: dict[str, Any] = field(default_factory=dict)
    debug: bool = False


def plan(
    flags: argparse.Namespace, words: Sequence[str], api: str, scratch: Path, nonce: str = ""
) -> Plan:
    """Read and hash what the flags name. ``words`` stood after ``--``; a packed context directory
    is written into ``scratch``; ``nonce`` is what a bare ``--nonce`` means (default: the time).

    Blocks on the disk. Raises ``UsageError``.
    """
    file = JobFile() if flags.definition is None else read_job_file(flags.definition)
    made = Plan(file.definition, control=file.control, debug=file.debug)
    definition = made.definition
    _beside(definition, file, api, made.uploads)
    for flag, member in _TEXT_FLAGS.items():
        _put(definition, member, getattr(flags, flag))
    _put(definition, "command", _command(flags.command_text, words))
    _put(definition, "shmSize", _readable("--shm-size", flags.shm_size, parse_bytes))
    _put(definition, "maxDuration", _readable("--max-duration", flags.max_duration, parse_duration))
    _merge(definition, "build", _build(flags, api, scratch, made.uploads))
    _merge(definition, "requirements", _requirements(flags))
    _merge(definition, "env", _env(flags, nonce))
    for member, given in (("inputs", flags.input), ("configFiles", flags.config_file)):
        _merge(definition, member, _files(member, given or [], api, made.uploads))
    if flags.tag:
        definition["tags"] = [*definition.get("tags", []), *flags.tag]
    if flags.namespace is not None:
        made.control["namespace"] = flags.namespace
    if not definition:
        raise UsageError(
            "nothing to run: give --image and a command after `--`, or --definition FILE"
        )
    return made


def _put(into: dict[str, Any], member: str, value: Any) -> None:
    if value is not None:
        into[member] = value


def _merge(definition: dict[str, Any], member: str, values: dict[str, Any]) -> None:
    """What the flags say goes over what the definition's file says, name by name."""
    if not values:
        return
    before = definition.get(member)
    definition[member] = {**before, **values} if isinstance(before, dict) else values


def _command(command: str | None, words: Sequence[str]) -> str | None:
    if command is not None and words:
        raise UsageError("the command stands both in --command and after `--`; keep one of them")
    return join_words(words) if words else command


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{flag} {shown(text)}: write it as {flag} name=value")
    return name, value


def _env(flags: argparse.Namespace, nonce: str) -> dict[str, str]:
    env = dict(_pair("--env", text) for text in flags.env or [])
    if flags.nonce is not None:
        env[_NONCE_VARIABLE] = flags.nonce or nonce or str(time.time_ns() // 1_000_000)
    return env


def _requirements(flags: argparse.Namespace) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for name in ("cpus", "gpus"):
        given = getattr(flags, name)
        if given is not None:
            wanted[name] = _number(f"--{name}", given)
    _put(wanted, "memory", _readable("--memory", flags.memory, parse_bytes))
    _put(wanted, "maxDuration", flags.max_duration)
    return wanted


def _readable(flag: str, text: str | None, read: Callable[[str], int]) -> str | None:
    """``text`` as it is, once we know that a grid can read it."""
    if text is not None:
        try:
            read(text)
        except ValueError as error:
            raise UsageError(f"{flag}: {error}") from error
    return text


def _number(flag: str, text: str) -> int | float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise UsageError(f"{flag} {shown(text)} is not a number from 0 to 999999")
    return int(value) if value.is_integer() else value


def _files(
    member: str, given: Sequence[str], api: str, uploads: list[Upload]
) -> dict[str, dict[str, str]]:
    flag = "--input" if member == "inputs" else "--config-file"
    references: dict[str, dict[str, str]] = {}
    for text in given:
        name, value = _pair(flag, text)
        if value.startswith("@"):
            found = read_path(name, Path(value[1:]))
        else:
            found = [text_upload(name, value.encode("utf-8", "surrogateescape"))]
        for upload in found:
            add_reference(references, upload, api, uploads)
    return references


def _beside(definition: dict[str, Any], file: JobFile, api: str, uploads: list[Upload]) -> None:
    """Put the files that the job file names by their path into its inputs and config files."""
    for member in ("inputs", "configFiles"):
        given = definition.get(member)
        if file.folder is None or not isinstance(given, dict):
            continue
        references: dict[str, Any] = {}
        for name, reference in given.items():
            if not (isinstance(reference, dict) and reference.keys() == {"path"}):
                references[name] = reference
                continue
            path = _inside(file.folder, name, reference["path"])
            for upload in read_path(name, path):
                add_reference(references, upload, api, uploads)
        definition[member] = references


def _inside(folder: Path, name: str, path: object) -> Path:
    """A job file may come from somebody else: it names nothing outside its own folder."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise UsageError(f"--definition: the path of {shown(name)} is {shown(path)}, not a path")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise UsageError(f"--definition: {shown(path)} leaves the job file's folder; use --input")
    return folder / path


def _build(
    flags: argparse.Namespace, api: str, scratch: Path, uploads: list[Upload]
) -> dict[str, Any]:
    build: dict[str, Any] = {}
    for flag, member in _BUILD_FLAGS.items():
        _put(build, member, getattr(flags, flag))
    _put(build, "buildArgs", flags.build_arg)
    if flags.dockerfile is not None and flags.dockerfile_inline is not None:
        raise UsageError("--dockerfile and --dockerfile-inline exclude each other")
    _put(build, "dockerfile", flags.dockerfile_inline)
    if flags.dockerfile is not None:
        build["dockerfile"] = _text_of(flags.dockerfile)
    if flags.context_dir is not None:
        if flags.context is not None:
            raise UsageError("--context and --context-dir exclude each other")
        upload = pack(Path(flags.context_dir), scratch, flags.filename or "Dockerfile")
        uploads.append(upload)
        build["context"] = upload.reference(api)["value"]
    return build


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--dockerfile: {path} can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--dockerfile: {path} is not UTF-8 text") from error
