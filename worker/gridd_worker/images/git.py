"""Gets the tree of a git repository at a branch, tag or commit, as a tar file.

``git`` runs as a subprocess that knows nothing of this machine: no configuration, no prompts, no
hooks, no helpers, http(s) only, no redirects, the addresses that were looked at before. The tree
is never checked out: ``git archive`` writes a tar, which ``unpack`` takes apart as it does any
stranger's. Submodules and large-file pointers stay as they are here (``submodules``,
``lfs``).
"""

import asyncio
import base64
import contextlib
import ipaddress
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gridd_protocol.errors import shown
from gridd_worker.images.credentials import GitLogin
from gridd_worker.images.error import ImageError
from gridd_worker.images.source import Git

_log = logging.getLogger("gridd_worker")

_OUTPUT_BYTES_MAX: Final = 1 << 20
_WATCH_S: Final = 0.2
_END_S: Final = 5.0
_SHORT_MIN: Final = 7  # digits of a commit that are taken for one
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_OLDEST: Final = (2, 31)  # GIT_CONFIG_COUNT
_PINNED: Final = (2, 37)  # http.curloptResolve
_OWNERS: Final = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SUBMODULE: Final = re.compile(r"160000 commit ([0-9a-f]{40}|[0-9a-f]{64})\t")
_HEX: Final = frozenset("0123456789abcdef")

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host and port that may be reached; raises ``OSError`` for none."""


@dataclass(frozen=True, slots=True)
class GitLimits:
    """``list_s`` for asking what a ref is, ``fetch_s`` for getting and writing out the tree."""

    list_s: float = 60.0
    fetch_s: float = 900.0
    bytes_max: int = 8 << 30


class GitFetcher:
    """``resolve`` says which addresses may be reached; git is held to them."""

    def __init__(self, resolve: Resolve, limits: GitLimits | None = None) -> None:
        self._resolve = resolve
        self._limits = limits or GitLimits()
        self._checked = False

    async def commit(self, source: Git, login: GitLogin | None) -> str:
        """The commit that ``source`` names now. Raises ``ImageError``."""
        if source.commit is not None:
            return source.commit
        git = await self._git(source, login)
        patterns = ["HEAD"] if source.ref is None else _patterns(source.ref)
        short = source.ref is not None and _is_short(source.ref)
        text = await self._run(
            git, ["ls-remote", "--quiet", "--", source.url, *([] if short else patterns)],
            self._limits.list_s, f"{source.url} can't be asked for its branches",
        )  # fmt: skip
        found = _advertised(text)
        for pattern in patterns:
            if pattern in found:
                return found[pattern]
        if short and source.ref is not None:
            return _whole(source.ref, source.url, found)
        raise ImageError(f"{source.url} has no branch or tag {shown(source.ref)}", building=True)

    async def tree(
        self,
        source: Git,
        commit: str,
        login: GitLogin | None,
        scratch: Path,
        target: Path,
        *,
        within: Path | None = None,
    ) -> None:
        """Writes the tree of ``commit`` to ``target``, a tar, using the new directory ``scratch``,
        in which ``target`` is, too. ``within``: the folder that may not grow beyond the limit
        meanwhile, None is ``scratch``. Raises ``ImageError``, ``OSError``."""
        within = within or scratch
        git = await self._git(source, login)
        repository = scratch / "repository"
        limit_s = self._limits.fetch_s
        failed = f"{source.url} can't be fetched"
        form = "sha256" if len(commit) == 64 else "sha1"
        await self._run(
            git, ["init", "--quiet", "--bare", f"--object-format={form}", "--template=",
                  str(repository)],
            limit_s, failed,
        )  # fmt: skip
        inside = [f"--git-dir={repository}"]
        fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules",
                 "--no-write-fetch-head", "--", source.url, commit]  # fmt: skip
        await self._run(git, inside + fetch, limit_s, failed, watched=within)
        with target.open("wb") as output:
            await self._run(
                git, [*inside, "archive", "--format=tar", commit],
                limit_s, failed, watched=within, output=output.fileno(),
            )  # fmt: skip

    async def submodule_commit(self, scratch: Path, commit: str, path: str) -> str | None:
        """The commit of the submodule at ``path`` in ``commit``, which ``tree`` fetched in
        ``scratch``; None if there is none. Raises ``ImageError``."""
        text = await self._run(
            _environment([]), [f"--git-dir={scratch / 'repository'}", "ls-tree", "-z", commit, "--",
                               path],
            self._limits.list_s, "the tree can't be read",
        )  # fmt: skip
        match = _SUBMODULE.match(text)
        return match[1] if match else None

    async def settings(self, file: Path) -> list[tuple[str, str]]:
        """``(key, value)`` of each line of ``file`` in the form of git's settings, which go
        nowhere but into the answer. Raises ``ImageError``."""
        text = await self._run(
            _environment([]), ["config", "--no-includes", "--null", f"--file={file}", "--list"],
            self._limits.list_s, f"{file.name} can't be read",
        )  # fmt: skip
        pairs = (entry.partition("\n") for entry in text.split("\0") if entry)
        return [(key, value) for key, _, value in pairs]

    async def _git(self, source: Git, login: GitLogin | None) -> dict[str, str]:
        """The environment for git: all that it knows."""
        program = shutil.which("git")
        if program is None:
            raise ImageError(
                "this worker has no git, which build.context needs: its owner can install it",
                building=True,
            )
        await self._check_version()
        parts = urlsplit(source.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise ImageError(f"{source.url} can't be reached: {error}", building=True) from None
        settings = [("http.followRedirects", "false")]
        if not _is_address(host):
            # A name might lead elsewhere when git looks it up again.
            pinned = ",".join(f"[{a}]" if ":" in a else a for a in addresses)
            settings.append(("http.curloptResolve", f"{host}:{port}:{pinned}"))
        if login is not None:
            word = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
            settings.append((f"http.{parts.scheme}://{parts.netloc}/.extraHeader",
                             f"Authorization: Basic {word}"))  # fmt: skip
        return _environment(settings)

    async def _check_version(self) -> None:
        """An older git does not read its settings from the environment: no rule would hold."""
        if self._checked:
            return
        text = await self._run(_environment([]), ["version"], _END_S, "git does not run")
        found = _VERSION.search(text)
        version = (int(found[1]), int(found[2])) if found else (0, 0)
        if version < _OLDEST:
            raise ImageError(
                f"this worker's git is too old ({text.strip()[:60]}): 2.31 is needed", building=True
            )
        if version < _PINNED:
            _log.warning(
                "git before 2.37 looks a name up by itself: a build's source could lead it to an"
                " address that jobs may not reach"
            )
        self._checked = True

    async def _run(
        self,
        environment: dict[str, str],
        arguments: list[str],
        limit_s: float,
        failed: str,
        *,
        watched: Path | None = None,
        output: int | None = None,
    ) -> str:
        """What git printed. Cancelled, over time or over size: git and its children are gone."""
        process = await asyncio.create_subprocess_exec(
            "git", *arguments, env=environment, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if output is None else output,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        watch = asyncio.create_task(self._watch(watched)) if watched else None
        reading = asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
        ending: list[asyncio.Future[Any]] = [asyncio.ensure_future(reading)]
        if watch is not None:
            ending.append(watch)
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
                if watch is not None and watch.done():
                    bound = self._limits.bytes_max
                    raise ImageError(f"{failed}: it is larger than {bound} bytes", building=True)
                printed, errors = await reading
                status = await process.wait()
        except TimeoutError:
            raise ImageError(f"{failed}: not done after {limit_s:g} s", building=True) from None
        finally:
            for one in ending:
                one.cancel()
            await _ended(process)
            await asyncio.gather(*ending, return_exceptions=True)
        if status != 0:
            raise ImageError(f"{failed}: {_reason(errors, status)}", building=True)
        return printed.decode("utf-8", "replace")

    async def _watch(self, folder: Path) -> None:
        """Returns when there is more in ``folder`` than git may write."""
        bound = self._limits.bytes_max
        while await asyncio.to_thread(_size_bytes, folder) <= bound:  # noqa: ASYNC110
            await asyncio.sleep(_WATCH_S)  # a folder tells nobody


def _environment(settings: list[tuple[str, str]]) -> dict[str, str]:
    """Settings go by environment: a command line can be read by every user of the machine."""
    settings = [
        ("protocol.allow", "never"),
        ("protocol.http.allow", "always"),
        ("protocol.https.allow", "always"),
        ("credential.helper", ""),
        ("core.hooksPath", os.devnull),
        ("core.attributesFile", os.devnull),
        ("core.fsmonitor", "false"),
        ("core.askPass", ""),
        ("gc.auto", "0"),
        ("transfer.bundleURI", "false"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "60"),
        *settings,
    ]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    environment |= {name: os.environ[name] for name in _OWNERS if name in os.environ}
    for number, (name, value) in enumerate(settings):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


def _patterns(ref: str) -> list[str]:
    if ref.startswith("refs/"):
        return [f"{ref}^{{}}", ref]
    # A tag that is an object of its own comes with a second line for its commit.
    names = [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"]
    return [*names, "refs/heads/master"] if ref == "main" else names  # WIRE 6.8: so upstream does


def _advertised(text: str) -> dict[str, str]:
    """By name of the ref, the commit."""
    lines = (line.split("\t", 1) for line in text.splitlines())
    return {
        line[1]: line[0]
        for line in lines
        if len(line) == 2 and len(line[0]) in (40, 64) and _HEX.issuperset(line[0])
    }


def _is_short(ref: str) -> bool:
    return len(ref) >= _SHORT_MIN and _HEX.issuperset(ref)


def _whole(ref: str, url: str, found: dict[str, str]) -> str:
    """A shortened commit can only be told from those that some ref points to."""
    commits = {commit for commit in found.values() if commit.startswith(ref)}
    if len(commits) == 1:
        return commits.pop()
    raise ImageError(
        f"{url} has no branch or tag {shown(ref)}; a commit must be given with all of its digits",
        building=True,
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True


async def _bounded(stream: asyncio.StreamReader | None) -> bytes:
    """All of it is read, lest git wait; only the first part is kept."""
    kept = b""
    while stream is not None and (data := await stream.read(1 << 16)):
        kept += data[: _OUTPUT_BYTES_MAX - len(kept)]
    return kept


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Ends git with the helpers that it started: they are a process group of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            await asyncio.shield(process.wait())


def _reason(errors: bytes, status: int) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    said = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    text = "; ".join(said[:3])[:500] or f"git ended with {status}"
    if "could not read Username" in text or "Authentication failed" in text:
        return "it is private, or not there, and this worker has no login that opens it"
    if "unable to update url base from redirection" in text or "error: 30" in text:
        return f"it has moved; give its new address ({text})"
    return text


def _size_bytes(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # git renames and removes while we look
                total += os.lstat(os.path.join(root, name)).st_size
    return total
