"""What makes a worker this one: its data directory, held alone, and its id, used once.

The locks end with the process, however it ends.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from gridd_protocol.errors import ProtocolError
from gridd_protocol.names import check_worker_id


class CannotStart(Exception):
    """A sentence for the owner: what is missing, and what to do."""


@contextlib.contextmanager
def own_directory(data: Path) -> Iterator[None]:
    """Make the data directory and hold its lock: two workers would send under one id. Raises
    ``CannotStart``."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = os.open(data / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"the data directory can't be used: {error}") from None
    try:
        if not _locked(lock):
            raise CannotStart(
                f"another gridd-worker uses {data}; give this one its own with --data-directory"
            )
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def own_id(worker: str, api_address: str) -> Iterator[None]:
    """Hold the id on this machine, for one grid: of two workers with one id, each would take the
    other's place at the server again and again. Raises ``CannotStart``.

    The lock is in the directory for temporary files. Where that can't be used safely there is
    none: the server still lets only one of them be connected.
    """
    lock = _open_id_lock(f"{api_address}\n{worker}")
    try:
        if lock is not None and not _locked(lock):
            raise CannotStart(
                f"another gridd-worker on this machine runs under the id {worker} for "
                f"{api_address}; give one of them another --id"
            )
        yield
    finally:
        if lock is not None:
            os.close(lock)


def kept_id(data: Path) -> str:
    """The id in the data directory, drawn once. Raises ``CannotStart``."""
    file = data / "worker-id"
    try:
        kept = check_worker_id(file.read_text().strip())
    except FileNotFoundError:
        kept = str(uuid.uuid4())
    except (ProtocolError, UnicodeDecodeError) as error:
        raise CannotStart(f"{file} holds no worker id ({error}); remove it or use --id") from None
    except OSError as error:
        raise CannotStart(f"the data directory can't be used: {error}") from None
    with contextlib.suppress(OSError):
        file.write_text(f"{kept}\n")
    return kept


def _open_id_lock(what: str) -> int | None:
    if not hasattr(os, "getuid"):  # Windows
        return None
    folder = Path(tempfile.gettempdir()) / f"gridd-worker-{os.getuid()}"
    name = f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.lock"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return None  # a stranger was here before
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(folder / name, flags, 0o600)
    except OSError:
        return None


def _locked(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
