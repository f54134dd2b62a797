"""A real ``gridd serve`` that keeps its files on a real S3 service, with curl as the client."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gridd.blobs.bucket import Bucket
from gridd_protocol.jobid import job_id
from tests.conftest import Serving
from tests.system.support.processes import free_port, until
from tests.system.support.s3_server import S3Server, weed

MIB = 1 << 20
DEFINITION = {"image": "alpine:3.20", "command": "echo hi"}
JOB = job_id(DEFINITION)

# What the server may grow by while a file of 128 MiB passes through it: the parts of one upload
# (24 MiB) and their copies on the way to the socket. It is 65 to 71 MiB, also for 512 MiB.
GROWTH_MIB_MAX = 96


async def curl(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "60", *arguments,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 70)
    assert process.returncode == 0, err.decode()
    return out


def options(s3: S3Server, place: Bucket) -> list[str]:
    return ["--blobs", str(place), "--s3-endpoint", s3.endpoint, "--s3-region", "us-east-1"]


@pytest.fixture
def place(s3: S3Server) -> Bucket:
    return s3.place()


def some_file(path: Path, size: int) -> str:
    """Makes a file that no store can shrink; the answer is its sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // MIB):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def memory_mib(process: asyncio.subprocess.Process, what: str) -> int:
    """``VmRSS`` is what it has now, ``VmHWM`` the most that it ever had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) >> 10


async def test_a_large_file_goes_up_and_down_without_being_held(
    tmp_path: Path, serving: Serving, s3: S3Server, place: Bucket
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    key = some_file(there, 128 * MIB)
    async with serving(tmp_path / "data", *options(s3, place)) as (url, process):
        small = await curl("-T", "-", f"{url}/f/small")  # an empty file, and the ways are warm
        assert small == b"file saved as small, 0 bytes"
        before = memory_mib(process, "VmRSS")
        said = await curl("-X", "PUT", "-L", "-T", str(there), f"{url}/f/{key}")
        assert said.decode() == f"file saved as {key}, {128 * MIB} bytes"
        assert json.loads(await curl(f"{url}/f/{key}/exists")) == {"exists": True}
        await curl("-L", "-o", str(back), f"{url}/f/{key}")
        assert hash_of(back) == key
        grown = memory_mib(process, "VmHWM") - before
        assert grown < GROWTH_MIB_MAX, f"it grew by {grown} MiB"
    assert await s3.unfinished(place) == []


async def test_a_download_is_a_redirect_that_keeps_name_and_type(
    tmp_path: Path, serving: Serving, s3: S3Server, place: Bucket
) -> None:
    (tmp_path / "file").write_bytes(b'{"a":1}')
    async with serving(tmp_path / "data", *options(s3, place)) as (url, _):
        await curl("-T", str(tmp_path / "file"), f"{url}/f/some%20name.json")
        form = "%{http_code} %{redirect_url}"
        code, location = (await curl("-w", form, f"{url}/f/some%20name.json")).decode().split()
        assert code == "302"
        assert urlsplit(location).netloc == f"127.0.0.1:{s3.port}"
        head, _, body = (await curl("-i", location)).partition(b"\r\n\r\n")
        assert body == b'{"a":1}'
        assert b"Content-Type: application/json" in head
        assert b'Content-Disposition: attachment; filename="some name.json"' in head
        part = await curl("-L", "-r", "1-3", f"{url}/f/some%20name.json")
        assert part == b'"a"', "a range is passed on"
        missing = await curl("-L", "-w", "%{http_code}", f"{url}/f/no-such-name")
        assert missing.endswith(b"404")


async def test_wrong_and_cut_off_uploads_are_refused_and_nothing_is_seen(
    tmp_path: Path, serving: Serving, s3: S3Server, place: Bucket
) -> None:
    file = tmp_path / "file"
    some_file(file, 20 * MIB)
    wrong = "0" * 64
    async with serving(tmp_path / "data", *options(s3, place)) as (url, _):
        said = json.loads(await curl("-T", str(file), f"{url}/f/{wrong}"))
        assert said["code"] == "hash-mismatch"
        code = await curl(
            "-o", "/dev/null", "-w", "%{http_code}", "-T", str(file), f"{url}/f/{wrong}"
        )
        assert code == b"422"
        parts = urlsplit(url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(b"PUT /f/cut HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        writer.write(b"x" * (20 * MIB))
        await writer.drain()
        begun = await until(lambda: s3.unfinished(place), lambda: None)
        assert len(begun) == 1
        writer.transport.abort()

        async def given_up() -> bool:
            return not await s3.unfinished(place)

        await until(given_up, lambda: "an upload that goes on")
        assert await s3.objects(place) == {}
        for key in (wrong, "cut"):
            assert json.loads(await curl(f"{url}/f/{key}/exists")) == {"exists": False}


async def work(url: str, result: dict[str, Any]) -> None:
    """A worker that takes one job and answers with ``result``."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/q/q1/worker", protocols=("gridd.v1.json",)) as socket,
    ):
        await socket.send_json([{"type": "hello", "worker": "w1", "protocol": 1, "credit": 1}])
        push = await message(socket, "push")
        lease = {"job": push["job"], "attempt": push["attempt"]}
        done = {"type": "finished", **lease, "reason": "Success", "result": json.dumps(result)}
        await socket.send_json([{"type": "started", **lease, "time": 1}, done])
        await message(socket, "acknowledged")


