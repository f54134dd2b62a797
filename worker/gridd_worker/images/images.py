"""Makes sure that a job's image is on this engine: found, pulled, or built.

Pulls and builds are read by ourselves (see ``progress``), have deadlines, and end when
their task is cancelled. Those who want the same image at once share one pull or build.
"""

import asyncio
import hashlib
import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiodocker import Docker, DockerError

from gridd_protocol.canonical import canonical_json
from gridd_protocol.definitions import Build, Definition
from gridd_protocol.errors import shown
from gridd_worker.config import BuilderName
from gridd_worker.faults import is_of_machine
from gridd_worker.files import remove_tree
from gridd_worker.http_client import Http
from gridd_worker.images.build import Builder, BuildRoom, Engine, Steps
from gridd_worker.images.credentials import CredentialsError, RegistryLogins, read_registry_logins
from gridd_worker.images.dockerfile import Base
from gridd_worker.images.error import ImageError
from gridd_worker.images.fetch import Sources
from gridd_worker.images.git import GitFetcher
from gridd_worker.images.progress import Tell, run_request
from gridd_worker.images.store import ImageStore, now_ms
from gridd_worker.runtime import RuntimeUnavailable
from gridd_worker.shared_work import SharedWork

__all__ = ["ImageError", "ImageOptions", "Images", "with_tag"]

_log = logging.getLogger("gridd_worker")

_NO_PROGRESS_S: Final = 120.0
_NO_LIMIT: Final = 1 << 62
_ALIASES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """``data``: where the record of images and the files of builds are; None keeps no record, and
    nothing is pruned then. ``api``: the grid's own address. ``bytes_max`` 0: no limit. The rest are
    the owner's options."""

    data: Path | None = None
    api: str = ""
    bytes_max: int = 50 << 30
    age_ms_max: int = 30 * 86_400_000
    pull_s: float = 1_800.0
    build_s: float = 3_600.0
    no_progress_s: float = _NO_PROGRESS_S
    builds: bool = True
    builder: BuilderName = "classic"
    shared: bool = True  # strangers submit here
    registry_auth: Path | None = None
    git_credentials: Path | None = None
    private_addresses: bool = False  # a build's source may be at one


