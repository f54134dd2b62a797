"""A real S3 service on this machine (SeaweedFS), with one bucket and two identities."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridd.blobs.bucket import Bucket, S3Options
from gridd.blobs.s3_service import connected

READY_S = 60.0
REGION = "us-east-1"
BUCKET = "grid-files"
OWNER = {"AWS_ACCESS_KEY_ID": "OWNERKEY", "AWS_SECRET_ACCESS_KEY": "owner-secret"}
READER = {"AWS_ACCESS_KEY_ID": "READERKEY", "AWS_SECRET_ACCESS_KEY": "reader-secret"}
_RIGHTS = {"OWNERKEY": ["Admin"], "READERKEY": [f"Read:{BUCKET}", f"List:{BUCKET}"]}


def weed() -> str | None:
    """SeaweedFS's program: beside this Python, where its package puts it, or on the path."""
    beside = Path(sys.executable).parent
    return shutil.which("weed", path=str(beside)) or shutil.which("weed")


@dataclass
class S3Server:
    """Keeps everything under ``folder``; comes back with the same address and content."""

    program: str
    folder: Path
    ports: list[int] = field(default_factory=lambda: _free_ports(8))
    process: subprocess.Popen[bytes] | None = None
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def options(self, **more: Any) -> S3Options:
        return S3Options(**{"endpoint": self.endpoint, "region": REGION, **more})

    def place(self) -> Bucket:
        """Where no other test keeps anything."""
        return Bucket(BUCKET, f"test-{os.getpid()}-{next(self._numbers)}/")

    def start(self) -> None:
        identities = [
            {
                "name": keys["AWS_ACCESS_KEY_ID"].lower(),
                "credentials": [
                    {
                        "accessKey": keys["AWS_ACCESS_KEY_ID"],
                        "secretKey": keys["AWS_SECRET_ACCESS_KEY"],
                    }
                ],
                "actions": _RIGHTS[keys["AWS_ACCESS_KEY_ID"]],
            }
            for keys in (OWNER, READER)
        ]
        config = self.folder / "identities.json"
        config.write_text(json.dumps({"identities": identities}))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(config),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.defpath},  # credentials in there would be one more identity
            )

    def _command(self, config: Path) -> list[str]:
        roles = ("s3", "filer", "volume", "master")
        ports = [f"-{role}.port={port}" for role, port in zip(roles, self.ports, strict=False)]
        ports += [f"-{role}.port.grpc={n}" for role, n in zip(roles, self.ports[4:], strict=True)]
        return [
            self.program, "-logtostderr=true", "server", "-s3", f"-dir={self.folder}",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports,
            f"-s3.config={config}", "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.localSocket={self.folder / 's3.sock'}",
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            "-volume.max=100", "-master.volumeSizeLimitMB=1024", "-master.telemetry=false",
        ]  # fmt: skip

    def kill(self) -> None:
        """At once: asked to end by itself it takes longer than a test may."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None
        for port in self.ports:
            for leftover in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                leftover.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """Uses the credentials in the environment, as the store does."""
        async with connected(Bucket(BUCKET), self.options()) as service:
            yield service._client

    async def make_ready(self, bucket: str = BUCKET) -> None:
        """Returns when it has the bucket and can write to it."""
        deadline = time.monotonic() + READY_S
        trouble: Exception | None = None
        async with self.client() as client:
            while time.monotonic() < deadline and self.process and self.process.poll() is None:
                try:
                    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                        await client.create_bucket(Bucket=bucket)
                    await client.put_object(Bucket=bucket, Key="ready", Body=b"x")
                    return
                except Exception as error:
                    trouble = error
                    await asyncio.sleep(0.05)
        raise AssertionError(f"not ready: {trouble!r}\n{self.said()}")

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    async def objects(self, place: Bucket) -> dict[str, Any]:
        """What is kept at the place, by name."""
        async with self.client() as client:
            listed = await client.list_objects_v2(Bucket=place.name, Prefix=place.prefix)
        found = listed.get("Contents", [])
        return {one["Key"].removeprefix(place.prefix): one for one in found}

    async def unfinished(self, place: Bucket) -> list[str]:
        """Names of the multipart uploads that nobody ended."""
        async with self.client() as client:
            listed = await client.list_multipart_uploads(Bucket=place.name, Prefix=place.prefix)
        return [one["Key"] for one in listed.get("Uploads", [])]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
