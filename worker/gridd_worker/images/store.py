"""Keeps the engine from filling up with images: removes what this worker pulled or built, by age
and by size, least recently used first.

Never what runs (the engine itself refuses to remove that), and never what others brought there:
an image goes only if it is on record here and is still the one that was recorded.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiodocker import Docker, DockerError

from gridd_worker.docker.logs import BROKEN, parse_time
from gridd_worker.images.records import ImageRecords, Kind, OnEngine, Record

_log = logging.getLogger("gridd_worker")

BUILT: Final = "gridd-built"
LABEL_BUILDER: Final = "gridd.builder"
_LOOK_S: Final = 3_600.0
_STEPS_S: Final = 10.0  # to look at the steps of a build, whose job may be waiting to stop
_CALL_S: Final = 120.0  # removing a large image takes the disk a while
_IMAGES_MAX: Final = 5_000  # more are not looked into for their layers


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class ImageStore:
    """``worker`` is the id in the label of what we build: its images are found again even when
    the record is lost."""

    def __init__(
        self,
        docker: Docker,
        file: Path | None,
        *,
        worker: str,
        bytes_max: int,
        age_ms_max: int,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._docker = docker
        self._worker = worker
        self._bytes_max = bytes_max
        self._age_ms_max = age_ms_max
        self._clock = clock
        self._records = ImageRecords(file)
        self._layers: dict[str, tuple[str, ...]] = {}  # by id; an id's layers never change
        self._wake = asyncio.Event()
        self._tidying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begins to look after the images, at once and every hour."""
        self._records.load(self._clock())
        self._tidying = asyncio.create_task(self._tidy())

    async def close(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
            self._tidying = None

    def used(self, name: str) -> None:
        self._records.touch(name, self._clock())

    async def came(self, name: str, kind: Kind) -> None:
        """We pulled or built ``name`` just now."""
        shown = await self._docker._query_json(f"images/{quote(name, safe='/:@')}/json")
        self._records.add(Record(name, str(shown["Id"]), kind, self._clock()))
        self._wake.set()

    def has(self, name: str) -> bool:
        """True when it is on record, as pulled or built by us."""
        return self._records.get(name) is not None

    async def stepped(self, ids: Iterable[str], owner: str, since_ms: int) -> None:
        """A build left these images of its steps, in this order. The ids are from its output, in
        which a stranger's program may put any: one that is older than the build is not its."""
        used_ms = self._clock()  # one for all, so that they go in the right order
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STEPS_S):
                for short in ids:
                    with contextlib.suppress(DockerError, KeyError, ValueError):
                        await self._step(short, owner, since_ms, used_ms)

    async def _step(self, short: str, owner: str, since_ms: int, used_ms: int) -> None:
        shown = await self._docker._query_json(f"images/{short}/json")
        made_ms = parse_time(shown["Created"]) // 1_000_000
        if not shown.get("RepoTags") and made_ms >= since_ms:
            full = str(shown["Id"])
            self._records.add(Record(full, full, "layer", used_ms, owner))

    async def prune(self) -> list[str]:
        """Removes what is too old or too much; the names of it. Raises what the engine raises."""
        await self._adopt()
        removed: list[str] = []
        kept: set[str] = set()
        before = list(self._records)
        engine, names = await self._look()
        self._forget_others(before, names)
        while record := self._records.next_to_go(
            engine, self._clock(), age_ms_max=self._age_ms_max, bytes_max=self._bytes_max, kept=kept
        ):
            if await self._remove(record):
                removed.append(record.name)
                engine, names = await self._look()
                self._keep_track(record, engine, names)
            else:
                kept.add(record.name)
        return removed

    async def _tidy(self) -> None:
        while True:
            try:
                removed = await self.prune()
                named = [name for name in removed if not name.startswith("sha256:")]
                if named:
                    _log.info("removed %d unused images: %s", len(named), ", ".join(named[:10]))
            except BROKEN as error:
                _log.debug("images were not looked after: %s", error)
            except Exception:  # our own fault, and no reason to let the disk fill
                _log.exception("a fault of the worker itself")
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()

    async def _adopt(self) -> None:
        """What an earlier process of this worker built, if the record of it is lost."""
        filters = f'{{"label":["{LABEL_BUILDER}={self._worker}"],"reference":["{BUILT}"]}}'
        found = await self._docker._query_json("images/json", params={"filters": filters})
        for image in found:
            for name in image.get("RepoTags") or ():
                if name.startswith(f"{BUILT}:") and self._records.get(name) is None:
                    self._records.add(Record(name, str(image["Id"]), "adopted", self._clock()))

    async def _look(self) -> tuple[dict[str, OnEngine], dict[str, str]]:
        """All images of the engine by id, and which id each name stands for."""
        listed: list[dict[str, Any]] = await self._docker._query_json(
            "images/json", params={"all": "1"}
        )
        names: dict[str, str] = {}
        engine: dict[str, OnEngine] = {}
        for image in listed[:_IMAGES_MAX]:
            image_id = str(image["Id"])
            names[image_id] = image_id
            for name in [*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())]:
                names[name] = image_id
            if image_id not in self._layers:
                with contextlib.suppress(DockerError):  # it went meanwhile
                    shown = await self._docker._query_json(f"images/{image_id}/json")
                    self._layers[image_id] = tuple(shown.get("RootFS", {}).get("Layers") or ())
            layers = self._layers.get(image_id, ())
            engine[image_id] = OnEngine(image_id, int(image.get("Size") or 0), layers)
        for gone in self._layers.keys() - engine.keys():
            del self._layers[gone]
        return engine, names

    def _forget_others(self, before: list[Record], names: dict[str, str]) -> None:
        """A name that is gone, or that somebody gave to another image, is not ours. ``before``:
        the records of before ``names`` was asked for; what came meanwhile is not in it."""
        for record in before:
            now = self._records.get(record.name)
            same = now is not None and now.id == record.id
            if same and names.get(listed_name(record.name)) != record.id:
                self._records.forget(record.name)

    def _keep_track(
        self, record: Record, engine: dict[str, OnEngine], names: dict[str, str]
    ) -> None:
        """Where other images stand on the one that went it only lost its name; it goes after
        them."""
        named = any(image == record.id for name, image in names.items() if name != image)
        if record.id in engine and not named:
            self._records.add(Record(record.id, record.id, "layer", record.used_ms))

    async def _remove(self, record: Record) -> bool:
        """``noprune``: steps of others' builds may be below, and ours are on record. False when it
        must stay for now."""
        noprune = "0" if record.kind == "adopted" else "1"
        path = f"images/{quote(record.name, safe='/:@')}"
        try:
            async with asyncio.timeout(_CALL_S):
                await self._docker._query_json(path, "DELETE", params={"noprune": noprune})
        except DockerError as error:
            if error.status == 409:  # a container uses it, or an image stands on it
                if record.kind != "layer":
                    self._records.touch(record.name, self._clock())
                return False
            if error.status != 404:
                raise
        self._records.forget(record.name)
        return True


def listed_name(name: str) -> str:
    """As the engine lists it: without Docker Hub's host, and with a digest or a tag, not both."""
    for prefix in ("docker.io/library/", "docker.io/", "index.docker.io/library/",
                   "index.docker.io/"):  # fmt: skip
        name = name.removeprefix(prefix)
    repository, at, digest = name.partition("@")
    if at and ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    return f"{repository}{at}{digest}"
