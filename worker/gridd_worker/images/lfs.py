"""Large files of a git source (LFS): the content in the place of its pointers.

A pointer is a small file with a sha256 and a size. The repository's own LFS server is asked where
the content is (the batch API), and what comes is checked against the pointer. The addresses that it
names go through the rules of every download (``fetch``); an owner's login goes to the repository's
server only. Another server, named in ``.lfsconfig``, is not asked.
"""

import base64
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from gridd_protocol.errors import shown
from gridd_worker.fetch import NETWORK_ERRORS, FetchError, fetch, shown_url
from gridd_worker.http_client import TIMEOUT, Http, refusal_in
from gridd_worker.images.credentials import GitLogin
from gridd_worker.images.error import ImageError
from gridd_worker.images.source import Git

FILES_MAX: Final = 10_000
BYTES_MAX: Final = 8 << 30
_BATCH: Final = 100
_ANSWER_BYTES_MAX: Final = 4 << 20
_POINTER: Final = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:[a-z0-9.-]+ [^\n]*\n)*?"
    rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,15})\n"
)
_POINTER_BYTES: Final = range(100, 1_025)
_ATTRIBUTES: Final = ".gitattributes"
_MEDIA: Final = "application/vnd.git-lfs+json"
_HEADERS_MAX: Final = 20
_NOT_OURS: Final = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")


@dataclass(frozen=True, slots=True)
class Pointer:
    path: Path
    oid: str
    size: int


def pointers(root: Path, stopped: Callable[[], bool] = lambda: False) -> list[Pointer]:
    """The pointers in a tree in which some ``.gitattributes`` says that there are any: elsewhere
    such a file is what it is."""
    found: list[Pointer] = []
    is_used = False
    for folder, _, names in os.walk(root):
        if stopped():
            return []
        for name in names:
            path = Path(folder, name)
            seen = path.lstat()
            if not stat.S_ISREG(seen.st_mode):
                continue
            if name == _ATTRIBUTES and seen.st_size <= 1 << 20:
                is_used = is_used or b"filter=lfs" in path.read_bytes()
            elif seen.st_size in _POINTER_BYTES and (match := _POINTER.match(path.read_bytes())):
                found.append(Pointer(path, match[1].decode(), int(match[2])))
    return found if is_used else []


