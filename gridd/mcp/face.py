"""What the tools ask of a grid. Two things answer: the daemon itself, and a grid over HTTP.

Jobs are shown as JSON objects in upstream's shapes (WIRE 3.1, 1.5), so that tools see the same
whichever it is. Methods raise ``ProtocolError``, ``GridError`` or ``BlobError``.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import quote

from gridd.client.target import Target
from gridd_protocol.messages import LogLine

JsonObject = dict[str, Any]


class ToolError(Exception):
    """A call that can't be done, in a sentence for the caller."""


@dataclass(frozen=True, slots=True)
class Lines:
    """``restarted``: the job runs anew after its worker was lost, and these begin a new log."""

    kind: str  # "build" | "run"
    lines: list[LogLine]
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """Always the last of a story. ``reason`` as in WIRE 3.3."""

    reason: str


Step = Lines | Ended
CancelledWas = Literal["cancelled", "unknown", "ended", "not held"]


class Face(Protocol):
    @property
    def origin(self) -> str:
        """The URL that links begin with, without a slash at its end."""
        ...

    @property
    def default_queue(self) -> str: ...

    async def submit(self, queue: str, definition: JsonObject, namespace: str) -> str: ...

    async def jobs(self, queue: str) -> dict[str, JsonObject]:
        """As lists show them: those that wait or run, and answers of the last minute."""
        ...

    async def job(self, queue: str, job: str) -> JsonObject | None:
        """The job's view, however it ended; ``None``: unknown."""
        ...

    async def definition(self, queue: str | None, job: str) -> Any: ...

    async def finished(self, queue: str | None, job: str) -> JsonObject | None:
        """The finished job with ``finished``; ``None`` when it has no answer."""
        ...

    async def cancel(self, queue: str, job: str, namespace: str) -> CancelledWas: ...

    def follow(self, queue: str, job: str) -> AsyncGenerator[Step, None]:
        """The job's log so far, then what comes. It stops without ``Ended`` when the grid does."""
        ...

    async def upload(self, key: str, data: bytes) -> None:
        """``key`` is the sha256 of ``data``."""
        ...

    async def explain(self, queue: str, job: str) -> JsonObject | None:
        """As ``core.explain.Explanation``; ``None``: unknown job."""
        ...


SELF_CONTAINED_URL_MAX = 32_768
"""Characters (WIRE 1.14); a longer link is left out."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where a person sees a job."""

    origin: str
    queue: str

    def page(self, job: str) -> str:
        return Target(self.origin, self.queue).page(job)

    def result(self, job: str) -> str:
        return f"{self.origin}/q/{_segment(self.queue)}/j/{job}/result.json"

    def file(self, key: str) -> str:
        return f"{self.origin}/f/{_segment(key)}"

    def self_contained(self, definition: Mapping[str, Any]) -> str | None:
        """``None`` when it would be too long for the places that links are put in."""
        url = Target(self.origin, self.queue).page_of(definition)
        return url if len(url) <= SELF_CONTAINED_URL_MAX else None


def _segment(text: str) -> str:
    return quote(text, safe="")
