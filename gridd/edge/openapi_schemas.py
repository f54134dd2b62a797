"""Shapes of what goes over HTTP, as JSON Schema (2020-12), and the parameters with their bounds.

They say what SPEC.md says, no more: members that are not listed may come as well.
"""

from typing import Any, Final, get_args

from gridd.core.records import StoryEvent
from gridd_protocol import limits
from gridd_protocol.errors import ErrorCode

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_FLAG: Final[Schema] = {"type": "boolean"}
_OBJECT: Final[Schema] = {"type": "object"}
_TIME: Final[Schema] = {"type": "integer", "description": "ms since the epoch"}
_MILLISECONDS: Final[Schema] = {"type": "integer", "minimum": 0, "description": "ms"}
_JOB_ID: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def data(schema: Schema) -> Schema:
    """``{"data": …}``, as upstream wraps it (WIRE 1.1)."""
    return _object({"data": schema}, required=("data",))


def _object(members: dict[str, Schema], *, required: tuple[str, ...] = ()) -> Schema:
    return {"type": "object", "properties": members, "required": list(required)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _name(bytes_max: int, **more: Any) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": bytes_max, **more}


_DURATION: Final[Schema] = {"type": ["string", "number"], "description": "as 10m; a number is ms"}

_JOB_MEMBERS: Final[dict[str, Schema]] = {
    "state": {"enum": ["Queued", "Running", "Finished"]},
    "queuedTime": _TIME,
    "time": _TIME,
    "worker": TEXT,
    "namespaces": _list(TEXT),
    "finishedReason": TEXT,
    "attempt": _COUNT,
    "startedTime": _TIME,
    "tags": {},
    "requirements": {},
    "debug": _FLAG,
}
_JOB_REQUIRED = ("state", "queuedTime", "time", "worker", "namespaces")

_FINISHED: Final[Schema] = _object(
    {
        "type": {"const": "Finished"},
        "reason": {"enum": ["Success", "Error", "TimedOut"]},
        "worker": TEXT,
        "time": _TIME,
        "message": TEXT,
        "result": _OBJECT,
    },
    required=("type", "reason", "worker", "time", "result"),
)

_ERROR_MEMBERS: Final[dict[str, Schema]] = {
    "error": {"type": "string", "description": "a sentence that names field, value and limit"},
    "code": {"enum": [code.value for code in ErrorCode]},
    "field": TEXT,
    "limit": _WHOLE,
}

_DEFINITION: Final[Schema] = _object(
    {
        "image": TEXT,
        "build": _OBJECT,
        "command": TEXT,
        "entrypoint": TEXT,
        "env": {"type": "object", "additionalProperties": TEXT},
        "workdir": TEXT,
        "shmSize": TEXT,
        "inputs": {"type": "object", "additionalProperties": ref("Reference")},
        "configFiles": {"type": "object", "additionalProperties": ref("Reference")},
        "maxDuration": _DURATION,
        "tags": _list(TEXT),
        "requirements": _object(
            {"cpus": {"type": "number"}, "gpus": {"type": "number"}, "memory": {},
             "maxDuration": _DURATION},
        ),
    }
)  # fmt: skip

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": _object(_ERROR_MEMBERS, required=("error", "code")),
    "Gone": _object(
        {**_ERROR_MEMBERS, "job": _JOB_ID, "expiredTime": _TIME},
        required=("error", "code"),
    ),
    "Submission": _object(
        {
            "definition": ref("Definition"),
            "id": _JOB_ID,
            "control": ref("Control"),
            "debug": _FLAG,
        },
        required=("definition",),
    ),
    "Control": _object(
        {
            "namespace": _name(limits.NAMESPACE_BYTES_MAX),
            "maxDuration": _DURATION,
            "callbacks": _object({"queued": ref("Callback"), "finished": ref("Callback")}),
        }
    ),
    "Callback": _object(
        {"url": {**TEXT, "maxLength": limits.WEBHOOK_URL_BYTES_MAX}, "payload": {}}
    ),
    "Copy": _object(
        {"queue": _name(limits.QUEUE_NAME_BYTES_MAX), "control": ref("Control")},
        required=("queue",),
    ),
    "Definition": _DEFINITION,
    "Reference": _object(
        {"type": {"enum": ["utf8", "json", "base64", "url", "key"]}, "value": {}, "hash": TEXT}
    ),
    "Accepted": _object(
        {"success": {"const": True}, "jobId": _JOB_ID}, required=("success", "jobId")
    ),
    "Cancelled": {
        "anyOf": [
            _object(
                {"success": {"const": True}, "jobId": _JOB_ID, "namespace": TEXT},
                required=("success", "jobId", "namespace"),
            ),
            _object({"message": TEXT}, required=("message",)),
        ]
    },
    "Address": _object(
        {"url": TEXT, "ref": _object({"type": {"enum": ["key", "url"]}, "value": TEXT},
                                     required=("type", "value"))},
        required=("url", "ref"),
    ),
    "Exists": _object({"exists": _FLAG}, required=("exists",)),
    "Job": _object(_JOB_MEMBERS, required=_JOB_REQUIRED),
    "FinishedJob": _object(
        {**_JOB_MEMBERS, "finished": _FINISHED}, required=(*_JOB_REQUIRED, "finished")
    ),
    "Jobs": {"type": "object", "additionalProperties": ref("Job")},
    "JobDocument": _object(
        {"definition": ref("Definition"), "results": ref("FinishedJob")}, required=("definition",)
    ),
    "OldResult": _object(
        {"data": nullable(ref("FinishedJob")), "result": {}}, required=("data",)
    ),
    "Explanation": _object(
        {
            "state": {"enum": ["Queued", "Running", "Finished"]},
            "summary": TEXT,
            "ahead": _COUNT,
            "waiting": _COUNT,
            "attempt": _COUNT,
            "losses": _COUNT,
            "needs": _OBJECT,
            "workersConnected": _COUNT,
            "workers": _list(_OBJECT),
        },
        required=("state", "summary", "ahead", "waiting", "workers"),
    ),
    "History": _object(
        {
            "jobId": _JOB_ID,
            "state": {"enum": ["Queued", "Running", "Finished", "Removed"]},
            "finishedReason": TEXT,
            "attempt": _COUNT,
            "waited": _MILLISECONDS,
            "ran": _MILLISECONDS,
            "events": _list(ref("Happened")),
        },
        required=("jobId", "state", "attempt", "waited", "ran", "events"),
    ),
    "Happened": _object(
        {
            "time": _TIME,
            "event": {"enum": list(get_args(StoryEvent))},
            "namespace": TEXT,
            "worker": TEXT,
            "attempt": _COUNT,
            "reason": TEXT,
            "message": TEXT,
            "count": _COUNT,
            "waited": _MILLISECONDS,
            "ran": _MILLISECONDS,
            "exitCode": {"type": "integer"},
            "duration": _MILLISECONDS,
        },
        required=("time", "event"),
    ),
    "LogPage": _object(
        {
            "data": _list(
                {"type": "array", "description": "[text, time] or [text, time, true] for stderr"}
            ),
            "sliceStart": _COUNT,
            "nextCursor": _COUNT,
            "isFinal": _FLAG,
            "logsExpired": _FLAG,
            "steps": _list(
                {"type": "array", "description": "[N, step]: from line N on, of the build log"}
            ),
        },
        required=("data", "sliceStart", "nextCursor", "isFinal"),
    ),
    "JsonRpc": _object({"jsonrpc": {"const": "2.0"}}, required=("jsonrpc",)),
    "Status": _object(
        {
            "jobs": _OBJECT,
            "otherServers": _OBJECT,
            "localWorkers": _OBJECT,
            "clientCount": _COUNT,
            "queueInfo": _OBJECT,
        },
        required=("jobs", "otherServers", "localWorkers", "clientCount", "queueInfo"),
    ),
}  # fmt: skip


