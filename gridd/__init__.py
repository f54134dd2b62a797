"""gridd: a public compute grid. The daemon, its client and its page."""

from gridd_protocol.version import __version__

__all__ = ["__version__"]
