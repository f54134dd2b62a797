"""``gridd mcp``: the tools over standard input and output, for desktop clients. Standard output
belongs to the protocol."""

from importlib.util import find_spec

from gridd.client.errors import UsageError
from gridd.client.target import Target
from gridd.client.transport import Transport
from gridd.mcp.http_face import HttpFace


async def serve(target: Target) -> int:
    """Until standard input ends. The grid is asked when a tool is called: it need not be up yet."""
    if find_spec("mcp") is None:
        raise UsageError("`gridd mcp` needs more than is installed: pip install 'gridd[mcp]'")
    from mcp.server.stdio import stdio_server

    from gridd.mcp.server import McpServer

    async with Transport(target.api) as transport:
        face = HttpFace(target, transport)
        server = McpServer(lambda _: face, target.queue).sdk
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    return 0
