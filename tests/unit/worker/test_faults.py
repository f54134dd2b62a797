"""Whose fault an error of the disk is."""

import errno
from collections import namedtuple
from pathlib import Path

import pytest

from gridd_worker.faults import ROOM_BYTES, is_of_machine

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("number", "machines"),
    [
        *((n, True) for n in (errno.EIO, errno.EROFS, errno.EMFILE, errno.EACCES)),
        *((n, False) for n in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)),
        *((n, False) for n in (errno.ENOENT, errno.EINVAL)),
    ],
)
def test_what_a_job_asked_for_is_not_the_machines_fault(
    tmp_path: Path, number: int, machines: bool
) -> None:
    assert is_of_machine(OSError(number, "x"), tmp_path) is machines


@pytest.mark.parametrize("free", [ROOM_BYTES - 1, ROOM_BYTES])
def test_no_room_is_the_machines_fault_if_there_is_none_without_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, free))
    assert is_of_machine(OSError(errno.ENOSPC, "x"), tmp_path) is (free < ROOM_BYTES)


def test_a_disk_that_does_not_even_tell_is_at_fault(tmp_path: Path) -> None:
    assert is_of_machine(OSError(errno.ENOSPC, "x"), tmp_path / "gone")
