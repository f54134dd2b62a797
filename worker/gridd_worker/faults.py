"""Whose fault it is when a file can't be written: this machine's, or a job's that asks for the
impossible (a name that no disk takes, more than there is room for).

A fault of the machine keeps the worker from taking jobs, and gives the job back: a job that could
feign one would stop one worker after the other.
"""

import errno
import shutil
from pathlib import Path
from typing import Final

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_MACHINES: Final = (
    *_NO_ROOM,
    *(errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM),
)
ROOM_BYTES: Final = 256 << 20  # as much is free again once the job's files are gone: they were it


def is_of_machine(error: OSError, folder: Path) -> bool:
    """``error`` came of writing below ``folder``, from where all that was written is gone again.
    Blocks."""
    if error.errno in _NO_ROOM:
        try:
            return shutil.disk_usage(folder).free < ROOM_BYTES
        except OSError:
            return True
    return error.errno is None or error.errno in _MACHINES
