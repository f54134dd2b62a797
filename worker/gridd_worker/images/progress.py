"""Reads what the engine tells about a pull or a build, with deadlines, and makes lines of it.

A request is closed on every way out, for only that ends it on the engine.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import IO, Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from gridd_protocol.messages import LogLine, Step
from gridd_worker.docker.logs import open_stream
from gridd_worker.images.error import ImageError
from gridd_worker.lines import split_text

_PROGRESS_MS: Final = 3_000  # a layer's progress bar goes out this often; other lines at once
_PULL_LINES_MAX: Final = 2_000
_LAYERS_MAX: Final = 1_000
_EVENT_BYTES_MAX: Final = 1 << 20
_LINE_BYTES_MAX: Final = 8 << 10

_RED: Final = "\x1b[91m"
_PAINT: Final = re.compile(r"\x1b\[(?:91|0)m")

Tell = Callable[[Step, list[LogLine]], None]
Watch = Callable[[dict[str, Any]], None]
"""Sees each event before it is shown; may raise ``ImageError``, which ends the request."""
Translate = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]
"""What is shown in the place of an event."""


async def run_request(
    docker: Docker,
    path: str,
    params: Mapping[str, str],
    *,
    step: Step,
    log: Tell,
    quiet_s: float,
    total_s: float,
    headers: Mapping[str, str] | None = None,
    data: IO[bytes] | None = None,
    watch: Watch | None = None,
    translate: Translate | None = None,
) -> None:
    """``POST``s and reads events to the end. Raises ``ImageError`` for what the engine says went
    wrong, for ``quiet_s`` without an event and for ``total_s`` in all; ``DockerError`` with status
    900 and ``aiohttp.ClientError`` when the engine itself is gone."""
    building = step == "docker build"
    progress = Progress(step, log, lines_max=None if building else _PULL_LINES_MAX)
    try:
        async with (
            asyncio.timeout(total_s),
            open_stream(
                docker, path, "POST", params=params, data=data, headers=dict(headers or {}),
                timeout=aiohttp.ClientTimeout(sock_read=quiet_s),
            ) as response,
        ):  # fmt: skip
            async for event in _events(response):
                if watch is not None:
                    watch(event)
                for part in translate(event) if translate else (event,):
                    progress.show(part)
                if "error" in event:
                    raise ImageError(str(event["error"]), building=building)
    except aiohttp.ServerTimeoutError:
        raise ImageError(f"no progress for {quiet_s:g} s", building=building) from None
    except TimeoutError:
        raise ImageError(f"not finished after {total_s:g} s", building=building) from None
    except DockerError as error:
        if error.status == 900:
            raise
        raise ImageError(error.message, building=building) from None


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


class Progress:
    """Turns events into lines, leaves out most of what only moves a bar, and of the rest all that
    is beyond ``lines_max`` but for errors."""

    def __init__(self, step: Step, log: Tell, *, lines_max: int | None = None) -> None:
        self._step = step
        self._log = log
        self._left = lines_max
        self._shown: dict[str, tuple[str, float]] = {}  # layer → (status, when)

    def show(self, event: dict[str, Any]) -> None:
        text = event_text(event)
        if text is None or self._is_bar(event) or not self._has_room("error" in event):
            return
        # The builder paints what a step prints on its error stream.
        plain = _PAINT.sub("", text)
        stderr = "error" in event or _RED in text or bool(event.get("stderr"))
        say(self._log, self._step, plain, stderr=stderr)

    def _is_bar(self, event: dict[str, Any]) -> bool:
        if "progressDetail" not in event or "id" not in event:
            return False
        layer, status = str(event["id"]), str(event.get("status", ""))
        before, when = self._shown.get(layer, ("", 0.0))
        now = time.monotonic()
        if status == before and (now - when) * 1000 < _PROGRESS_MS:
            return True
        if len(self._shown) >= _LAYERS_MAX:
            self._shown.clear()
        self._shown[layer] = (status, now)
        return False

    def _has_room(self, is_error: bool) -> bool:
        if self._left is None or is_error:
            return True
        self._left -= 1
        if self._left == 0:
            say(self._log, self._step, "… further progress is not shown")
        return self._left > 0


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


def say(log: Tell, step: Step, text: str, *, stderr: bool = False) -> None:
    """One line, or several, of the build log."""
    now = time.time_ns() // 1_000_000
    lines = [part for part in text.split("\n") if part.strip()]
    parts = [piece for line in lines for piece in split_text(line, _LINE_BYTES_MAX)]
    if parts:
        log(step, [LogLine(part, now, stderr) for part in parts])
