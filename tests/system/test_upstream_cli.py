"""Upstream's command lines against a real server with a real worker; and ours beside them."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridd_protocol import job_id
from tests.system.support.processes import Server
from tests.system.support.up import grid_up
from tests.upstream.cli import Cq, Mtpg, Trouble
from tests.upstream.grid import until

QUEUE = "local"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with grid_up(tmp_path_factory.mktemp("process"), "process") as url:
        yield url


@pytest.fixture(scope="module")
def null_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its jobs have images, and succeed at once."""
    with grid_up(tmp_path_factory.mktemp("null"), "null") as url:
        yield url


def shell(text: str, **more: Any) -> dict[str, Any]:
    assert "'" not in text
    return {"command": f"sh -c '{text}'", **more}  # the worker fills in no variable there


async def gridd(url: str, *line: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gridd", *line, "--api", url, "--queue", QUEUE),
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


# --- cq --------------------------------------------------------------------------------


async def test_run_asks_in_order_and_tells_the_end(url: str) -> None:
    definition = shell("echo one; echo two >&2; exit 7")
    job = job_id(definition)
    async with Cq(url, QUEUE) as cq:
        code, lines, summary = await cq.run(definition)
    assert code == 7
    assert sorted(lines) == ["one\n", "two\n"]
    assert summary["finishedReason"] == "Success"
    assert summary["StatusCode"] == 7
    assert isinstance(summary["duration"], int)
    assert (summary["outputs"], summary["error"]) == ([], None)
    root = f"/q/{QUEUE}"
    assert cq.asked == [
        f"POST {root}",
        f"GET {root}/j/{job}/stream",
        f"GET {root}/j/{job}/result.json",
    ]
    assert cq.progress[-1] == "Finished"
    code, out, _ = await gridd(url, "wait", "--json", job)
    assert code == 7
    ours = json.loads(out)
    assert {name: ours[name] for name in summary} == summary


async def test_the_stream_replays_a_job_that_has_ended(url: str) -> None:
    async with Cq(url, QUEUE) as cq:
        job = await cq.submit(shell("echo a; echo b"))
        first = await cq.follow(job)
        again, kinds = await cq.follow(job)
    assert again == first[0] == ["a\n", "b\n"]
    assert kinds[-1] == "final"
    assert {"state", "run-log"} <= set(kinds)


async def test_polling_serves_where_there_is_no_stream(url: str) -> None:
    async with Cq(url, QUEUE, scale=0.05) as cq:
        job = await cq.submit(shell("for i in 1 2 3; do echo $i; sleep 0.1; done"))
        assert await cq.poll(job) == ["1\n", "2\n", "3\n"]
        page = await cq.logs(job, "run", since=2)
        assert page["kind"] == "run"
        assert [line[0] for line in page["data"]] == ["3\n"]
        assert (page["sliceStart"], page["nextCursor"], page["isFinal"]) == (2, 3, True)
        assert (await cq.logs(job, "build"))["data"] == []
    code, out, _ = await gridd(url, "logs", "--kind", "run", "--since", "2", "--json", job)
    assert (code, json.loads(out)) == (0, page)


async def test_inputs_small_and_large_and_outputs_in_folders(url: str, tmp_path: Path) -> None:
    small, large = b"small\n", b"large\n" * 100
    async with Cq(url, QUEUE) as cq:
        inputs = {"s": await cq.reference(small), "l": await cq.reference(large)}
        assert [reference["type"] for reference in inputs.values()] == ["base64", "url"]
        again = await cq.reference(large)
        puts = [asked for asked in cq.asked if asked.startswith("PUT")]
        assert (again, len(puts)) == (inputs["l"], 1)  # the grid has it: it is not sent again
        script = 'mkdir "$JOB_OUTPUTS/sub"; cat "$JOB_INPUTS/s" "$JOB_INPUTS/l" > '
        job = await cq.submit(shell(f'{script} "$JOB_OUTPUTS/sub/both"', inputs=inputs))
        await cq.follow(job)
        assert await cq.outputs(job, tmp_path) == ["sub/both"]
    assert (tmp_path / "sub" / "both").read_bytes() == small + large


async def test_ours_gives_the_id_that_the_script_gives(url: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 201)
    async with Cq(url, QUEUE) as cq:
        definition = shell(
            "true",
            env={"A": "1", "CQ_NONCE": "n"},
            inputs={"l": await cq.reference(b"x" * 201), "s": await cq.reference(b"text")},
            maxDuration="1m",
            requirements={"cpus": 1, "maxDuration": "1m"},
        )
        job = await cq.submit(definition)
    line = ("--command", definition["command"], "--env", "A=1", "--nonce", "n", "--cpus", "1")
    files = ("--input", "s=text", "--input", f"l=@{tmp_path / 'large'}", "--max-duration", "1m")
    assert (await gridd(url, "submit", "--dry-run", *line, *files))[:2] == (0, f"{job}\n")
    assert (await gridd(url, "submit", *line, *files))[:2] == (0, f"{job}\n")


async def test_a_folder_as_a_context_under_a_key_with_a_suffix(url: str) -> None:
    async with Cq(url, QUEUE) as cq:
        address = await cq.context({"Dockerfile": b"FROM scratch\n", "a/b": b"c" * 500})
        assert address.endswith(".tar.gz")
        job = await cq.submit({"build": {"context": address}})  # nobody builds here
        assert (await cq.cancel(job))["success"] is True


async def test_a_running_job_is_cancelled(url: str) -> None:
    async with Cq(url, QUEUE) as cq:
        job = await cq.submit(shell("echo up; sleep 60"), namespace="mine")

        async def running() -> bool:
            return bool((await cq.logs(job, "run"))["data"])

        await until(running, lambda: cq.asked[-3:])
        assert (await cq.status()).endswith(", 1 worker source(s)")
        answer = await cq.cancel(job, namespace="mine", message="enough")
        assert answer == {"success": True, "jobId": job, "namespace": "mine"}
        assert await cq.result(job) is None
        _, kinds = await cq.follow(job)
        assert kinds[-1] == "final"  # who follows a cancelled job is let go


async def test_what_the_script_gets_wrong_is_said(url: str) -> None:
    async with Cq(url, QUEUE) as cq:
        with pytest.raises(Trouble, match=r"submit: 400 .*command"):
            await cq.submit({"command": 7})
        with pytest.raises(Trouble, match="upload: 422"):
            await cq.upload(b"other bytes", "0" * 64)
        assert await cq.result("0" * 64) is None
        job = await cq.submit(shell("true"))
        await cq.follow(job)
        with pytest.raises(Trouble, match="404"):
            await cq._json(f"{url}/q/{QUEUE}/j/{job}/outputs/none")


# --- mtpg ------------------------------------------------------------------------------


async def test_mtpg_adds_a_job_over_the_old_socket_path(null_url: str, tmp_path: Path) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    small.write_bytes(b"s")
    large.write_bytes(b"l" * 300_000)
    async with Mtpg(null_url, QUEUE, scale=0.01) as mtpg:
        view = await mtpg.add(command="true", files=(small, large))
        assert view["state"] in ("Queued", "Running", "Finished")
        found = await mtpg.add(command="true", files=(small, large), wait_s=20)
        puts = [asked for asked in mtpg.asked if asked.startswith("PUT")]
        assert len(puts) == 1
        assert found["result"]["StatusCode"] == 0
        assert found["result"]["outputs"] == {}
        assert found["data"]["finished"]["reason"] == "Success"
        job = view["jobId"]
        assert await mtpg.fetched(job) == found  # `job await`, later


async def test_ours_by_its_names(null_url: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"x" * 300)
    async with Mtpg(null_url, QUEUE) as mtpg:
        view = await mtpg.add(image="a:1", command="go", files=(tmp_path / "in.txt",))
    where = ("--api", null_url)
    line = ("-m", "a:1", "-c", "go", "-f", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gridd", "job", "add", QUEUE, "--wait", *line, *where),
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert found["jobId"] == view["jobId"]
    assert found["finished"]["result"]["StatusCode"] == 0


async def test_an_upload_is_tried_until_the_server_is_there(tmp_path: Path) -> None:
    server = Server(tmp_path)
    (tmp_path / "large").write_bytes(b"x" * 300)
    try:
        async with Mtpg(server.url, QUEUE, scale=0.2) as mtpg:
            upload = asyncio.create_task(mtpg.file(tmp_path / "large"))
            await until(lambda: len(mtpg.asked) > 1, lambda: mtpg.asked)
            assert not upload.done()
            await server.start()
            reference = await asyncio.wait_for(upload, 30)
            async with mtpg._session.get(reference["value"]) as response:
                assert await response.read() == b"x" * 300
    finally:
        await server.kill()