class LargeFiles:
    """Of one source with its submodules, which share the limits. ``scratch``: a folder on the disk
    of the tree."""

    def __init__(self, http: Http, scratch: Path, *, bytes_max: int = BYTES_MAX) -> None:
        self._http = http
        self._scratch = scratch
        self._bytes_left = bytes_max
        self._files_left = FILES_MAX

    async def fill(self, source: Git, login: GitLogin | None, found: list[Pointer]) -> None:
        """Raises ``ImageError`` if one can't be had: no image is made of pointers. ``OSError``:
        this disk."""
        total = sum(one.size for one in found)
        if len(found) > self._files_left or total > self._bytes_left:
            raise ImageError(
                f"{source.url} has {len(found)} LFS files of {total} bytes in all; up to"
                f" {self._files_left} of {self._bytes_left} bytes are fetched",
                building=True,
            )
        self._files_left -= len(found)
        self._bytes_left -= total
        by_oid: dict[str, list[Pointer]] = {}
        for one in found:
            by_oid.setdefault(one.oid, []).append(one)
        groups = list(by_oid.values())
        for start in range(0, len(groups), _BATCH):
            batch = groups[start : start + _BATCH]
            places = await self._places(source, login, [group[0] for group in batch])
            for group in batch:
                await self._get(source, group, *places[group[0].oid])

    async def _places(
        self, source: Git, login: GitLogin | None, wanted: list[Pointer]
    ) -> dict[str, tuple[str, dict[str, str]]]:
        """By oid, where the content is and what to send along."""
        base = source.url if source.url.endswith(".git") else f"{source.url}.git"
        endpoint = URL(f"{base}/info/lfs/objects/batch")
        own = _login_header(login)
        objects = [{"oid": one.oid, "size": one.size} for one in wanted]
        body = {"operation": "download", "transfers": ["basic"], "objects": objects}
        answer = await self._ask(endpoint, json.dumps(body).encode(), own)
        places: dict[str, tuple[str, dict[str, str]]] = {}
        for one in answer:
            if problem := one.get("error"):
                said = problem.get("message") if isinstance(problem, dict) else problem
                raise ImageError(f"an LFS file of {source.url} can't be had: {shown(said)}",
                                 building=True)  # fmt: skip
            action = (one.get("actions") or {}).get("download") or {}
            href, headers = str(action.get("href") or ""), _headers(action.get("header"))
            same = bool(href) and _origin(href) == endpoint.origin()
            places[str(one.get("oid"))] = href, {**(own if same else {}), **headers}
        missing = [one.oid for one in wanted if not places.get(one.oid, ("",))[0]]
        if missing:
            raise ImageError(f"{source.url} does not say where its LFS file {missing[0]} is",
                             building=True)  # fmt: skip
        return places

    async def _ask(
        self, endpoint: URL, body: bytes, headers: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        where = f"the LFS server {shown_url(endpoint)}"
        try:
            session = self._http.session_for(endpoint)
            async with session.post(
                endpoint, data=body, allow_redirects=False, timeout=TIMEOUT,
                headers={"Accept": _MEDIA, "Content-Type": _MEDIA, "Accept-Encoding": "identity",
                         **headers},
            ) as response:  # fmt: skip
                data = await _bounded(response)
                status = response.status
        except NETWORK_ERRORS as error:
            problem = refusal_in(error) or error
            raise ImageError(f"{where} {problem}", building=True) from None
        if status != 200:
            raise ImageError(f"{where} answered with status {status}", building=True)
        try:
            objects = json.loads(data)["objects"]
            if not all(isinstance(one, dict) for one in objects):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            raise ImageError(f"{where} can't be understood", building=True) from None
        return list(objects)

    async def _get(
        self, source: Git, group: list[Pointer], href: str, headers: Mapping[str, str]
    ) -> None:
        oid, size = group[0].oid, group[0].size
        got = self._scratch / "large-file"
        try:
            fetched = await fetch(self._http, href, got, size, headers=headers)
        except FetchError as error:
            raise ImageError(f"an LFS file of {source.url}: {error}", building=True) from None
        if (fetched.sha256, fetched.size) != (oid, size):
            raise ImageError(
                f"an LFS file of {source.url} has the sha256 {fetched.sha256} and {fetched.size}"
                f" bytes, not {oid} and {size} bytes as its pointer says",
                building=True,
            )
        for one in group[1:]:
            _put(shutil.copyfile(got, self._scratch / "large-copy"), one)
        _put(got, group[0])


def _put(content: Path, pointer: Pointer) -> None:
    content.chmod(stat.S_IMODE(pointer.path.lstat().st_mode))
    content.replace(pointer.path)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    data = b""
    async for block in response.content.iter_chunked(1 << 16):
        data += block
        if len(data) > _ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"answered with more than {_ANSWER_BYTES_MAX} bytes")
    return data


def _login_header(login: GitLogin | None) -> dict[str, str]:
    if login is None:
        return {}
    word = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


def _headers(given: object) -> dict[str, str]:
    """Those that a server asks to be sent to the address that it names."""
    if not isinstance(given, dict):
        return {}
    pairs = list(_usable(given))[:_HEADERS_MAX]
    return dict(pairs)


def _usable(given: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        is_text = isinstance(name, str) and isinstance(value, str)
        is_plain = is_text and re.fullmatch(r"[A-Za-z0-9-]{1,100}", name) and value.isprintable()
        if is_plain and name.lower() not in _NOT_OURS:
            yield name, value


def _origin(url: str) -> URL | None:
    try:
        return URL(url).origin()
    except ValueError:
        return None
