"""The directories of a job on this machine: made before it, removed after it.

Nothing here follows a link: what a job left behind is a stranger's tree. ``inputs`` fills the
input directory, ``outputs`` reads the output directory.
"""

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_COPY_BYTES: Final = 1 << 20
_FICLONE: Final = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, xfs, …)


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What one job may move. Sizes in bytes; chosen so that a mistake can't fill a usual disk."""

    input_bytes_max: int = 16 << 30  # one input
    inputs_bytes_max: int = 64 << 30  # all inputs and config files of a job together
    outputs_max: int = 10_000
    output_bytes_max: int = 16 << 30
    outputs_bytes_max: int = 64 << 30
    transfers_max: int = 4  # transfers at once, for each job


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

    if root.is_symlink():
        root.unlink()
    elif root.exists():
        try:
            shutil.rmtree(root)
        except PermissionError:
            _open_folders(root)
            shutil.rmtree(root)


def _open_folders(root: Path) -> None:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        with suppress(PermissionError):  # not ours; what can't be removed then is told by rmtree
            folder.chmod(0o700)
            with os.scandir(folder) as entries:
                waiting += [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]


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
