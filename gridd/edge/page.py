"""The page at ``/``, ``/j/:id`` and ``/q/:queue``: the built one, or else a plain one that says
how to use this grid without it. And one at ``/docs/``, for those who look for words.

The built page lies in ``gridd/web/dist`` (``index.html`` and ``assets/``; ``make page`` builds
it). It may be embedded in other pages as a frame: in any where nothing runs on this machine, and
else only in those that may use the grid (DESIGN 5.16).
"""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Final

from aiohttp import web

from gridd.edge import parameters
from gridd.edge.access import EdgeConfig
from gridd.edge.metaframe import METAFRAME
from gridd.edge.parameters import origin
from gridd.edge.responses import json_value

WEB_FOLDER: Final = Path(__file__).parent.parent / "web"

# No script but its own. Connections go where the reader's link says: a queue may be on another
# grid (``queue=https://grid/name``) and a file in a bucket; films and sounds lie there too. Frames
# may be of any origin, since a reader may look at an output with a viewer of their choice: what
# runs in one has no part in this page. Outputs that are HTML are shown in a sandboxed frame, which
# inherits all this and is given a narrower policy of its own (``views/preview.tsx``).
_BUILT_POLICY: Final = (
    "default-src 'self'; script-src 'self'; connect-src 'self' http: https: ws: wss:; "
    "img-src 'self' data: blob:; media-src 'self' http: https:; frame-src http: https:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none'"
)
# Read by the page: a mere link must not start jobs on the machine of whoever follows it.
_GUARDED: Final = ('<html lang="en">', '<html lang="en" data-guarded>')
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


class Page:
    """Read once, at start. ``assets`` is the folder to be served at ``/assets``, if any."""

    def __init__(self, config: EdgeConfig, folder: Path | None = None) -> None:
        folder = folder or WEB_FOLDER
        self._public_url = config.public_url
        built = folder / "dist" / "index.html"
        self.is_built = built.is_file()
        self._html = (built if self.is_built else folder / "placeholder.html").read_text("utf-8")
        self._docs = (folder / "docs.html").read_text("utf-8")
        self._policy = _plain_policy(self._html)
        if self.is_built:
            self._policy = _BUILT_POLICY + _frame_policy(config)
            if not config.open_to_all:
                self._html = self._html.replace(*_GUARDED)
        assets = folder / "dist" / "assets"
        self.assets = assets if self.is_built and assets.is_dir() else None

    async def show(self, request: web.Request) -> web.Response:
        return self.response(request)

    def response(self, request: web.Request) -> web.Response:
        text = self._html
        if not self.is_built:
            text = self._with_origin(text, request)
        return html_response(text, self._policy)

    async def show_metaframe(self, request: web.Request) -> web.Response:
        """``…/metaframe.json``, below every path of the page: hosts ask for it before they open
        the frame. It is the same everywhere, but a name that can't be is refused as ever."""
        if "queue" in request.match_info:
            parameters.queue_name(request)
        if "job" in request.match_info:
            parameters.job_id(request)
        return json_value(METAFRAME)

    async def show_docs(self, request: web.Request) -> web.Response:
        """``/docs/``: how to use this grid, and where the rest is written."""
        return html_response(self._with_origin(self._docs, request), _plain_policy(self._docs))

    async def to_docs(self, request: web.Request) -> web.Response:
        """``/docs``, as upstream does (WIRE 1.13)."""
        return web.Response(status=301, headers={"Location": "/docs/"})

    def _with_origin(self, text: str, request: web.Request) -> str:
        return text.replace("{{origin}}", html.escape(origin(request, self._public_url)))


def html_response(text: str, policy: str) -> web.Response:
    headers = {
        "Content-Type": "text/html; charset=UTF-8",
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Vary": "Accept",
    }
    return web.Response(text=text, headers=headers)


def wants_page(request: web.Request) -> bool:
    """A browser that navigates asks for HTML by name; curl and ``fetch`` do not."""
    return "text/html" in request.headers.get("Accept", "").lower()


def _frame_policy(config: EdgeConfig) -> str:
    """Which pages may embed this one."""
    if config.open_to_all:
        return ""
    own = (config.public_url,) if config.public_url else ()
    return "; frame-ancestors " + " ".join(("'self'", *own, *config.allow_origin))


def style_source(page: str) -> str:
    """What a policy calls the style that stands in ``page``: its hash."""
    style = _STYLE.search(page)
    digest = hashlib.sha256(style[1].encode() if style else b"").digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _plain_policy(page: str) -> str:
    """Nothing but the page's own style."""
    allowed = style_source(page)
    return f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'"
