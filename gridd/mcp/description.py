"""What ``/mcp/info`` and ``/mcp/health`` tell, made from the same tools that ``/mcp`` serves.
Needs no SDK."""

from datetime import UTC, datetime
from typing import Any, Final

from gridd.mcp.arguments import schema
from gridd.mcp.tools import TOOLS
from gridd_protocol.version import __version__

NAME: Final = "gridd"
ABOUT: Final = (
    "A compute grid: submit container jobs to queues, follow their logs, fetch their results. "
    "Who knows a queue's name may use it."
)
TEMPLATES: Final = {
    "queue://{queue}/jobs": "The jobs of a queue, by id",
    "job://{job}/definition": "A job's definition, as it was submitted",
    "job://{job}/result": "A finished job with its result; null before",
}


def health(trouble: str | None) -> dict[str, Any]:
    """``trouble``: why nothing new is accepted."""
    return {
        "status": "healthy" if trouble is None else "unhealthy",
        "server": NAME,
        "version": __version__,
        "capabilities": ["tools", "resources"],
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **({} if trouble is None else {"message": trouble}),
    }


def info(default_queue: str) -> dict[str, Any]:
    return {
        "server": {"name": NAME, "version": __version__, "description": ABOUT},
        "capabilities": {
            "tools": {"count": len(TOOLS), "names": list(TOOLS)},
            "resources": {"count": len(TEMPLATES), "patterns": list(TEMPLATES)},
            "queue": {"default": default_queue, "configurable": True},
        },
        "endpoints": {"http": "/mcp", "health": "/mcp/health", "info": "/mcp/info"},
        "documentation": {"tools": [_tool(name, default_queue) for name in TOOLS]},
    }


def _tool(name: str, default_queue: str) -> dict[str, Any]:
    tool = TOOLS[name]
    shape = schema(tool.arguments, default_queue)
    return {
        "name": name,
        "description": tool.description,
        "required": shape.get("required", []),
        "properties": list(shape["properties"]),
    }
