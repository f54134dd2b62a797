"""Builds an image from a definition's ``build`` (WIRE 6.8): its source, its base images, one of
the engine's own builders.

The classic builder holds its steps to the limits of jobs. BuildKit, by the engine's plain API,
does not: no limit of memory and cpus, and either no network or the engine's own bridge. So it is
used only where the worker's owner says so.

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
from gridd_worker.config import BuilderName
from gridd_worker.files import remove_tree
from gridd_worker.images.buildkit import buildkit_parameters, shown_trace
from gridd_worker.images.buildkit_trace import TraceReader
from gridd_worker.images.context import Context, arrange, write_tar
from gridd_worker.images.credentials import RegistryLogins
from gridd_worker.images.dockerfile import Base, bases, check_fetches
from gridd_worker.images.dockerfile_buildkit import (
    automatic_arguments,
    check_buildkit,
    check_classic,
    declared,
    needs,
)
from gridd_worker.images.error import ImageError
from gridd_worker.images.failure import ClassicPlace, placed, vertex_line
from gridd_worker.images.fetch import Sources, in_thread
from gridd_worker.images.progress import Tell, Translate, Watch, run_request, say
from gridd_worker.images.source import Git, has_credentials, read_source
from gridd_worker.images.store import BUILT, LABEL_BUILDER

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


@dataclass(frozen=True, slots=True)
class Engine:
    """``native``: its ``os/arch``. ``recent``: version 23 or later, whose BuildKit knows
    here-documents and ``COPY --link`` by itself."""

    native: str = "linux/amd64"
    recent: bool = False


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
    """``scratch`` is emptied by the caller at the start. ``worker`` marks what is built. ``auto``
    takes BuildKit for what the classic builder can't; ``shared``: strangers submit here."""

    def __init__(
        self,
        docker: Docker,
        sources: Sources,
        scratch: Path | None,
        *,
        worker: str,
        build_s: float,
        builder: BuilderName = "classic",
        engine: Engine | None = None,
        shared: bool = True,
    ) -> None:
        self._docker = docker
        self._sources = sources
        self._scratch = scratch
        self._worker = worker
        self._build_s = build_s
        self._kind = builder
        self._engine = engine or Engine()
        self._shared = shared

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
        buildkit = self._is_for_buildkit(context.dockerfile)
        await self._prepare_bases(build, context, pull, log, buildkit=buildkit)
        by = " with BuildKit" if buildkit else ""
        say(log, "docker build", f"Building {name}{by}")
        packed = scratch / "context.tar"
        await in_thread(
            lambda stopped: write_tar(context, packed, stopped.is_set, buildkit=buildkit)
        )
        if buildkit:
            await self._make_with_buildkit(name, build, context, packed, room, log)
        else:
            await self._make(name, build, context, packed, room, log, logins, steps)
        return name, True

    def _is_for_buildkit(self, text: str) -> bool:
        if self._kind == "classic":
            check_classic(text)
            return False
        return self._kind == "buildkit" or bool(needs(text))

    async def _prepare_bases(
        self, build: Build, context: Context, pull: Pull, log: Tell, *, buildkit: bool
    ) -> None:
        """Pulled by us, so that they are on record, and looked at for what they would have the
        engine do."""
        text, given = context.dockerfile, dict(_arguments(build))
        check_fetches(text)
        automatic: dict[str, str] = {}
        if buildkit:
            frontend = check_buildkit(text, given, recent=self._engine.recent)
            if frontend is not None:
                await pull(Base(frontend), log)
            automatic = automatic_arguments(self._engine.native, build.platform)
        for base in bases(text, given, build.target, heredocs=buildkit, automatic=automatic):
            wanted = Base(base.image, base.platform or build.platform or None)
            shown = await pull(wanted, log)
            triggers = (shown.get("Config") or {}).get("OnBuild") or []
            check_fetches("\n".join(map(str, triggers)), f"the image {base.image}")

    async def _make(
        self,
        name: str,
        build: Build,
        context: Context,
        packed: Path,
        room: BuildRoom,
        log: Tell,
        logins: RegistryLogins,
        steps: Steps,
    ) -> None:
        headers = {"X-Registry-Config": known} if (known := logins.for_build()) else {}
        place = ClassicPlace()

        def watch(event: dict[str, Any]) -> None:
            steps.watch(event)
            place.watch(event)

        parameters = self._limited(self._parameters(name, build, context), room)
        arguments = dict(_arguments(build))
        automatic = automatic_arguments(self._engine.native, build.platform)
        for argument in declared(context.dockerfile, automatic):
            arguments.setdefault(argument, automatic[argument])  # as BuildKit does
        if arguments:
            parameters["buildargs"] = json.dumps(arguments)
        try:
            await self._post(packed, parameters, headers, log, watch=watch)
        except ImageError as error:
            raise _told(error, place.line(context.dockerfile), build, log) from None

    async def _make_with_buildkit(
        self, name: str, build: Build, context: Context, packed: Path, room: BuildRoom, log: Tell
    ) -> None:
        asked = buildkit_parameters(
            context.dockerfile, build, dict(_arguments(build)), room.network, shared=self._shared
        )
        parameters = self._parameters(name, build, context) | asked
        trace = TraceReader()
        try:
            await self._post(packed, parameters, {}, log, translate=shown_trace(trace))
        except ImageError as error:
            place = vertex_line(context.dockerfile, trace.failed) if trace.failed else None
            raise _told(error, place, build, log) from None

    async def _post(
        self,
        packed: Path,
        parameters: dict[str, str],
        headers: dict[str, str],
        log: Tell,
        *,
        watch: Watch | None = None,
        translate: Translate | None = None,
    ) -> None:
        with packed.open("rb") as data:
            await run_request(
                self._docker, "build", parameters, step="docker build", log=log,
                headers={"Content-Type": "application/x-tar", **headers}, data=data,
                watch=watch, translate=translate,
                # A step may be silent for long (a compiler, say).
                quiet_s=self._build_s, total_s=self._build_s,
            )  # fmt: skip

    def _parameters(self, name: str, build: Build, context: Context) -> dict[str, str]:
        parameters = {
            "t": name,
            "dockerfile": context.name,
            "rm": "1",
            "forcerm": "1",
            "labels": json.dumps({LABEL_BUILDER: self._worker}),
        }
        if build.target:
            parameters["target"] = build.target
        if build.platform:
            parameters["platform"] = build.platform
        return parameters

    def _limited(self, parameters: dict[str, str], room: BuildRoom) -> dict[str, str]:
        limits = {
            "networkmode": room.network,
            "cpuperiod": str(_PERIOD_US),
            "cpuquota": str(max(1_000, int(room.cpus * _PERIOD_US))),
        }
        if room.memory_bytes:
            limits |= {"memory": str(room.memory_bytes), "memswap": str(room.memory_bytes)}
        return parameters | limits

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


def _told(error: ImageError, place: tuple[int, str] | None, build: Build, log: Tell) -> ImageError:
    """``error`` with its line, which the build's log ends with, too."""
    found = placed(error, place)
    if place is not None:
        if place[1].startswith(("COPY ", "ADD ")) and not build.context:
            found = ImageError(f"{found} (there is no build.context to copy from)", building=True)
        say(log, "docker build", f"💥 {found}", stderr=True)
    return found


def _arguments(build: Build) -> list[tuple[str, str]]:
    """``A=1`` sets A, as with Docker's own option; a name alone is left to the Dockerfile (there it
    would be taken from the builder's environment, which is no business of a job's)."""
    pairs = (text.partition("=") for text in build.build_args or ())
    return [(name, value) for name, sign, value in pairs if sign and name]
