"""What a socket was told, frame by frame, in a form in which upstream's way of telling it (whole
lists, often) and ours (changes) come out alike."""

import json
from collections.abc import Callable
from typing import Any

from tests.upstream.shapes import value_differences


class Story:
    """``hear`` each frame in turn, as text or as read from a transcript.

    ``of_worker``: upstream tells a worker all that clients are told. Ours tells it of what it was
    given, and shows a job that runs as queued while it must be guarded (``edge.upstream_hand``). So
    of a worker's jobs counts whether they are wanted, and nothing of namespaces and other workers.
    """

    def __init__(self, *, of_worker: bool = False) -> None:
        self.of_worker = of_worker
        self.states: dict[str, list[str]] = {}  # of each job, in order, repeats left out
        self.listed: set[str] = set()  # the jobs that the list shows now
        self.namespaces: dict[str, list[str]] = {}
        self.lines: dict[str, list[list[Any]]] = {}  # by step, times left out
        self.workers: list[list[str]] = []  # ids, whenever they changed
        self.definitions: dict[str, Any] = {}
        self.cleared: list[str] = []
        self.pongs: list[str] = []
        self.samples: dict[str, Any] = {}  # one frame of each type, for its shape
        self.job_samples: dict[str, Any] = {}  # one view of each job in each state

    def hear(self, frame: Any) -> None:
        if isinstance(frame, str):
            if not frame.startswith("{"):
                self.pongs.append(frame)
                return
            frame = json.loads(frame)
        kind, payload = frame["type"], frame.get("payload")
        self.samples.setdefault(kind, frame)
        hears = getattr(self, f"_hear_{kind}", None)
        if hears is not None:
            hears(payload)

    def _hear_JobStates(self, payload: Any) -> None:
        self._jobs(payload["state"]["jobs"])
        self.listed = set(payload["state"]["jobs"])

    def _hear_JobStateUpdates(self, payload: Any) -> None:
        self._jobs(payload["state"]["jobs"])
        self.listed |= set(payload["state"]["jobs"])
        self.listed -= set(payload.get("gone", ()))  # upstream does not say which, but later

    def _jobs(self, jobs: dict[str, Any]) -> None:
        for job, view in jobs.items():
            if view.get("finishedReason") not in (None, "Success", "Error", "TimedOut"):
                continue  # only ours says so, to workers (WIRE D21); upstream leaves the job out
            state = " ".join(filter(None, (view["state"], view.get("finishedReason"))))
            self.job_samples.setdefault(f"{job[:6]} {state}", view)
            if self.of_worker:
                state = state if view["state"] == "Finished" else "wanted"
            told = self.states.setdefault(job, [])
            if told[-1:] != [state]:
                told.append(state)
            self.namespaces[job] = view["namespaces"]

    def _hear_JobStatusPayload(self, payload: Any) -> None:
        lines = self.lines.setdefault(f"{payload['jobId'][:6]} {payload['step']}", [])
        lines += [[line[0], *line[2:]] for line in payload["logs"]]

    def _hear_Workers(self, payload: Any) -> None:
        ids = [worker["id"] for worker in payload["workers"]]
        if self.workers[-1:] != [ids]:
            self.workers.append(ids)

    def _hear_BroadcastJobDefinitions(self, payload: Any) -> None:
        self.definitions |= payload["definitions"]

    def _hear_ClearJobCache(self, payload: Any) -> None:
        self.cleared.append(payload["jobId"])

    def covers(self, other: "Story") -> bool:
        """Whether all that ``other`` was told was told here too, in its order."""
        mine, theirs = self._parts(), other._parts()
        if self.of_worker:
            alike = bool(other.workers) <= bool(self.workers)
        else:
            alike = self.workers[-1:] == other.workers[-1:] and all(
                self.namespaces.get(job) == names for job, names in other.namespaces.items()
            )
        return alike and (
            all(_begins(mine[0].get(key, []), told) for key, told in theirs[0].items())
            and all(_begins(mine[1].get(key, []), told) for key, told in theirs[1].items())
            and theirs[2] <= mine[2]
            and len(self.pongs) >= len(other.pongs)
        )

    def _parts(self) -> tuple[dict[str, list[Any]], dict[str, list[Any]], set[str]]:
        return self.states, self.lines, {*self.definitions, *self.cleared}

    def differences(self, ours: "Story") -> list[str]:
        """Between this, which was recorded, and ours."""
        found = _each("", self.states, ours.states, "states")
        found += _each("lines of ", self.lines, ours.lines, "lines")
        for name, of in _LISTS.items():
            if of(self) != of(ours) and not (self.of_worker and name in ("workers", "listed")):
                found.append(f"{name} {of(self)} are {of(ours)}")
        for job, definition in self.definitions.items():  # ours may come unasked
            if ours.definitions.get(job) != definition:
                found.append(f"definition {job[:6]} is missing or another")
        for kind, frame in self.samples.items():
            if kind not in ("JobStates", "JobStateUpdates", "JobStatusPayload"):
                pair = (frame, ours.samples.get(kind))
                found += [f"{kind}: {text}" for text in value_differences(*pair)]
        for job, view in self.job_samples.items():
            if job in ours.job_samples:  # else its states differ
                pair = (view, ours.job_samples[job])
                found += [f"{job}: {text}" for text in value_differences(*pair)]
        return found


_LISTS: dict[str, Callable[[Story], Any]] = {
    "workers": lambda story: story.workers,
    "cleared": lambda story: story.cleared,
    "pongs": lambda story: story.pongs,
    "listed": lambda story: sorted(job[:6] for job in story.listed),
}


def _each(
    what: str, theirs: dict[str, list[Any]], mine: dict[str, list[Any]], noun: str
) -> list[str]:
    found = []
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        a, b = theirs.get(key, []), mine.get(key, [])
        if a != b:
            name = key if " " in key else key[:6]
            found.append(f"{what}{name}: {noun} {a} are {b}")
    return found


def _begins(told: list[Any], wanted: list[Any]) -> bool:
    return told[: len(wanted)] == wanted
