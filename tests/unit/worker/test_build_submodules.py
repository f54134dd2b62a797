"""Submodules and large files of a git source, over a real git and a server on loopback."""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gridd_worker.http_client import Http
from gridd_worker.images import lfs as build_lfs
from gridd_worker.images import submodules as build_submodules
from gridd_worker.images.error import ImageError
from gridd_worker.images.fetch import Sources
from gridd_worker.images.git import GitFetcher
from gridd_worker.images.lfs import pointers
from gridd_worker.images.source import Archive, Git
from gridd_worker.images.submodules import Module, module_url, read_modules
from tests.system.support.git_server import GitServer, git, git_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path / "served") as server:
        yield server


class Fetched:
    """Gets a repository as a build does."""

    def __init__(self, server: GitServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.said: list[str] = []
        self.logins = folder / "logins"
        self.logins.write_text("")
        self.private = True

    async def __call__(self, name: str = "r.git") -> dict[str, str]:
        http = Http("", private=self.private)
        sources = Sources(http, GitFetcher(self.resolve), git_credentials=self.logins)
        source = Git(f"{self.server.address}/{name}")
        scratch = self.folder / f"scratch-{len(os.listdir(self.folder))}"
        scratch.mkdir()
        try:
            commit = await sources.revision(source, scratch, self.said.append)
            root = await sources.tree(source, commit, scratch, self.said.append)
        finally:
            await http.close()
        paths = (path for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
        return {path.relative_to(root).as_posix(): path.read_text() for path in paths}

    async def resolve(self, host: str, port: int) -> list[str]:
        if host == "closed.test":
            raise OSError("leads to an address that jobs may not reach")
        return ["127.0.0.1"]


@pytest.fixture
def fetched(server: GitServer, tmp_path: Path) -> Fetched:
    (tmp_path / "builds").mkdir()
    return Fetched(server, tmp_path / "builds")


# --- submodules ---------------------------------------------------------------------------


async def test_submodules_at_their_commits_within_one_another(server: GitServer, fetched):
    inner = server.commit_to("inner.git", a="inner")
    server.commit_to("inner.git", a="later")
    lib = server.commit_to("lib.git", modules={"deep": ("../inner.git", inner)}, b="lib")
    server.commit_to(
        "r.git",
        modules={"sub/lib": (f"{server.address}/lib.git", lib), "other": ("./../inner.git", inner)},
        c="main",
    )
    assert await fetched() == {
        "c": "main", "sub/lib/b": "lib", "sub/lib/deep/a": "inner", "other/a": "inner"
    }  # fmt: skip
    assert any(f"submodule sub/lib: {server.address}/lib.git at" in line for line in fetched.said)


async def test_a_private_submodule_by_the_owners_login_only(server: GitServer, fetched):
    commit = server.commit(a="private")
    server.commit_to("top.git", modules={"p": ("../private.git", commit)})
    with pytest.raises(ImageError, match=r"submodule 'p': .*no login that opens it"):
        await fetched("top.git")
    port = server.address.rpartition(":")[2]
    fetched.logins.write_text(f"http://owner:s3cret@127.0.0.1:{port}/private.git\n")
    assert await fetched("top.git") == {"p/a": "private"}
    sent = {path.split("/")[1] for path, login in server.seen if login}
    assert sent == {"private.git"}
    assert "s3cret" not in repr(fetched.said)


async def test_addresses_of_submodules_are_looked_at(server: GitServer, fetched, tmp_path):
    commit = server.commit_to("lib.git", a="1")
    for url, said in {
        f"file://{tmp_path}/served/lib.git": "must be an http or https one",
        "http://closed.test/lib.git": "may not reach",
    }.items():
        server.commit_to("r.git", modules={"m": (url, commit)})
        with pytest.raises(ImageError, match=f"submodule 'm': .*{re.escape(said)}"):
            await fetched()


@pytest.mark.parametrize(
    "url",
    [
        "file:///served/lib.git", "/served/lib.git", "ext::sh -c 'touch x'", "-u./x", "", "x",
        "git://127.0.0.1/lib.git", "../../../etc/lib.git", "http://h.test/a\nb", "git@h:a b",
    ],
)  # fmt: skip
def test_what_a_submodule_may_not_be(url):
    with pytest.raises(ImageError, match=r"must be an http or https one|leads out of the server"):
        module_url("http://h.test/o/r.git", url)


async def test_a_submodule_in_place_of_a_link(server: GitServer, fetched, tmp_path):
    """The file names a path below a link; the tree has one there."""
    commit = server.commit_to("lib.git", a="evil")
    outside = tmp_path / "outside"
    (outside / "m").mkdir(parents=True)
    server.commit_to("r.git", modules={"k/m": ("../lib.git", commit)}, a="1")
    repository = server.root / "r.git"
    git(repository, "rm", "-q", "--cached", "k/m")
    os.symlink("inside", repository / "k")
    git(repository, "add", "k")
    git(repository, "commit", "-q", "-m", "y")
    assert await fetched() == {"a": "1"}  # no submodule of that name is in the tree
    for path in ("../outside/m", "/etc"):
        lines = f'[submodule "x"]\npath = {path}\nurl = ../lib.git\n'
        server.commit_to("r.git", _gitmodules=lines)
        with pytest.raises(ImageError, match="submodule"):
            await fetched()
    assert os.listdir(outside / "m") == []


@pytest.mark.parametrize(("limit", "of"), [("DEPTH_MAX", 1), ("MODULES_MAX", 2)])
async def test_submodules_are_bounded(server: GitServer, fetched, monkeypatch, limit, of):
    name, commit = "m0.git", server.commit_to("m0.git", a="0")
    for number in range(1, of + 2):
        modules = {"m": (f"../{name}", commit)}
        name, commit = f"m{number}.git", server.commit_to(f"m{number}.git", modules=modules)
    monkeypatch.setattr(build_submodules, limit, of)
    with pytest.raises(ImageError, match="there are more than"):
        await fetched(name)
    monkeypatch.undo()
    assert len(await fetched(name)) == 1


def test_settings_of_submodules():
    settings = [
        ("core.bare", "true"),
        ("submodule.a.b.path", "x"), ("submodule.a.b.url", "../u"), ("submodule.a.b.branch", "z"),
        ("submodule.no.path", "y"), ("submodule.no.url", "u"), ("submodule.no.update", "none"),
        ("submodule.half.path", "q"), ("submodule.twice.path", "x"), ("submodule.twice.url", "v"),
    ]  # fmt: skip
    assert read_modules(settings) == [Module("x", "v")]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://u:p@h.test/a/b.git", "https://h.test/a/b.git"),
        ("git@h.test:a/b.git", "https://h.test/a/b.git"),
        ("ssh://git@h.test:22/a/b", "https://h.test/a/b"),
        ("https://github.com/o/r", "https://github.com/o/r.git"),
        ("../other.git", "http://g.test:81/o/other.git"),
        ("../../x/y", "http://g.test:81/x/y"),
        ("./below", "http://g.test:81/o/r.git/below"),
    ],
)
def test_addresses_of_submodules(url, found):
    assert module_url("http://g.test:81/o/r.git/", url) == found


