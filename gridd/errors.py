"""What can go wrong in the daemon, by whose fault it is.

A peer's fault is ``gridd_protocol.errors.ProtocolError``: it is answered. The world's fault is a
``JournalError`` or ``BlobError``: it is handled, counted, and answered with ``unavailable``. Our
own fault is an assertion: the daemon stops and recovers from its journal.
"""

import errno

_DISK_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk fails",
    errno.EACCES: "access is denied",
    errno.EPERM: "access is denied",
}
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "raise the quota",
    errno.EROFS: "mount it writable, or use another --data-dir",
    errno.EACCES: "give the server's user access, or use another --data-dir",
    errno.EPERM: "give the server's user access, or use another --data-dir",
    errno.ENOTDIR: "a file is in the way: move it, or use another --data-dir",
    errno.EEXIST: "a file is in the way: move it, or use another --data-dir",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class BlobError(Exception):
    """The blob store can't be used. Names the place and what to do; ``words`` is what peers are
    told, where that is known."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words


class ConfigError(Exception):
    """Settings that do not fit. ``complaints`` holds every one, not only the first."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints


def disk_words(error: BaseException) -> str:
    """What is wrong with the disk, for peers: of ``error`` or the ``OSError`` that caused it.
    A blob store elsewhere has its own words."""
    if isinstance(error, BlobError) and error.words:
        return error.words
    cause = error if isinstance(error, OSError) else error.__cause__
    code = cause.errno if isinstance(cause, OSError) else None
    return _DISK_WORDS.get(code or 0, "see the server's log")


def disk_advice(error: OSError) -> str:
    """What to do, for whoever reads the server's log."""
    return _ADVICE.get(error.errno or 0, "check the disk")
