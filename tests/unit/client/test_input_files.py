"""Files and folders as inputs."""

import os

import pytest

from gridd.client import input_files
from gridd.client.errors import UsageError
from gridd.client.input_files import read_path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "b").write_text("b")
    (tmp_path / "d" / "sub" / "a").write_text("a")
    return tmp_path / "d"


def names(uploads):
    return [upload.name for upload in uploads]


@pytest.mark.parametrize(
    ("name", "found"),
    [("x", ["x/b", "x/sub/a"]), ("x/", ["x/b", "x/sub/a"]), (".", ["b", "sub/a"])],
)
def test_a_folder_is_its_files(folder, name, found):
    assert names(read_path(name, folder)) == found


def test_a_link_to_a_file_is_read_through(folder):
    (folder / "link").symlink_to(folder / "b")
    link = next(upload for upload in read_path("x", folder) if upload.name == "x/link")
    assert link.size == 1


def test_a_link_to_a_folder_is_refused_and_not_left_out(folder):
    (folder / "link").symlink_to(folder / "sub")
    with pytest.raises(UsageError, match="link is a link to a folder"):
        read_path("x", folder)


def test_a_pipe_in_a_folder_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="pipe is not a file"):
        read_path("x", folder)


def test_an_empty_folder_is_a_mistake(tmp_path):
    with pytest.raises(UsageError, match="there is no file in"):
        read_path("x", tmp_path)


def test_a_folder_has_a_bound(folder, monkeypatch):
    monkeypatch.setattr(input_files, "FILES_PER_FOLDER_MAX", 1)
    with pytest.raises(UsageError, match="more than 1 files"):
        read_path("x", folder)
