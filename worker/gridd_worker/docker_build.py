"""Builds an image from a definition's ``build`` (WIRE 6.8): its source, its base images, the
engine's own builder.

An image is named after what it is built from: the block as written, a branch by its commit, an
archive by its bytes. So an equal build is found and not made again, and a branch that moved, or an
archive that changed, is. What a ``FROM`` names stays as it was pulled, until it is pruned.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiodocker import Docker

from gridd_protocol.canonical import canonical_json
from gridd_protocol.definitions import Build
from gridd_worker.build_context import Context, arrange, write_tar
from gridd_worker.build_fetch import Sources, in_thread
from gridd_worker.build_source import Git, has_credentials, read_source
from gridd_worker.credentials import RegistryLogins
from gridd_worker.docker_progress import Tell, run_request, say
from gridd_worker.dockerfile import Base, bases, check_fetches
from gridd_worker.files import remove_tree
from gridd_worker.image_error import ImageError
from gridd_worker.image_store import BUILT, LABEL_BUILDER

_STEP: Final = re.compile(r" ---> ([0-9a-f]{12})\s*")
_PERIOD_US: Final = 100_000
_STEPS_MAX: Final = 1_000

Pull = Callable[[Base, Tell], Awaitable[dict[str, Any]]]
"""Makes sure of an image; what the engine shows of it."""


@dataclass(frozen=True, slots=True)
class BuildRoom:
    """What the steps of a build may use: that of the job that asks for it."""

    cpus: float = 1.0
    memory_bytes: int = 0  # 0: no limit
    network: str = "none"


@dataclass(slots=True)
class Steps:
    """Picks out of a builder's lines the images that it made new, step by step."""

    made: list[str] = field(default_factory=list)
    _not_ours: bool = False

    def watch(self, event: dict[str, Any]) -> None:
        for line in str(event.get("stream", "")).split("\n"):
            if match := _STEP.fullmatch(line):
                if not self._not_ours and len(self.made) < _STEPS_MAX:
                    self.made.append(match[1])
            elif line.startswith("Step ") or "Using cache" in line:
                # the image that a stage starts from, or one of an earlier build
                self._not_ours = "Using cache" in line or re.search(r" : FROM\b", line) is not None
            elif line.strip() and not line.startswith(" ---> "):
                self._not_ours = False


