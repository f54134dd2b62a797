"""Submitting, cancelling, copying (WIRE 1.3, 1.9, 1.11)."""

import json
from typing import Any

import pytest

from gridd_protocol.jobid import job_id

UNKNOWN = "0" * 64
DEFINITION = {"image": "alpine:3.18.5", "command": "echo hi"}


async def test_a_submission_is_answered_with_its_id(server: Any) -> None:
    for path in ("/q/q1", "/q/q1/j"):
        answer = await server("POST", path, json={"definition": DEFINITION})
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert await answer.json() == {"success": True, "jobId": job_id(DEFINITION)}
    assert len(server.grid.queues["q1"]) == 1


async def test_the_queue_name_is_decoded_once(server: Any) -> None:
    await server("POST", "/q/a%20b%252F", json={"definition": DEFINITION})
    assert list(server.grid.queues) == ["a b%2F"]


@pytest.mark.parametrize("namespace_path", [False, True])
async def test_cancel_names_the_namespace_by_path_or_query(
    server: Any, namespace_path: bool
) -> None:
    job = server.grid.put(DEFINITION)
    place = "/n%C3%BC/cancel?namespace=other&" if namespace_path else "/cancel?namespace=n%C3%BC&"
    answer = await server("POST", f"/q/q1/j/{job}{place}message=too+slow")
    assert (answer.status, await answer.json()) == (
        200,
        {"success": True, "jobId": job, "namespace": "nü"},
    )
    assert server.grid.cancels == [("q1", job, "nü", "too slow")]


async def test_cancel_by_default(server: Any) -> None:
    job = server.grid.put(DEFINITION)
    await server("POST", f"/q/q1/j/{job}/cancel")
    await server("POST", f"/q/q1/j/{job}/cancel?namespace=*&message=")
    assert server.grid.cancels == [
        ("q1", job, "_", "Job cancelled by API"),
        ("q1", job, "*", "Job cancelled by API"),
    ]


async def test_cancel_of_what_is_over_or_unknown(server: Any) -> None:
    job = server.grid.put(DEFINITION, result={})
    over = await server("POST", f"/q/q1/j/{job}/cancel")
    unknown = await server("POST", f"/q/q1/j/{UNKNOWN}/cancel")
    assert (over.status, await over.json()) == (200, {"message": "Job already Finished"})
    assert (unknown.status, await unknown.json()) == (200, {"message": "Job not found"})


async def test_cancel_by_a_namespace_that_does_not_hold_it(server: Any) -> None:
    """Upstream never answers it (WIRE D41). A success would be no true word: the job goes on."""
    job = server.grid.put(DEFINITION)
    server.grid.holds = False
    answer = await server("POST", f"/q/q1/j/{job}/cancel?namespace=n")
    assert (answer.status, await answer.json()) == (
        200,
        {"message": "Job is not held by namespace 'n'"},
    )


async def test_copy_passes_the_definition_on_as_it_was_sent(server: Any) -> None:
    raw = b'{ "image" : "alpine:3.18.5", "mine": [1.50, "\\u00fc"] }'
    job = server.grid.put(raw)
    answer = await server(
        "POST", f"/j/{job}/copy", json={"queue": "q2", "control": {"namespace": "n"}}
    )
    body = await answer.json()
    assert (answer.status, body["success"]) == (200, True)
    copied = server.grid.queues["q2"][body["jobId"]]
    assert copied.definition == raw
    assert copied.view.namespaces == ("n",)


async def test_copy_of_an_unknown_job(server: Any) -> None:
    answer = await server("POST", f"/j/{UNKNOWN}/copy", json={"queue": "q2"})
    assert answer.status == 404
    assert (await answer.json())["error"] == "Job definition not found"


def body_of(**members: Any) -> bytes:
    return json.dumps({"definition": DEFINITION, **members}).encode()


async def test_what_is_empty_was_left_out(server: Any) -> None:
    """As upstream reads it: an empty id, and an empty namespace."""
    answer = await server("POST", "/q/q1", data=body_of(id="", control={"namespace": ""}))
    assert answer.status == 200, await answer.text()
    job = server.grid.queues["q1"][(await answer.json())["jobId"]]
    assert job.view.namespaces == ("_",)


