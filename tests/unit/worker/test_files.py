"""Job directories, and removing strangers' trees."""

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gridd_worker.files import copy_file, make_job_directories, place, remove_tree


def test_directories_are_fresh_and_open_only_where_they_should_be(tmp_path: Path) -> None:
    first = make_job_directories(tmp_path, "a" * 64, 1)
    (first.outputs / "old").write_text("x")
    (first.inputs / "old").write_text("x")
    again = make_job_directories(tmp_path, "a" * 64, 1)
    assert again == first
    assert again.root == tmp_path / "jobs" / f"{'a' * 64}-1"
    assert not list(again.outputs.iterdir())
    assert not list(again.inputs.iterdir())
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in again.root.iterdir()}
    assert modes == {"inputs": 0o755, "outputs": 0o777, "config": 0o755}
    assert stat.S_IMODE(again.root.stat().st_mode) == 0o700


def test_a_job_id_is_no_path(tmp_path: Path) -> None:
    directories = make_job_directories(tmp_path, "../../x/y", 2)
    assert directories.root.parent == tmp_path / "jobs"


def test_remove_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(kept)
    (root / "file").symlink_to(kept / "file")
    remove_tree(root)
    assert not root.exists()
    assert (kept / "file").read_text() == "x"
    link = tmp_path / "link"
    link.symlink_to(kept)
    remove_tree(link)
    assert not link.is_symlink()
    assert (kept / "file").exists()
    remove_tree(root)  # not there any more: nothing to do


def test_remove_opens_what_the_job_closed() -> None:
    """A directory of mode 0 can neither be listed nor emptied, except by root: as root, another
    user has to try."""
    with TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        base.chmod(0o777)
        root = base / "root"
        for path in (root / "a" / "b" / "c", root / "d"):
            path.mkdir(parents=True)
            (path / "file").write_text("x")
        as_root = os.geteuid() == 0
        for path in (root, *root.rglob("*")):
            if as_root:
                os.chown(path, 61_000, 61_000)
        for path in (root / "a" / "b", root / "a", root / "d"):
            path.chmod(0)
        if not as_root:
            remove_tree(root)
        elif (pid := os.fork()) == 0:
            try:
                os.setuid(61_000)
                remove_tree(root)
            finally:
                os._exit(0)
        else:
            os.waitpid(pid, 0)
        assert not root.exists()


def test_no_tree_is_too_deep_to_be_removed(tmp_path: Path) -> None:
    """Deeper than Python calls itself and than a path may be long. A job makes it with a loop."""
    root = tmp_path / "root"
    root.mkdir()
    folder = os.open(root, os.O_RDONLY)
    for _ in range(2_500):
        os.close(os.open("file", os.O_CREAT, dir_fd=folder))
        os.mkdir("d", dir_fd=folder)
        inside = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inside
    os.close(folder)
    (root / "e" / "f").mkdir(parents=True)
    remove_tree(root)
    assert list(tmp_path.iterdir()) == []


def test_place_makes_folders(tmp_path: Path) -> None:
    path = place(tmp_path, "a/b/c.txt")
    assert path == tmp_path / "a" / "b" / "c.txt"
    assert path.parent.is_dir()
    path.write_text("x")
    with pytest.raises(OSError, match="File exists"):
        place(tmp_path, "a/b/c.txt/d")


def test_a_copy_is_a_file_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    descriptor = os.open(source, os.O_RDONLY)
    copy_file(descriptor, tmp_path / "copy")
    os.close(descriptor)
    (tmp_path / "copy").write_bytes(b"changed")
    assert source.read_bytes() == b"x" * 3_000_000
