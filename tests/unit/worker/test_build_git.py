"""Fetching from git: a real git against a real server on loopback."""

import asyncio
import os
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gridd_worker.images import git as build_git
from gridd_worker.images.credentials import GitLogin
from gridd_worker.images.error import ImageError
from gridd_worker.images.git import GitFetcher, GitLimits
from gridd_worker.images.source import Git
from tests.system.support.git_server import GitServer, git, git_server
from tests.system.support.processes import processes_with


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path / "served") as server:
        yield server


async def anywhere(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
def fetcher() -> GitFetcher:
    return GitFetcher(anywhere)


async def fetched(
    fetcher: GitFetcher, source: Git, tmp_path: Path, login: GitLogin | None = None
) -> dict[str, bytes]:
    commit = await fetcher.commit(source, login)
    scratch = tmp_path / f"scratch-{len(os.listdir(tmp_path))}"
    scratch.mkdir()
    await fetcher.tree(source, commit, login, scratch, scratch / "tar")
    with tarfile.open(scratch / "tar") as tar:
        members = {entry.name: tar.extractfile(entry) for entry in tar if entry.isreg()}
        return {name: file.read() for name, file in members.items() if file}


async def test_branch_tag_commit_and_default(server: GitServer, fetcher, tmp_path):
    url = f"{server.address}/r.git"
    first = server.commit(a_txt="1")
    git(server.repository, "tag", "-a", "v1", "-m", "annotated")
    git(server.repository, "tag", "light")
    server.commit("feature/x", sub__b_txt="2")
    server.commit("main", a_txt="3")
    assert await fetched(fetcher, Git(url), tmp_path) == {"a.txt": b"3"}
    assert await fetched(fetcher, Git(url, "feature/x"), tmp_path) == {"sub/b.txt": b"2"}
    for ref in ("v1", "light", "refs/tags/v1", first):
        assert await fetched(fetcher, Git(url, ref), tmp_path) == {"a.txt": b"1"}, ref
    assert await fetcher.commit(Git(url, "refs/heads/main"), None) != first
    with pytest.raises(ImageError, match="all of its digits"):
        await fetcher.commit(Git(url, first[:10] + "0" * 5), None)


async def test_main_may_be_called_master(server: GitServer, fetcher):
    """WIRE 6.8: so it goes with upstream's worker."""
    commit = server.commit("master", a="1")
    assert await fetcher.commit(Git(f"{server.address}/r.git", "main"), None) == commit


async def test_what_is_not_there(server: GitServer, fetcher, tmp_path):
    server.commit(a="1")
    url = f"{server.address}/r.git"
    with pytest.raises(ImageError, match="no branch or tag 'nothing'"):
        await fetcher.commit(Git(url, "nothing"), None)
    with pytest.raises(ImageError, match="can't be fetched"):
        await fetched(fetcher, Git(url, "1" * 40), tmp_path)
    with pytest.raises(ImageError, match="can't be asked for its branches"):
        await fetcher.commit(Git("http://127.0.0.1:9/r.git"), None)


async def test_a_login_opens_what_is_private_and_is_said_nowhere(server: GitServer, fetcher):
    commit = server.commit(a="1")
    source = Git(f"{server.address}/private.git")
    login = GitLogin("owner", "s3cret")
    assert await fetcher.commit(source, login) == commit
    assert "s3cret" not in repr(login)
    for wrong in (None, GitLogin("owner", "wr0ng")):
        with pytest.raises(ImageError, match="no login that opens it") as caught:
            await fetcher.commit(source, wrong)
        assert "wr0ng" not in str(caught.value)


async def test_a_redirect_is_not_followed(server: GitServer, fetcher):
    with pytest.raises(ImageError, match="has moved"):
        await fetcher.commit(Git(f"{server.address}/moved.git"), None)


async def test_git_goes_where_the_name_was_seen_to_lead(server: GitServer, fetcher):
    """No name server knows this name: git can only have it from us."""
    commit = server.commit(a="1")
    port = server.address.rpartition(":")[2]
    assert await fetcher.commit(Git(f"http://grid.invalid:{port}/r.git"), None) == commit


async def test_an_address_that_may_not_be_reached():
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError(f"{host} leads to an address that jobs may not reach")

    with pytest.raises(ImageError, match="may not reach"):
        await GitFetcher(nowhere).commit(Git("http://169.254.169.254/r.git"), None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("--upload-pack=touch evil", "strange pathname"),
        ("ext::sh -c touch% EVIL", "transport 'ext' not allowed"),
        ("file:///", "transport 'file' not allowed"),
        ("/", "transport 'file' not allowed"),
        ("ssh://-oProxyCommand=touch%20EVIL/x", "transport 'ssh' not allowed"),
        ("git://127.0.0.1/x", "transport 'git' not allowed"),
    ],
)
async def test_git_itself_refuses_what_should_never_reach_it(fetcher, tmp_path, url, said):
    """``read_source`` lets none of these through; the next wall stands by itself."""
    evil = tmp_path / "evil"
    with pytest.raises(ImageError) as caught:
        await fetcher.commit(Git(url.replace("EVIL", str(evil))), None)
    assert said in str(caught.value)
    assert os.listdir(tmp_path) == []


async def test_a_repository_that_is_too_large(server: GitServer, tmp_path, monkeypatch):
    monkeypatch.setattr(build_git, "_WATCH_S", 0.001)
    server.commit(a=os.urandom(600_000).hex())
    fetcher = GitFetcher(anywhere, GitLimits(bytes_max=100_000))
    with pytest.raises(ImageError, match="larger than 100000 bytes"):
        await fetched(fetcher, Git(f"{server.address}/r.git"), tmp_path)


async def test_a_server_that_hangs_and_a_cancel_leave_no_git(server: GitServer, tmp_path):
    server.hang = True
    source = Git(f"{server.address}/r.git")
    began = time.monotonic()
    with pytest.raises(ImageError, match=r"not done after 0\.3 s"):
        await GitFetcher(anywhere, GitLimits(list_s=0.3)).commit(source, None)
    asking = asyncio.create_task(GitFetcher(anywhere).commit(source, None))
    while len(server.requests) < 2:
        assert time.monotonic() - began < 10, server.requests
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert time.monotonic() - began < 10
    assert not processes_with(source.url)


async def test_no_git_says_who_can_help(fetcher, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ImageError, match="this worker has no git"):
        await fetcher.commit(Git("http://127.0.0.1/r.git"), None)


@pytest.mark.parametrize(("version", "is_used"), [("2.30.9", False), ("2.31.0", True)])
async def test_a_git_that_would_not_hear_of_the_rules_is_not_used(
    fetcher, tmp_path, monkeypatch, version, is_used
):
    program = tmp_path / "git"
    program.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo git version {version}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ImageError) as caught:
        await fetcher.commit(Git("http://127.0.0.1/r.git"), None)
    assert ("too old" in str(caught.value)) is not is_used
