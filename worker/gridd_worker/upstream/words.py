"""What is said to upstream's server, as its frames (WIRE 2.5, 3.2).

Owns the frames that are owed and who says them. Decides nothing about what is said when. Pure.
"""

import json
from typing import Any

import msgspec

from gridd_protocol.messages import Finished, Hello, Log, LogLine
from gridd_protocol.units import format_duration
from gridd_worker.upstream.log import JobLog


class Words:
    """Frames leave in the order in which they were said."""

    def __init__(self) -> None:
        self.worker = ""
        self._registration: dict[str, Any] = {}
        self._owed: list[str] = []

    def take(self) -> list[str]:
        """Frames that are owed now."""
        owed, self._owed = self._owed, []
        return owed

    def clear(self) -> None:
        self._owed.clear()

    def introduce(self, hello: Hello, wall_ms: int) -> None:
        """Who speaks from now on."""
        self.worker = hello.worker
        self._registration = {
            "time": wall_ms,
            "version": hello.version,
            "id": hello.worker,
            "cpus": max(int(hello.resources.cpus), 1),
            "gpus": hello.resources.gpus,
            "maxJobDuration": format_duration(hello.resources.max_duration),
        }

    @property
    def introduced(self) -> bool:
        return bool(self._registration)

    def register(self) -> None:
        self._owe("WorkerRegistration", self._registration)

    def ping(self) -> None:
        self._owed.append("PING")

    def running(self, job: str, since_ms: int) -> None:
        """``since_ms``: since the epoch."""
        value = {"type": "Running", "worker": self.worker, "time": since_ms}
        self._change(job, "Running", value)

    def lines(self, log: Log) -> None:
        lines = [_wire(line) for line in log.lines]
        self._owe("JobStatusLogs", {"jobId": log.job, "step": log.step, "logs": lines})

    def finished(self, job: str, ending: dict[str, Any]) -> None:
        """``ending`` is made by ``ending``."""
        self._change(job, "Finished", ending)

    def lost(self, job: str, wall_ms: int) -> None:
        """That server queues the job again."""
        value = {"type": "Finished", "reason": "WorkerLost", "worker": self.worker}
        self._change(job, "Finished", {**value, "time": wall_ms})

    def ending(self, message: Finished, log: JobLog, wall_ms: int) -> dict[str, Any]:
        """The value of a Finished state change; upstream's results hold what was printed."""
        result = json.loads(message.result)
        printed = log.printed()
        if not printed and message.reason == "Error":
            printed = log.built()
        result["logs"] = [*(_wire(line) for line in printed), *result.get("logs", [])]
        result.setdefault("isTimedOut", False)
        result.setdefault("outputs", {})
        return {
            "type": "Finished",
            "reason": message.reason,
            "worker": self.worker,
            "time": wall_ms,
            "result": result,
        }

    def request(self, jobs: list[str]) -> None:
        """Ask for definitions."""
        self._owe("RequestJobDefinitions", {"jobIds": jobs})

    def status(self, jobs: dict[str, bool]) -> None:
        """What is in hand, and whether it was begun."""
        queue = {
            job: {"jobId": job, "definition": {}, "finished": begun} for job, begun in jobs.items()
        }
        self._owe("WorkerStatusResponse", {**self._registration, "queue": queue})

    def _change(self, job: str, state: str, value: dict[str, Any]) -> None:
        change = {"tag": self.worker, "state": state, "job": job, "value": value}
        self._owe("StateChange", change)

    def _owe(self, kind: str, payload: dict[str, Any]) -> None:
        self._owed.append(msgspec.json.encode({"type": kind, "payload": payload}).decode())


def _wire(line: LogLine) -> list[str | int | bool]:
    return [line.text, line.time, True] if line.stderr else [line.text, line.time]
