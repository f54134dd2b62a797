"""``/embed/``: how to put a job into one's own page with a script tag, and that script.

The text lies in ``gridd/web/embed.html``; its scripts are built with the page (``make page``) into
``gridd/web/dist/embed``, and without them the page says so. Any page may load the script; who may
hold the frames that it makes is the matter of the framed page (``page``).
"""

import html
from pathlib import Path
from typing import Final

from aiohttp import web

from gridd.edge import page
from gridd.edge.access import EdgeConfig
from gridd.edge.parameters import origin
from gridd_protocol.errors import ErrorCode, ProtocolError

SCRIPTS: Final = ("gridd.js", "page.js")

# Its name stays as it changes, so it is asked for anew each time (and answered with 304). A page
# that shuts itself off from others' files (COEP) may load it.
_SCRIPT_HEADERS: Final = {
    "Content-Type": "text/javascript; charset=UTF-8",
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_ROOT: Final = '<html lang="en">'


class Embed:
    """Read once, at start."""

    def __init__(self, config: EdgeConfig, folder: Path | None = None) -> None:
        folder = folder or page.WEB_FOLDER
        self._public_url = config.public_url
        self._scripts = folder / "dist" / "embed"
        is_built = all((self._scripts / name).is_file() for name in SCRIPTS)
        text = (folder / "embed.html").read_text("utf-8")
        marks = ("" if is_built else " data-unbuilt") + (
            "" if config.open_to_all else " data-guarded"
        )
        self._html = text.replace(_ROOT, f"{_ROOT[:-1]}{marks}>")
        # Its own scripts and style, frames of this grid, and outputs read from it; no more.
        self._policy = (
            f"default-src 'none'; script-src 'self'; style-src {page.style_source(text)}; "
            "frame-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
        )

    async def show(self, request: web.Request) -> web.Response:
        text = self._html.replace("{{origin}}", html.escape(origin(request, self._public_url)))
        return page.html_response(text, self._policy)

    async def to_page(self, request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "/embed/"})

    async def script(self, request: web.Request) -> web.StreamResponse:
        """One of ``SCRIPTS``. Raises ``NOT_FOUND`` when they are not built."""
        file = self._scripts / request.path.rpartition("/")[2]
        if not file.is_file():
            sentence = "the page's scripts are not built on this server; `make page` builds them"
            raise ProtocolError(ErrorCode.NOT_FOUND, sentence)
        return web.FileResponse(file, headers=_SCRIPT_HEADERS)
