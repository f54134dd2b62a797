"""Downloads for a job's inputs and builds: bounded, retried, checked.

A worker fetches what strangers name: http and https only, and each address, that of a redirect
too, is asked for at ``http_client.Http``, which says whether it may be reached.
"""

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from yarl import URL

from gridd_worker.http_client import TIMEOUT, Http, refusal_in

ATTEMPTS: Final = 5
SERVER_PATIENCE_S: Final = 1_800.0
"""For the grid's own server: while it is away, or short of disk, no job has to fail for it.
Beyond it the job ends with an error. A lost lease stops the waiting earlier."""
_BACKOFF_S: Final = 0.25  # doubled each time: 0.25, 0.5, 1, 2 s, each up to a quarter longer
_BACKOFF_MAX_S: Final = 5.0
_REDIRECTS_MAX: Final = 10
_BLOCK_BYTES: Final = 1 << 18
NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError)


class FetchError(Exception):
    """A download that failed for good. The sentence has the address without its query."""


@dataclass(frozen=True, slots=True)
class Fetched:
    size: int
    sha256: str


def shown_url(url: str | URL) -> str:
    """The address for an error: without user, query and fragment, which may hold secrets."""
    try:
        return str(URL(url).with_user(None).with_query(None).with_fragment(None))[:200]
    except ValueError:
        return str(url).split("?")[0][:200]


async def tries(patience_s: float = 0.0) -> AsyncIterator[int]:
    """Counts from 1, with growing pauses: to ``ATTEMPTS``, and on until ``patience_s`` is over."""
    ends = time.monotonic() + patience_s
    number = 1
    yield number
    while number < ATTEMPTS or time.monotonic() < ends:
        pause_s = min(_BACKOFF_S * 2 ** min(number - 1, 10), _BACKOFF_MAX_S)
        await asyncio.sleep(pause_s * random.uniform(1, 1.25))
        number += 1
        yield number


async def fetch(
    http: Http,
    url: str,
    target: Path,
    bytes_max: int,
    patience_s: float = 0.0,
    *,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    """Streams ``url`` into the file ``target`` and hashes it on the way.

    ``ATTEMPTS`` tries on network errors and 5xx answers (more while ``patience_s`` lasts), none
    more on other answers. On failure a part of it may be left and ``FetchError`` says what the
    last try met. ``OSError``: the disk. ``headers`` go to the host of ``url``, to no other that it
    redirects to.
    """
    problem, number = "", 0
    async for number in tries(patience_s):  # noqa: B007  # it is said at the end
        try:
            return await _fetch_once(http, url, target, bytes_max, headers or {})
        except _Retry as error:
            problem = str(error)
    raise FetchError(f"{shown_url(url)} {problem} ({number} attempts)")


class _Retry(Exception):
    """Worth another try."""


async def _fetch_once(
    http: Http, url: str, target: Path, bytes_max: int, headers: Mapping[str, str]
) -> Fetched:
    try:
        response = await _open(http, url, headers)
    except aiohttp.InvalidURL:
        raise FetchError(f"{shown_url(url)} is not a usable address") from None
    except NETWORK_ERRORS as error:
        if refusal := refusal_in(error):
            raise FetchError(f"{shown_url(url)} {refusal}") from None
        if isinstance(error, aiohttp.ClientConnectorError):
            raise _Retry(f"can't be reached: {error.os_error}") from None
        raise _Retry(f"failed: {_named(error)}") from None
    try:
        if response.status >= 500:
            raise _Retry(f"answered with status {response.status}")
        if response.status != 200:
            raise FetchError(f"{shown_url(url)} answered with status {response.status}")
        return await _save(response, url, target, bytes_max)
    finally:
        response.close()


async def _open(http: Http, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
    """The answer after redirects, each of which is looked at before it is followed."""
    where, sent_by = URL(url), None
    for _ in range(_REDIRECTS_MAX + 1):
        if where.scheme not in ("http", "https") or not where.host:
            raise FetchError(f"{shown_url(where)} is not an http or https address")
        along = headers if where.origin() == URL(url).origin() else {}
        # identity: the bytes as they are stored, for that is what the hash is of
        response = await http.session_for(where, sent_by).get(
            where, allow_redirects=False, headers={"Accept-Encoding": "identity", **along},
            timeout=TIMEOUT,
        )  # fmt: skip
        location = response.headers.get("Location")
        if response.status not in (301, 302, 303, 307, 308) or location is None:
            return response
        response.close()
        where, sent_by = where.join(URL(location)), where
    raise FetchError(f"{shown_url(url)} redirects more than {_REDIRECTS_MAX} times")


async def _save(
    response: aiohttp.ClientResponse, url: str, target: Path, bytes_max: int
) -> Fetched:
    too_large = FetchError(f"{shown_url(url)} has more than {bytes_max} bytes, the limit")
    if (response.content_length or 0) > bytes_max:
        raise too_large
    digest = hashlib.sha256()
    size = 0
    with target.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        while True:
            try:
                block = await response.content.read(_BLOCK_BYTES)
            except NETWORK_ERRORS as error:
                raise _Retry(f"broke off after {size} bytes: {_named(error)}") from None
            if not block:
                return Fetched(size, digest.hexdigest())
            size += len(block)
            if size > bytes_max:
                raise too_large
            digest.update(block)
            file.write(block)


def _named(error: BaseException) -> str:
    return f"{error}" or type(error).__name__
