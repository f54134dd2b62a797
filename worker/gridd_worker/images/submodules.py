"""The submodules of a git source, each fetched like a source of its own.

``.gitmodules`` is a stranger's: its addresses go through the same rules as ``build.context``, its
paths stay inside of the tree and are never reached over a link, and depth and number are bounded.
"""

import os
import re
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gridd_protocol.errors import shown
from gridd_worker.images.credentials import GitLogin
from gridd_worker.images.error import ImageError
from gridd_worker.images.git import GitFetcher
from gridd_worker.images.source import Git, inside_name, read_source

DEPTH_MAX: Final = 4
MODULES_MAX: Final = 32
_FILE: Final = ".gitmodules"
_FILE_BYTES_MAX: Final = 1 << 18
_SCP: Final = re.compile(r"[\w.+-]+@([\w.-]+):(?!//)/?(.+)")

Fill = Callable[[Git, Path, Path], Awaitable[None]]
"""Unpacks what was fetched of a source (the second) into an empty folder (the third)."""


@dataclass(frozen=True, slots=True)
class Module:
    path: str
    url: str


class Submodules:
    """Those of one source. ``login``: the owner's, for an address; ``within``: the folder that all
    of it is in, which is bounded as a whole."""

    def __init__(
        self,
        git: GitFetcher,
        fill: Fill,
        login: Callable[[Git], GitLogin | None],
        say: Callable[[str], None],
        within: Path,
    ) -> None:
        self._git = git
        self._fill = fill
        self._login = login
        self._say = say
        self._within = within
        self._count = 0

    async def add(
        self, source: Git, commit: str, scratch: Path, root: Path, depth: int = 1
    ) -> None:
        """Into ``root``, the unpacked tree of ``commit``, which was fetched in ``scratch``. Raises
        ``ImageError``, ``OSError``."""
        file = root / _FILE
        if not _is_usable(file):
            return
        for module in read_modules(await self._git.settings(file)):
            try:
                await self._add(module, source, commit, scratch, root, depth)
            except ImageError as error:
                raise ImageError(
                    f"submodule {shown(module.path)}: {error}", building=True
                ) from None

    async def _add(
        self, module: Module, source: Git, commit: str, scratch: Path, root: Path, depth: int
    ) -> None:
        path = inside_name(module.path, "its path") or "."
        wanted = await self._git.submodule_commit(scratch, commit, path)
        place = _place(root, path) if wanted is not None else None
        if wanted is None or place is None:
            return  # left behind in the file, or not part of what is exported
        self._count += 1
        if depth > DEPTH_MAX or self._count > MODULES_MAX:
            raise ImageError(
                f"there are more than {MODULES_MAX} submodules, or more than {DEPTH_MAX} in one"
                " another",
                building=True,
            )
        inner = Git(module_url(source.url, module.url), wanted)
        self._say(f"Fetching submodule {module.path}: {inner.url} at commit {wanted}")
        own = scratch / f"module-{self._count}"
        own.mkdir()
        fetched = own / "source"
        await self._git.tree(inner, wanted, self._login(inner), own, fetched, within=self._within)
        await self._fill(inner, fetched, place)
        await self.add(inner, wanted, own, place, depth + 1)


def read_modules(settings: list[tuple[str, str]]) -> list[Module]:
    """From the settings in ``.gitmodules``; without those that are never checked out."""
    found: dict[str, dict[str, str]] = {}
    for key, value in settings:
        section, _, rest = key.partition(".")
        name, _, member = rest.rpartition(".")
        if section == "submodule" and name:
            found.setdefault(name, {})[member] = value
    modules = {
        one["path"]: Module(one["path"], one["url"])
        for one in found.values()
        if one.get("path") and one.get("url") and one.get("update") != "none"
    }
    return list(modules.values())


def module_url(parent: str, url: str) -> str:
    """The address of a submodule of ``parent``; one for ssh is asked for over https instead.
    Raises ``ImageError`` for what no source may be."""
    full = url.strip()
    if full.startswith(("./", "../")):
        full = _joined(parent, full)
    elif match := _SCP.fullmatch(full):
        full = f"https://{match[1]}/{match[2]}"
    elif full.startswith("ssh://"):
        parts = urlsplit(full)
        full = f"https://{parts.hostname}{parts.path}"
    try:
        source = read_source(f"git+{full}")
    except ImageError:
        source = None
    if not isinstance(source, Git):
        raise ImageError(
            f"its address is {shown(re.sub(r'[^/]*@', '', url))}: it must be an http or https one",
            building=True,
        )
    return source.url


def _joined(parent: str, relative: str) -> str:
    base, rest = parent.rstrip("/"), relative
    while rest.startswith(("./", "../")):
        if rest.startswith("../"):
            base = base.rpartition("/")[0]
        rest = rest.partition("/")[2]
    parts = urlsplit(parent)
    if not f"{base}/".startswith(f"{parts.scheme}://{parts.netloc}/"):
        raise ImageError(f"its address {shown(relative)} leads out of the server", building=True)
    return f"{base}/{rest}"


def _is_usable(file: Path) -> bool:
    try:
        seen = file.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(seen.st_mode):
        return False
    if seen.st_size > _FILE_BYTES_MAX:
        raise ImageError(f"{_FILE} has more than {_FILE_BYTES_MAX} bytes, the limit", building=True)
    return True


def _place(root: Path, path: str) -> Path | None:
    """The empty folder that stands for the submodule at ``path``; None for none."""
    place = root
    for part in path.split("/"):
        place = place / part
        if place.is_symlink():
            raise ImageError("its path leads over a link", building=True)
        if not place.is_dir():
            return None
    if os.listdir(place):
        raise ImageError("there are files in its place", building=True)
    return place
