"""``/llms.txt`` and ``/skill.md``: how to use this grid, with its addresses filled in, for whoever
reads with a program. The texts are ``gridd.guide``'s."""

from typing import Final

from aiohttp import web

from gridd.edge.access import EdgeConfig
from gridd.edge.parameters import default_queue, origin
from gridd.edge.responses import TEXT_TYPE
from gridd.guide import overview, skill
from gridd.guide.template import filled

MARKDOWN_TYPE: Final = "text/markdown; charset=UTF-8"

# Where upstream has its own (BROWSER 2.13); what else lies there, its scripts, is not ours.
UPSTREAM_SKILL: Final = "/docs/skill/compute-queues/SKILL.md"


class GuideRoutes:
    def __init__(self, config: EdgeConfig) -> None:
        self._public_url = config.public_url
        self._queue = default_queue(config.open_to_all)

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/llms.txt", self.overview),
            web.get("/skill.md", self.skill),
            web.get(UPSTREAM_SKILL, self.skill),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        # browsers show plain text, and offer to save Markdown
        return self._answer(request, overview.template(), TEXT_TYPE)

    async def skill(self, request: web.Request) -> web.Response:
        return self._answer(request, skill.template(), MARKDOWN_TYPE)

    def _answer(self, request: web.Request, template: str, kind: str) -> web.Response:
        text = filled(template, origin(request, self._public_url), self._queue)
        headers = {"Content-Type": kind, "Cache-Control": "no-cache"}
        return web.Response(text=text, headers=headers)
