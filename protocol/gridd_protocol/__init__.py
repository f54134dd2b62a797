"""The wire contract of gridd: definitions and job ids, messages, codecs, limits, error codes.

Imports neither ``gridd`` nor ``gridd_worker``. ``protocol/SPEC.md`` says the same in words.
"""

from gridd_protocol.version import __version__

__all__ = ["__version__"]
