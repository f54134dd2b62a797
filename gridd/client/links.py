"""Links to a grid's page, read as the page reads them (BROWSER 2.1 to 2.6).

A link either names a job or holds its definition. Parameters that the page does not know are the
user's own: they become environment variables, and fill ``${name}`` in the command.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from gridd.client.errors import UsageError
from gridd_protocol.errors import shown

_NOT_THE_USERS = re.compile(
    "job|inputs|queue|queueOverride|ignoreQueueOverride|autostart|control|maxJobDuration"
    "|allowsetjob|resolverefs|terminal|debug|definition|config"  # the page's own (BROWSER 2.4)
    "|mp[-_].*|channel|CHANNEL|readonly|edit|parent-metapage-id|fs-path"  # plumbing (2.5)
)


@dataclass(slots=True)
class Link:
    """``job`` is set where the link names one; ``definition`` where it holds one."""

    api: str
    queue: str = ""
    job: str | None = None
    definition: dict[str, Any] | None = None
    control: dict[str, Any] = field(default_factory=dict)
    debug: bool = False


def is_link(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def read_link(text: str) -> Link:
    """Raises ``UsageError`` with what can't be read."""
    parts = urlsplit(text)
    values = _parameters(parts.fragment)
    override = "" if values.get("ignoreQueueOverride") == "true" else values.get("queueOverride")
    link = Link(f"{parts.scheme}://{parts.netloc}", unquote(override or values.get("queue", "")))
    named = re.search(r"/j/([^/]+)/?$", parts.path)
    if named is not None:
        link.job = unquote(named[1])
    elif "job" in values:
        link.definition = _assembled(values)
        link.control = _object(values, "control") if "control" in values else {}
        link.debug = values.get("debug") == "true"
    return link


def _parameters(fragment: str) -> dict[str, str]:
    """Behind the first ``?`` of the hash; neither names nor values are decoded."""
    pieces = fragment.lstrip("#").partition("?")[2].split("&")
    pairs = (piece.partition("=") for piece in pieces if piece)
    return {name: value for name, _, value in pairs}


def _assembled(values: dict[str, str]) -> dict[str, Any]:
    definition = _object(values, "job")
    own = {name: value for name, value in values.items() if not _NOT_THE_USERS.fullmatch(name)}
    if own:
        env = definition.get("env")
        definition["env"] = {**(env if isinstance(env, dict) else {}), **own}
        _fill(definition, "command", own)
        build = definition.get("build")
        if isinstance(build, dict):
            _fill(build, "context", own)
    if "inputs" in values:
        texts = _object(values, "inputs")
        definition["configFiles"] = {
            name: {"type": "utf8", "value": text} for name, text in texts.items()
        }
    return definition


def _fill(into: dict[str, Any], member: str, values: dict[str, str]) -> None:
    text = into.get(member)
    if isinstance(text, str):
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value, 1)
        into[member] = text


def _object(values: dict[str, str], name: str) -> dict[str, Any]:
    """Base64 of percent-encoded JSON; in old links the base64 is percent-encoded once more."""
    for text in (values[name], unquote(values[name])):
        try:
            padded = text + "=" * (-len(text) % 4)
            inner = base64.b64decode(padded, validate=True).decode("ascii")
            return msgspec.json.decode(unquote(inner, errors="strict"), type=dict[str, Any])
        except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
            continue
    raise UsageError(f"the link's {name} {shown(values[name])} can't be read")
