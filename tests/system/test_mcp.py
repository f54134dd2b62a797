"""The tools over a real server: by the SDK's own client over HTTP and over stdio, and by bare
JSON-RPC as upstream's tests send it."""

import asyncio
import base64
import hashlib
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError

from tests.system.support.processes import Server, Worker, killed_at_end
from tests.system.support.sockets import hello, worker

TOOLS = ["submit_job", "follow_job", "get_job_status", "list_jobs", "cancel_job", "upload_file",
         "explain_job"]  # fmt: skip
UNKNOWN = "17705fba78df9e97d18e3fd19f7e0ad28c32d9f62cf873f3d4c940e383915b82"
BOTH = {"Accept": "application/json, text/event-stream"}
PATIENCE_S = 20


@pytest.fixture
async def url(tmp_path: Path, serving: Any) -> AsyncIterator[str]:
    async with serving(tmp_path / "data", "--log-level", "warning") as (url, _):
        yield url


def over_http(url: str, mode: str) -> AbstractAsyncContextManager[Client]:
    return Client(f"{url}/mcp", mode=mode, read_timeout_seconds=PATIENCE_S)


def over_stdio(url: str, mode: str) -> AbstractAsyncContextManager[Client]:
    command = ["-m", "gridd", "mcp", "--api", url, "--queue", "public1"]
    process = StdioServerParameters(command=sys.executable, args=command)
    return Client(process, mode=mode, read_timeout_seconds=PATIENCE_S)


async def call(client: Client, name: str, **arguments: Any) -> Any:
    result = await client.call_tool(name, arguments)
    (content,) = result.content
    document = json.loads(content.text)
    assert result.structured_content == document
    assert not result.is_error, document
    return document


async def refused(client: Client, name: str, **arguments: Any) -> Any:
    result = await client.call_tool(name, arguments)
    document = json.loads(result.content[0].text)
    assert result.is_error
    assert document["success"] is False
    assert document["message"]
    return document


@asynccontextmanager
async def null_worker(folder: Path, url: str, queue: str) -> AsyncIterator[None]:
    machine = Worker(folder, url, queue=queue, runtime="null")
    async with killed_at_end(machine):
        await machine.start()
        yield


# --- with the SDK's client -------------------------------------------------------------

EVERY_WAY = pytest.mark.parametrize(
    ("connect", "mode"),
    [(over_http, "auto"), (over_http, "legacy"), (over_stdio, "auto"), (over_stdio, "legacy")],
    ids=lambda value: getattr(value, "__name__", value),
)


