"""The tools' view of a grid over HTTP, for ``gridd mcp``. Upstream's servers will do, but for
``explain_job``, which is ours."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from gridd.client.api import GridClient
from gridd.client.errors import GridError
from gridd.client.follow import Final, Lines, Restarted
from gridd.client.progress import Progress
from gridd.client.target import Target
from gridd.client.transfer import Upload
from gridd.client.transport import Transport
from gridd.mcp import face
from gridd.mcp.face import CancelledWas, Ended, JsonObject, Step, ToolError


class HttpFace:
    """``transport`` is open and stays its owner's."""

    def __init__(self, target: Target, transport: Transport) -> None:
        self._transport = transport
        self.origin = target.api
        self.default_queue = target.queue

    async def submit(self, queue: str, definition: JsonObject, namespace: str) -> str:
        return await self._queue(queue).submit(definition, namespace=namespace)

    async def jobs(self, queue: str) -> dict[str, JsonObject]:
        return await self._queue(queue).jobs()

    async def job(self, queue: str, job: str) -> JsonObject | None:
        """Our grids say it of any job that they know. Upstream's have two places: the list, and
        the result; and they may answer an address that they do not know with a page."""
        client = self._queue(queue)
        try:
            known = await self._data(client.job_path(job, "/result"))
        except GridError as error:
            if error.status != 200:
                raise
            known = None
        return known or (await client.jobs()).get(job) or await client.result(job)

    async def definition(self, queue: str | None, job: str) -> Any:
        return await self._data(self._job_path(queue, job, "/definition.json"))

    async def finished(self, queue: str | None, job: str) -> JsonObject | None:
        found: JsonObject | None = await self._data(self._job_path(queue, job, "/result.json"))
        return found

    async def cancel(self, queue: str, job: str, namespace: str) -> CancelledWas:
        words = await self._queue(queue).cancel(job, namespace=namespace)
        if words == "cancelled":
            return "cancelled"
        if "not held" in words:
            return "not held"
        return "unknown" if "not found" in words.lower() else "ended"

    async def follow(self, queue: str, job: str) -> AsyncGenerator[Step, None]:
        restarted = False
        async with aclosing(self._queue(queue).follow(job)) as events:
            async for event in events:
                if isinstance(event, Restarted):
                    restarted = True
                elif isinstance(event, Lines):
                    yield face.Lines(event.kind, list(event.lines), restarted)
                    restarted = False
                elif isinstance(event, Final):
                    yield Ended(event.reason)

    async def upload(self, key: str, data: bytes) -> None:
        assert hashlib.sha256(data).hexdigest() == key
        upload = Upload(name=key, source=data, size=len(data), sha256=key, key=key)
        await self._queue(self.default_queue).upload(upload, Progress(key, None, enabled=False))

    async def explain(self, queue: str, job: str) -> JsonObject | None:
        found: JsonObject | None = None
        try:
            found = await self._data(self._queue(queue).job_path(job, "/explain"))
        except GridError as error:
            if error.status != 200:  # a page instead: upstream's server does not know the address
                raise
        if found is None and await self.job(queue, job) is not None:
            raise ToolError("the server of this grid can't explain jobs")
        return found

    def _queue(self, queue: str) -> GridClient:
        return GridClient(self.origin, queue, transport=self._transport)

    def _job_path(self, queue: str | None, job: str, rest: str) -> str:
        start = "" if queue is None else f"/q/{quote(queue, safe='')}"
        return f"{start}/j/{quote(job, safe='')}{rest}"

    async def _data(self, path: str) -> Any:
        answer = await self._transport.call("GET", path, missing_is_answer=True)
        return answer.get("data") if isinstance(answer, dict) else None
