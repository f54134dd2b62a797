"""The id of a job: the sha256 of what its definition asks for (WIRE 4).

Members that do not change the work (``hash`` of a reference, injected ``env`` keys, unknown
members) are left out first, so that two clients that ask for the same work meet in one job.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from gridd_protocol.canonical import canonical_bytes

_SCALARS = (
    "v",
    "image",
    "command",
    "entrypoint",
    "workdir",
    "shmSize",
    "maxDuration",
    "tags",
)
_BUILD = (
    "context",
    "buildContext",
    "filename",
    "target",
    "dockerfile",
    "buildArgs",
    "platform",
)
_REQUIREMENTS = ("cpus", "gpus", "maxDuration", "memory")
_INJECTED_ENV = frozenset(
    ("channel", "CHANNEL", "readonly", "edit", "parent-metapage-id", "fs-path")
)
_PRESIGNED = "/presignedurl/"
_BUCKET = "https://metaframe-asman-test.s3.us-west-1.amazonaws.com"


def job_id(definition: Mapping[str, object]) -> str:
    """64 lowercase hex digits. Raises ``ValueError`` for a definition that can't be hashed."""
    return hashlib.sha256(canonical_bytes(hash_object(definition))).hexdigest()


def hash_object(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What is hashed (WIRE 4.1). Raises ``ValueError`` when a member that must be an object is
    none, or an input is null."""
    hashed: dict[str, Any] = {}
    for name in _SCALARS:
        value = definition.get(name)
        if value is not None:
            hashed[name] = value
    for name, members in (("build", _BUILD), ("requirements", _REQUIREMENTS)):
        if definition.get(name):
            _put(hashed, name, _picked(_object(definition, name), members))
    if definition.get("env"):
        _put(hashed, "env", _environment(_object(definition, "env")))
    for name in ("inputs", "configFiles"):
        if definition.get(name):
            hashed[name] = _references(name, _object(definition, name))
    return hashed


def _object(definition: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = definition[name]
    if not isinstance(value, dict):
        raise ValueError(f"definition.{name} is not an object")
    return value


def _put(hashed: dict[str, Any], name: str, value: dict[str, Any]) -> None:
    if value:
        hashed[name] = value


def _picked(source: dict[str, Any], members: tuple[str, ...]) -> dict[str, Any]:
    return {name: source[name] for name in members if source.get(name) is not None}


def _environment(env: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in env.items()
        if not key.startswith(("mp-", "mp_")) and key not in _INJECTED_ENV
    }


def _references(member: str, files: dict[str, Any]) -> dict[str, Any]:
    for name, reference in files.items():
        if reference is None:
            raise ValueError(f"definition.{member}.{name} is null")
    return {name: _reference(reference) for name, reference in files.items()}


def _reference(reference: object) -> dict[str, Any]:
    if not isinstance(reference, dict):
        return {}
    hashed: dict[str, Any] = {}
    kind = reference.get("type")
    if "value" in reference:
        value = reference["value"]
        if kind == "url" and isinstance(value, str):
            value = normalised_url(value)
        hashed["value"] = value
    if kind is not None:
        hashed["type"] = kind
    return hashed


def normalised_url(url: str) -> str:
    """The URL without the parts that change from one signing to the next (WIRE 4.2)."""
    if _PRESIGNED in url:
        return url.partition(_PRESIGNED)[0]
    if url.startswith(_BUCKET):
        return _bucket_url(url)
    return url


_AUTHORITY_END = re.compile(r"[/\\?#]")
_STRIPPED = {ord(char): None for char in "\t\n\r"}
_SINGLE_DOT = frozenset((".", "%2e"))
_DOUBLE_DOT = frozenset(("..", ".%2e", "%2e.", "%2e%2e"))
_PATH_ESCAPED = re.compile(r"[^!$-;=@-\]_a-z|~%]")


def _bucket_url(url: str) -> str:
    """Parse and print as the URL Standard does, without query and fragment.

    Only what can follow the bucket's host is treated: a longer host, a port, a path. A URL with
    user information or a host that is not plain is left as it is.
    """
    rest = url.translate(_STRIPPED).rstrip(_C0_AND_BLANK).removeprefix("https://")
    end = _AUTHORITY_END.search(rest)
    authority = rest[: end.start()] if end else rest
    path = rest[end.start() :] if end else ""
    host, _, port = authority.partition(":")
    if not re.fullmatch(r"[A-Za-z0-9.-]+", host) or not re.fullmatch(r"[0-9]{0,5}", port):
        return url
    port = str(int(port)) if port else ""
    if port in ("", "443"):
        port = ""
    elif int(port) > 65_535:
        return url
    shown_port = f":{port}" if port else ""
    return f"https://{host.lower()}{shown_port}{_path(re.split('[?#]', path, maxsplit=1)[0])}"


_C0_AND_BLANK = "".join(map(chr, range(0x21)))


def _path(path: str) -> str:
    segments: list[str] = []
    parts = path.replace("\\", "/").removeprefix("/").split("/")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part.lower() in _DOUBLE_DOT:
            del segments[-1:]
            if last:
                segments.append("")
        elif part.lower() in _SINGLE_DOT:
            if last:
                segments.append("")
        else:
            segments.append(_PATH_ESCAPED.sub(_percent, part))
    return "/" + "/".join(segments)


def _percent(match: re.Match[str]) -> str:
    # A lone surrogate becomes U+FFFD, as in every conversion to UTF-8 of the URL Standard.
    text = match[0] if not "\ud800" <= match[0] <= "\udfff" else "\ufffd"
    return "".join(f"%{byte:02X}" for byte in text.encode())
