"""Tools and resources as an SDK server. The one module that imports the SDK: import it late.

The SDK's own low-level server is used: ours are tools with types and errors of their own, and its
convenience layer would set up logging for the whole process.
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
)
from mcp_types import Tool as ToolShape

from gridd.client.errors import GridError
from gridd.errors import BlobError, disk_words
from gridd.journal.base import JournalError
from gridd.mcp.arguments import schema
from gridd.mcp.description import ABOUT, NAME, TEMPLATES
from gridd.mcp.face import Face, JsonObject, ToolError
from gridd.mcp.tools import TOOLS, Report
from gridd_protocol.canonical import without_surrogates
from gridd_protocol.errors import ProtocolError
from gridd_protocol.names import check_job_id, check_queue_name
from gridd_protocol.version import __version__

log = logging.getLogger("gridd.mcp")

Context = ServerRequestContext[Any, Any]

_JSON = "application/json"
_URI = re.compile(r"(queue|job)://([^/]+)/(jobs|definition|result)")


class McpServer:
    """``face_of`` has the face for a call; it is given the HTTP request, if there is one."""

    def __init__(self, face_of: Callable[[Any], Face], default_queue: str) -> None:
        self._face_of = face_of
        self._default_queue = default_queue
        self.sdk: Server[Any] = Server(
            NAME,
            version=__version__,
            instructions=ABOUT,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(self, _: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        shapes = [
            ToolShape(
                name=tool.name,
                description=tool.description,
                input_schema=schema(tool.arguments, self._default_queue),
            )
            for tool in TOOLS.values()
        ]
        return ListToolsResult(tools=shapes)

    async def _call_tool(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name[:80]}")
        try:
            document = await tool(self._face_of(ctx.request), params.arguments or {}, _report(ctx))
        except Exception as error:
            return _answer(_failure(params.name, error), failed=True)
        return _answer(document)

    async def _list_resources(
        self, _: Context, __: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        """The default queue alone: names are the only secret, so none is told (BROWSER 5.1)."""
        queue = Resource(
            uri=f"queue://{quote(self._default_queue, safe='')}/jobs",
            name=f"Jobs of queue {self._default_queue}",
            description=TEMPLATES["queue://{queue}/jobs"],
            mime_type=_JSON,
        )
        return ListResourcesResult(resources=[queue])

    async def _list_templates(
        self, _: Context, __: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        templates = [
            ResourceTemplate(uri_template=uri, name=about, description=about, mime_type=_JSON)
            for uri, about in TEMPLATES.items()
        ]
        return ListResourceTemplatesResult(resource_templates=templates)

    async def _read_resource(
        self, ctx: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        uri = str(params.uri)
        try:
            document = await _document(self._face_of(ctx.request), uri)
        except (ProtocolError, ToolError) as error:
            raise MCPError(INVALID_PARAMS, _sentence(error), {"uri": uri[:300]}) from None
        except Exception as error:
            failure = _failure("reading a resource", error)
            raise MCPError(INTERNAL_ERROR, failure["error"], {"uri": uri[:300]}) from None
        contents = TextResourceContents(uri=params.uri, text=_text(document), mime_type=_JSON)
        return ReadResourceResult(contents=[contents])


async def _document(face: Face, uri: str) -> Any:
    match = _URI.fullmatch(uri)
    room, name, what = match.groups() if match else ("", "", "")
    if room == "queue" and what == "jobs":
        return {"data": await face.jobs(check_queue_name(unquote(name)))}
    if room == "job" and what == "definition":
        definition = await face.definition(None, check_job_id(name))
        if definition is None:
            raise ToolError(f"no job {name} is known")
        return {"data": definition}
    if room == "job" and what == "result":
        return {"data": await face.finished(None, check_job_id(name))}
    raise ToolError(f"there is no resource {uri[:200]}; known are {', '.join(TEMPLATES)}")


def _report(ctx: Context) -> Report | None:
    """``None`` when the caller gave no token to be told with."""
    token = (ctx.meta or {}).get("progress_token")
    if token is None:
        return None

    async def report(count: int, text: str) -> None:
        await ctx.session.report_progress(float(count), None, text)

    return report


def _answer(document: JsonObject, *, failed: bool = False) -> CallToolResult:
    """The document as text, as upstream's peers read it, and the same as structure."""
    return CallToolResult(
        content=[TextContent(type="text", text=_text(document))],
        structured_content=document,
        is_error=failed,
    )


def _text(document: Any) -> str:
    return without_surrogates(json.dumps(document, ensure_ascii=False, indent=2))


def _failure(what: str, error: Exception) -> JsonObject:
    more: JsonObject = {}
    if isinstance(error, ProtocolError):
        more = {name: value for name, value in error.body().items() if name != "error"}
    elif isinstance(error, GridError) and error.code is not None:
        more = {"code": error.code}
    return {
        "success": False,
        "error": _sentence(error),
        "message": f"{what} was not done",
        **more,
    }


def _sentence(error: Exception) -> str:
    match error:
        case ProtocolError() | GridError():
            return error.message
        case ToolError():
            return str(error)
        case BlobError() | JournalError():
            log.error("%s", error)
            return f"the grid can't keep anything now: {disk_words(error)}; try again later"
    log.error("a tool failed", exc_info=error)
    return "internal error"
