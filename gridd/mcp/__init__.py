"""The grid as tools for clients of the Model Context Protocol: over HTTP at ``/mcp``, and over
stdio by ``gridd mcp``. The SDK (extra ``mcp``) is imported by ``server`` alone, and only when it
is asked for: its import takes about a second."""
