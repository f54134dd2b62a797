"""From a build's address to an unpacked tree on this machine, and to what tells one version of it
from the next.

The rules for addresses are those of every download of this worker (``fetch``). Whatever the
address holds is a stranger's: it is only unpacked by ``unpack``.
"""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from gridd_worker.fetch import SERVER_PATIENCE_S, FetchError, fetch, shown_url
from gridd_worker.http_client import Http
from gridd_worker.images.credentials import CredentialsError, GitLogin, find_git_login
from gridd_worker.images.error import ImageError
from gridd_worker.images.git import GitFetcher
from gridd_worker.images.lfs import LargeFiles, pointers
from gridd_worker.images.source import Archive, Git
from gridd_worker.images.submodules import Submodules
from gridd_worker.images.unpack import UnpackError, UnpackLimits, only_folder, unpack

_FRESH_S: Final = 30.0  # a branch that was asked for is not asked for again so soon
_KNOWN_MAX: Final = 1_000
_ARCHIVE_BYTES_MAX: Final = 4 << 30
_OF_THE_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceLimits:
    archive_bytes_max: int = _ARCHIVE_BYTES_MAX
    unpack: UnpackLimits = field(default_factory=UnpackLimits)


class Sources:
    """``api`` is the grid's own address: that server is waited for while it restarts."""

    def __init__(
        self,
        http: Http,
        git: GitFetcher,
        *,
        git_credentials: Path | None = None,
        api: str = "",
        limits: SourceLimits | None = None,
    ) -> None:
        self._http = http
        self._git = git
        self._git_credentials = git_credentials
        self._api = api
        self._limits = limits or SourceLimits()
        self._known: dict[Archive | Git, tuple[str, float]] = {}  # revision, seen when

    async def revision(self, source: Archive | Git, scratch: Path, say: Say) -> str:
        """What changes when the source does: a commit, or the sha256 of an archive (which is in
        ``scratch`` then). Raises ``ImageError``, ``OSError``."""
        fixed = source.commit if isinstance(source, Git) else source.sha256
        if fixed is not None:
            return fixed
        revision, seen = self._known.get(source, ("", 0.0))
        if revision and time.monotonic() - seen < _FRESH_S:
            return revision
        if isinstance(source, Git):
            revision = await self._git.commit(source, self._login(source))
            say(f"{source.url} at {source.ref or 'its default branch'} is commit {revision}")
        else:
            revision = await self._download(source, scratch, say)
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[source] = (revision, time.monotonic())
        return revision

    async def tree(self, source: Archive | Git, revision: str, scratch: Path, say: Say) -> Path:
        """The unpacked source in ``scratch``. Raises ``ImageError``, ``OSError``."""
        archive, target = scratch / "source", scratch / "tree"
        target.mkdir()
        if isinstance(source, Git):
            await self._git_tree(source, revision, scratch, archive, target, say)
            return target
        if not archive.exists():
            found = await self._download(source, scratch, say)
            if found != revision:
                raise ImageError(f"{shown_url(source.url)} changed meanwhile: its sha256 is {found}"
                                 f", not {revision}", building=True)  # fmt: skip
        await self._unpack(source, archive, target, self._limits.unpack)
        if bare := await in_thread(lambda stopped: pointers(target, stopped.is_set)):
            say(f"{len(bare)} files are LFS pointers without their content, which an archive does"
                " not have: name the repository itself to have it")  # fmt: skip
        return only_folder(target)

    async def _git_tree(
        self, source: Git, revision: str, scratch: Path, archive: Path, target: Path, say: Say
    ) -> None:
        """With its submodules and large files."""
        entries_left = self._limits.unpack.entries_max
        large = LargeFiles(self._http, scratch)

        async def fill(one: Git, fetched: Path, place: Path) -> None:
            nonlocal entries_left
            limits = replace(self._limits.unpack, entries_max=entries_left)
            await self._unpack(one, fetched, place, limits)
            entries_left -= await asyncio.to_thread(count_entries, place)
            if found := await in_thread(lambda stopped: pointers(place, stopped.is_set)):
                size = sum(pointer.size for pointer in found)
                say(f"Fetching {len(found)} LFS files of {one.url}, {size} bytes")
                await large.fill(one, self._login(one), found)

        say(f"Fetching {source.url}")
        await self._git.tree(source, revision, self._login(source), scratch, archive)
        await fill(source, archive, target)
        modules = Submodules(self._git, fill, self._login, say, scratch)
        await modules.add(source, revision, scratch, target)

    async def _unpack(
        self, source: Archive | Git, archive: Path, target: Path, limits: UnpackLimits
    ) -> None:
        try:
            await in_thread(lambda stopped: unpack(archive, target, limits, stopped))
            await asyncio.to_thread(archive.unlink)
        except UnpackError as error:
            raise ImageError(f"{shown_url(source.url)}: {error}", building=True) from None
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                raise
            raise ImageError(
                f"{shown_url(source.url)} can't be unpacked: {error.strerror}", building=True
            ) from None

    async def _download(self, source: Archive, scratch: Path, say: Say) -> str:
        say(f"Fetching {shown_url(source.url)}")
        own = bool(self._api) and source.url.startswith(f"{self._api}/")
        patience_s = SERVER_PATIENCE_S if own else 0.0
        try:
            fetched = await fetch(
                self._http, source.url, scratch / "source", self._limits.archive_bytes_max,
                patience_s,
            )  # fmt: skip
        except FetchError as error:
            raise ImageError(str(error), building=True) from None
        if source.sha256 is not None and fetched.sha256 != source.sha256:
            raise ImageError(
                f"{shown_url(source.url)} has the sha256 {fetched.sha256}, not {source.sha256} as"
                " it should",
                building=True,
            )
        say(f"{fetched.size} bytes, sha256 {fetched.sha256}")
        return fetched.sha256

    def _login(self, source: Git) -> GitLogin | None:
        try:
            return find_git_login(self._git_credentials, source.url)
        except CredentialsError as error:
            raise ImageError(f"this worker's git logins can't be used: {error}",
                             building=True) from None  # fmt: skip


def count_entries(folder: Path) -> int:
    return sum(len(folders) + len(names) for _, folders, names in os.walk(folder))


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """``work`` in a thread, which is told when it is to stop. A cancel returns when it has: its
    files are about to be removed."""
    stopped = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stopped))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.gather(running, return_exceptions=True)
        raise
