"""Upstream's two command lines as they behave towards a server, written from BROWSER.md 4 and
WIRE 9.4: ``Cq`` is its script without dependencies, ``Mtpg`` its first tool.

Each keeps the requests that it made, in order. What they rely on is asserted here, so that a server
that answers something else fails in the place where the real one would.
"""

import asyncio
import base64
import hashlib
import io
import json
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

INLINE_BYTES_MAX = 200
POLL_S = 1.5
POLLS_MAX = 400


class Peer:
    """``async with`` it."""

    def __init__(self, api: str, queue: str, *, scale: float = 1.0) -> None:
        self.api = api
        self.queue = queue
        self.scale = scale
        self.asked: list[str] = []
        self.progress: list[str] = []  # what goes to standard error
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Any:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._note)
        self._session = aiohttp.ClientSession(trace_configs=[trace])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def _note(self, _: object, __: object, request: aiohttp.TraceRequestStartParams) -> None:
        self.asked.append(f"{request.method} {request.url.path_qs}")


class Trouble(Exception):
    """HTTP or network trouble: the script says so and exits with 1."""


class Cq(Peer):
    """The script: REST alone."""

    # --- submitting ---------------------------------------------------------------------

    async def reference(self, data: bytes) -> dict[str, str]:
        """A value of ``--input`` or ``--config``: inside up to 200 bytes, else uploaded."""
        if len(data) <= INLINE_BYTES_MAX:
            return {"type": "base64", "value": base64.b64encode(data).decode()}
        sha256 = hashlib.sha256(data).hexdigest()
        return {"type": "url", "value": await self.upload(data, sha256), "hash": sha256}

    async def upload(self, data: bytes, key: str) -> str:
        url = f"{self.api}/f/{key}"
        async with self._session.get(f"{url}/exists") as response:
            if response.status == 200:
                return url
            assert response.status == 404
        # Node can't send a byte body again: a redirect would end the script (FINDINGS 20)
        async with self._session.put(url, data=data, allow_redirects=False) as response:
            if response.status // 100 != 2:
                raise Trouble(f"upload: {response.status}")
        return url

    async def context(self, files: dict[str, bytes]) -> str:
        """``--context-dir``: a gzipped tar, files at its root, under the hash and a suffix."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        data = packed.getvalue()
        return await self.upload(data, f"{hashlib.sha256(data).hexdigest()}.tar.gz")

    async def submit(self, definition: dict[str, Any], namespace: str | None = None) -> str:
        body: dict[str, Any] = {"definition": definition}
        if namespace is not None:
            body["control"] = {"namespace": namespace}
        url = f"{self.api}/q/{self.queue}"
        async with self._session.post(url, json=body) as response:
            text = await response.text()
            if response.status != 200:
                raise Trouble(f"submit: {response.status} {text}")
            answer = json.loads(text)
        assert answer["success"] is True, answer
        job: str = answer["jobId"]
        return job

    # --- following ----------------------------------------------------------------------

    async def follow(self, job: str) -> tuple[list[str], list[str]]:
        """The lines, and the kinds of the events, until the end; by polling without a stream."""
        url = f"{self.api}/q/{self.queue}/j/{job}/stream"
        lines: list[str] = []
        kinds: list[str] = []
        async with self._session.get(url, headers={"Accept": "text/event-stream"}) as response:
            if "text/event-stream" not in response.headers.get("Content-Type", ""):
                return await self.poll(job), kinds
            async for name, data in _events(response):
                kinds.append(name)
                if name in ("build-log", "run-log"):
                    lines += [line[0] for line in data["lines"]]
                elif name == "state":
                    self.progress.append(data["state"])
                elif name == "final":
                    return lines, kinds
        raise Trouble("the stream ended without a final event")

    async def poll(self, job: str) -> list[str]:
        lines: list[str] = []
        since = {"build": 0, "run": 0}
        for _ in range(POLLS_MAX):
            is_final = False
            for kind in since:
                page = await self.logs(job, kind, since[kind])
                lines += [line[0] for line in page["data"]]
                since[kind] = page["nextCursor"]
                is_final = is_final or page["isFinal"]
            if is_final or await self.result(job) is not None:
                return lines
            await asyncio.sleep(POLL_S * self.scale)
        raise Trouble("it never ended")

    async def logs(self, job: str, kind: str, since: int = 0) -> dict[str, Any]:
        url = f"{self.api}/q/{self.queue}/j/{job}/{kind}-logs.json?since={since}"
        page: dict[str, Any] = await self._json(url)
        assert isinstance(page["data"], list), page  # this is how it knows the endpoint
        return {"kind": kind, **page}

    # --- the end ------------------------------------------------------------------------

    async def result(self, job: str) -> dict[str, Any] | None:
        answer = await self._json(f"{self.api}/q/{self.queue}/j/{job}/result.json")
        found: dict[str, Any] | None = answer["data"]
        return found

    async def run(self, definition: dict[str, Any]) -> tuple[int, list[str], dict[str, Any]]:
        """Exit code, lines and summary of ``run --json``."""
        job = await self.submit(definition)
        self.progress.append(f"view {self.api}/j/{job}#?queue={self.queue}")
        lines, _ = await self.follow(job)
        finished = await self.result(job)
        if finished is None:
            return 1, lines, {"jobId": job, "state": "Finished"}
        result = finished["finished"]["result"]
        summary = {name: finished[name] for name in ("state", "finishedReason")}
        summary |= {name: result.get(name) for name in ("StatusCode", "duration", "error")}
        summary |= {"jobId": job, "outputs": list(result.get("outputs") or {})}
        if finished["finishedReason"] != "Success":
            return 1, lines, summary
        return result["StatusCode"], lines, summary

    async def outputs(self, job: str, folder: Path) -> list[str]:
        """Saves them, sub-folders kept; names are not encoded in the address."""
        finished = await self.result(job)
        assert finished is not None
        names = list(finished["finished"]["result"]["outputs"])
        for name in names:
            url = f"{self.api}/q/{self.queue}/j/{job}/outputs/{name}"
            async with self._session.get(url) as response:
                if response.status != 200:
                    raise Trouble(f"{name}: {response.status}")
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(await response.read())
        return names

    async def status(self) -> str:
        found = await self._json(f"{self.api}/q/{self.queue}/status")
        jobs, sources = len(found["jobs"]), {**found["localWorkers"], **found["otherServers"]}
        return f"queue {self.queue}: {jobs} job(s), {len(sources)} worker source(s)"

    async def cancel(self, job: str, **query: str) -> dict[str, Any]:
        """Not one of its commands: the call that its documents show."""
        url = f"{self.api}/q/{self.queue}/j/{job}/cancel?{urlencode(query)}"
        async with self._session.post(url) as response:
            assert response.status == 200
            found: dict[str, Any] = await response.json()
            return found

    async def _json(self, url: str) -> Any:
        async with self._session.get(url) as response:
            kind = response.headers.get("Content-Type", "")
            if response.status != 200 or not kind.startswith("application/json"):
                raise Trouble(f"{url}: {response.status} {kind}")
            return await response.json()


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """As the script reads them: an empty line between, one ``data:`` line each, ``\\n`` alone."""
    rest = ""
    async for chunk in response.content.iter_any():
        rest += chunk.decode()
        *whole, rest = rest.split("\n\n")
        for text in whole:
            fields = dict(line.split(": ", 1) for line in text.split("\n") if ": " in line)
            if "event" in fields:
                assert "\r" not in text, "it does not understand \\r\\n"
                yield fields["event"], json.loads(fields["data"])


class Mtpg(Peer):
    """``mtpg job add`` and ``job await``: the old socket path, and the old result path."""

    async def file(self, path: Path, *, tries: int = 20) -> dict[str, str]:
        data = await asyncio.to_thread(path.read_bytes)
        if len(data) <= INLINE_BYTES_MAX:
            return {"type": "base64", "value": base64.b64encode(data).decode()}
        url = f"{self.api}/f/{hashlib.sha256(data).hexdigest()}"
        for last in (*(False,) * (tries - 1), True):
            try:
                await self._curl(url, data)
                break
            except (aiohttp.ClientError, Trouble):
                if last:
                    raise
                await asyncio.sleep(2 * self.scale)
        return {"value": url, "type": "url"}  # no hash

    async def _curl(self, url: str, data: bytes) -> None:
        """``curl -X PUT --location --upload-file``: asks whether it may send, follows redirects."""
        async with self._session.get(f"{url}/exists") as response:
            if response.status == 200:
                return
        async with self._session.put(url, data=data, expect100=True) as response:
            if response.status >= 400:
                raise Trouble(f"upload: {response.status}")

    async def add(
        self,
        *,
        image: str = "alpine:latest",
        command: str | None = None,
        files: tuple[Path, ...] = (),
        wait_s: float = 0,
    ) -> dict[str, Any]:
        """One JSON job state, as it prints it; with ``wait_s`` the result document."""
        definition: dict[str, Any] = {"image": image}
        if command is not None:
            definition["command"] = command
        if files:
            definition["inputs"] = {path.name: await self.file(path) for path in files}
        job = _job_id(definition)
        enqueued = {"id": job, "definition": definition, "control": {}}
        value = {"type": "Queued", "time": _now_ms(), "enqueued": enqueued}
        payload = {"tag": "", "state": "Queued", "job": job, "value": value}
        async with self._session.ws_connect(f"{self.api}/{self.queue}/client") as socket:
            await socket.send_json({"type": "StateChange", "payload": payload})
            view = await self._heard(socket, job, {"Queued", "Running", "Finished"}, 20)
            if not wait_s:
                return view
            await self._heard(socket, job, {"Finished"}, wait_s)
        return await self.fetched(job)

    async def _heard(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        job: str,
        states: set[str],
        patience_s: float,
    ) -> dict[str, Any]:
        async with asyncio.timeout(patience_s):
            async for message in socket:
                found = json.loads(message.data)  # it parses every frame
                if found["type"] in ("JobStates", "JobStateUpdates"):
                    view: dict[str, Any] = found["payload"]["state"]["jobs"].get(job, {})
                    if view.get("state") in states:
                        return {"jobId": job, **view}
        raise Trouble("the socket closed")

    async def fetched(self, job: str) -> dict[str, Any]:
        """It reads ``result.outputs`` at the top of the answer."""
        url = f"{self.api}/{self.queue}/j/{job}/result.json"
        async with self._session.get(url) as response:
            assert response.status == 200
            found: dict[str, Any] = await response.json()
            return found


def _job_id(definition: dict[str, Any]) -> str:
    """As its own library does for definitions as plain as these (WIRE 4.1)."""
    hashed = dict(definition)
    if "inputs" in hashed:
        hashed["inputs"] = {
            name: {key: ref[key] for key in ("type", "value")}
            for name, ref in hashed["inputs"].items()
        }
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
