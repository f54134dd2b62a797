"""Names to addresses, for webhooks: each look-up in a thread of its own, and only what the policy
allows is answered.

Not in the loop's pool: whoever owns a name can make its look-up take half a minute, and the
journal is read in those threads. The threads are daemons, so that such a one does not hold up a
stop of the server.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from gridd.webhooks.policy import AddressRefused
from gridd_protocol.limits import WEBHOOK_LOOKUPS_MAX

Find = Callable[[str, int], Sequence[tuple[Any, ...]]]
"""As ``socket.getaddrinfo``: ``(family, type, protocol, name, address)`` of each address."""


def find_addresses(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """Blocks. Raises ``OSError``."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host!r} is not a name that can be looked up") from None


class Lookup(AbstractResolver):
    """At most ``most`` look-ups at one time; a further one waits for its turn."""

    def __init__(
        self,
        check: Callable[[str], None],
        find: Find = find_addresses,
        most: int = WEBHOOK_LOOKUPS_MAX,
    ) -> None:
        self._check = check
        self._find = find
        self._places = asyncio.Semaphore(most)

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises ``AddressRefused`` when no address is allowed, ``OSError`` when there is none."""
        found = [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=kind, proto=proto, flags=0
            )
            for kind, _, proto, _, address in await self._found(host, port)
        ]
        allowed, refused = [], None
        for one in found:
            try:
                self._check(one["host"])
                allowed.append(one)
            except AddressRefused as error:
                refused = error
        if not allowed:
            raise refused or OSError(f"{host} has no address")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""

    async def _found(self, host: str, port: int) -> Sequence[tuple[Any, ...]]:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[tuple[Any, ...]]] = loop.create_future()

        def settle(found: Sequence[tuple[Any, ...]], error: Exception | None) -> None:
            self._places.release()  # only now: a thread whose asker gave up still runs
            if answer.done():
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def look_up() -> None:
            found: Sequence[tuple[Any, ...]] = ()
            failure: Exception | None = None
            try:
                found = self._find(host, port)
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(settle, found, failure)

        try:
            threading.Thread(target=look_up, name="webhook look-up", daemon=True).start()
        except RuntimeError as error:  # no thread is left
            self._places.release()
            raise OSError(str(error)) from None
        return await answer
