"""The tools over a face that a test fills in."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest

from gridd.mcp import tools as t
from gridd.mcp.arguments import schema
from gridd.mcp.face import SELF_CONTAINED_URL_MAX, Ended, Lines, Step, ToolError
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.jobid import job_id
from gridd_protocol.messages import LogLine

JOB = "a" * 64
DONE = {"state": "Finished", "finishedReason": "Success", "worker": "w1", "time": 5,
        "queuedTime": 2, "namespaces": ["dev"], "attempt": 1}  # fmt: skip


@dataclass
class FakeFace:
    origin: str = "http://grid.test"
    default_queue: str = "public1"
    submitted: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    story: list[Step] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    was: Any = "cancelled"
    closed: bool = False

    async def submit(self, queue: str, definition: dict[str, Any], namespace: str) -> str:
        self.submitted.append((queue, definition, namespace))
        return job_id(definition)

    async def jobs(self, queue: str) -> dict[str, dict[str, Any]]:
        return self.listed

    async def job(self, queue: str, job: str) -> dict[str, Any] | None:
        return self.listed.get(job)

    async def definition(self, queue: str | None, job: str) -> Any:
        return None

    async def finished(self, queue: str | None, job: str) -> dict[str, Any] | None:
        return None if self.result is None else {**DONE, "finished": {"result": self.result}}

    async def cancel(self, queue: str, job: str, namespace: str) -> Any:
        return self.was

    async def follow(self, queue: str, job: str) -> AsyncGenerator[Step, None]:
        try:
            for step in self.story:
                yield step
            if not self.story or not isinstance(self.story[-1], Ended):
                await asyncio.sleep(60)
        finally:
            self.closed = True

    async def upload(self, key: str, data: bytes) -> None:
        self.stored[key] = data

    async def explain(self, queue: str, job: str) -> dict[str, Any] | None:
        return None


@pytest.fixture
def face() -> FakeFace:
    return FakeFace()


async def call(face: FakeFace, name: str, report: t.Report | None = None, **given: Any) -> Any:
    document = await t.TOOLS[name](face, given, report)
    assert json.loads(json.dumps(document)) == document
    return document


def lines(*texts: str) -> list[LogLine]:
    return [LogLine(text, 1) for text in texts]


# --- submit_job ------------------------------------------------------------------------


async def test_the_definition_is_the_one_that_upstream_makes(face: FakeFace) -> None:
    """The id stands in upstream's recorded exchange."""
    answer = await call(face, "submit_job", image="alpine:3.18.5", command="echo from mcp")
    assert answer["jobId"] == "c546edc9788413b507af8717da5a6e8cadb03c3dec11a830273d590392c3c359"
    assert face.submitted == [
        (
            "public1",
            {"command": "echo from mcp", "inputs": {}, "env": {}, "maxDuration": "30m",
             "image": "alpine:3.18.5"},
            "dev",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "build"),
    [
        ({"gitRepo": "https://x/y"}, {"context": "https://x/y"}),
        (
            {"gitRepo": "https://x/y", "buildContext": "sub", "dockerfile": "FROM a"},
            {"context": "https://x/y", "buildContext": "sub", "dockerfile": "FROM a"},
        ),
        ({"dockerfile": "FROM a"}, {"dockerfile": "FROM a"}),
    ],
)
async def test_an_image_can_be_built(
    face: FakeFace, given: dict[str, str], build: dict[str, str]
) -> None:
    answer = await call(face, "submit_job", **given)
    assert face.submitted[0][1]["build"] == build
    assert answer["definition"]["hasBuild"] is True
    assert answer["definition"]["hasDockerfile"] is ("dockerfile" in given)
    assert "image" not in answer["definition"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "image: give one of image, gitRepo and dockerfile"),
        ({"image": "a", "gitRepo": "b"}, "not both"),
        ({"image": "a", "dockerfile": "FROM b"}, "not both"),
        ({"image": "a", "buildContext": "b"}, "buildContext: it is a folder of gitRepo"),
        ({"image": 5}, "image: expected `str | null`, got `int`"),
        ({"image": "a", "inputs": {"x": 1}}, "inputs"),
        ({"image": "a", "inputs": {"x": {"type": "zip", "value": ""}}}, "Invalid enum value 'zip'"),
        (
            {"image": "a", "commando": "b"},
            "'commando': there is no such argument; there are queue, image,",
        ),
    ],
)
async def test_what_is_wrong_is_named(face: FakeFace, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ToolError) as caught:
        await call(face, "submit_job", **given)
    assert sentence.lower() in str(caught.value).lower()
    assert not face.submitted


async def test_an_uploaded_file_is_an_input(face: FakeFace) -> None:
    uploaded = await call(face, "upload_file", filename="a.csv", content="1,2\n")
    key = uploaded["key"]
    assert face.stored == {key: b"1,2\n"}
    assert uploaded["downloadUrl"] == f"http://grid.test/f/{key}"
    assert (uploaded["size"], uploaded["contentType"]) == (4, "text/csv")
    await call(face, "submit_job", image="a", inputs={"a.csv": uploaded["reference"], "b": "text"})
    assert face.submitted[0][1]["inputs"] == {
        "a.csv": {"type": "key", "value": key},
        "b": {"type": "utf8", "value": "text"},
    }


