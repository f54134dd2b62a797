"""Makes sure that a job's image is on this engine: found, pulled, or built (inline Dockerfile).

Pulls and builds are read by ourselves (see ``docker_logs``), have deadlines, and end when their
task is cancelled. The same image is asked for once at a time.
"""

import asyncio
import hashlib
import io
import json
import logging
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from gridd_protocol.canonical import canonical_json
from gridd_protocol.definitions import Build, Definition
from gridd_protocol.messages import LogLine, Step
from gridd_worker.docker_logs import open_stream
from gridd_worker.lines import split_text
from gridd_worker.locks import NamedLocks

_log = logging.getLogger("gridd_worker")

_TOTAL_S: Final = 30 * 60.0
_NO_PROGRESS_S: Final = 120.0
_PROGRESS_MS: Final = 1_000  # a layer's progress bar goes out this often; other lines at once
_EVENT_BYTES_MAX: Final = 1 << 20
_LINE_BYTES_MAX: Final = 8 << 10
_BUILT: Final = "gridd-built"

Tell = Callable[[Step, list[LogLine]], None]


class ImageError(Exception):
    """The image can't be had, and it is not this machine's fault: a sentence."""

    def __init__(self, message: str, *, building: bool = False) -> None:
        super().__init__(message)
        self.building = building


class Images:
    """Images of one engine. ``no_progress_s`` and ``total_s`` bound each pull and build."""

    def __init__(
        self, docker: Docker, *, no_progress_s: float = _NO_PROGRESS_S, total_s: float = _TOTAL_S
    ) -> None:
        self._docker = docker
        self._no_progress_s = no_progress_s
        self._total_s = total_s
        self._locks = NamedLocks()

    async def ensure(self, definition: Definition, log: Tell) -> str:
        """The name to create a container from. Raises ``ImageError``, or ``DockerError`` with
        status 900 and ``aiohttp.ClientError`` when the engine itself is gone."""
        build = definition.build
        if build is not None and build != Build():
            return await self._ensure_built(build, log)
        if not definition.image:
            raise ImageError("the definition names no image", building=True)
        name = with_tag(definition.image)
        async with self._locks.lock(name):
            if not await self._is_there(name):
                await self._pull(name, log)
        return name

    async def _ensure_built(self, build: Build, log: Tell) -> str:
        if build.context or build.build_context:
            what = "context" if build.context else "buildContext"
            raise ImageError(f"build.{what} is not supported yet", building=True)
        if not build.dockerfile:
            raise ImageError("Missing image or build configuration", building=True)
        name = built_name(build)
        async with self._locks.lock(name):
            if not await self._is_there(name):
                await self._build(name, build, log)
        return name

    async def _is_there(self, name: str) -> bool:
        try:
            await self._docker.images.inspect(name)
        except DockerError as error:
            if error.status == 404:
                return False
            if error.status == 400:
                raise ImageError(error.message) from None
            raise
        return True

    async def _pull(self, name: str, log: Tell) -> None:
        repository, _, tag = name.rpartition("@" if "@" in name else ":")
        params = {"fromImage": repository, "tag": tag}
        progress = _Progress("docker image pull", log)
        await self._read("images/create", params, None, progress, building=False)

    async def _build(self, name: str, build: Build, log: Tell) -> None:
        filename = (build.filename or "Dockerfile").lstrip("/")
        params = {"t": name, "dockerfile": filename, "rm": "1", "forcerm": "1"}
        if build.target:
            params["target"] = build.target
        if build.platform:
            params["platform"] = build.platform
        if build.build_args:
            # "A=1" sets A; upstream ignores this member (WIRE 6.8), Docker's own meaning is meant
            pairs = (text.partition("=") for text in build.build_args)
            params["buildargs"] = json.dumps({name: value for name, _, value in pairs})
        context = _tar(filename, build.dockerfile or "")
        _say(log, "docker build", f"Building {name}")
        progress = _Progress("docker build", log)
        await self._read("build", params, context, progress, building=True)

    async def _read(
        self,
        path: str,
        params: dict[str, str],
        data: bytes | None,
        progress: "_Progress",
        *,
        building: bool,
    ) -> None:
        """Runs one request with a stream of events to its end, or to a deadline."""
        headers = {"Content-Type": "application/x-tar" if building else "application/json"}
        # A build step may be silent for long (a compiler, say); a pull that is silent is stuck.
        quiet_s = self._total_s if building else self._no_progress_s
        timeout = aiohttp.ClientTimeout(sock_read=quiet_s)
        try:
            async with (
                asyncio.timeout(self._total_s),
                open_stream(
                    self._docker,
                    path,
                    "POST",
                    params=params,
                    data=data,
                    headers=headers,
                    timeout=timeout,
                ) as response,
            ):
                async for event in _events(response):
                    progress.show(event)
                    if "error" in event:
                        raise ImageError(str(event["error"]), building=building)
        except aiohttp.ServerTimeoutError:
            message = f"no progress for {quiet_s:g} s"
            raise ImageError(message, building=building) from None
        except TimeoutError:
            message = f"not finished after {self._total_s:g} s"
            raise ImageError(message, building=building) from None
        except DockerError as error:
            if error.status == 900:
                raise
            raise ImageError(error.message, building=building) from None


