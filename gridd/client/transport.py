"""HTTP calls to a grid: one session, a deadline on every call, bounded retries, errors as
``GridError``. Knows nothing of jobs."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import aiohttp
import msgspec
from yarl import URL

from gridd.client.errors import GridError
from gridd_protocol.canonical import read_json
from gridd_protocol.version import __version__

CALL_SECONDS = 30.0  # one small call, answer included
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 60.0  # a download or stream that brings nothing for so long is broken
TRIES = 5
FIRST_DELAY_SECONDS = 0.25
DELAY_SECONDS_MAX = 4.0
ANSWER_BYTES_MAX = 256 << 20  # a full job list of a large queue is the biggest answer
_ERROR_BYTES_MAX = 64 << 10
_AGAIN = frozenset({502, 503, 504})

BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError)
"""What a connection that fails or ends early raises."""


def backoff_seconds(failures: int) -> float:
    """The wait after so many failures in a row (1, 2, …): doubling, bounded, spread by half so
    that clients cut off together do not come back together."""
    full = min(DELAY_SECONDS_MAX, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 16))
    return full * random.uniform(0.5, 1.0)


class Transport:
    """Use as ``async with Transport(api) as transport``."""

    def __init__(self, api: str, *, tries: int = TRIES) -> None:
        self.api = api
        self._tries = tries
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Transport":
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS),
            headers={"User-Agent": f"gridd/{__version__}"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the transport is used outside its `async with`")
        return self._session

    def url(self, path: str) -> URL:
        """``path`` starts with a slash and is already percent-encoded."""
        return URL(self.api + path, encoded=True)

    async def call(
        self, method: str, path: str, *, body: bytes | None = None, missing_is_answer: bool = False
    ) -> Any:
        """The decoded JSON answer of an idempotent call.

        Retried on lost connections and 502, 503, 504. With ``missing_is_answer``, 404 gives
        ``None``. Raises ``GridError``.
        """
        failures = 0
        while True:
            try:
                status, answer = await self._once(method, path, body)
            except BROKEN as error:
                trouble = unreachable(self.api, error)
            else:
                if status == 404 and missing_is_answer:
                    return None
                if status < 400:
                    return _decoded(answer, f"{method} {path}")
                trouble = refused(status, answer)
                if status not in _AGAIN:
                    raise trouble
            failures += 1
            if failures >= self._tries:
                raise trouble
            await asyncio.sleep(backoff_seconds(failures))

    async def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with self.session.request(
            method, self.url(path), data=body, headers=headers
        ) as response:
            return response.status, await _read(response)

    @asynccontextmanager
    async def open(
        self, path: str, *, accept: str = "*/*"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A ``GET`` whose body is read as it comes: no total deadline, but none may idle.

        One try. Raises ``GridError`` when refused, one of ``BROKEN`` when it breaks.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS
        )
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        async with self.session.get(self.url(path), timeout=timeout, headers=headers) as response:
            await raise_for(response)
            yield response


async def raise_for(response: aiohttp.ClientResponse) -> None:
    """Raise ``GridError`` when the answer is a refusal."""
    if response.status >= 400:
        raise refused(response.status, await response.content.read(_ERROR_BYTES_MAX))


def is_passing(error: GridError) -> bool:
    """Worth another try: the grid was out of reach, or said that it can't serve just now."""
    return error.status is None or error.status in _AGAIN


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            raise GridError(
                f"the grid's answer is longer than {ANSWER_BYTES_MAX} bytes", response.status
            )
        parts.append(part)
    return b"".join(parts)


def _decoded(answer: bytes, call: str) -> Any:
    try:
        return read_json(answer)
    except (ValueError, RecursionError):
        not_a_grid(call)


def not_a_grid(call: str) -> NoReturn:
    raise GridError(
        f"the answer to {call} is not what a grid sends; check that --api names one", 200
    )


def refused(status: int, answer: bytes) -> GridError:
    """The error in an answer: ours is JSON with ``error`` and ``code``, others send text."""
    try:
        body = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = answer.decode("utf-8", "replace").strip()[:300]
    code = None
    if isinstance(body, dict):
        code = body["code"] if isinstance(body.get("code"), str) else None
        body = body.get("error") or body.get("message") or ""
    sentence = body if isinstance(body, str) and body else "no reason given"
    return GridError(f"the grid refused ({status}): {sentence}", status, code)


def unreachable(api: str, error: BaseException) -> GridError:
    if isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif isinstance(error, OSError) and error.errno and error.errno > 0:
        reason = os.strerror(error.errno).lower()
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = str(error) or type(error).__name__
    return GridError(
        f"the grid at {api} can't be reached ({reason}); "
        "is it running? Start one with `gridd up`, or name another with --api"
    )
