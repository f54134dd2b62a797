"""A folder as a build context: what is packed, and what ``.dockerignore`` keeps at home."""

import io
import tarfile
from itertools import pairwise

import pytest

from gridd.client.context import Ignored, pack
from gridd.client.errors import UsageError


@pytest.mark.parametrize(
    ("lines", "path", "ignored"),
    [
        (["*.log"], "a.log", True),
        (["*.log"], "sub/a.log", False),  # a pattern starts at the root
        (["**/*.log"], "sub/deep/a.log", True),
        (["**/*.log"], "a.log", True),
        (["*/temp*"], "sub/temporary", True),
        (["*/temp*"], "sub/sub/temp", False),
        (["temp?"], "tempa", True),
        (["temp?"], "temp", False),
        (["sub"], "sub/deep/file", True),
        (["/sub/"], "sub/file", True),
        (["sub/**"], "sub/file", True),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["# a.log"], "a.log", False),
        (["", "  "], "a", False),
        (["[a-c].txt"], "b.txt", True),
        (["[^a-c].txt"], "b.txt", False),
        (["a.b"], "axb", False),
        (["a\\*"], "a*", True),
        (["a\\*"], "ab", False),
        (["*"], "anything/at/all", True),
        (["*"], "Dockerfile", False),  # what the build itself needs
        (["*"], ".dockerignore", False),
        (["."], "a", False),
    ],
)
def test_patterns(lines, path, ignored):
    assert Ignored(lines).has(path) is ignored


@pytest.mark.parametrize("pattern", ["[z-a]"])
def test_what_is_no_pattern_is_said(pattern):
    with pytest.raises(UsageError, match="is not a pattern"):
        Ignored([pattern])


def names(upload):
    with tarfile.open(fileobj=io.BytesIO(upload.source.read_bytes()), mode="r:gz") as tar:
        return tar.getnames()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "context"
    for name in ("Dockerfile", ".env", "src/main.py", "src/cache/x.pyc", "data/big", "data/keep"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_what_is_ignored_stays_at_home(folder, tmp_path):
    (folder / ".dockerignore").write_text(".env\n**/cache\ndata\n!data/keep\n")
    found = names(pack(folder, tmp_path))
    assert sorted(found) == [".dockerignore", "Dockerfile", "data/keep", "src", "src/main.py"]


def test_folders_come_before_what_they_hold(folder, tmp_path):
    found = names(pack(folder, tmp_path))
    assert set(found) >= {"src", "src/cache", "src/cache/x.pyc", ".env"}
    for name, later in pairwise(["src", "src/cache", "src/cache/x.pyc"]):
        assert found.index(name) < found.index(later)


def test_the_file_that_is_built_from_is_packed_whatever_is_ignored(folder, tmp_path):
    (folder / ".dockerignore").write_text("*\n")
    (folder / "Other").write_text("FROM x")
    assert names(pack(folder, tmp_path, "Other")) == [".dockerignore", "Other"]


def test_links_are_packed_as_links(folder, tmp_path):
    (folder / "out").symlink_to("/")
    (folder / "here").symlink_to("src")
    upload = pack(folder, tmp_path)
    with tarfile.open(fileobj=io.BytesIO(upload.source.read_bytes()), mode="r:gz") as tar:
        assert tar.getmember("out").issym()
        assert tar.getmember("here").issym()
        assert not any(name.startswith(("out/", "here/")) for name in tar.getnames())


def test_the_same_files_have_the_same_hash_and_key(folder, tmp_path):
    first = pack(folder, tmp_path)
    (folder / "src" / "main.py").touch()
    again = pack(folder, tmp_path)
    assert first.key == again.key == again.sha256
