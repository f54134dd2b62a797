"""Which pages may speak to this grid.

A grid that is open to all answers every origin: nothing runs on its machine. Any other (``gridd
up``, which runs jobs here) answers only its own names on the loopback and the origins it was
told to allow, so that neither a page from elsewhere nor a name that was pointed at this machine
(DNS rebinding) can drive it (DESIGN 5.16). Owns CORS (WIRE 1.1); knows nothing of routes.
"""

import re
from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from gridd.config_values import is_loopback
from gridd_protocol.errors import ErrorCode, ProtocolError, shown

ALLOWED_METHODS: Final = "GET,HEAD,PUT,POST,DELETE,PATCH"
PREFLIGHT_LASTS_S: Final = "86400"  # as upstream's local mode says

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+)(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

Address = tuple[str, int]


class EdgeConfig(Protocol):
    """The settings that the edge reads; ``gridd.config.Config`` has them."""

    @property
    def public_url(self) -> str | None: ...
    @property
    def open_to_all(self) -> bool: ...
    @property
    def allow_origin(self) -> tuple[str, ...]: ...
    @property
    def metrics(self) -> str: ...
    @property
    def metrics_queues(self) -> bool: ...
    @property
    def connections_per_address(self) -> int: ...


class Access:
    def __init__(self, config: EdgeConfig) -> None:
        self._open = config.open_to_all
        named = config.allow_origin + ((config.public_url,) if config.public_url else ())
        self._origins = {address for url in named if (address := _origin(url)) is not None}

    def check(self, request: web.Request) -> None:
        """Raises ``FOREIGN_ORIGIN``. No ``Origin`` is fine: that is curl, or our own page."""
        if self._open:
            return
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self._is_own_host(request, hosts[0]):
            raise _foreign("host", "Host", ", ".join(hosts))
        for origin in request.headers.getall("Origin", []):
            if not self._is_allowed(request, origin):
                raise _foreign("origin", "Origin", origin)

    def preflight(self, request: web.Request) -> web.Response:
        """The answer to ``OPTIONS`` on any path; ``headers`` adds the rest."""
        response = web.Response(
            status=204, headers={"Access-Control-Allow-Methods": ALLOWED_METHODS}
        )
        if asked := request.headers.get("Access-Control-Request-Headers"):
            names = ",".join(name.strip() for name in asked.split(","))
            response.headers["Access-Control-Allow-Headers"] = names
            response.headers["Vary"] = "Access-Control-Request-Headers"
        if not self._open:
            response.headers.setdefault("Access-Control-Allow-Headers", "*")
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_LASTS_S
            if "Access-Control-Request-Private-Network" in request.headers:
                # Asked by Chromium when an allowed public page reaches for this machine.
                response.headers["Access-Control-Allow-Private-Network"] = "true"
        return response

    def add_headers(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """On every answer, refusals included: a page can only read what carries them."""
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        if self._open:
            response.headers["Access-Control-Allow-Origin"] = "*"
            return
        vary = response.headers.get("Vary")
        response.headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
        origin = request.headers.get("Origin")
        if origin is not None and self._is_allowed(request, origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            # For pages that send cookies with everything; there is nothing here that reads one.
            response.headers["Access-Control-Allow-Credentials"] = "true"

    def _is_own_host(self, request: web.BaseRequest, host: str) -> bool:
        address = _address(host, 80)
        if address is None:
            return False
        own = is_loopback(address[0]) and address[1] == _own_port(request)
        return own or any(address == (name, port) for _, name, port in self._origins)

    def _is_allowed(self, request: web.BaseRequest, origin: str) -> bool:
        parts = _origin(origin)
        if parts is None:
            return False
        scheme, name, port = parts
        own = scheme == "http" and is_loopback(name) and port == _own_port(request)
        return own or parts in self._origins


def _own_port(request: web.BaseRequest) -> int | None:
    """The port that this connection came in on; ``None`` on a socket without ports."""
    name = request.get_extra_info("sockname")
    return name[1] if isinstance(name, tuple) else None


def _address(host: str, default_port: int) -> Address | None:
    """Name and port of a ``Host`` value, or ``None`` when it is none."""
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    name = match[1].lower().removeprefix("[").removesuffix("]")
    return name, int(match[2] or default_port)


def _origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, name and port of an origin or URL; ``None`` for ``null`` and what is none."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    address = _address(parts.netloc, _DEFAULT_PORTS.get(parts.scheme, 0))
    return None if address is None else (parts.scheme, *address)


def _foreign(field: str, header: str, value: str) -> ProtocolError:
    return ProtocolError(
        ErrorCode.FOREIGN_ORIGIN,
        f"{header} {shown(value)} may not use this grid; it runs jobs on its own machine. "
        "Start it with --allow-origin to allow a site",
        field=field,
    )
