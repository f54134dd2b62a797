"""One POST over HTTP, to an address that the policy allows.

The policy is asked where a socket is made, with the very address that it will connect to: an
address in the URL is never looked up, and a name may resolve to another one each time (DNS
rebinding), so nothing earlier would do. No cookies, no proxies, no redirects, no second use of a
connection. Of the answer only the status and two headers are looked at; its body is not read.
"""

import socket
from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from gridd.webhooks.lookup import Find, Lookup, find_addresses
from gridd.webhooks.policy import AddressRefused, Policy, check_address


class Unreachable(Exception):
    """No answer: the message says why, in a few words."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    location: str | None = None
    retry_after: str | None = None


class Transport(Protocol):
    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Without a time limit of its own. Raises ``Unreachable`` or ``AddressRefused``."""
        ...

    async def close(self) -> None: ...


class HttpTransport:
    """``find`` looks names up; the system's way unless given."""

    def __init__(self, policy: Policy, find: Find = find_addresses) -> None:
        self._policy: Policy = policy
        self._find = find
        self._session: aiohttp.ClientSession | None = None  # made in the loop, on first use

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        session = self._session = self._session or self._new_session()
        try:
            response = await session.post(url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            refused = _refusal_in(error)
            if refused is not None:
                raise AddressRefused(str(refused)) from None
            raise Unreachable(_words(error)) from None
        found = response.headers
        answer = Answer(response.status, found.get("Location"), found.get("Retry-After"))
        response.close()  # cuts the connection, whatever of the body is still to come
        return answer

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=Lookup(self._check, self._find),
            socket_factory=self._new_socket,
            use_dns_cache=False,
            force_close=True,
            limit=0,  # the line bounds them
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=4096,
        )

    def _check(self, address: str) -> None:
        check_address(self._policy, address)

    def _new_socket(self, where: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = where
        self._check(address[0])
        return socket.socket(family, kind, protocol)


def _refusal_in(error: BaseException | None) -> AddressRefused | None:
    """aiohttp wraps what went wrong where a connection is made."""
    while error is not None:
        if isinstance(error, AddressRefused):
            return error
        error = error.__cause__
    return None


def _words(error: BaseException) -> str:
    """What went wrong, without the address that was called: it may hold a secret."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name can't be looked up"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"no safe connection: {type(error).__name__}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    return f"no answer: {type(error).__name__}"
