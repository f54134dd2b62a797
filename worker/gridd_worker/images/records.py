"""Which images this worker brought onto its engine, and when each was used last: on disk.

Decides what is to go, by age and size, least recently used first. Knows nothing of the engine's
requests, and names nothing that it was not told: what others pulled or built is not in here.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

_log = logging.getLogger("gridd_worker")

_TOUCH_MS: Final = 3_600_000  # a use is written down when the last one is an hour old
_RECENT_MS: Final = 120_000  # what was wanted a moment ago may not have its container yet
_RECORDS_MAX: Final = 5_000
_VERSION: Final = 1

Kind = Literal["pulled", "built", "layer", "adopted"]


@dataclass(frozen=True, slots=True)
class Record:
    """``name`` is what the image was pulled or built as, for a layer (a step of a build) its id.
    ``adopted``: built by us, but the record of its steps is lost.
    ``owner``: the built image that the layer belongs to, empty once that is gone or failed."""

    name: str
    id: str
    kind: Kind
    used_ms: int
    owner: str = ""


@dataclass(frozen=True, slots=True)
class OnEngine:
    """An image that the engine has: its size with all its layers, and these, lowest first."""

    id: str
    size: int
    layers: tuple[str, ...]


class ImageRecords:
    """``file`` None: nothing outlives this process. Times are wall clock, in ms."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._records: dict[str, Record] = {}
        self._complained = False

    def load(self, now_ms: int) -> None:
        """A file that can't be read counts as none: then nothing of it is ever removed."""
        if self._file is None or not self._file.exists():
            return
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            if stored["version"] != _VERSION:
                raise ValueError(f"version {stored['version']}")
            records = [Record(**members) for members in stored["images"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s can't be read, images of before are kept: %s", self._file, error)
            return
        # A clock that was set back must not keep an image for ever.
        self._records = {r.name: replace(r, used_ms=min(r.used_ms, now_ms)) for r in records}

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def get(self, name: str) -> Record | None:
        return self._records.get(name)

    def add(self, record: Record) -> None:
        self._records[record.name] = record
        self._save()

    def touch(self, name: str, now_ms: int) -> None:
        record = self._records.get(name)
        if record is not None:
            self._records[name] = replace(record, used_ms=now_ms)
            if now_ms - record.used_ms >= _TOUCH_MS:
                self._save()

    def forget(self, name: str) -> None:
        """Its layers have no owner any more."""
        self._records.pop(name, None)
        for record in list(self._records.values()):
            if record.owner == name:
                self._records[record.name] = replace(record, owner="")
        self._save()

    def next_to_go(
        self,
        engine: Mapping[str, OnEngine],
        now_ms: int,
        *,
        age_ms_max: int,
        bytes_max: int,
        kept: set[str],
    ) -> Record | None:
        """The record to remove now; None when all fits. ``engine``: all its images, by id.
        ``kept``: names that can't go."""
        candidates = [
            r
            for r in self._records.values()
            if r.name not in kept and not r.owner and now_ms - r.used_ms > _RECENT_MS
        ]
        if not candidates:
            return None
        # Of layers used at the same time the last made goes first: others stand on earlier ones.
        order = {name: at for at, name in enumerate(self._records)}
        oldest = min(candidates, key=lambda r: (r.used_ms, -order[r.name]))
        too_old = now_ms - oldest.used_ms > age_ms_max
        too_many = len(self._records) > _RECORDS_MAX
        if too_old or too_many or self.held_bytes(engine) > bytes_max:
            return oldest
        return None

    def held_bytes(self, engine: Mapping[str, OnEngine]) -> int:
        """What the recorded images take, about. Layers that another image has too count once;
        those of an image that is not ours are not counted."""
        ours = {record.id for record in self._records.values() if record.id in engine}
        others = [image for image in engine.values() if image.id not in ours]
        known: dict[tuple[str, ...], int] = {image.layers: image.size for image in others}
        total = 0
        for image in sorted((engine[i] for i in ours), key=lambda image: len(image.layers)):
            if image.layers not in known:
                total += max(0, image.size - _below(image.layers, known))
                known[image.layers] = image.size
        return total

    def _save(self) -> None:
        if self._file is None:
            return
        stored = {"version": _VERSION, "images": [asdict(r) for r in self._records.values()]}
        part = self._file.with_suffix(".part")
        try:
            part.write_text(json.dumps(stored), encoding="utf-8")
            os.replace(part, self._file)
            self._complained = False
        except OSError as error:
            if not self._complained:
                _log.warning("%s can't be written: %s", self._file, error)
            self._complained = True


def _below(layers: Sequence[str], known: Mapping[tuple[str, ...], int]) -> int:
    """The size of the largest image that this one stands on."""
    for count in range(len(layers) - 1, 0, -1):
        if (size := known.get(tuple(layers[:count]))) is not None:
            return size
    return 0