# --- large files --------------------------------------------------------------------------

ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"


def pointer(content: bytes, *, size: int | None = None) -> str:
    oid = hashlib.sha256(content).hexdigest()
    size = len(content) if size is None else size
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


def serve(server: GitServer, *contents: bytes) -> None:
    server.large |= {hashlib.sha256(content).hexdigest(): content for content in contents}


async def test_large_files_take_the_place_of_their_pointers(server: GitServer, fetched):
    serve(server, b"one" * 1_000, b"two")
    lib = server.commit_to("lib.git", _gitattributes=ATTRIBUTES, c_bin=pointer(b"two"))
    server.commit_to(
        "r.git", modules={"lib": ("../lib.git", lib)},
        _gitattributes=ATTRIBUTES, a_bin=pointer(b"one" * 1_000), plain="plain",
        x__b_bin=pointer(b"one" * 1_000), run_bin=pointer(b"two"),
    )  # fmt: skip
    assert await fetched() == {
        "a.bin": "one" * 1_000, "x/b.bin": "one" * 1_000, "run.bin": "two", "plain": "plain",
        "lib/c.bin": "two",
    }  # fmt: skip
    assert sum(path.startswith("/large/") for path, _ in server.seen) == 3
    assert any("Fetching 3 LFS files" in line for line in fetched.said), fetched.said