def with_tag(image: str) -> str:
    """``image`` with ``:latest`` when it has neither a tag nor a digest."""
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"


def built_name(build: Build) -> str:
    """The same for the same build, so that an image is built once and then found."""
    members = {name: getattr(build, name) for name in build.__struct_fields__}
    members = {name: value for name, value in members.items() if value is not None}
    return f"{_BUILT}:{hashlib.sha256(canonical_json(members).encode()).hexdigest()[:32]}"


def _tar(filename: str, text: str) -> bytes:
    data = text.encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(filename)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a progress stream. What is no JSON is shown as text."""
    held = bytearray()
    async for data in response.content.iter_any():
        held += data
        *whole, rest = held.split(b"\n")
        held = bytearray(rest)
        if len(held) > _EVENT_BYTES_MAX:
            raise DockerError(900, "the engine sent a progress event without end")
        for text in whole:
            if text.strip():
                yield _event(text)
    if held.strip():
        yield _event(held)


def _event(text: bytes | bytearray) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except ValueError:
        return {"stream": text.decode("utf-8", "replace")}
    return event if isinstance(event, dict) else {"stream": str(event)}


class _Progress:
    """Turns events into lines and leaves out most of what only moves a bar."""

    def __init__(self, step: Step, log: Tell) -> None:
        self._step = step
        self._log = log
        self._shown: dict[str, tuple[str, float]] = {}  # layer → (status, when)

    def show(self, event: dict[str, Any]) -> None:
        text = event_text(event)
        if "progressDetail" in event and "id" in event:
            layer, status = str(event["id"]), str(event.get("status", ""))
            before, when = self._shown.get(layer, ("", 0.0))
            now = time.monotonic()
            if status == before and (now - when) * 1000 < _PROGRESS_MS:
                return
            self._shown[layer] = (status, now)
        if text is not None:
            _say(self._log, self._step, text, stderr="error" in event)


def event_text(event: dict[str, Any]) -> str | None:
    """The line of one event (WIRE 6.8); None for one that says nothing to people."""
    if "error" in event:
        return f"💥 {event['error']}"
    if "stream" in event:
        return str(event["stream"]).rstrip("\n")
    if "status" in event:
        layer = f"{event['id']}: " if event.get("id") else ""
        return f"{layer}{event['status']} {event.get('progress') or ''}".rstrip()
    if "aux" in event:
        return None
    return json.dumps(event, ensure_ascii=False)


def _say(log: Tell, step: Step, text: str, *, stderr: bool = False) -> None:
    now = time.time_ns() // 1_000_000
    lines = [part for part in text.split("\n") if part.strip()]
    parts = [piece for line in lines for piece in split_text(line, _LINE_BYTES_MAX)]
    if parts:
        log(step, [LogLine(part, now, stderr) for part in parts])