@EVERY_WAY
async def test_a_job_from_submission_to_result(
    connect: Any, mode: str, url: str, tmp_path: Path
) -> None:
    async with connect(url, mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
        uploaded = await call(client, "upload_file", filename="a.txt", content="hello\n")
        inputs = {"a.txt": uploaded["reference"], "b.txt": "text"}
        submitted = await call(client, "submit_job", image="busybox", command="x", inputs=inputs)
        job, queue = submitted["jobId"], submitted["queue"]
        assert queue == "public1"
        assert submitted["viewUrl"] == f"{url}/j/{job}#?queue=public1"
        why = await call(client, "explain_job", jobId=job)
        assert why["summary"] == "No worker is connected to this queue."
        assert (await call(client, "get_job_status", jobId=job))["status"]["state"] == "Queued"
        listed = await call(client, "list_jobs")
        assert [one["jobId"] for one in listed["jobs"]] == [job]
        async with null_worker(tmp_path, url, queue):
            ended = await call(client, "follow_job", jobId=job, queue=queue, timeoutSeconds=20)
        assert (ended["state"], ended["exitCode"], ended["programSucceeded"]) == (
            "Finished", 0, True,
        )  # fmt: skip
        status = await call(client, "get_job_status", jobId=job)
        assert status["status"]["finishedReason"] == "Success"
        assert status["result"]["statusCode"] == 0
    async with aiohttp.ClientSession() as session:
        for address, content in (
            (uploaded["downloadUrl"], b"hello\n"),
            (f"{url}/q/{queue}/j/{job}/inputs/a.txt", b"hello\n"),
        ):
            async with session.get(address) as answer:
                assert (answer.status, await answer.read()) == (200, content)
        async with session.get(submitted["resultUrl"]) as answer:
            assert (await answer.json())["data"]["finishedReason"] == "Success"


@EVERY_WAY
async def test_lines_come_as_progress_while_the_job_runs(connect: Any, mode: str, url: str) -> None:
    told: list[tuple[float, str | None]] = []
    heard = asyncio.Event()

    async def progress(count: float, total: float | None, message: str | None) -> None:
        told.append((count, message))
        heard.set()

    async with connect(url, mode) as client, worker(url, path="/q/q/worker") as machine:
        job = (await call(client, "submit_job", queue="q", image="busybox"))["jobId"]
        await machine.socket.send_json([hello()])
        await machine.next("push")
        lease = {"job": job, "attempt": 1}
        follow = asyncio.ensure_future(
            client.call_tool("follow_job", {"jobId": job, "queue": "q"}, progress_callback=progress)
        )
        for cursor, text in enumerate(("one", "two", "three")):
            heard.clear()
            log = {"type": "log", **lease, "step": "Running", "cursor": cursor,
                   "lines": [[f"{text}\n", cursor]]}  # fmt: skip
            await machine.socket.send_json([{"type": "started", **lease, "time": 4}, log])
            await asyncio.wait_for(heard.wait(), PATIENCE_S)
        result = json.dumps({"StatusCode": 3, "duration": 7, "outputs": {"o": {"value": "x"}}})
        finished = {"type": "finished", **lease, "reason": "Success", "result": result}
        await machine.socket.send_json([finished])
        document = json.loads((await asyncio.wait_for(follow, PATIENCE_S)).content[0].text)
    assert told == [(1, "one"), (2, "two"), (3, "three")]
    wanted = {
        "exitCode": 3, "programSucceeded": False, "durationMs": 7, "outputFiles": ["o"],
        "streamedLive": True, "logLineCount": 3, "logs": ["one", "two", "three"],
    }  # fmt: skip
    assert {name: document[name] for name in wanted} == wanted


@EVERY_WAY
async def test_refusals_resources_and_cancelling(connect: Any, mode: str, url: str) -> None:
    async with connect(url, mode) as client:
        await client.list_tools()
        bad = await refused(client, "submit_job", image="a", maxDuration="long")
        assert "maxDuration" in bad["error"]
        assert (await refused(client, "submit_job"))["error"].startswith("image: give one of")
        assert "knows no job" in (await refused(client, "explain_job", jobId=UNKNOWN))["error"]
        assert "knows no job" in (
            await refused(client, "follow_job", jobId=UNKNOWN, queue="public1")
        )["error"]  # fmt: skip
        with pytest.raises(MCPError, match="Unknown tool: no_such_tool"):
            await client.call_tool("no_such_tool", {})

        job = (await call(client, "submit_job", image="a"))["jobId"]
        (resource,) = (await client.list_resources()).resources
        assert str(resource.uri) == "queue://public1/jobs"
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.uri_template for one in templates] == [
            "queue://{queue}/jobs", "job://{job}/definition", "job://{job}/result",
        ]  # fmt: skip
        documents = []
        for uri in (str(resource.uri), f"job://{job}/definition", f"job://{job}/result"):
            (content,) = (await client.read_resource(uri)).contents
            documents.append(json.loads(content.text)["data"])
        assert list(documents[0]) == [job]
        assert documents[1]["image"] == "a"
        assert documents[2] is None
        for uri in ("queue://public1", "job://zz/result", f"job://{UNKNOWN}/definition"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)

        assert "was cancelled" in (await call(client, "cancel_job", jobId=job))["message"]
        status = await call(client, "get_job_status", jobId=job)
        assert status["status"]["finishedReason"] == "Cancelled"
        assert "ended already" in (await call(client, "cancel_job", jobId=job))["message"]
        assert "knows no job" in (await call(client, "cancel_job", jobId=UNKNOWN))["message"]


async def test_a_grid_that_is_out_of_reach_is_said_in_a_sentence() -> None:
    async with over_stdio("http://127.0.0.1:9", "auto") as client:
        failure = await refused(client, "list_jobs")
    assert "can't be reached" in failure["error"]


