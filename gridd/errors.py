"""What can go wrong in the daemon, by whose fault it is.

A peer's fault is ``gridd_protocol.errors.ProtocolError``: it is answered. The world's fault is a
``JournalError`` or ``BlobError``: it is handled, counted, and answered with ``unavailable``. Our
own fault is an assertion: the daemon stops and recovers from its journal.
"""


class BlobError(Exception):
    """The blob store can't be used. Names the path and what to do."""


class ConfigError(Exception):
    """Settings that do not fit. ``complaints`` holds every one, not only the first."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints
