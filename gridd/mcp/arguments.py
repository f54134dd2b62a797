"""What each tool takes: names, types, defaults and bounds (WIRE 1.14, BROWSER 5.1).

The schemas that callers are shown are made of these types, and what callers send is checked
against them. An empty ``queue`` means the default queue of the grid at hand.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from gridd.mcp.face import ToolError
from gridd_protocol.errors import shown

T = TypeVar("T", bound="Arguments")

FOLLOW_SECONDS_MAX = 3_600
LIST_MAX = 200

_JobId = Annotated[str, Meta(description="Id of the job: 64 hexadecimal digits")]
_Queue = Annotated[str, Meta(description="Name of the queue; who knows it may use it")]


class Arguments(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Unknown members are refused: a misspelt one would be left out in silence."""


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file by reference, as definitions have them."""

    type: Literal["utf8", "json", "base64", "url", "key"]
    value: Any
    hash: str | None = None


class SubmitJob(Arguments, frozen=True, forbid_unknown_fields=True):
    queue: _Queue = ""
    image: Annotated[str | None, Meta(description="Container image, such as python:3.12")] = None
    git_repo: Annotated[
        str | None, Meta(description="URL of a git repository whose Dockerfile is built and run")
    ] = None
    dockerfile: Annotated[
        str | None,
        Meta(description="Text of a Dockerfile to build and run; with gitRepo, instead of its own"),
    ] = None
    build_context: Annotated[
        str | None, Meta(description="Folder of the repository to build in")
    ] = None
    command: Annotated[
        str,
        Meta(
            description="Command to run in the container, split into words but run without a "
            "shell: sh -c '...' for pipes and redirections. It finds its inputs in /inputs and "
            "leaves its outputs in /outputs"
        ),
    ] = "echo 'Hello World'"
    inputs: Annotated[
        dict[str, str | Reference],
        Meta(
            description="Files in /inputs by name: a text, or a reference such as the one that "
            "upload_file answers with"
        ),
    ] = {}
    env: Annotated[dict[str, str], Meta(description="Environment variables")] = {}
    max_duration: Annotated[str, Meta(description="Longest run, such as 90s, 30m or 2h")] = "30m"
    namespace: Annotated[
        str,
        Meta(
            description="Slot of the queue that holds one live job: a new job replaces the one "
            "that was submitted in the same namespace before"
        ),
    ] = "dev"


class FollowJob(Arguments, frozen=True, forbid_unknown_fields=True):
    job_id: _JobId
    queue: _Queue
    timeout_seconds: Annotated[
        float, Meta(ge=0, le=FOLLOW_SECONDS_MAX, description="How long to follow at most")
    ] = 600
    include_build_logs: Annotated[
        bool, Meta(description="Also the output of pulling or building the image")
    ] = True


class GetJobStatus(Arguments, frozen=True, forbid_unknown_fields=True):
    job_id: _JobId
    queue: _Queue = ""
    include_result: Annotated[bool, Meta(description="Also outputs, logs and exit code")] = True


class ListJobs(Arguments, frozen=True, forbid_unknown_fields=True):
    queue: _Queue = ""
    limit: Annotated[int, Meta(ge=1, le=LIST_MAX, description="At most so many jobs")] = 50
    state: Annotated[
        Literal["Queued", "Running", "Finished"] | None, Meta(description="Only jobs in this state")
    ] = None


class CancelJob(Arguments, frozen=True, forbid_unknown_fields=True):
    job_id: _JobId
    queue: _Queue = ""
    namespace: Annotated[
        str, Meta(description="Holder that lets go of the job; * for all, which ends it")
    ] = "*"


class UploadFile(Arguments, frozen=True, forbid_unknown_fields=True):
    filename: Annotated[
        str, Meta(min_length=1, max_length=1_024, description="Its name, for people")
    ]
    content: Annotated[str, Meta(description="The file, as text or as base64")]
    content_type: Annotated[str | None, Meta(description="Such as text/csv")] = None
    encoding: Annotated[Literal["text", "base64"], Meta(description="What content is")] = "text"


class ExplainJob(Arguments, frozen=True, forbid_unknown_fields=True):
    job_id: _JobId
    queue: _Queue = ""


def read(given: dict[str, Any], kind: type[T]) -> T:
    """Raises ``ToolError`` that names the argument."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        name = where.strip("`").strip(".")
        if not name:
            raise ToolError(_about_names(what, kind)) from None
        raise ToolError(f"{name}: {what[0].lower()}{what[1:]}") from None


_NAMED = re.compile(r"Object (contains unknown|missing required) field `(.*)`")


def _about_names(what: str, kind: type[msgspec.Struct]) -> str:
    """A name that is missing, or one too many, with those that there are."""
    named = _NAMED.fullmatch(what)
    if named is None:
        return what
    if named[1].startswith("missing"):
        return f"{named[2]}: it is needed"
    known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
    return f"{shown(named[2])}: there is no such argument; there are {known}"


def schema(kind: type[Arguments], default_queue: str) -> dict[str, Any]:
    """JSON Schema of ``kind``: an object at its root, with the queue's default filled in."""
    _, parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    root: dict[str, Any] = parts.pop(kind.__name__)
    root.pop("title", None)
    root.pop("description", None)
    if parts:
        root["$defs"] = parts
    queue = root["properties"].get("queue")
    if queue is not None and "queue" not in root.get("required", ()):
        queue["default"] = default_queue
    return root