class Images:
    """Images of one engine. ``open`` before, ``close`` after."""

    def __init__(
        self, docker: Docker, options: ImageOptions | None = None, *, worker: str = ""
    ) -> None:
        self._docker = docker
        self._options = options or ImageOptions()
        self._worker = worker
        data = self._options.data
        self.store = ImageStore(
            docker,
            data / "images.json" if data else None,
            worker=worker,
            bytes_max=self._options.bytes_max or _NO_LIMIT,
            age_ms_max=self._options.age_ms_max,
        )
        self._pulls: SharedWork[dict[str, Any]] = SharedWork()
        self._builds: SharedWork[str] = SharedWork()
        self._native: str | None = None  # the engine's own platform
        self._http: Http | None = None
        self._builder: Builder | None = None

    async def open(self) -> None:
        """Raises ``RuntimeUnavailable`` when the data directory can't be used, and what the engine
        raises."""
        options = self._options
        scratch = options.data / "builds" if options.data else None
        if scratch is not None:
            try:
                await asyncio.to_thread(remove_tree, scratch)  # what an earlier process left
            except OSError as error:
                raise RuntimeUnavailable(f"the data directory can't be used: {error}") from None
        version = await self._docker.version()
        self._native = f"{version.get('Os')}/{version.get('Arch')}"
        self._http = Http(options.api, private=options.private_addresses)
        sources = Sources(
            self._http,
            GitFetcher(self._http.resolve),
            git_credentials=options.git_credentials,
            api=options.api,
        )
        self._builder = Builder(
            self._docker, sources, scratch, worker=self._worker, build_s=options.build_s,
            builder=options.builder, engine=Engine(self._native, _is_recent(version)),
            shared=options.shared,
        )  # fmt: skip
        if options.data is not None:
            await self.store.open()

    async def close(self) -> None:
        await self.store.close()
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def ensure(self, definition: Definition, log: Tell, room: BuildRoom | None = None) -> str:
        """The name to create a container from. Raises ``ImageError``; ``RuntimeUnavailable`` when
        this machine's disk fails; ``DockerError`` with status 900 and ``aiohttp.ClientError`` when
        the engine itself is gone."""
        build = definition.build
        if build is not None and build != Build():
            name = await self._built(build, room or BuildRoom(), log)
        elif not definition.image:
            raise ImageError("the definition names no image", building=True)
        else:
            name = with_tag(definition.image)
            await self._had(Base(name), log)
        self.store.used(name)
        return name

    # --- pulled ---------------------------------------------------------------------------

    async def _had(self, image: Base, log: Tell) -> dict[str, Any]:
        """What the engine shows of ``image``, which is pulled first if it is not there."""
        name = with_tag(image.image)
        if not _REFERENCE.fullmatch(name) or ".." in name or "//" in name:
            raise ImageError(f"{shown(image.image)}: invalid reference format")
        wanted = Base(name, image.platform)
        key = f"{name} {image.platform or ''}"
        return await self._pulls.run(key, lambda tell: self._pull_unless_there(wanted, tell), log)

    async def _pull_unless_there(self, image: Base, log: Tell) -> dict[str, Any]:
        there = await self._show(image.image)
        if there is not None:
            ours = self.store.has(image.image)
            # A build for another platform may have had its image pulled under this name.
            platform = image.platform or (self._native if ours else None)
            if _is_for(there, platform):
                return there
            if not ours:  # it stays what its owner made it
                has = f"{there.get('Os')}/{there.get('Architecture')}"
                raise ImageError(f"{image.image} is on this worker for {has}, not for {platform}")
            image = Base(image.image, platform)
        await self._pull(image, log)
        await self.store.came(image.image, "pulled")
        there = await self._show(image.image)
        if there is None:
            raise ImageError(f"{image.image} was pulled and is gone again")
        return there

    async def _pull(self, image: Base, log: Tell) -> None:
        repository, _, tag = image.image.rpartition("@" if "@" in image.image else ":")
        params = {"fromImage": repository, "tag": tag}
        if image.platform:
            params["platform"] = image.platform
        headers = {"Content-Type": "application/json"}
        if login := (await self._logins()).for_image(image.image):
            headers["X-Registry-Auth"] = login
        sizes: dict[str, int] = {}

        def watch(event: dict[str, Any]) -> None:
            total = (event.get("progressDetail") or {}).get("total")
            if event.get("status") == "Downloading" and isinstance(total, int):
                sizes[str(event.get("id"))] = total
                bound = self._options.bytes_max or _NO_LIMIT
                if sum(sizes.values()) > bound:
                    raise ImageError(
                        f"{image.image} is larger than this worker keeps of all images"
                        f" ({bound} bytes)"
                    )

        await run_request(
            self._docker, "images/create", params, step="docker image pull", log=log,
            headers=headers, watch=watch,
            # A pull that is silent is stuck.
            quiet_s=self._options.no_progress_s, total_s=self._options.pull_s,
        )  # fmt: skip

    async def _show(self, name: str) -> dict[str, Any] | None:
        """What the engine has under ``name``; None for nothing."""
        try:
            found: dict[str, Any] = await self._docker._query_json(f"images/{name}/json")
        except DockerError as error:
            if error.status == 404:
                return None
            if error.status == 400:
                raise ImageError(error.message) from None
            raise
        return found

    async def _logins(self) -> RegistryLogins:
        try:
            return await asyncio.to_thread(read_registry_logins, self._options.registry_auth)
        except CredentialsError as error:
            raise ImageError(f"this worker's registry logins can't be used: {error}") from None

    # --- built ----------------------------------------------------------------------------

    async def _built(self, build: Build, room: BuildRoom, log: Tell) -> str:
        if not self._options.builds:
            raise ImageError("this worker builds no images", building=True)
        members = {name: getattr(build, name) for name in build.__struct_fields__}
        key = hashlib.sha256(canonical_json(members).encode()).hexdigest()
        return await self._builds.run(key, lambda tell: self._build(build, room, tell), log)

    async def _build(self, build: Build, room: BuildRoom, log: Tell) -> str:
        assert self._builder is not None
        steps, name, made = Steps(), "", False
        began_ms = now_ms()
        try:
            name, made = await self._builder.build(
                build, room, log, is_there=self._is_there, pull=self._had,
                logins=await self._logins(), steps=steps,
            )  # fmt: skip
            if made:
                await self.store.came(name, "built")
            return name
        except OSError as error:
            if isinstance(error, (aiohttp.ClientError, TimeoutError)):  # the engine's
                raise
            data = self._options.data or Path(tempfile.gettempdir())
            if not await asyncio.to_thread(is_of_machine, error, data):
                why = f"its source can't be used on this worker: {error.strerror}"
                raise ImageError(why, building=True) from None
            raise RuntimeUnavailable(f"the worker's disk fails for builds: {error}") from None
        finally:
            if steps.made:
                await asyncio.shield(self.store.stepped(steps.made, name if made else "", began_ms))

    async def _is_there(self, name: str) -> bool:
        return await self._show(name) is not None


def with_tag(image: str) -> str:
    """``image`` with ``:latest`` when it has neither a tag nor a digest."""
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"


def _is_recent(version: dict[str, Any]) -> bool:
    """Engine 23 has API 1.42. An engine that does not tell counts as older."""
    numbers = re.match(r"(\d+)\.(\d+)", str(version.get("ApiVersion") or ""))
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (1, 42)


def _is_for(shown_image: dict[str, Any], platform: str | None) -> bool:
    """Whether the image is for ``platform`` (``linux/arm64``, either part alone will do), as far
    as one is asked for."""
    has = {shown_image.get("Os"), shown_image.get("Architecture")}
    wanted = [_ALIASES.get(part, part) for part in (platform or "").lower().split("/")[:2] if part]
    return has.issuperset(wanted)