async def test_bytes_are_uploaded_as_base64(face: FakeFace) -> None:
    content = base64.b64encode(bytes(range(256))).decode()
    await call(face, "upload_file", filename="a", content=content, encoding="base64")
    assert list(face.stored.values()) == [bytes(range(256))]
    with pytest.raises(ToolError, match="content: it is not base64"):
        await call(face, "upload_file", filename="a", content="a*b", encoding="base64")


async def test_links_lead_to_the_queue(face: FakeFace) -> None:
    answer = await call(face, "submit_job", queue="my queue", image="a", command="x" * 9)
    job = answer["jobId"]
    assert answer["viewUrl"] == f"http://grid.test/j/{job}#?queue=my%20queue"
    assert answer["resultUrl"] == f"http://grid.test/q/my%20queue/j/{job}/result.json"
    start, _, rest = answer["selfContainedUrl"].partition("#?job=")
    encoded, _, queue = rest.partition("&queue=")
    assert (start, queue) == ("http://grid.test/", "my%20queue")
    assert json.loads(unquote(base64.b64decode(encoded).decode())) == face.submitted[0][1]


async def test_a_link_that_would_be_too_long_is_left_out(face: FakeFace) -> None:
    whole = await call(face, "submit_job", image="a", command="x" * 23_000)
    assert len(whole["selfContainedUrl"]) <= SELF_CONTAINED_URL_MAX
    assert "selfContainedUrl" not in await call(face, "submit_job", image="a", command="x" * 25_000)


# --- looking ---------------------------------------------------------------------------


async def test_jobs_are_listed_newest_first_up_to_the_limit(face: FakeFace) -> None:
    face.listed = {
        f"{n:064x}": {"state": "Running" if n % 2 else "Queued", "queuedTime": n, "time": n,
                      "worker": "", "namespaces": ["_"], "tags": ["x"]}
        for n in range(1, 8)
    }  # fmt: skip
    answer = await call(face, "list_jobs", state="Queued", limit=2)
    assert (answer["totalJobs"], answer["totalMatchingJobs"]) == (7, 3)
    assert answer["filters"] == {"state": "Queued", "limit": 2}
    assert [job["queuedTime"] for job in answer["jobs"]] == [6, 4]
    assert set(answer["jobs"][0]) == {
        "jobId", "state", "queuedTime", "time", "worker", "namespaces",
    }  # fmt: skip


@pytest.mark.parametrize("limit", [0, 201, "5"])
async def test_the_limit_has_bounds(face: FakeFace, limit: Any) -> None:
    with pytest.raises(ToolError, match="limit: expected `int`"):
        await call(face, "list_jobs", limit=limit)


async def test_an_unknown_job_has_no_status(face: FakeFace) -> None:
    answer = await call(face, "get_job_status", jobId=JOB)
    assert (answer["success"], answer["status"], answer["result"]) == (True, {}, None)
    assert answer["note"] == "queue 'public1' knows no such job"


async def test_a_long_result_is_cut(face: FakeFace) -> None:
    face.listed = {JOB: DONE}
    face.result = {
        "StatusCode": 3, "duration": 7, "isTimedOut": False,
        "logs": [[f"{n}\n", n] for n in range(t.LOG_LINES_MAX + 5)],
        "outputs": {"big one": {"type": "base64", "value": "A" * 20_000}, "b": {"value": "x"}},
    }  # fmt: skip
    result = (await call(face, "get_job_status", jobId=JOB))["result"]
    assert (result["statusCode"], result["duration"], result["isTimedOut"]) == (3, 7, False)
    assert (len(result["logs"]), result["logLinesOmitted"]) == (t.LOG_LINES_MAX, 5)
    address = f"http://grid.test/q/public1/j/{JOB}/outputs/big%20one"
    assert result["outputs"] == {"big one": {"type": "url", "value": address}, "b": {"value": "x"}}
    less = await call(face, "get_job_status", jobId=JOB, includeResult=False)
    assert less["result"] is None


@pytest.mark.parametrize("tool", ["get_job_status", "cancel_job", "explain_job"])
async def test_a_job_id_is_checked(face: FakeFace, tool: str) -> None:
    with pytest.raises(ProtocolError, match="jobId"):
        await call(face, tool, jobId="abc")
    with pytest.raises(ToolError, match="jobId: it is needed"):
        await call(face, tool)


# --- cancelling ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "words"),
    [
        ("cancelled", "was cancelled"),
        ("ended", "had ended already"),
        ("unknown", "knows no job"),
        ("not held", "does not hold"),
    ],
)
async def test_what_cancelling_did_is_said(face: FakeFace, was: str, words: str) -> None:
    face.was = was
    answer = await call(face, "cancel_job", jobId=JOB, queue="q")
    assert set(answer) == {"success", "jobId", "queue", "message"}
    assert words in answer["message"]


