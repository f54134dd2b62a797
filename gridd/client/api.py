"""A grid's REST interface as Python calls: ``async with GridClient(api, queue) as grid``.

Every call has a deadline and bounded retries, and raises ``GridError``. Paths and shapes are
those of WIRE 1.2 to 1.10. Answers are plain dicts as sent, except where a type is named.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from gridd.client import deletion, transfer
from gridd.client.encoding import wire_json
from gridd.client.errors import GridError
from gridd.client.follow import Event, Follower
from gridd.client.progress import Progress
from gridd.client.transfer import Upload
from gridd.client.transport import Transport, not_a_grid
from gridd_protocol.messages import LogLine


class LogPage(msgspec.Struct, frozen=True, rename="camel"):
    """WIRE 1.7: lines ``slice_start`` to ``next_cursor - 1`` of one kind."""

    data: list[LogLine]
    slice_start: int
    next_cursor: int
    is_final: bool


class GridClient:
    """One queue of one grid. ``api`` is its URL without a slash at the end."""

    def __init__(self, api: str, queue: str, *, transport: Transport | None = None) -> None:
        self.transport = transport or Transport(api)
        self.queue = queue
        self._root = f"/q/{quote(queue, safe='')}"

    async def __aenter__(self) -> "GridClient":
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *exit: object) -> None:
        await self.transport.__aexit__(*exit)

    def job_path(self, job: str, rest: str = "") -> str:
        return f"{self._root}/j/{quote(job, safe='')}{rest}"

    async def submit(
        self,
        definition: Mapping[str, Any],
        *,
        namespace: str | None = None,
        control: Mapping[str, Any] | None = None,
        debug: bool = False,
    ) -> str:
        """The job's id. Safe to repeat: an equal definition has the same id (WIRE 3.7).
        ``control`` is what stands beside the definition; ``namespace`` goes over its own."""
        body: dict[str, Any] = {"definition": definition}
        beside = {**(control or {}), **({} if namespace is None else {"namespace": namespace})}
        if beside:
            body["control"] = beside
        if debug:
            body["debug"] = True
        answer = await self.transport.call("POST", self._root, body=wire_json(body))
        job = answer.get("jobId") if isinstance(answer, dict) else None
        if not isinstance(job, str) or not job:
            not_a_grid("the submission")
        return job

    async def copy(self, job: str, queue: str, *, namespace: str | None = None) -> str:
        """Submit the job's definition to another queue of the same grid (WIRE 1.11). Its id."""
        control = {} if namespace is None else {"namespace": namespace}
        body = msgspec.json.encode({"queue": queue, "control": control})
        answer = await self.transport.call("POST", f"/j/{quote(job, safe='')}/copy", body=body)
        if not isinstance(answer, dict):
            not_a_grid("the copy")
        return str(answer.get("jobId") or job)

    async def namespaces(self, job: str) -> list[str]:
        """Who holds the job (WIRE 1.5)."""
        data = await self._data("GET", self.job_path(job, "/namespaces.json"))
        if not isinstance(data, list):
            not_a_grid("namespaces.json")
        return [str(name) for name in data]

    async def delete(self, job: str, *, namespace: str = "*") -> None:
        """Let the grid forget the job and its answer: see ``deletion.delete``."""
        await deletion.delete(self, self._root, job, namespace)

    async def jobs(self) -> dict[str, dict[str, Any]]:
        """The queue's jobs by id, as in WIRE 3.1; cancelled ones are left out."""
        data = await self._data("GET", f"{self._root}/j")
        if not isinstance(data, dict):
            not_a_grid("the job list")
        return data

    async def definition(self, job: str) -> dict[str, Any]:
        """As submitted. Raises ``GridError`` with status 404 for an unknown job."""
        data = await self._data("GET", self.job_path(job, "/definition.json"))
        if not isinstance(data, dict):
            raise GridError(
                f"job {job[:80]} is not known on queue {self.queue}; check the id and --queue", 404
            )
        return data

    async def result(self, job: str) -> dict[str, Any] | None:
        """The finished job (WIRE 1.5); ``None`` while it has no result, and when cancelled."""
        data = await self._data("GET", self.job_path(job, "/result.json"))
        if data is not None and not isinstance(data, dict):
            not_a_grid("result.json")
        return data

    async def why_it_waits(self, job: str) -> str | None:
        """A sentence; ``None`` where the grid has none (upstream's server is not asked such)."""
        data = await self._data("GET", self.job_path(job, "/explain"))
        summary = data.get("summary") if isinstance(data, dict) else None
        return summary if isinstance(summary, str) and summary else None

    async def logs(self, job: str, kind: str, since: int = 0) -> LogPage:
        """Lines from ``since`` on; ``kind`` is ``build`` or ``run``."""
        path = self.job_path(job, f"/{kind}-logs.json?since={since}")
        try:
            return msgspec.convert(await self.transport.call("GET", path), LogPage)
        except msgspec.ValidationError:
            not_a_grid(f"{kind}-logs.json")

    def follow(self, job: str, *, since: int = 0) -> AsyncGenerator[Event, None]:
        """What happens to the job, from its beginning to its end: see ``follow.Event``."""
        return Follower(self, job, since=since).events()

    async def cancel(self, job: str, *, namespace: str | None = None, message: str = "") -> str:
        """Let ``namespace`` (default ``_``, ``*`` for all) let go of the job (WIRE 1.9).

        Returns ``cancelled``, or the grid's own words when there was nothing to cancel.
        """
        query = f"?namespace={quote(namespace or '_', safe='')}"
        if message:
            query += f"&message={quote(message, safe='')}"
        answer = await self.transport.call("POST", self.job_path(job, "/cancel") + query)
        if not isinstance(answer, dict):
            not_a_grid("the cancellation")
        words = answer.get("message")
        return words if isinstance(words, str) and words else "cancelled"

    async def status(self) -> dict[str, Any]:
        """WIRE 8, as sent."""
        answer = await self.transport.call("GET", f"{self._root}/status")
        if not isinstance(answer, dict):
            not_a_grid("the status")
        return answer

    async def upload(self, upload: Upload, progress: Progress) -> None:
        """Bring the bytes to the grid unless it has them: see ``transfer.send``."""
        await transfer.send(self.transport, upload, progress)

    def download(
        self, job: str, name: str, reference: Mapping[str, Any], progress: Progress
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of one output, in pieces: see ``transfer.receive``."""
        encoded = "/".join(quote(part, safe="") for part in name.split("/"))
        path = self.job_path(job, f"/outputs/{encoded}")
        return transfer.receive(self.transport, path, name, reference, progress)

    async def _data(self, method: str, path: str) -> Any:
        answer = await self.transport.call(method, path, missing_is_answer=True)
        if answer is None:
            return None
        if not isinstance(answer, dict):
            not_a_grid(path)
        return answer.get("data")
