"""A server and a Docker worker of one module's tests, and what clients ask of them."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker

from gridd_worker.docker.config import cache_volume
from tests.system.support.processes import Api, Server, Worker, api, killed_at_end, until

IMAGE = "gridd-test:busybox"
RESULT_S = 40.0


def shell(script: str, **members: Any) -> dict[str, Any]:
    quoted = script.replace("'", "'\\''")
    return {"image": IMAGE, "command": f"sh -c '{quoted}'", **members}


class Grid:
    """The queue is the module's own, and the worker has its name."""

    def __init__(self, worker: Worker, asked: Api, queue: str) -> None:
        self.worker = worker
        self.api = asked
        self.queue = queue

    async def submit(self, definition: dict[str, Any]) -> str:
        return await self.api.submit(definition, self.queue)

    async def result(self, job: str, timeout_s: float = RESULT_S) -> dict[str, Any]:
        """The result, with ``job`` and the ``reason`` added."""
        finished = await until(
            lambda: self.api.finished(job, self.queue), self.worker.said, timeout_s
        )
        return {**finished["finished"]["result"], **finished["finished"], "job": job}

    async def run(self, definition: dict[str, Any]) -> dict[str, Any]:
        return await self.result(await self.submit(definition))

    async def log(self, job: str) -> list[list[Any]]:
        url = f"{self.api.url}/q/{self.queue}/j/{job}/run-logs.json?since=0"
        async with self.api.session.get(url) as answer:
            return list((await answer.json())["data"])

    async def said(self, definition: dict[str, Any]) -> str:
        """What a job that must succeed printed on stdout."""
        result = await self.run(definition)
        log = await self.log(result["job"])
        assert (result["reason"], result["StatusCode"]) == ("Success", 0), (result, log)
        return "".join(line[0] for line in log if not line[2:])

    async def put(self, data: bytes) -> str:
        """The key of a blob with ``data``."""
        key = hashlib.sha256(data).hexdigest()
        async with self.api.session.put(f"{self.api.url}/f/{key}", data=data) as answer:
            assert answer.status < 300, await answer.text()
        return key

    async def explained(self, job: str, words: str) -> None:
        """Until the server says ``words``, asked why the job waits."""
        last: Any = None

        async def said() -> bool:
            nonlocal last
            url = f"{self.api.url}/q/{self.queue}/j/{job}/explain"
            async with self.api.session.get(url) as answer:
                last = await answer.json()
            return words in str(last)

        await until(said, lambda: (last, self.worker.said()))

    async def cancel(self, job: str) -> None:
        url = f"{self.api.url}/q/{self.queue}/j/{job}/cancel?namespace=*"
        async with self.api.session.post(url) as answer:
            assert (await answer.json())["success"]


@asynccontextmanager
async def docker_grid(folder: Path, word: str, **options: Any) -> AsyncIterator[Grid]:
    """A grid that leaves no container behind, which is looked at. ``options`` are ``Worker``'s."""
    name = f"{word}-{uuid.uuid4().hex[:12]}"
    server = Server(folder)
    worker = Worker(
        folder, server.url, name, queue=name, runtime="docker", **{"cpus": 4, **options}
    )
    await server.start()
    async with killed_at_end(worker, server), api(server.url) as asked:
        await worker.start()
        try:
            yield Grid(worker, asked, name)
        finally:
            await worker.stop()
            host = (options.get("environment") or {}).get("DOCKER_HOST")
            volume = cache_volume(name, hashlib.sha256(server.url.encode()).hexdigest()[:16])
            await _nothing_left(name, volume, host or "unix:///var/run/docker.sock")


async def _nothing_left(name: str, volume: str, host: str) -> None:
    connector = aiodocker.docker.aiohttp.UnixConnector(host.removeprefix("unix://"))
    async with aiodocker.Docker(url="unix://localhost", connector=connector) as engine:
        mark = {"label": [f"gridd.worker={name}"]}
        assert await engine.containers.list(all=True, filters=mark) == []
        with_cache = await engine._query_json("volumes", params={"filters": "{}"})
        if volume in {v["Name"] for v in with_cache["Volumes"] or ()}:
            await engine._query_json(f"volumes/{volume}", "DELETE")
    await connector.close()
