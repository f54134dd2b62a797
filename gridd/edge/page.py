"""The page at ``/``, ``/j/:id`` and ``/q/:queue``: the built one, or else a plain one that says
how to use this grid without it.

The built page lies in ``gridd/web/dist`` (``index.html`` and ``assets/``). Both ask nothing of
any other host, and the policy in their headers holds them to it.
"""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Final

from aiohttp import web

WEB_FOLDER: Final = Path(__file__).parent.parent / "web"

_BUILT_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'none'"
)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


class Page:
    """Read once, at start. ``assets`` is the folder to be served at ``/assets``, if any."""

    def __init__(self, public_url: str | None, folder: Path = WEB_FOLDER) -> None:
        self._public_url = public_url
        built = folder / "dist" / "index.html"
        self.is_built = built.is_file()
        self._html = (built if self.is_built else folder / "placeholder.html").read_text("utf-8")
        self._policy = _BUILT_POLICY if self.is_built else _plain_policy(self._html)
        assets = folder / "dist" / "assets"
        self.assets = assets if self.is_built and assets.is_dir() else None

    async def show(self, request: web.Request) -> web.Response:
        return self.response(request)

    def response(self, request: web.Request) -> web.Response:
        text = self._html
        if not self.is_built:
            origin = self._public_url or f"{request.scheme}://{request.host}"
            text = text.replace("{{origin}}", html.escape(origin))
        headers = {
            "Content-Type": "text/html; charset=UTF-8",
            "Content-Security-Policy": self._policy,
            "Cache-Control": "no-cache",
            "Vary": "Accept",
        }
        return web.Response(text=text, headers=headers)


def wants_page(request: web.Request) -> bool:
    """A browser that navigates asks for HTML by name; curl and ``fetch`` do not."""
    return "text/html" in request.headers.get("Accept", "").lower()


def _plain_policy(page: str) -> str:
    """Nothing but the page's own style, named by its hash."""
    style = _STYLE.search(page)
    digest = hashlib.sha256(style[1].encode() if style else b"").digest()
    allowed = base64.b64encode(digest).decode()
    return f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
