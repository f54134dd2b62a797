"""The HTTP clients of this worker, and whom they may reach for strangers (D5).

A worker fetches what definitions name, from where it stands in its owner's network. Metadata and
link-local addresses are never reached; private ones only where the grid itself sends us (its own
files, wherever it is) or where the owner says so. What is checked is the address of each socket
that is about to connect: a name may lead elsewhere each time it is looked up.
"""

import re
import socket
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gridd_protocol.addresses import is_metadata, is_public, literal

# No limit in all: a large file takes its time. A minute without a byte is a dead peer.
TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)

# Where a grid has files and documents. Nothing else of it is fetched for strangers at a private
# address: a server may tell its own machine more (metrics) than others.
_FILES: Final = re.compile(r"/(f|(q/[^/]+/)?j|api/v1/download)/.+")
# A blob's own address: where it leads (a bucket) is the grid's word. Below /j a definition's is.
_BLOB: Final = re.compile(r"/(f|api/v1/download)/[^/%]+")


class ForbiddenAddress(OSError):
    """The address may not be reached for a job. The sentence goes on after the URL, and does not
    tell what the address is."""


def check_public(address: str) -> None:
    """Raises ``ForbiddenAddress`` unless everybody could reach ``address``."""
    check_not_metadata(address)
    if not is_public(address):
        raise ForbiddenAddress(
            "leads to a private address, which jobs may not reach: this worker's owner could"
            " allow it (--private-addresses)"
        )


def check_not_metadata(address: str) -> None:
    """Raises ``ForbiddenAddress`` for what no job may ever reach."""
    if is_metadata(address):
        raise ForbiddenAddress("leads to an address that jobs may not reach")


class Http:
    """Made in the loop; closed by whoever made it. ``api`` is the grid's own address, ``private``
    the owner's word that strangers may name private addresses."""

    def __init__(self, api: str = "", *, private: bool = False) -> None:
        self._api = URL(api) if api else None
        self._check = check_not_metadata if private else check_public
        self.own = _session(check_not_metadata)
        """For the grid's server: it may be anywhere but at a metadata address."""
        self._strangers = self.own if private else _session(check_public)

    def session_for(self, where: URL, sent_by: URL | None = None) -> aiohttp.ClientSession:
        """The client for one request to ``where``, to which ``sent_by`` redirected. It follows no
        rules for redirects: each is to be asked for here. Raises ``ForbiddenAddress``."""
        trusted = self._is_own(where, _FILES)
        trusted = trusted or (sent_by is not None and self._is_own(sent_by, _BLOB))
        address = literal(where.host or "")
        if address is not None:
            (check_not_metadata if trusted else self._check)(address)
        return self.own if trusted else self._strangers

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of ``host`` that strangers may name. Raises ``OSError`` for none."""
        resolver = GuardedResolver(self._check)
        try:
            return [found["host"] for found in await resolver.resolve(host, port, socket.AF_UNSPEC)]
        finally:
            await resolver.close()

    async def close(self) -> None:
        await self.own.close()
        await self._strangers.close()

    def _is_own(self, where: URL, paths: re.Pattern[str]) -> bool:
        if self._api is None or where.origin() != self._api.origin():
            return False
        base = self._api.raw_path.rstrip("/")
        if not where.raw_path.startswith(base) or ".." in re.split(r"[/\\]", where.path):
            return False
        return paths.fullmatch(where.raw_path.removeprefix(base)) is not None


class GuardedResolver(AbstractResolver):
    """Resolves names as usual and leaves out addresses that ``check`` refuses."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises ``ForbiddenAddress`` when nothing is left, ``OSError`` when there is nothing."""
        allowed: list[ResolveResult] = []
        refused: ForbiddenAddress | None = None
        for found in await self._resolver.resolve(host, port, family):
            try:
                self._check(found["host"])
                allowed.append(found)
            except ForbiddenAddress as error:
                refused = error
        if not allowed:
            raise refused or OSError(f"{host} has no address")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


def refusal_in(error: BaseException | None) -> ForbiddenAddress | None:
    """aiohttp wraps what went wrong where a connection is made."""
    while error is not None:
        if isinstance(error, ForbiddenAddress):
            return error
        error = error.__cause__
    return None


def _session(check: Callable[[str], None]) -> aiohttp.ClientSession:
    def new_socket(where: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = where
        check(address[0])
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(check), socket_factory=new_socket, limit=64
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=TIMEOUT,
        auto_decompress=False,
    )
