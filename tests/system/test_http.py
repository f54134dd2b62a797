"""The HTTP face of a real ``gridd serve``, with curl as the client, across a ``kill -9``."""

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridd_protocol.jobid import job_id

DEFINITION = {"image": "alpine:3.20", "command": "echo hi", "mine": {"b": 1.5, "a": [None]}}
JOB = job_id(DEFINITION)
FILE = bytes(range(256)) * 8192  # 2 MiB: more than curl sends without being told to go on
HASH = hashlib.sha256(FILE).hexdigest()


async def curl(*arguments: str, stdin: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "20", *arguments,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), 30)
    assert process.returncode == 0, err.decode()
    return out


async def fetched(*arguments: str) -> Any:
    return json.loads(await curl(*arguments))


async def work(url: str, result: dict[str, Any]) -> None:
    """A worker in JSON that takes one job, prints two lines and answers with ``result``."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/q/q1/worker", protocols=("gridd.v1.json",)) as socket,
    ):
        await socket.send_json([{"type": "hello", "worker": "w1", "protocol": 1, "credit": 1}])
        push = await message(socket, "push")
        lease = {"job": push["job"], "attempt": push["attempt"]}
        lines = [["one\n", 1], ["two\n", 2, True]]
        await socket.send_json(
            [
                {"type": "started", **lease, "time": 1},
                {"type": "log", **lease, "step": "Running", "cursor": 0, "lines": lines},
                {"type": "finished", **lease, "reason": "Success", "result": json.dumps(result)},
            ]
        )
        await message(socket, "acknowledged")


async def message(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Any:
    seen: list[Any] = []
    while True:
        try:
            frame = await asyncio.wait_for(socket.receive_json(), 10)
        except (TimeoutError, TypeError) as error:
            pytest.fail(f"no {kind} ({error!r}), only {seen}")
        for one in frame:
            if one["type"] == kind:
                return one
            seen.append(one)


async def test_a_job_from_submission_to_result_and_after_a_kill(
    tmp_path: Path, serving: Any
) -> None:
    async with serving(tmp_path) as (url, _):
        body = json.dumps({"definition": DEFINITION})
        assert await fetched(f"{url}/q/q1", "-d", body) == {"success": True, "jobId": JOB}
        listed = (await fetched(f"{url}/q/q1"))["data"]
        assert [(id, job["state"]) for id, job in listed.items()] == [(JOB, "Queued")]
        assert b"queue_length 1\n" in await curl(f"{url}/q/q1/metrics")
        assert await fetched(f"{url}/j/{JOB}/result.json") == {"data": None}
        following = asyncio.ensure_future(curl("-N", f"{url}/q/q1/j/{JOB}/stream"))
        await work(
            url,
            {
                "StatusCode": 0,
                "duration": 5,
                "outputs": {
                    "small.txt": {"type": "base64", "value": "aGk="},
                    "big.bin": {"type": "url", "value": f"{url}/f/{HASH}"},
                },
            },
        )
        told = (await following).decode()
        events = [line[7:] for line in told.splitlines() if line.startswith("event: ")]
        assert events[-2:] == ["state", "final"], told
        assert "run-log" in events
        assert 'data: {"state":"Finished","reason":"Success"}' in told
    # Nothing was closed in an orderly way; all of it was answered, so all of it is there.
    async with serving(tmp_path) as (url, _):
        finished = (await fetched(f"{url}/q/q1/j/{JOB}/result.json"))["data"]
        assert (finished["state"], finished["finishedReason"]) == ("Finished", "Success")
        assert finished["finished"]["result"]["StatusCode"] == 0
        assert await fetched(f"{url}/j/{JOB}/definition.json") == {"data": DEFINITION}
        logs = await fetched(f"{url}/j/{JOB}/run-logs.json?since=1")
        assert logs["data"][0] == ["two\n", 2, True]
        assert logs["isFinal"] is True
        assert await curl(f"{url}/j/{JOB}/outputs/small.txt") == b"hi"
        assert (
            await curl(f"{url}/j/{JOB}/outputs/nothing", "-w", "%{http_code}", "-o", "/dev/null")
            == b"404"
        )
        told = (await curl("-N", f"{url}/q/q1/j/{JOB}/stream")).decode()
        assert told.rstrip().endswith('data: {"state":"Finished","reason":"Success"}')
        cancelled = await fetched("-X", "POST", f"{url}/q/q1/j/{JOB}/cancel")
        assert cancelled == {"message": "Job already Finished"}


async def test_files_with_curl_and_after_a_kill(tmp_path: Path, serving: Any) -> None:
    source = tmp_path / "source"
    source.write_bytes(FILE)
    send = ["-X", "PUT", "--location", "--upload-file", str(source), "-H", "Expect: 100-continue"]
    async with serving(tmp_path / "data") as (url, _):
        assert (
            await curl(*send, f"{url}/f/{HASH}") == f"file saved as {HASH}, 2097152 bytes".encode()
        )
        wrong = "0" * 64
        refused = await fetched(*send, f"{url}/f/{wrong}")
        assert refused["code"] == "hash-mismatch"
        assert await fetched(f"{url}/f/{wrong}/exists") == {"exists": False}
    async with serving(tmp_path / "data") as (url, _):
        assert await fetched(f"{url}/f/{HASH}/exists") == {"exists": True}
        assert await curl(f"{url}/f/{HASH}") == FILE
        assert await curl("-r", "1000-1999", f"{url}/f/{HASH}") == FILE[1000:2000]


async def test_cancel_answers_at_once(tmp_path: Path, serving: Any) -> None:
    async with serving(tmp_path) as (url, _):
        body = {"definition": DEFINITION, "control": {"namespace": "a"}}
        await fetched(f"{url}/q/q1/j", "-d", json.dumps(body))
        body["control"] = {"namespace": "b"}
        await fetched(f"{url}/q/q1/j", "-d", json.dumps(body))
        names = await fetched(f"{url}/q/q1/j/{JOB}/namespaces.json")
        assert names == {"data": ["a", "b"]}
        none = await fetched("-X", "POST", f"{url}/q/q1/j/{JOB}/cancel")
        assert none == {"message": "Job is not held by namespace '_'"}
        one = await fetched("-X", "POST", f"{url}/q/q1/j/{JOB}/a/cancel")
        assert one == {"success": True, "jobId": JOB, "namespace": "a"}
        assert list((await fetched(f"{url}/q/q1"))["data"]) == [JOB], "b still holds it"
        await fetched("-X", "POST", f"{url}/q/q1/j/{JOB}/cancel?namespace=*")
        assert await fetched(f"{url}/q/q1") == {"data": {}}


async def test_a_copy_runs_in_the_other_queue(tmp_path: Path, serving: Any) -> None:
    async with serving(tmp_path) as (url, _):
        await fetched(f"{url}/q/q1", "-d", json.dumps({"definition": DEFINITION}))
        copied = await fetched(f"{url}/j/{JOB}/copy", "-d", '{"queue": "q2"}')
        assert copied == {"success": True, "jobId": JOB}
        assert list((await fetched(f"{url}/q/q2"))["data"]) == [JOB]


async def test_stop_ends_open_streams(tmp_path: Path, serving: Any) -> None:
    async with serving(tmp_path) as (url, process):
        await fetched(f"{url}/q/q1", "-d", json.dumps({"definition": DEFINITION}))
        async with aiohttp.ClientSession() as session:
            stream = await session.get(f"{url}/q/q1/j/{JOB}/stream")
            first = await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 10)
            assert first.startswith(b"event: state")
            process.terminate()
            rest = await asyncio.wait_for(stream.content.read(), 10)
            assert b"final" not in rest
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_odd_requests_do_not_end_the_server(tmp_path: Path, serving: Any) -> None:
    """Each of these ends upstream's server or leaves it with a 500 (FINDINGS 1, 17)."""
    async with serving(tmp_path) as (url, process):
        for arguments, code in [
            ((f"{url}/q/q1", "-d", "not json"), "bad-json"),
            ((f"{url}/q/q1", "-d", '{"definition":"text"}'), "bad-definition"),
            (
                (f"{url}/q/q1", "-d", '{"definition":{"image":"a"},"control":{"namespace":{}}}'),
                None,
            ),
            (
                (f"{url}/q/q1", "-d", json.dumps({"definition": DEFINITION, "id": "x"})),
                "id-mismatch",
            ),
            (("--path-as-is", f"{url}/f/../../etc/passwd"), "not-found"),
            (("--path-as-is", f"{url}/f/..%2f..%2fetc%2fpasswd"), "bad-name"),
            ((f"{url}/q/%ff",), "bad-name"),
            ((f"{url}/j/" + "a" * 3000 + ".json",), "bad-name"),
        ]:
            refused = await fetched(*arguments)
            assert "error" in refused
            assert code is None or refused["code"] == code, refused
        assert await curl(f"{url}/healthz") == b"OK"
        assert process.returncode is None