def _in_path(name: str, schema: Schema, **more: Any) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema, **more}


def _in_query(name: str, schema: Schema, **more: Any) -> Schema:
    return {"name": name, "in": "query", "schema": schema, **more}


_NAMESPACE: Final[Schema] = _name(limits.NAMESPACE_BYTES_MAX, description="* means all")

PARAMETERS: Final[dict[str, Schema]] = {
    "queue": _in_path(
        "queue", _name(limits.QUEUE_NAME_BYTES_MAX, description="printable, without /")
    ),
    "job": _in_path("job", _JOB_ID),
    "document": _in_path("document", {"type": "string", "pattern": r"^[0-9a-f]{64}(\.json)?$"}),
    "key": _in_path(
        "key", _name(limits.BLOB_KEY_BYTES_MAX, description="one plain name, no leading dot")
    ),
    "name": _in_path(
        "name", _name(limits.FILE_NAME_BYTES_MAX, description="may have folders: slashes stay")
    ),
    "namespace": _in_path("namespace", _NAMESPACE),
    "namespaceQuery": _in_query("namespace", {**_NAMESPACE, "default": "_"}),
    "messageQuery": _in_query("message", TEXT, description="why, for whoever watches the job"),
    "sinceQuery": _in_query(
        "since", {"type": "number", "default": 0}, description="the cursor of the first line"
    ),
}
