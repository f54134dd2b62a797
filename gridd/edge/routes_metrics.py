"""Prometheus pages: a queue's, for whoever knows its name, and the operator's (WIRE 8).

Who may read the operator's page is decided here. No queue is named there unless the operator asked
for it, but how much a grid is used is still nobody else's business.
"""

from ipaddress import IPv6Address, ip_address

from aiohttp import web
from yarl import URL

from gridd.config_values import is_loopback
from gridd.edge import parameters
from gridd.edge.access import EdgeConfig
from gridd.edge.responses import not_found
from gridd.grid import Grid
from gridd.metrics.pages import operator_page, queue_page
from gridd.metrics.text import CONTENT_TYPE

_PASSED_ON = ("Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP")
"""Beside all that begin with ``X-Forwarded-``: what proxies say of whom they speak for."""


class MetricsRoutes:
    def __init__(self, grid: Grid, config: EdgeConfig) -> None:
        self._grid = grid
        self._readers = config.metrics
        self._named = config.metrics_queues

    async def queue(self, request: web.Request) -> web.Response:
        """Works for an unknown queue too: autoscalers ask before anything is in it."""
        figures = await self._grid.queue_figures(parameters.queue_name(request))
        return _page(queue_page(figures))

    async def operator(self, request: web.Request) -> web.Response:
        """Raises ``NOT_FOUND`` for everybody else, as if there were no such page."""
        if self._readers == "off" or (self._readers == "loopback" and not is_local(request)):
            raise not_found("no such address")
        return _page(operator_page(self._grid.figures(named=self._named)))


def is_local(request: web.Request) -> bool:
    """Whether somebody on this machine asks, for himself: no proxy that speaks for another, no
    page in a browser, no foreign name that was pointed at this machine (DNS rebinding)."""
    if any(name in request.headers for name in (*_PASSED_ON, "Origin")):
        return False
    if any(name.lower().startswith("x-forwarded-") for name in request.headers):
        return False
    return _is_own_address(request.remote) and is_loopback(_host_name(request))


def _host_name(request: web.Request) -> str:
    try:
        return URL(f"http://{request.headers.get('Host', '')}").host or ""
    except ValueError:
        return ""


def _is_own_address(text: str | None) -> bool:
    """``None`` on a socket without addresses: then nobody knows who asks."""
    try:
        address = ip_address((text or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _page(text: str) -> web.Response:
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-cache"}
    return web.Response(body=text.encode(), headers=headers)