# method, path, body → status, code, field
BAD: dict[str, tuple[str, str, bytes | None, int, str, str | None]] = {
    "no body": ("POST", "/q/q1", b"", 400, "bad-json", None),
    "not json": ("POST", "/q/q1", b"not json", 400, "bad-json", None),
    "cut json": ("POST", "/q/q1", b'{"definition": {', 400, "bad-json", None),
    "not utf-8": ("POST", "/q/q1", b'{"definition": {"image": "\xff"}}', 400, "bad-json", None),
    "null": ("POST", "/q/q1", b"null", 400, "bad-request", None),
    "array": ("POST", "/q/q1/j", b"[]", 400, "bad-request", None),
    "scalar": ("POST", "/q/q1", b"5", 400, "bad-request", None),
    "no definition": ("POST", "/q/q1", b"{}", 400, "bad-request", "definition"),
    "definition is text": ("POST", "/q/q1", b'{"definition":"x"}', 400, "bad-definition", None),
    "image is a number": (
        "POST", "/q/q1", b'{"definition":{"image":5}}', 400, "bad-definition", "definition.image",
    ),
    "an input is null": (
        "POST", "/q/q1", b'{"definition":{"image":"a","inputs":{"a":null}}}', 400,
        "bad-definition", "definition.inputs.a",
    ),
    "namespace is an object": (
        "POST", "/q/q1", body_of(control={"namespace": {}}), 400, "bad-request",
        "control.namespace",
    ),
    "another id": ("POST", "/q/q1", body_of(id="0" * 64), 409, "id-mismatch", "id"),
    "too large": ("POST", "/q/q1", b" " * ((2 << 20) + 1), 413, "too-large", "body"),
    "queue with slash": ("POST", "/q/a%2Fb", body_of(), 400, "bad-queue", "queue"),
    "queue dots": ("POST", "/q/%2e%2e", body_of(), 400, "bad-queue", "queue"),
    "queue with control": ("GET", "/q/a%00b", None, 400, "bad-queue", "queue"),
    "queue too long": ("GET", "/q/" + "a" * 129, None, 400, "bad-queue", "queue"),
    "queue bad percent": ("GET", "/q/a%zz", None, 400, "bad-name", "queue"),
    "queue cut percent": ("GET", "/q/a%2", None, 400, "bad-name", "queue"),
    "queue not utf-8": ("GET", "/q/%ff", None, 400, "bad-name", "queue"),
    "job id of other form": ("GET", "/q/q1/j/abc/result.json", None, 400, "bad-name", "job"),
    "job id a number": ("GET", "/j/5.json", None, 400, "bad-name", "job"),
    "job id upper case": ("GET", f"/q/q1/j/{'A' * 64}", None, 400, "bad-name", "job"),
    "job id very long": ("GET", f"/j/{'a' * 3000}/definition.json", None, 400, "bad-name", "job"),
    "job id escapes": ("GET", "/j/..%2F..%2Fetc/result.json", None, 400, "bad-name", "job"),
    "job id for the page": ("GET", "/j/xyz", None, 400, "bad-name", "job"),
    "stream of odd id": ("GET", "/q/q1/j/x/stream", None, 400, "bad-name", "job"),
    "cancel of odd id": ("POST", "/q/q1/j/5/cancel", None, 400, "bad-name", "job"),
    "namespace too long": (
        "POST", f"/q/q1/j/{UNKNOWN}/cancel?namespace={'n' * 257}", None, 400, "bad-name",
        "namespace",
    ),
    "namespace with control": (
        "POST", f"/q/q1/j/{UNKNOWN}/a%0ab/cancel", None, 400, "bad-name", "namespace",
    ),
    "copy: not json": ("POST", f"/j/{UNKNOWN}/copy", b"{", 400, "bad-json", None),
    "copy: no queue": ("POST", f"/j/{UNKNOWN}/copy", b"{}", 400, "bad-request", "queue"),
    "copy: odd queue": ("POST", f"/j/{UNKNOWN}/copy", b'{"queue":5}', 400, "bad-request", "queue"),
    "copy: bad queue": (
        "POST", f"/j/{UNKNOWN}/copy", b'{"queue":"a/b"}', 400, "bad-queue", "queue",
    ),
    "copy: a list": ("POST", f"/j/{UNKNOWN}/copy", b"[]", 400, "bad-request", "body"),
    "since": (
        "GET", f"/q/q1/j/{UNKNOWN}/run-logs.json?since=ten", None, 400, "bad-request", "since",
    ),
    "since nan": (
        "GET", f"/j/{UNKNOWN}/build-logs.json?since=nan", None, 400, "bad-request", "since",
    ),
    "no file name": ("GET", f"/j/{UNKNOWN}/inputs/", None, 400, "bad-name", "name"),
    "file name bad percent": ("GET", f"/j/{UNKNOWN}/outputs/%", None, 400, "bad-name", "name"),
    "blob with slash": ("GET", "/f/a%2Fb", None, 400, "bad-name", "key"),
    "blob up": ("GET", "/f/..%2Fjournal", None, 400, "bad-name", "key"),
    "blob dots": ("PUT", "/f/%2e%2e", b"x", 400, "bad-name", "key"),
    "blob backslash": ("PUT", "/f/..%5Cx", b"x", 400, "bad-name", "key"),
    "blob nul": ("GET", "/f/a%00/exists", None, 400, "bad-name", "key"),
    "blob too long": ("PUT", "/f/" + "a" * 256, b"x", 400, "bad-name", "key"),
    "blob of other bytes": ("PUT", f"/f/{UNKNOWN}", b"x", 422, "hash-mismatch", "key"),
    "blob too large": ("PUT", "/f/name", b"x" * ((4 << 20) + 1), 413, "too-large", "body"),
    "no such address": ("GET", "/nothing/here", None, 404, "not-found", None),
    "trailing slash": ("GET", "/q/q1/", None, 404, "not-found", None),
    "no key": ("GET", "/f/", None, 404, "not-found", None),
    "two segments": ("GET", "/f/a/b", None, 404, "not-found", None),
    "socket without upgrade": ("GET", "/q/q1/client", None, 400, "bad-request", None),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_bad_input(server: Any, name: str) -> None:
    method, path, body, status, code, field = BAD[name]
    answer = await server(method, path, data=body)
    seen = await answer.json()
    assert (answer.status, seen["code"]) == (status, code), seen
    assert field is None or seen["field"] == field, seen
    assert "Traceback" not in seen["error"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert server.grid.queues == {}, "nothing was submitted"