async def test_a_login_goes_to_the_repositorys_own_server_only(server: GitServer, fetched):
    serve(server, b"x")
    server.commit(_gitattributes=ATTRIBUTES, a_bin=pointer(b"x"))
    port = server.address.rpartition(":")[2]
    fetched.logins.write_text(f"http://owner:s3cret@127.0.0.1:{port}/private.git\n")
    assert await fetched("private.git") == {"a.bin": "x"}
    sent = {path.split("/")[1] for path, login in server.seen if login}
    assert sent == {"private.git", "large"}
    server.seen.clear()
    server.large_at = "http://localhost:" + port + "/large/{oid}"
    assert await fetched("private.git") == {"a.bin": "x"}
    assert [login for path, login in server.seen if path.startswith("/large")] == [None]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pointer(b"never there"), "can't be had: 'not here'"),
        (pointer(b"there", size=4), "more than 4 bytes"),
        (pointer(b"there", size=9), "not .* and 9 bytes as its pointer says"),
        (pointer(b"there", size=9 << 40), r"bytes in all; up to 10000 of"),
    ],
)
async def test_no_image_is_made_of_pointers(server: GitServer, fetched, content, said):
    serve(server, b"there")
    server.commit(_gitattributes=ATTRIBUTES, a_bin=content)
    with pytest.raises(ImageError, match=said):
        await fetched()


async def test_a_server_that_lies_or_leads_elsewhere(server: GitServer, fetched, monkeypatch):
    serve(server, b"there")
    (oid,) = server.large
    server.large[oid] = b"other"
    server.commit(_gitattributes=ATTRIBUTES, a_bin=pointer(b"there"))
    with pytest.raises(ImageError, match="has the sha256"):
        await fetched()
    for place, said in {
        "http://169.254.169.254/{oid}": "may not reach",
        "file:///etc/passwd": "not an http or https address",
    }.items():
        server.large_at = place
        with pytest.raises(ImageError, match=said):
            await fetched()
    monkeypatch.setattr(build_lfs, "_ANSWER_BYTES_MAX", 10)
    with pytest.raises(ImageError, match="answered with more than 10 bytes"):
        await fetched()


async def test_an_archive_with_pointers_says_so(server: GitServer, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in ((".gitattributes", ATTRIBUTES), ("a.bin", pointer(b"x" * 10))):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    serve(server, buffer.getvalue())
    (oid,) = server.large
    source, said = Archive(f"{server.address}/large/{oid}"), list[str]()
    http = Http("", private=True)
    try:
        sources = Sources(http, GitFetcher(http.resolve))
        revision = await sources.revision(source, tmp_path, said.append)
        await sources.tree(source, revision, tmp_path, said.append)
    finally:
        await http.close()
    assert said[-1].startswith("1 files are LFS pointers without their content")


def test_what_is_taken_for_a_pointer(tmp_path):
    (tmp_path / "a").write_text(pointer(b"x"))
    assert pointers(tmp_path) == []  # no attribute says that there are any
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".gitattributes").write_text(ATTRIBUTES)
    os.symlink("a", tmp_path / "link")
    others: dict[str, Any] = {
        "text": pointer(b"x").replace("oid", "nil"), "long": pointer(b"x") + "x" * 1_000,
        "short": "version https://git-lfs.github.com/spec/v1\n",
    }  # fmt: skip
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    assert [one.path.name for one in pointers(tmp_path)] == ["a"]
    assert pointers(tmp_path, lambda: True) == []
