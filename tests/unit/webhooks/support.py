"""A clock that tests turn, and receivers that answer as told."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from yarl import URL

from gridd.core.effects import Callback
from gridd.webhooks.line import Bounds
from gridd.webhooks.transport import Answer
from gridd.webhooks.webhooks import Webhooks

JOB = "a" * 64


class Handle:
    def __init__(self, due: float, act: Callable[[], None]) -> None:
        self.due, self.act, self.cancelled = due, act, False

    def cancel(self) -> None:
        self.cancelled = True


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, act: Callable[..., None], *args: object) -> Handle:
        self.handles.append(Handle(self.now + delay, lambda: act(*args)))
        return self.handles[-1]

    @property
    def pauses(self) -> list[float]:
        """Until each thing that is due, from now."""
        return [handle.due - self.now for handle in self.handles if not handle.cancelled]

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [one for one in self.handles if one.due <= self.now and not one.cancelled]
        self.handles = [one for one in self.handles if one.due > self.now]
        for handle in due:
            handle.act()
        await settle()


class Receivers:
    """A transport without a network. ``answers``: by host, what each call in turn gets (an
    ``Answer``, a status, an error to raise); 200 when there is none left. Calls to a host in
    ``slow`` wait until it is let ``go``."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = defaultdict(list)
        self.slow: dict[str, asyncio.Event] = {}
        self.calls: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.open: list[str] = []
        self.open_most = 0
        self.closed = False

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        host = url.host or ""
        self.calls.append((str(url), msgspec.json.decode(body), dict(headers)))
        self.open.append(host)
        self.open_most = max(self.open_most, len(self.open))
        try:
            if host in self.slow:
                await self.slow[host].wait()
            answer = self.answers[host].pop(0) if self.answers[host] else 200
        finally:
            self.open.remove(host)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(answer)

    async def close(self) -> None:
        self.closed = True

    @property
    def urls(self) -> list[str]:
        return [url for url, _, _ in self.calls]

    def make_slow(self, host: str) -> None:
        self.slow[host] = asyncio.Event()

    def go(self, host: str) -> None:
        self.slow.pop(host).set()


class World:
    """Webhooks with receivers and a clock. Pauses are drawn whole: 2, 4, 8 s, and so on."""

    def __init__(self, policy: Any = "public", **bounds: Any) -> None:
        worlds.append(self)
        bounds.setdefault("stop_s", 0.01)
        self.time = Time()
        self.receivers = Receivers()
        self.webhooks = Webhooks(
            policy, self.receivers, timer=self.time, draw=lambda: 1.0, bounds=Bounds(**bounds)
        )

    async def offer(
        self,
        url: str = "https://a.example/x",
        *,
        queue: str = "q",
        kind: Any = "queued",
        **more: Any,
    ) -> None:
        control = msgspec.json.encode({"callbacks": {kind: {"url": url}}})
        members = {"job": JOB, "control": control, "queued_time": 5, **more}
        self.webhooks.offer(queue, Callback(kind=kind, **members))
        await settle()

    def counts(self) -> dict[str, int]:
        """Those that are not 0."""
        return {name: count for name, count in self.webhooks.counts().items() if count}


worlds: list[World] = []  # to be closed at the end of the test


async def settle() -> None:
    """Let every task go as far as it can without time."""
    for _ in range(20):
        await asyncio.sleep(0)
