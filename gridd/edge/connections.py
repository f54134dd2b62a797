"""How many connections that stay open (sockets, event streams) one address may hold.

Without a bound one machine could take every file descriptor that the server has. Requests that
are answered and over are not counted. Behind a proxy all peers have the proxy's address: there
the bound is the proxy's to keep, and is switched off here (0).
"""

import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from gridd_protocol.errors import ErrorCode, ProtocolError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Connections:
    def __init__(self, per_address_max: int) -> None:
        self._max = per_address_max
        self._held: Counter[str] = Counter()  # an address that holds none is not in it

    def bounded(self, handler: Handler) -> Handler:
        """``handler`` runs as long as its connection; one too many is refused (429)."""

        @functools.wraps(handler)
        async def handle(request: web.Request) -> web.StreamResponse:
            with self._one_more(request.remote or ""):
                return await handler(request)

        return handle

    @contextmanager
    def _one_more(self, address: str) -> Iterator[None]:
        if self._max and self._held[address] >= self._max:
            raise ProtocolError(
                ErrorCode.TOO_MANY,
                f"your address {address} has {self._max} sockets and event streams open, "
                "the limit for one address; close some first",
                field="address",
                limit=self._max,
            )
        self._held[address] += 1
        try:
            yield
        finally:
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]
