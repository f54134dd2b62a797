"""Where outputs are saved, and which names are refused."""

import pytest

from gridd.client.errors import GridError, UsageError
from gridd.client.files import _make_parent, read_upload, safe_path
from gridd.client.transfer import expected_hash

HASH = "ab" * 32


@pytest.mark.parametrize("name", ["a", "a/b.txt", "..a", "a..b", "é/ü.txt", "a b", ".hidden", "-x"])
def test_plain_names(tmp_path, name):
    assert safe_path(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../a", "a/../b", "a/..", "/etc/passwd", "a//b", "a/", "./a", "//a"),
        *("a\0b", "a\nb", "a\x1b[2J", "a\x7f", "a" * 256, "a/" * 600 + "a", "é" * 128),
    ],
)
def test_names_that_leave_or_hurt_are_refused(tmp_path, name):
    with pytest.raises(GridError, match="not safe to save"):
        safe_path(tmp_path, name)


def test_folders_are_made_but_links_are_not_followed(tmp_path):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    _make_parent(folder / "a" / "b" / "c", folder)
    assert (folder / "a" / "b").is_dir()
    (folder / "link").symlink_to(elsewhere)
    with pytest.raises(GridError, match="is a link"):
        _make_parent(folder / "link" / "c", folder)
    with pytest.raises(GridError, match="is a link"):
        _make_parent(folder / "link" / "b" / "c", folder)


def test_a_folder_can_not_be_read(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        read_upload("x", tmp_path)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"type": "url", "value": f"http://h/f/{HASH}"}, HASH),
        ({"type": "url", "value": f"http://h/f/{HASH}?sig=1"}, HASH),
        ({"type": "url", "value": "http://h/f/other", "hash": HASH}, HASH),
        ({"type": "url", "value": "http://h/f/name.txt"}, None),
        ({"type": "url", "value": f"http://h/x/{HASH}"}, None),
        ({"type": "url", "value": 7, "hash": "x"}, None),
        ({"type": "base64", "value": HASH}, None),
    ],
)
def test_the_hash_that_a_reference_promises(reference, expected):
    assert expected_hash(reference) == expected
