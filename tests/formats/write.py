"""Write the directory of a released format: ``python tests/formats/write.py VERSION``.

Run once for a version that changes what is on disk, and committed; never run again for a version
that was released: the point is what *that* version wrote. Makes ``tests/formats/VERSION/journal``
and ``expected.json`` beside it, with what a reader of any later version must find.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from gridd.clock import Clock
from gridd.core import records as r
from gridd.core.engine import Engine
from gridd.core.events import WorkerSaid
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.documents import definition_of, finished_of, logs_of
from gridd.edge.client_frames import JsonFrames
from gridd.journal.files import FileJournal
from gridd.recovery import position_of, recover
from gridd_protocol import messages as m

HERE = Path(__file__).parent
START_MS = 1_800_000_000_000
SEGMENT_BYTES = 3_000


class SteadyClock(Clock):
    """Each look is 10 ms later, so that what is written does not depend on this machine."""

    def __init__(self, not_before_ms: int = 0) -> None:
        self._at = max(START_MS, not_before_ms)

    def now_ms(self) -> int:
        self._at += 10
        return self._at


class Silent:
    def send(self, *_: object, **__: object) -> None: ...

    def close(self, *_: object) -> None: ...


def opened(directory: Path) -> tuple[FileJournal, Daemon]:
    journal = FileJournal(directory, segment_bytes=SEGMENT_BYTES, now_ms=lambda: START_MS)
    # Retention without end: a test of next year must find what was written today.
    settings = Settings(retention_ms=1 << 50)
    return journal, Daemon(journal, JsonFrames(), settings, SteadyClock)


class Writer:
    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.peers: dict[str, int] = {}

    async def submit(self, command: str, queue: str = "lab", namespace: str = "_") -> str:
        body: dict[str, Any] = {"definition": {"image": "busybox", "command": command, "é": "ü"}}
        body["control"] = {"namespace": namespace}
        body["tags"] = ["shown"]
        return (await self.daemon.submit(queue, json.dumps(body).encode())).job

    async def worker(self, name: str, credit: int) -> None:
        peer = self.peers[name] = self.daemon.new_ref()
        self.daemon.join_worker("lab", peer, Silent())  # type: ignore[arg-type]
        resources = m.Resources(cpus=8)
        await self.say(name, m.Hello(name, credit=credit, resources=resources, running=[]))

    async def say(self, name: str, message: m.FromWorker) -> None:
        self.daemon.step("lab", WorkerSaid(self.peers[name], message))
        await self.daemon.job("lab", "none")  # answers when all of that is durable

    async def holder(self, job: str) -> tuple[str, int]:
        view = await self.daemon.job("lab", job)
        assert view is not None
        assert view.state == "Running", (job, view)
        return view.worker, view.attempt

    async def release(self, job: str) -> None:
        worker, attempt = await self.holder(job)
        await self.say(worker, m.Release(job, attempt, "not today"))

    async def finish(self, job: str, reason: Any, result: dict[str, Any]) -> None:
        worker, attempt = await self.holder(job)
        lines = [m.LogLine("printed by the job\n", START_MS), m.LogLine("x" * 500, START_MS)]
        built = [m.LogLine("built\n", START_MS)]
        await self.say(worker, m.Log(job, attempt, "docker build", 0, built))
        await self.say(worker, m.Log(job, attempt, "Running", 1, lines))
        await self.say(worker, m.Finished(job, attempt, reason, json.dumps(result)))


async def first_life(directory: Path) -> tuple[str, str]:
    """All kinds of endings; then a close, which writes a snapshot."""
    journal, daemon = opened(directory)
    daemon.start()
    writer = Writer(daemon)
    success, error, timed_out = [await writer.submit(name) for name in ("true", "false", "sleep")]
    await writer.worker("w1", credit=3)
    await writer.finish(success, "Success", {"StatusCode": 0, "outputs": {"a": {"value": "b"}}})
    await writer.finish(error, "Error", {"StatusCode": 1, "error": "it went wrong"})
    await writer.finish(timed_out, "TimedOut", {"isTimedOut": True})
    for name in ("cancelled", "cancelled and wanted again"):
        await daemon.cancel("lab", await writer.submit(name), "_", "no longer wanted")
    await writer.submit("replaced", namespace="mine")
    replacing = await writer.submit("replacing", namespace="mine")
    await writer.submit("replacing", namespace="yours")
    deleted = await writer.submit("deleted")
    await daemon.delete("lab", deleted, "_")
    await writer.worker("w2", credit=1)
    await writer.release(replacing)
    await daemon.close()
    journal.close()
    return timed_out, success


async def second_life(directory: Path) -> None:
    """Behind the snapshot: records of each kind that only the log has."""
    journal, daemon = opened(directory)
    daemon.start()
    writer = Writer(daemon)
    for number in range(3):
        await writer.submit(f"waiting {number} {'.' * 400}", "public", f"n{number}")
    running = await writer.submit("running")
    await writer.submit("cancelled and wanted again")
    late = await writer.submit("finished behind the snapshot")
    await writer.worker("w3", credit=8)
    await writer.finish(late, "Success", {"StatusCode": 7})
    await writer.release(running)
    await daemon._committer.close()  # a crash: no snapshot, no goodbye
    journal.close()


def third_life(directory: Path, expired: str, carried: str) -> None:
    """What only comes with the years: a job forgotten, a definition carried on."""
    journal = FileJournal(directory, segment_bytes=SEGMENT_BYTES, now_ms=lambda: START_MS)
    engine = recover(journal, Settings()).engines["lab"]
    kept = next(kept for kept in engine.snapshot() if kept.job == carried)
    definition = definition_of(journal.read(position_of(kept.definition_at)))
    records: list[r.Record] = [
        r.Expired("lab", expired, kept.time + 1),
        msgspec.structs.replace(kept, definition=definition),
    ]
    journal.append([msgspec.msgpack.encode(record) for record in records], journal.end)
    journal.close()


def found(directory: Path) -> dict[str, Any]:
    """What is there: every job, with what is read back of it."""
    journal = FileJournal(directory)
    try:
        engines = recover(journal, Settings()).engines
        return {
            f"{queue} {kept.job}": told(journal, engine, kept)
            for queue, engine in sorted(engines.items())
            for kept in sorted(engine.snapshot(), key=lambda kept: kept.job)
        }
    finally:
        journal.close()


def told(journal: FileJournal, engine: Engine, kept: r.KeptJob) -> dict[str, Any]:
    definition = definition_of(journal.read(position_of(kept.definition_at)))
    finished, log = None, None
    if kept.result_at:
        job = engine.jobs.look(kept.job)
        assert job is not None
        payload = journal.read(position_of(kept.result_at))
        finished = json.loads(finished_of(payload, job.view(), definition))["finished"]
        # today's answers are filled up with these; what was written is what counts here
        for name, filled_up in (("isTimedOut", False), ("outputs", {})):
            if finished["result"].get(name) == filled_up:
                del finished["result"][name]
        log = [line.text for line in logs_of(payload).build]
    return {
        "state": kept.state,
        "reason": kept.reason,
        "attempt": kept.attempt,
        "losses": kept.losses,
        "namespaces": list(kept.namespaces),
        "worker": kept.worker,
        "queued_time": kept.queued_time,
        "time": kept.time,
        "definition": definition.decode(),
        "held": kept.definition.decode(),
        "finished": finished,
        "build_log": log,
    }


async def write(version: str) -> None:
    target = HERE / version
    if target.exists():
        raise SystemExit(f"{target} is there already; a released format is not written again")
    directory = target / "journal"
    timed_out, success = await first_life(directory)
    await second_life(directory)
    third_life(directory, expired=timed_out, carried=success)
    copy = target / "copy"
    shutil.copytree(directory, copy)
    expected = found(copy)
    shutil.rmtree(copy)
    (directory / "lock").unlink()
    text = json.dumps(expected, indent=1, ensure_ascii=False, sort_keys=True)
    (target / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