async def test_files_are_uploaded_byte_for_byte(url: str) -> None:
    data = bytes(range(256)) * 4_000
    async with over_http(url, "auto") as client:
        content = base64.b64encode(data).decode()
        stored = await call(
            client, "upload_file", filename="x.bin", content=content, encoding="base64"
        )
    assert (stored["key"], stored["size"]) == (hashlib.sha256(data).hexdigest(), len(data))


# --- bare JSON-RPC ---------------------------------------------------------------------


class Bare:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def __call__(
        self, method: str, params: Any = None, headers: dict[str, str] = BOTH
    ) -> Any:
        """The reply, be it plain JSON or the one frame of an event stream."""
        body = {"jsonrpc": "2.0", "id": 7, "method": method}
        if params is not None:
            body["params"] = params
        async with self.session.post(f"{self.url}/mcp", json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            if answer.content_type == "text/event-stream":
                (text,) = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
            reply = json.loads(text)
        assert (reply["jsonrpc"], reply["id"]) == ("2.0", 7)
        return reply

    async def tool(self, name: str, **arguments: Any) -> Any:
        reply = await self("tools/call", {"name": name, "arguments": arguments})
        return json.loads(reply["result"]["content"][0]["text"])


@pytest.fixture
async def bare(url: str) -> AsyncIterator[Bare]:
    async with aiohttp.ClientSession() as session:
        yield Bare(url, session)


# What upstream's server answered to the same calls, in the same order: the members of each.
RECORDED: list[tuple[str, dict[str, Any] | None, set[str]]] = [
    (
        "initialize",
        {"protocolVersion": "2025-03-26", "capabilities": {},
         "clientInfo": {"name": "rec", "version": "1"}},
        {"protocolVersion", "capabilities", "serverInfo"},
    ),
    ("ping", None, set()),
    ("tools/list", None, {"tools"}),
    ("resources/list", None, {"resources"}),
]  # fmt: skip
RECORDED_TOOLS: list[tuple[str, dict[str, Any], set[str]]] = [
    (
        "submit_job",
        {"queue": "q-mcp", "image": "alpine:3.18.5", "command": "echo from mcp"},
        {"success", "jobId", "queue", "viewUrl", "selfContainedUrl", "resultUrl", "definition",
         "namespace", "message", "shareWithUser", "nextStep"},
    ),
    (
        "list_jobs",
        {"queue": "q-mcp"},
        {"success", "queue", "totalJobs", "totalMatchingJobs", "filters", "jobs"},
    ),
    (
        "get_job_status",
        {"queue": "q-mcp", "jobId": UNKNOWN},
        {"success", "jobId", "viewUrl", "shareWithUser", "status", "result"},
    ),
    (
        "cancel_job",
        {"queue": "q-mcp", "jobId": UNKNOWN},
        {"success", "jobId", "queue", "message"},
    ),
]  # fmt: skip
RECORDED_DEFINITION = {"image", "hasDockerfile", "hasBuild", "command", "filesCount", "envCount",
                       "maxDuration"}  # fmt: skip
RECORDED_JOB = {"jobId", "state", "worker", "time", "queuedTime", "namespaces"}


async def test_the_recorded_exchange(bare: Bare) -> None:
    for method, params, members in RECORDED:
        reply = await bare(method, params)
        assert members <= set(reply["result"]), method
    answers = {}
    for name, arguments, members in RECORDED_TOOLS:
        reply = await bare("tools/call", {"name": name, "arguments": arguments})
        assert not reply["result"].get("isError")
        (content,) = reply["result"]["content"]
        assert content["type"] == "text"
        answers[name] = json.loads(content["text"])
        assert answers[name]["success"] is True
        assert members <= set(answers[name]), name
    submitted = answers["submit_job"]
    assert set(submitted["definition"]) == RECORDED_DEFINITION
    assert submitted["namespace"] == "dev"
    assert [set(job) for job in answers["list_jobs"]["jobs"]] == [RECORDED_JOB]
    assert answers["list_jobs"]["filters"] == {"limit": 50}
    assert answers["get_job_status"]["status"] == {}
    assert answers["get_job_status"]["result"] is None
    assert (await bare("nope"))["error"]["code"] == -32601
    unknown = await bare("tools/call", {"name": "no_such_tool", "arguments": {}})
    assert unknown["error"]["message"] == "Unknown tool: no_such_tool"


async def test_capabilities_and_resources_are_those_of_upstream(bare: Bare) -> None:
    capabilities = (await bare("initialize", RECORDED[0][1]))["result"]["capabilities"]
    assert {"tools", "resources"} <= set(capabilities)
    (resource,) = (await bare("resources/list"))["result"]["resources"]
    assert resource["uri"] == "queue://public1/jobs"
    assert {"uri", "name", "description", "mimeType"} <= set(resource)
    await bare.tool("submit_job", queue="a b", image="x")
    read = await bare("resources/read", {"uri": "queue://a%20b/jobs"})
    (content,) = read["result"]["contents"]
    async with bare.session.get(f"{bare.url}/q/a%20b/j") as listed:
        assert json.loads(content["text"]) == await listed.json()


async def test_http_around_it(bare: Bare) -> None:
    address = f"{bare.url}/mcp"
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    async with bare.session.post(address, json=note, headers=BOTH) as answer:
        assert (answer.status, await answer.read()) == (202, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    typed = BOTH | {"Content-Type": "application/json"}
    async with bare.session.post(address, data=b"not json", headers=typed) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32700)
    async with bare.session.post(address, data=b"{}") as answer:
        assert answer.status == 400
        assert "Content-Type" in (await answer.json())["error"]
    assert (await bare("ping", headers={"Accept": "*/*"}))["result"] == {}
    for method in ("GET", "DELETE", "PUT"):
        async with bare.session.request(method, address, headers=BOTH) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    huge = io.BytesIO(b"x" * (5 << 20))
    async with bare.session.post(address, data=huge, headers=typed) as answer:
        assert answer.status == 413


async def test_health_and_info_speak_of_the_same_tools(bare: Bare) -> None:
    async with bare.session.get(f"{bare.url}/mcp/health") as answer:
        health = await answer.json()
    assert health["status"] == "healthy"
    assert {"status", "server", "version", "capabilities", "timestamp"} <= set(health)
    async with bare.session.get(f"{bare.url}/mcp/info") as answer:
        info = await answer.json()
    listed = (await bare("tools/list"))["result"]["tools"]
    assert info["capabilities"]["tools"] == {"count": len(TOOLS), "names": TOOLS}
    assert [tool["name"] for tool in listed] == TOOLS
    told = {tool["name"]: tool for tool in info["documentation"]["tools"]}
    for tool in listed:
        assert told[tool["name"]]["properties"] == list(tool["inputSchema"]["properties"])
        assert told[tool["name"]]["required"] == tool["inputSchema"]["required"]


async def test_the_server_stops_while_a_job_is_followed(tmp_path: Path, serving: Any) -> None:
    async with (
        serving(tmp_path) as (url, process),
        aiohttp.ClientSession() as session,
    ):
        job = (await Bare(url, session).tool("submit_job", queue="q", image="x"))["jobId"]
        params = {"name": "follow_job", "arguments": {"jobId": job, "queue": "q"}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with session.post(f"{url}/mcp", json=call, headers=BOTH) as answer:
            assert answer.content_type == "text/event-stream"
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_closed_grid_hears_no_foreign_page(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gridd", "up", "--port", "0", "--runtime", "null"),
        *("--data-dir", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        url = line.decode().split()[-1]
        async with aiohttp.ClientSession() as session:
            bare = Bare(url, session)
            call = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            for foreign in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
                async with session.post(f"{url}/mcp", json=call, headers=BOTH | foreign) as answer:
                    assert answer.status == 403, foreign
            assert (await bare("ping", headers=BOTH | {"Origin": url}))["result"] == {}
            submitted = await bare.tool("submit_job", image="x")
            assert submitted["queue"] == "local"
            ended = await bare.tool("follow_job", jobId=submitted["jobId"], queue="local")
            assert ended["programSucceeded"] is True
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 20)


async def test_links_begin_with_the_public_address(tmp_path: Path) -> None:
    server = Server(tmp_path, "--public-url", "https://grid.example.org")
    async with killed_at_end(server), aiohttp.ClientSession() as session:
        await server.start()
        submitted = await Bare(server.url, session).tool("submit_job", queue="q", image="x")
        assert submitted["viewUrl"].startswith("https://grid.example.org/j/")
