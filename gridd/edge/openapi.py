"""What this grid answers over HTTP, as an OpenAPI 3.1 description at ``/openapi.json``.

One row for each route of ``app``; a test holds that none is missing, none is invented, and that
each status can be had. WebSocket doors are described in SPEC.md instead. The shapes of bodies are
in ``openapi_schemas``.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from gridd.edge import openapi_schemas as shapes
from gridd.edge.responses import json_value
from gridd_protocol.version import __version__

Schema = dict[str, Any]

_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_HTML: Final = "text/html"
_MARKDOWN: Final = "text/markdown"
_ANY_BYTES: Final = "*/*"

# What most routes have in common: a name that does not fit, and a journal that can't be used.
_READS = (400, 503)
# A record that was dropped from the journal in the very moment in which it was asked for.
_READS_JOURNAL = (400, 410, 503)
_READS_FILES = (400, 404, 416, 503)


@dataclass(frozen=True, slots=True)
class Operation:
    """``answers`` maps a status to its content: media type -> schema, empty for no body.
    ``refusals`` are statuses whose body is the error shape. 403 is added to all: a local grid
    refuses foreign pages on any route."""

    method: str
    path: str
    summary: str
    answers: dict[int, dict[str, Schema]]
    refusals: tuple[int, ...] = ()
    query: tuple[str, ...] = ()
    body: dict[str, Schema] | None = None


def _get(
    path: str,
    summary: str,
    content: dict[str, Schema],
    refusals: tuple[int, ...] = (),
    *,
    more: dict[int, dict[str, Schema]] | None = None,
    query: tuple[str, ...] = (),
) -> Operation:
    return Operation("get", path, summary, {200: content, **(more or {})}, refusals, query)


def _json(schema: Schema) -> dict[str, Schema]:
    return {_JSON: schema}


_PAGE = {_HTML: shapes.TEXT}
_WORDS = {_TEXT: shapes.TEXT}
_FILE: Final[dict[str, Schema]] = {_ANY_BYTES: {}}
_FILE_ANSWERS: Final[dict[int, dict[str, Schema]]] = {206: _FILE, 302: {}, 304: {}}
_GONE = {410: _json(shapes.ref("Gone"))}


def _guide() -> list[Operation]:
    markdown = {_MARKDOWN: shapes.TEXT}
    about = "Submitting, following and sharing jobs in five steps, as a skill"
    return [
        _get("/llms.txt", "How to use this grid, for programs that read", _WORDS),
        _get("/skill.md", about, markdown),
        _get("/docs/skill/compute-queues/SKILL.md", about, markdown),
    ]


def _metaframes() -> list[Operation]:
    about, content = "For pages that embed the page", _json({"type": "object"})
    return [
        _get("/metaframe.json", about, content),
        _get("/q/{queue}/metaframe.json", about, content, (400,)),
        _get("/j/{job}/metaframe.json", about, content, (400,)),
    ]


def _embedding() -> list[Operation]:
    script = {"text/javascript": shapes.TEXT}
    return [
        Operation("get", "/embed", "The way to /embed/", {301: {}}),
        _get("/embed/", "How to put a job into one's own page, for people", _PAGE),
        _get("/embed/gridd.js", "The element <gridd-job>, for any page", script, (404,)),
        _get("/embed/page.js", "What /embed/ itself runs", script, (404,)),
    ]


def _plain() -> list[Operation]:
    health = "Whether the server can write its journal"
    return [
        _get("/", "The page", _PAGE),
        Operation("get", "/docs", "The way to /docs/", {301: {}}),
        _get("/docs/", "How to use this grid, for people", _PAGE),
        *_guide(),
        _get("/openapi.json", "All addresses, for machines", _json({"type": "object"})),
        *_metaframes(),
        *_embedding(),
        _get("/healthz", health, _WORDS, more={503: _WORDS}),
        _get(
            "/metrics",
            "All queues and the server, for Prometheus; not for everybody",
            _WORDS,
            (404,),
        ),
        _get("/health", health + " (as /healthz)", _WORDS, more={503: _WORDS}),
    ]


def _files() -> list[Operation]:
    known = _json(shapes.ref("Exists"))
    stored = Operation(
        "put",
        "/f/{key}",
        "Store a file; under 64 hex digits it must have that sha256",
        {200: _WORDS},
        (400, 413, 422, 503),
        body={"application/octet-stream": {}},
    )
    exists = _get(
        "/f/{key}/exists", "Whether there is such a file", known, _READS, more={404: known}
    )
    loaded = _get("/f/{key}", "A file's bytes", _FILE, _READS_FILES, more=_FILE_ANSWERS)
    address = _json(shapes.ref("Address"))
    up = _get("/upload/{key}", "Where to PUT a file, for upstream's older clients", address, (400,))
    down = _get(
        "/download/{key}", "Where to GET a file, for upstream's older clients", address,
        (400, 404, 503),
    )  # fmt: skip
    return [stored, loaded, exists, up, down]


def _queues() -> list[Operation]:
    found: list[Operation] = []
    for path in ("/q/{queue}", "/q/{queue}/j"):
        submitted = Operation(
            "post",
            path,
            "Submit a job; answered once it is durable",
            {200: _json(shapes.ref("Accepted"))},
            (400, 409, 413, 429, 503),
            body=_json(shapes.ref("Submission")),
        )
        listed = _json(shapes.data(shapes.ref("Jobs"))) | _PAGE
        found += [submitted, _get(path, "Jobs of the queue, oldest first", listed, _READS)]
    ended = _json(shapes.data(shapes.ref("Jobs")))
    about = "Jobs that ended last, the last first"
    found.append(_get("/q/{queue}/ended.json", about, ended, _READS))
    for queue in ("/q/{queue}", "/{queue}"):
        status = _json(shapes.ref("Status"))
        found += [
            _get(f"{queue}/status", "Jobs, workers and counts", status, _READS),
            _get(f"{queue}/metrics", "The queue's length and more, for Prometheus", _WORDS, _READS),
        ]
    return found


def _jobs() -> list[Operation]:
    job = "/q/{queue}/j/{job}"
    whole = _json(shapes.data(shapes.ref("JobDocument")))
    names = _json(shapes.data({"type": "array", "items": shapes.TEXT}))
    stream = {"text/event-stream": shapes.TEXT}
    return [
        _get(job, "Definition, and results once it ended", whole, (400, 404, 503), more=_GONE),
        _get("/j/{document}", "JOB: its page; JOB.json: its document", whole | _PAGE,
             (400, 404, 503), more=_GONE),
        _get(f"{job}/namespaces.json", "Who holds the job", names, _READS),
        _get(f"{job}/explain", "Why the job waits", _json(shapes.data(shapes.ref("Explanation"))),
             (400, 404, 503), more=_GONE),
        _get(f"{job}/history.json", "What happened to the job, and when",
             _json(shapes.data(shapes.ref("History"))), (400, 404, 503), more=_GONE),
        _get(f"{job}/stream", "The job's story, as events", stream, (400,)),
        *(_cancel(path) for path in (f"{job}/cancel", f"{job}/{{namespace}}/cancel")),
        Operation("post", "/j/{job}/copy", "Submit the job's definition to another queue",
                  {200: _json(shapes.ref("Accepted"))}, (400, 404, 410, 413, 429, 503),
                  body=_json(shapes.ref("Copy"))),
        _get("/{queue}/j/{job}/result.json", "The finished job, for upstream's command line",
             _json(shapes.ref("OldResult")), _READS_JOURNAL),
    ]  # fmt: skip


def _cancel(path: str) -> Operation:
    query = ("message",) if "{namespace}" in path else ("namespace", "message")
    return Operation(
        "post",
        path,
        "Let a namespace let go of the job; the last one ends it",
        {200: _json(shapes.ref("Cancelled"))},
        _READS,
        query,
    )


def _of_jobs() -> list[Operation]:
    """Those that exist with and without a queue."""
    definition = _json(shapes.data(shapes.nullable(shapes.ref("Definition"))))
    result = _json(shapes.data(shapes.nullable(shapes.ref("FinishedJob"))))
    outcome = _json(shapes.data(shapes.ref("Job")))
    page = _json(shapes.ref("LogPage"))
    found: list[Operation] = []
    for job in ("/q/{queue}/j/{job}", "/j/{job}"):
        found += [
            _get(f"{job}/definition.json", "As it was submitted", definition, _READS_JOURNAL),
            _get(f"{job}/result", "200: it has ended; 202: it waits or runs", outcome,
                 (400, 404, 503), more={202: outcome, **_GONE}),
            _get(f"{job}/result.json", "The finished job, or null", result, _READS_JOURNAL),
            _get(f"{job}/results.json", "As result.json", result, _READS_JOURNAL),
            _get(f"{job}/build-logs.json", "Lines of the build log", page, _READS_JOURNAL,
                 query=("since",)),
            _get(f"{job}/run-logs.json", "Lines of the run log", page, _READS_JOURNAL,
                 query=("since",)),
            _get(f"{job}/inputs/{{name}}", "An input file", _FILE, (*_READS_FILES, 410),
                 more=_FILE_ANSWERS),
            _get(f"{job}/outputs/{{name}}", "An output file", _FILE, (*_READS_FILES, 410),
                 more=_FILE_ANSWERS),
        ]  # fmt: skip
    return found


def _tools() -> list[Operation]:
    """501: the server has not installed them."""
    message = _json(shapes.ref("JsonRpc"))
    refused = _json({"anyOf": [shapes.ref("JsonRpc"), shapes.ref("Error")]})
    called = Operation(
        "post",
        "/mcp",
        "A call in the Model Context Protocol, without a session; 202: it was a notification",
        {200: {**message, "text/event-stream": shapes.TEXT}, 202: {}, 400: refused, 406: message},
        (413, 501, 503),
        body=message,
    )
    health = _json({"type": "object"})
    return [
        called,
        _get("/mcp/health", "Whether tools are served", health, (501,), more={503: health}),
        _get("/mcp/info", "The tools, for people", _json({"type": "object"}), (501,)),
    ]


def operations() -> list[Operation]:
    """Every route but the sockets and the built page's own assets."""
    return [*_plain(), *_tools(), *_files(), *_queues(), *_jobs(), *_of_jobs()]


def description() -> dict[str, Any]:
    """The whole document, ready for JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations():
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "gridd", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": shapes.SCHEMAS, "parameters": shapes.PARAMETERS},
    }


_ABOUT: Final = (
    "A compute grid: queues of jobs that anyone can submit to. Every GET route answers HEAD, and "
    "every address OPTIONS (204, for CORS). An address that is not listed is answered with 404, "
    "another method with 405 and Allow; what is not HTTP, or has a line beyond 8 KiB, with 400 in "
    "plain text. Names in a path are percent-encoded UTF-8; lengths are in bytes after decoding. "
    "WebSocket addresses and all limits are in the protocol's SPEC.md."
)


def _described(operation: Operation) -> dict[str, Any]:
    answers = dict.fromkeys((*operation.refusals, 403), _json(shapes.ref("Error")))
    answers |= operation.answers
    # A request line or a header beyond 8 KiB never reaches a handler.
    answers[400] = answers.get(400, {}) | _WORDS
    responses = {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status, content in sorted(answers.items())
    }
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    names = [*in_path, *(f"{name}Query" for name in operation.query)]
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
        "responses": responses,
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": operation.body}
    return described


async def show_description(request: web.Request) -> web.Response:
    return json_value(description())
