"""The door to the real file system."""

import errno
import os
from pathlib import Path

import pytest

from gridd.journal.fs import LockHeld, RealFiles


def test_a_file_is_appended_to_read_cut_and_closed_twice(tmp_path: Path) -> None:
    fs, path = RealFiles(), str(tmp_path / "file")
    file = fs.create(path)
    file.write(b"one")
    file.write(b"two")
    file.sync()
    assert (file.size(), file.read(1, 4), file.read(4, 99)) == (6, b"netw", b"wo")
    file.truncate(2)
    file.write(b"!")
    file.close()
    file.close()
    reopened = fs.open(path, writable=True)
    reopened.write(b"?")
    assert reopened.read(0, 9) == b"on!?"
    reopened.close()


def test_create_refuses_a_taken_name(tmp_path: Path) -> None:
    fs, path = RealFiles(), str(tmp_path / "file")
    fs.create(path).close()
    with pytest.raises(FileExistsError):
        fs.create(path)


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    fs, path = RealFiles(), str(tmp_path / "a" / "b" / "c")
    fs.make_directory(path)
    fs.make_directory(path)
    assert Path(path).is_dir()
    fs.sync_directory(path)
    assert fs.list(path) == []


def test_a_file_where_a_directory_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        RealFiles().make_directory(str(tmp_path / "file" / "journal"))


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RealFiles().create(str(tmp_path / "file"))
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    file.write(b"0123456789")
    monkeypatch.undo()
    assert file.read(0, 99) == b"0123456789"
    file.close()


def test_a_write_that_takes_nothing_is_an_error_and_no_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RealFiles().create(str(tmp_path / "file"))
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(OSError, match="only 0 of 3 bytes") as caught:
        file.write(b"abc")
    assert caught.value.errno == errno.EIO
    monkeypatch.undo()
    file.close()


def test_the_lock_is_held_until_closed_and_says_by_whom(tmp_path: Path) -> None:
    fs, path = RealFiles(), str(tmp_path / "lock")
    lock = fs.lock(path, "pid 1234567")
    with pytest.raises(LockHeld) as caught:
        fs.lock(path, "pid 2")
    assert caught.value.holder == "pid 1234567"
    lock.close()
    fs.lock(path, "pid 2").close()
    assert Path(path).read_text() == "pid 2"
