"""A job definition from what stands on the command line (the flags of BROWSER 4.2).

Equal flags give the same definition, and so the same job id, as upstream's ``cq``: files are
inlined as base64 up to ``INLINE_BYTES_MAX`` bytes and uploaded beyond it.
"""

import argparse
import base64
import gzip
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gridd.client.errors import UsageError
from gridd.client.files import read_upload, text_upload
from gridd.client.transfer import Upload
from gridd.client.words import join_words
from gridd_protocol import limits
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
    """A definition, and the bytes that the grid must have before it is submitted."""

    definition: dict[str, Any]
    uploads: list[Upload] = field(default_factory=list)


def plan(
    flags: argparse.Namespace, words: Sequence[str], api: str, scratch: Path, nonce: str = ""
) -> Plan:
    """Read and hash what the flags name. ``words`` stood after ``--``; a packed context directory
    is written into ``scratch``; ``nonce`` is what a bare ``--nonce`` means (default: the time).

    Blocks on the disk. Raises ``UsageError``.
    """
    made = Plan(_base(flags.definition))
    definition = made.definition
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
    if not definition:
        raise UsageError(
            "nothing to run: give --image and a command after `--`, or --definition FILE"
        )
    return made


def _base(source: str | None) -> dict[str, Any]:
    if source is None:
        return {}
    name = "standard input" if source == "-" else source
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"--definition: {source} can't be read ({error.strerror})") from error
    if len(data) > limits.DEFINITION_BYTES_MAX:
        raise UsageError(
            f"--definition: {name} has {len(data)} bytes; "
            f"the limit is {limits.DEFINITION_BYTES_MAX}"
        )
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--definition: {name} does not hold a JSON object ({error})") from error


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
            upload = read_upload(name, Path(value[1:]))
        else:
            upload = text_upload(name, value.encode("utf-8", "surrogateescape"))
        references[name] = _reference(upload, api, uploads)
    return references


def _reference(upload: Upload, api: str, uploads: list[Upload]) -> dict[str, str]:
    if upload.size > limits.INLINE_BYTES_MAX:
        uploads.append(upload)
        return upload.reference(api)
    data = upload.source if isinstance(upload.source, bytes) else upload.source.read_bytes()
    return {"type": "base64", "value": base64.b64encode(data).decode("ascii")}


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
        upload = _packed(Path(flags.context_dir), scratch)
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


def _packed(folder: Path, scratch: Path) -> Upload:
    """The folder as a gzipped tar, its files at the root. The same files give the same bytes:
    sorted, without times and owners, so that the hash and the job id are the same too."""
    if not folder.is_dir():
        raise UsageError(f"--context-dir: {folder} is not a folder")
    archive = scratch / "context.tar.gz"
    try:
        with (
            gzip.GzipFile(archive, "wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder).as_posix()
                tar.add(path, arcname=name, recursive=False, filter=_anonymous)
    except OSError as error:
        raise UsageError(f"--context-dir: {folder} can't be packed ({error})") from error
    upload = read_upload(str(folder), archive)
    # the worker knows an archive by the end of its URL (WIRE 6.8)
    return Upload(str(folder), archive, upload.size, upload.sha256, f"{upload.sha256}.tar.gz")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member
