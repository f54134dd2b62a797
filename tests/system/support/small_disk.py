"""A real file system of a few megabytes, and how to fill it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MEGABYTES = 40


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[Path]:
    """A file system of its own at the new folder ``place``."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        why_not = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError as error:
        why_not = str(error)
    if why_not:
        reason = f"no small file system can be mounted here (it takes root): {why_not}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is left, to the last block."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast
