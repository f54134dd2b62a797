"""What an exchange needs besides a server: its files, a clock that can be turned, a receiver of
webhooks, and for upstream's local mode the worker that is part of it."""

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from yarl import URL

from gridd.clock import Clock
from gridd.webhooks.transport import Answer, Unreachable
from gridd.webhooks.webhooks import Webhooks
from gridd_protocol import job_id
from tests.upstream.worker import Run, UpstreamWorker

ZEROS = bytes(1_000)

# Uploaded before the exchange began, or by a worker whose requests were not recorded.
FILES: dict[str, dict[str, bytes]] = {
    "01-success": {hashlib.sha256(ZEROS).hexdigest(): ZEROS},
    "14-inputs-outputs": {"abc": b"abc"},
    "20-local-mode-states": {
        hashlib.sha256(file).hexdigest(): file for file in (ZEROS, b"hello input")
    },
}


class TurnedClock(Clock):
    """``ahead_s`` is added to the time."""

    ahead_s = 0.0

    def __init__(self, not_before: int = 0) -> None:
        super().__init__(not_before, monotonic=lambda: time.monotonic() + TurnedClock.ahead_s)


class Receiver:
    """Stands for the program at the other end of a webhook: a transport without a network."""

    def __init__(self, recorded: dict[str, Any], calls: list[tuple[str, Any]]) -> None:
        self.calls = calls
        self.answers: dict[str, list[int]] = defaultdict(list)
        for entry in recorded["timeline"]:
            if "callback" in entry:
                self.answers[entry["callback"]["path"]].append(entry["answered"])

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        self.calls.append((url.path, msgspec.json.decode(body)))
        if url.path == "/none":
            raise Unreachable("nobody listens")
        answers = self.answers[url.path]
        return Answer(answers.pop(0) if answers else 200)

    async def close(self) -> None:
        """It holds nothing."""


class Hasty:
    """A timer whose seconds are milliseconds."""

    def time(self) -> float:
        return asyncio.get_running_loop().time() * 1_000

    def call_later(self, delay: float, act: Callable[..., None], *args: object) -> object:
        return asyncio.get_running_loop().call_later(delay / 1_000, act, *args)


def webhooks(receiver: Receiver) -> Webhooks:
    return Webhooks("any", receiver, timer=Hasty(), draw=lambda: 1.0)


class LocalWorker:
    """Upstream's local mode is server and worker in one, so what its worker said was not recorded.
    Here it says and answers what clients were told, when they are about to be."""

    def __init__(self, recorded: dict[str, Any], url: str) -> None:
        self._finished: dict[str, Any] = {}
        for answers in recorded["rest_by_state"].values():
            document = answers["GET /j/:jobId.json"].get("json", {}).get("data") or {}
            if "results" in document:
                self._finished[job_id(document["definition"])] = document["results"]["finished"]
        self._ended: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.worker = UpstreamWorker(
            url, "local", "test-worker-local", cpus=1, program=self._run, scale=0.1
        )

    def act(self, frame: Any) -> None:
        """``frame`` is what upstream told its clients next."""
        payload = frame["payload"]
        if frame["type"] == "JobStatusPayload":
            self.worker.send({"type": "JobStatusLogs", "payload": payload})
        for job, view in payload.get("state", {}).get("jobs", {}).items():
            if view["state"] == "Finished":
                self._ended[job].set()

    async def _run(self, run: Run) -> dict[str, Any]:
        await self._ended[run.job].wait()
        finished = self._finished.get(run.job, {"reason": "Success", "result": {"StatusCode": 0}})
        return {"isTimedOut": False, "reason": finished["reason"], **finished["result"]}