async def message(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            for one in await socket.receive_json():
                if one["type"] == kind:
                    return one


async def test_output_files_are_redirects_in_this_flavour(
    tmp_path: Path, serving: Serving, s3: S3Server, place: Bucket
) -> None:
    """WIRE 1.6: in remote mode, exactly 302 with a location for references to files."""
    data = b"a,b\n1,2\n" * 100
    key = hashlib.sha256(data).hexdigest()
    (tmp_path / "file").write_bytes(data)
    async with serving(tmp_path / "data", *options(s3, place)) as (url, _):
        await curl("-T", str(tmp_path / "file"), f"{url}/f/{key}")
        await curl("-d", json.dumps({"definition": DEFINITION}), f"{url}/q/q1")
        outputs = {
            "sub/table.csv": {"type": "url", "value": f"{url}/f/{key}"},
            "key.csv": {"type": "key", "value": key},
            "note": {"type": "utf8", "value": "hi"},
        }
        await work(url, {"StatusCode": 0, "outputs": outputs})
        for job in (f"{url}/q/q1/j/{JOB}", f"{url}/j/{JOB}"):
            for name in ("sub/table.csv", "key.csv"):
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"{job}/outputs/{name}", allow_redirects=False) as answer,
                ):
                    assert answer.status == 302
                    assert answer.headers["location"].startswith(s3.endpoint)
                    assert answer.headers["Access-Control-Allow-Origin"] == "*"
                head, _, body = (
                    await curl(
                        "-i", "-L", "-H", "Origin: http://x.example", f"{job}/outputs/{name}"
                    )
                ).rpartition(b"\r\n\r\n")
                assert body == data
                assert b"Content-Type: text/csv" in head
            assert await curl(f"{job}/outputs/note") == b"hi"


async def test_when_the_service_goes_away_it_is_said_and_it_is_found_again(
    tmp_path: Path, serving: Serving, s3: S3Server
) -> None:
    program = weed()
    assert program is not None
    own = S3Server(program, tmp_path)
    own.start()
    try:
        await own.make_ready()
        async with serving(tmp_path / "data", *options(own, own.place())) as (url, _):
            (tmp_path / "file").write_bytes(b"before")
            await curl("-T", str(tmp_path / "file"), f"{url}/f/name")
            own.kill()
            for arguments in (["-L"], ["-T", str(tmp_path / "file")]):
                said = await curl("-w", "%{http_code}", *arguments, f"{url}/f/name")
                assert said.endswith(b"503")
                assert json.loads(said[:-3]) == {
                    "error": "the grid can't keep files now: the file store can't be reached; "
                    "try again later",
                    "code": "unavailable",
                }
            assert await curl("-d", json.dumps({"definition": DEFINITION}), f"{url}/q/q1"), (
                "jobs go on"
            )
            own.start()
            await own.make_ready()
            assert await curl("-L", f"{url}/f/name") == b"before"
            await curl("-T", str(tmp_path / "file"), f"{url}/f/other")
            assert await curl("-L", f"{url}/f/other") == b"before"
    finally:
        own.kill()


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("bucket", "s3://no-such-bucket refused ListObjectsV2: NoSuchBucket"),
        ("secret", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("endpoint", "check the service and --s3-endpoint"),
    ],
)
async def test_what_is_wrong_at_the_start_is_one_sentence(
    tmp_path: Path, s3: S3Server, place: Bucket, what: str, sentence: str
) -> None:
    environment = dict(os.environ)
    environment["GRIDD_BLOBS"] = "s3://no-such-bucket" if what == "bucket" else str(place)
    environment["GRIDD_S3_ENDPOINT"] = (
        f"http://127.0.0.1:{free_port()}" if what == "endpoint" else s3.endpoint
    )
    if what == "secret":
        environment["AWS_SECRET_ACCESS_KEY"] = "not-the-secret"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gridd", "serve", "--port", "0", "--data-dir", str(tmp_path),
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert out == b""
    [line] = err.decode().splitlines()
    assert sentence in line
    assert "not-the-secret" not in line
