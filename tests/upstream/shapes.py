"""What differs between a recorded answer and ours, in words.

Names and types of members are compared, lists by length and element, and the strings and flags of
members whose value is part of the contract. No difference are

- members that only ours has: upstream's peers ignore what they do not know (a job that only ours
  shows is a difference);
- the form of a refusal: where upstream answers with a bare sentence of text, ours is JSON with the
  sentence under ``error`` and a ``code`` (HOUSE 12). Peers look at the status alone (WIRE 9).
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

_JOB = re.compile(r"[0-9a-f]{64}")

# Whose values are compared, not only their types: texts, flags and lists of them, then numbers.
_EXACT = frozenset(
    ("definition", "enqueued", "error", "exists", "finishedReason", "inputs", "isFinal",
     "isSubset", "isTimedOut", "jobId", "message", "namespace", "namespaces", "reason", "state",
     "success", "type", "value", "worker")
)  # fmt: skip
_EXACT_NUMBERS = frozenset(
    ("StatusCode", "clientCount", "cursor", "localWorkerCount", "nextCursor", "otherWorkerCount",
     "sliceStart", "totalJobs", "totalMatchingJobs")
)  # fmt: skip

_HEADERS = ("Access-Control-", "Content-Disposition", "Cache-Control")


@dataclass(frozen=True)
class Answer:
    """``location`` is only whether there is one: addresses differ."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].lower()

    @property
    def json(self) -> Any:
        return _json(self.body.decode(errors="replace")) if self.body else None


def answer_differences(recorded: dict[str, Any], ours: Answer) -> list[str]:
    """``recorded`` as it stands in a transcript: ``status``, ``headers`` and ``json``, ``text`` or
    ``bytes_length``."""
    is_stream = recorded["headers"].get("Content-Type") == "text/event-stream"
    if is_stream and (ours.status, ours.media_type) == (200, "application/json"):
        return _message_differences(recorded, ours)  # a tool answers as either (WIRE 1.14)
    found = _header_differences(recorded["headers"], ours)
    if recorded["status"] != ours.status:
        found.append(f"status {recorded['status']} is {ours.status}")
    if ours.status >= 400 and not (recorded["status"] == ours.status and "json" in recorded):
        said = ours.json if isinstance(ours.json, dict) else {}
        is_head = not ours.body and ours.media_type == "application/json"
        return found if {"error", "code"} <= set(said) or is_head else [*found, "no sentence"]
    if "json" in recorded:
        found += value_differences(recorded["json"], ours.json)
    elif "bytes_length" in recorded:
        if len(ours.body) != recorded["bytes_length"]:
            found.append(f"{recorded['bytes_length']} bytes are {len(ours.body)}")
    elif "text" in recorded:
        found += _text_differences(recorded, ours)
    return found


def _header_differences(recorded: dict[str, str], ours: Answer) -> list[str]:
    wanted = {name: text for name, text in recorded.items() if name.startswith(_HEADERS)}
    found = [
        f"{name}: {text} is {ours.headers.get(name)}"
        for name, text in wanted.items()
        if ours.headers.get(name) != text
    ]
    extra = [name for name in ours.headers if name.startswith("Access-Control-")]
    found += [f"{name} is new" for name in extra if name not in recorded]
    if ("Location" in recorded) != ("Location" in ours.headers):
        found.append("Location is new" if "Location" in ours.headers else "Location is missing")
    theirs = recorded.get("Content-Type", "").partition(";")[0].lower()
    if theirs != ours.media_type and ours.status < 300:
        found.append(f"{theirs} is {ours.media_type}")
    return found


def _text_differences(recorded: dict[str, Any], ours: Answer) -> list[str]:
    text = recorded["text"]
    if text.startswith("\n# HELP"):  # the sentence is anybody's
        theirs, mine = (_samples(text), _samples(ours.body.decode()))
        missing = [line for line in theirs if line not in mine]
        return [f"{line} is missing" for line in missing]
    if recorded["headers"].get("Content-Type") == "text/event-stream" and "event:" in text:
        return stream_differences(text, ours.body.decode())
    if ours.body.decode(errors="replace") == text:
        return []
    return ["text differs"]


def _message_differences(recorded: dict[str, Any], ours: Answer) -> list[str]:
    if "text_length" in recorded:  # it was too long to keep
        return [] if "result" in ours.json else ["no result"]
    return value_differences(_opened(events(recorded["text"])[0][1]), _opened(ours.json))


def _opened(message: Any) -> Any:
    """A tool answers with a JSON document in a text in a JSON document."""
    for part in message.get("result", {}).get("content", []):
        part["text"] = _json(part["text"])
    return message


def _samples(text: str) -> list[str]:
    return [line for line in text.strip().splitlines() if not line.startswith("# HELP")]


def stream_differences(recorded: str, ours: str) -> list[str]:
    """Of two event streams: the events by name, and what stands in them."""
    theirs, mine = events(recorded), events(ours)
    names = [name for name, _ in theirs], [name for name, _ in mine]
    if names[0] != names[1]:
        return [f"events {names[0]} are {names[1]}"]
    pairs = zip(theirs, mine, strict=True)
    return [text for (_, a), (_, b) in pairs for text in value_differences(a, b)]


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for frame in text.split("\n\n"):
        name, _, data = frame.partition("\ndata: ")
        if name.startswith("event: "):
            found.append((name.removeprefix("event: "), _json(data)))
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def value_differences(
    recorded: Any, ours: Any, place: str = "", *, exact: bool = False
) -> list[str]:
    """``place`` is where in the answer. ``exact``: strings and flags are the same."""
    here = place or "the answer"
    if _kind(recorded) != _kind(ours):
        return [f"{here}: {_kind(recorded)} is {_kind(ours)}"]
    if isinstance(recorded, dict):
        return _member_differences(recorded, ours, place, exact)
    if isinstance(recorded, list):
        if len(recorded) != len(ours):
            return [f"{here}: {len(recorded)} items are {len(ours)}"]
        is_line = recorded and isinstance(recorded[0], str)
        pairs = enumerate(zip(recorded, ours, strict=True))
        return [
            text
            for at, (a, b) in pairs
            for text in value_differences(a, b, f"{place}[{at}]", exact=exact or bool(is_line))
        ]
    if exact and isinstance(recorded, bool | str) and recorded != ours:
        return [f"{here}: {recorded!r} is {ours!r}"]
    return []


def _member_differences(
    recorded: dict[str, Any], ours: dict[str, Any], place: str, exact: bool
) -> list[str]:
    found = []
    for name, value in recorded.items():
        where = f"{place}.{name[:6] if _JOB.fullmatch(name) else name}".lstrip(".")
        if name not in ours:
            found.append(f"{where} is missing")
        else:
            is_exact = name in _EXACT or (exact and name != "logs")
            found += value_differences(value, ours[name], where, exact=is_exact)
            if name in _EXACT_NUMBERS and value != ours[name]:
                found.append(f"{where}: {value} is {ours[name]}")
    more = [name for name in ours if _JOB.fullmatch(name) and name not in recorded]
    return found + [f"{place}.{name[:6]} is new".lstrip(".") for name in more]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a flag"
    kinds = {int: "a number", float: "a number", str: "text", dict: "an object", list: "a list"}
    return kinds.get(type(value), "null")