async def test_a_namespace_is_checked(face: FakeFace) -> None:
    with pytest.raises(ProtocolError) as caught:
        await call(face, "cancel_job", jobId=JOB, namespace="a\n")
    assert (caught.value.code, caught.value.field) == (ErrorCode.BAD_NAME, "namespace")


# --- following -------------------------------------------------------------------------


async def test_a_job_is_followed_to_its_end(face: FakeFace) -> None:
    face.listed = {JOB: DONE}
    face.result = {"StatusCode": 0, "duration": 12, "outputs": {"b": {}, "a": {}}}
    face.story = [
        Lines("build", lines("step 1\n")),
        Lines("run", lines("one\n", "two")),
        Ended("Success"),
    ]
    told: list[tuple[int, str]] = []

    async def report(count: int, text: str) -> None:
        told.append((count, text))

    answer = await call(face, "follow_job", report, jobId=JOB, queue="q")
    assert told == [(1, "[build] step 1"), (3, "one\ntwo")]
    assert answer["logs"] == ["[build] step 1", "one", "two"]
    wanted = {
        "state": "Finished", "finishedReason": "Success", "exitCode": 0, "programSucceeded": True,
        "durationMs": 12, "outputFiles": ["a", "b"], "streamedLive": True, "logLineCount": 3,
    }  # fmt: skip
    assert {name: answer[name] for name in wanted} == wanted
    assert "note" not in answer
    assert face.closed


async def test_build_lines_can_be_left_out(face: FakeFace) -> None:
    face.listed = {JOB: DONE}
    face.story = [Lines("build", lines("b")), Lines("run", lines("r")), Ended("Success")]
    answer = await call(face, "follow_job", jobId=JOB, queue="q", includeBuildLogs=False)
    assert (answer["logs"], answer["logLineCount"]) == (["r"], 1)


async def test_following_ends_in_time(face: FakeFace) -> None:
    face.listed = {JOB: {**DONE, "state": "Running", "finishedReason": None}}
    face.story = [Lines("run", lines("so far"))]
    answer = await call(face, "follow_job", jobId=JOB, queue="q", timeoutSeconds=0.05)
    assert (answer["state"], answer["programSucceeded"]) == ("Running", False)
    assert answer["note"].startswith("it has not ended within 0.05 s")
    assert answer["logs"] == ["so far"]
    assert face.closed


async def test_only_the_end_of_a_long_log_is_kept(face: FakeFace) -> None:
    face.listed = {JOB: DONE}
    many = [str(n) for n in range(t.LOG_LINES_MAX + 3)]
    face.story = [Lines("run", lines(*many)), Ended("Success")]
    answer = await call(face, "follow_job", jobId=JOB, queue="q")
    assert (len(answer["logs"]), answer["logLineCount"]) == (t.LOG_LINES_MAX, len(many))
    assert answer["note"] == "the first 3 lines of the log are left out"
    face.story = [Lines("run", lines("x" * t.LOG_CHARACTERS_MAX, "y", "z")), Ended("Success")]
    assert (await call(face, "follow_job", jobId=JOB, queue="q"))["logs"] == ["y", "z"]


async def test_a_job_that_nobody_knows_is_not_waited_for(face: FakeFace) -> None:
    with pytest.raises(ToolError, match="knows no job"):
        await call(face, "follow_job", jobId=JOB, queue="q")
    with pytest.raises(ToolError, match="knows no job"):
        await call(face, "explain_job", jobId=JOB, queue="q")


# --- what callers are shown ------------------------------------------------------------

# Upstream's parameters with their defaults; None stands for those that have to be given.
UPSTREAM: dict[str, dict[str, Any]] = {
    "submit_job": {
        "queue": "public1", "image": ..., "gitRepo": ..., "dockerfile": ..., "buildContext": ...,
        "command": "echo 'Hello World'", "inputs": ..., "env": ..., "maxDuration": "30m",
        "namespace": "dev",
    },
    "follow_job": {"jobId": None, "queue": None, "timeoutSeconds": 600, "includeBuildLogs": True},
    "get_job_status": {"jobId": None, "queue": ..., "includeResult": True},
    "list_jobs": {"queue": "public1", "limit": 50, "state": ...},
    "cancel_job": {"jobId": None, "queue": "public1", "namespace": "*"},
    "upload_file": {"filename": None, "content": None, "contentType": ..., "encoding": ...},
}  # fmt: skip


@pytest.mark.parametrize("name", UPSTREAM)
def test_the_parameters_are_upstreams(name: str) -> None:
    shown = schema(t.TOOLS[name].arguments, "public1")
    assert shown["type"] == "object"
    assert set(shown["properties"]) == set(UPSTREAM[name])
    assert set(shown["required"]) == {key for key, it in UPSTREAM[name].items() if it is None}
    for key, default in UPSTREAM[name].items():
        if default not in (None, ...):
            assert shown["properties"][key]["default"] == default
        assert "description" in shown["properties"][key]


def test_every_schema_is_whole() -> None:
    for tool in t.TOOLS.values():
        shown = schema(tool.arguments, "q")
        for word in json.dumps(shown).split('"#/$defs/')[1:]:
            assert word.split('"')[0] in shown["$defs"]
