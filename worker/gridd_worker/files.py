"""The directories of a job on this machine: made before it, removed after it.

Nothing here follows a link: what a job left behind is a stranger's tree. ``inputs`` fills the
input directory, ``outputs`` reads the output directory.
"""

import itertools
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_COPY_BYTES: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FICLONE: Final = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, xfs, …)


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What one job may move. Sizes in bytes; chosen so that a mistake can't fill a usual disk."""

    input_bytes_max: int = 16 << 30  # one input
    inputs_bytes_max: int = 64 << 30  # all inputs and config files of a job together
    outputs_max: int = 10_000
    output_entries_max: int = 100_000  # with links and folders, which are looked at, too
    output_bytes_max: int = 16 << 30
    outputs_bytes_max: int = 64 << 30
    transfers_max: int = 4  # transfers at once, for each job
    inputs_s_max: float = 3_600.0  # until all inputs are here


@dataclass(frozen=True, slots=True)
class JobDirectories:
    """``root`` is closed to other users of the machine; the engine needs no way through it."""

    root: Path
    inputs: Path
    outputs: Path
    config: Path


def job_directories(data: Path, job: str, attempt: int) -> JobDirectories:
    """Where those of an attempt are; makes none."""
    root = data / "jobs" / f"{_UNSAFE.sub('_', job)[:100]}-{attempt}"
    return JobDirectories(root, root / "inputs", root / "outputs", root / "config")


def make_job_directories(data: Path, job: str, attempt: int) -> JobDirectories:
    """Fresh, empty directories for one attempt; what an earlier try left there is removed.

    ``outputs`` can be written by anyone, since images name their own user. Raises ``OSError``.
    """
    directories = job_directories(data, job, attempt)
    root = directories.root
    remove_tree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    root.mkdir(mode=0o700)
    for path in (directories.inputs, directories.outputs, directories.config):
        path.mkdir()
        path.chmod(0o755)  # whatever the umask says: the job may be another user
    directories.outputs.chmod(0o777)
    return directories


def remove_tree(root: Path) -> None:
    """Removes ``root`` and all below it, if it exists. Links are removed, never followed.

    Directories that the job made unreadable are opened up first, where they are ours. Raises
    ``OSError`` when something remains (files of a container's root, with a worker that is not
    root, for one).
    """
    if root.is_symlink() or root.is_file():
        root.unlink()
    elif root.exists():
        _flatten(root)
        root.rmdir()


def _flatten(root: Path) -> None:
    """Empties ``root``: a folder that is found in a folder is moved up to ``root`` and emptied
    there. So no tree is too deep: neither for this program's stack nor for a path, both of which a
    job can pass with a loop of ``mkdir`` and ``cd``."""
    top = _opened(root.name, os.open(root.parent, _FOLDER))
    try:
        new_names = (f".{secrets.token_hex(8)}-{n}" for n in itertools.count())
        while folders := _emptied(top):
            for name in folders:
                folder = _opened(name, os.dup(top))
                try:
                    for inner in _emptied(folder):
                        _move_up(inner, folder, next(new_names), top)
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _opened(name: str, parent: int) -> int:
    """The folder ``name`` in ``parent``, which is closed."""
    try:
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except PermissionError:
            os.chmod(name, 0o700, dir_fd=parent)  # no link: nothing but us is at work here
            return os.open(name, _FOLDER, dir_fd=parent)
    finally:
        os.close(parent)


def _emptied(folder: int) -> list[str]:
    """Removes all but the folders in ``folder``, whose names it tells."""
    with suppress(PermissionError):  # not ours; what can't be removed then says so itself
        os.fchmod(folder, 0o700)
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def _move_up(name: str, folder: int, new_name: str, top: int) -> None:
    try:
        os.rmdir(name, dir_fd=folder)  # of an empty one, its parent's owner may
    except OSError:
        with suppress(PermissionError):
            os.chmod(name, 0o700, dir_fd=folder)  # a folder that moves is written to
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=top)


def remove_old(folder: Path, age_s: float) -> None:
    """Remove the files in ``folder`` that were not written for so long."""
    oldest_s = time.time() - age_s
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < oldest_s:
                path.unlink()


def place(root: Path, name: str) -> Path:
    """The path of the file ``name`` below ``root``, with its folders made.

    ``name`` has been checked (``names.check_file_name``). Raises ``OSError``, for instance when a
    folder of this name is a file of another.
    """
    path = root.joinpath(*name.split("/"))
    for folder in reversed(path.relative_to(root).parents[:-1]):
        (root / folder).mkdir(exist_ok=True)
        (root / folder).chmod(0o755)
    return path


def copy_file(source: int, target: Path) -> None:
    """Copies the open file ``source`` to the new file ``target``, sharing blocks where the file
    system can. The copy is a file of its own: writing to it leaves the source as it is."""
    with target.open("xb") as copy:
        os.fchmod(copy.fileno(), 0o644)
        if _clone(source, copy.fileno()):
            return
        os.lseek(source, 0, os.SEEK_SET)
        while block := os.read(source, _COPY_BYTES):
            copy.write(block)


def _clone(source: int, target: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONE, source)
    except (ImportError, OSError):
        return False
    return True