class Builder:
    """``scratch`` is emptied by the caller at the start. ``worker`` marks what is built."""

    def __init__(
        self, docker: Docker, sources: Sources, scratch: Path | None, *, worker: str, build_s: float
    ) -> None:
        self._docker = docker
        self._sources = sources
        self._scratch = scratch
        self._worker = worker
        self._build_s = build_s

    async def build(
        self,
        build: Build,
        room: BuildRoom,
        log: Tell,
        *,
        is_there: Callable[[str], Awaitable[bool]],
        pull: Pull,
        logins: RegistryLogins,
        steps: Steps,
    ) -> tuple[str, bool]:
        """The image's name, and whether it was made now. Raises ``ImageError``; ``OSError`` for
        this disk; what the engine raises when it is gone."""
        if not build.dockerfile and not build.context:
            raise ImageError("Missing image or build configuration", building=True)
        try:
            async with asyncio.timeout(self._build_s) as deadline, self._room() as scratch:
                return await self._run(build, room, log, scratch, is_there, pull, logins, steps)
        except TimeoutError:
            if not deadline.expired():
                raise  # the engine's
            raise ImageError(f"not finished after {self._build_s:g} s", building=True) from None

    async def _run(
        self,
        build: Build,
        room: BuildRoom,
        log: Tell,
        scratch: Path,
        is_there: Callable[[str], Awaitable[bool]],
        pull: Pull,
        logins: RegistryLogins,
        steps: Steps,
    ) -> tuple[str, bool]:
        def cloning(text: str) -> None:
            say(log, "cloning repo", text)

        source = read_source(build.context) if build.context else None
        revision = ""
        if source is not None:
            if has_credentials(build.context or ""):
                cloning("The user and token in build.context are not used: all can read them there")
            revision = await self._sources.revision(source, scratch, cloning)
        repository = f"{source.url} {source.directory or ''}" if isinstance(source, Git) else ""
        name = built_name(build, revision, repository.strip())
        if await is_there(name):
            return name, False
        if source is not None:
            tree = await self._sources.tree(source, revision, scratch, cloning)
        else:
            tree = scratch / "tree"
            tree.mkdir()
        directory = source.directory if isinstance(source, Git) else None
        context = await in_thread(lambda _: arrange(build, tree, directory))
        await self._prepare_bases(build, context, pull, log)
        say(log, "docker build", f"Building {name}")
        await self._make(name, build, context, scratch, room, log, logins, steps)
        return name, True

    async def _prepare_bases(self, build: Build, context: Context, pull: Pull, log: Tell) -> None:
        """Pulled by us, so that they are on record, and looked at for what they would have the
        engine do."""
        check_fetches(context.dockerfile)
        for base in bases(context.dockerfile, dict(_arguments(build)), build.target):
            wanted = Base(base.image, base.platform or build.platform or None)
            shown = await pull(wanted, log)
            triggers = (shown.get("Config") or {}).get("OnBuild") or []
            check_fetches("\n".join(map(str, triggers)), f"the image {base.image}")

    async def _make(
        self,
        name: str,
        build: Build,
        context: Context,
        scratch: Path,
        room: BuildRoom,
        log: Tell,
        logins: RegistryLogins,
        steps: Steps,
    ) -> None:
        packed = scratch / "context.tar"
        await in_thread(lambda stopped: write_tar(context, packed, stopped.is_set))
        headers = {"Content-Type": "application/x-tar"}
        if known := logins.for_build():
            headers["X-Registry-Config"] = known
        with packed.open("rb") as data:
            await run_request(
                self._docker, "build", self._parameters(name, build, context, room),
                step="docker build", log=log, headers=headers, data=data, watch=steps.watch,
                # A step may be silent for long (a compiler, say).
                quiet_s=self._build_s, total_s=self._build_s,
            )  # fmt: skip

    def _parameters(
        self, name: str, build: Build, context: Context, room: BuildRoom
    ) -> dict[str, str]:
        parameters = {
            "t": name,
            "dockerfile": context.name,
            "rm": "1",
            "forcerm": "1",
            "networkmode": room.network,
            "cpuperiod": str(_PERIOD_US),
            "cpuquota": str(max(1_000, int(room.cpus * _PERIOD_US))),
            "labels": json.dumps({LABEL_BUILDER: self._worker}),
        }
        if room.memory_bytes:
            parameters |= {"memory": str(room.memory_bytes), "memswap": str(room.memory_bytes)}
        if build.target:
            parameters["target"] = build.target
        if build.platform:
            parameters["platform"] = build.platform
        if arguments := dict(_arguments(build)):
            parameters["buildargs"] = json.dumps(arguments)
        return parameters

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[Path]:
        """A folder of our own, gone afterwards."""
        if self._scratch is None:
            folder = Path(tempfile.mkdtemp(prefix="gridd-build-"))
        else:
            folder = self._scratch / secrets.token_hex(8)
            folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):  # the next start empties it
                await asyncio.shield(asyncio.to_thread(remove_tree, folder))


def built_name(build: Build, revision: str = "", repository: str = "") -> str:
    """The same for the same build, so that an image is built once and then found.

    ``revision`` and ``repository`` stand for ``build.context``: what its address meant, not how it
    was written."""
    members = {name: getattr(build, name) for name in build.__struct_fields__}
    members |= {"context": [repository, revision] if revision else None}
    members = {name: value for name, value in members.items() if value is not None}
    return f"{BUILT}:{hashlib.sha256(canonical_json(members).encode()).hexdigest()[:32]}"


def _arguments(build: Build) -> list[tuple[str, str]]:
    """``A=1`` sets A, as with Docker's own option; a name alone is left to the Dockerfile (there it
    would be taken from the builder's environment, which is no business of a job's)."""
    pairs = (text.partition("=") for text in build.build_args or ())
    return [(name, value) for name, sign, value in pairs if sign and name]
