"""Load whose outcome is known beforehand: jobs, the clients that submit them, and what must be
true of every job that was acknowledged.

A process job's exit code, log and files are a function of its definition, so a run that was
repeated after a crash has the same outcome, and a wrong one shows.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gridd_protocol import job_id
from gridd_protocol.limits import ATTEMPTS_MAX
from tests.system.support.stories import Key, Views

PROCESS, NULL = "process", "nothing"  # the queues; `null` is one that no page may open
OPEN_MAX = 24  # jobs that wait or run; clients hold back beyond it
PAUSE_S = 0.06  # at most, between two jobs of one client of the null queue
AGAIN_S = 0.05

_SCRIPT = (
    'i=0; while [ $i -lt $ROWS ]; do echo "$i $SALT"; i=$((i+1)); done >$JOB_OUTPUTS/table; '
    "cat $JOB_INPUTS/seed >>$JOB_OUTPUTS/table; echo $SALT >$JOB_OUTPUTS/small; "
    "echo begin $SALT; sleep $PAUSE; echo end $SALT; exit $CODE"
)


@dataclass(frozen=True)
class Job:
    """A definition and its outcome. ``blob`` must be uploaded before the job is submitted."""

    queue: str
    definition: dict[str, Any]
    code: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    blob: bytes | None = None

    @property
    def key(self) -> Key:
        return self.queue, job_id(self.definition)


def make_job(queue: str, number: int, chance: random.Random, *, uploads: bool) -> Job:
    salt = f"{number}-{chance.getrandbits(64):x}"
    if queue == NULL:
        return Job(NULL, {"image": "a", "command": f"job {salt}", "env": {"X": "y" * 300}})
    rows, code = chance.randint(0, 150), chance.randint(0, 120)
    seed = f"seed of {salt}\n".encode() * chance.randint(1, 50)
    blob = seed if uploads and chance.random() < 0.4 else None
    env = {"SALT": salt, "ROWS": str(rows), "CODE": str(code)}
    env["PAUSE"] = f"{chance.uniform(0, 0.3):.2f}"
    if blob is None:
        reference = {"type": "utf8", "value": seed.decode()}
    else:
        reference = {"type": "key", "value": hashlib.sha256(seed).hexdigest()}
    definition = {"command": f"sh -c '{_SCRIPT}'", "env": env, "inputs": {"seed": reference}}
    table = "".join(f"{i} {salt}\n" for i in range(rows)).encode() + seed
    files = {"table": table, "small": f"{salt}\n".encode()}
    return Job(PROCESS, definition, code, files, [f"begin {salt}\n", f"end {salt}\n"], blob)


@dataclass
class Ledger:
    """What was asked, what the server has promised, and what it has shown."""

    chance: random.Random
    sent: dict[Key, Job] = field(default_factory=dict)
    acknowledged: dict[Key, Job] = field(default_factory=dict)
    views: Views = field(default_factory=Views)
    faults: list[str] = field(default_factory=list)
    over: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    open: set[Key] = field(default_factory=set)
    asking: asyncio.Event = field(default_factory=asyncio.Event)  # a request is on its way

    def new_job(self, queue: str, *, uploads: bool) -> Job:
        job = make_job(queue, len(self.sent), self.chance, uploads=uploads)
        self.sent[job.key] = job
        self.open.add(job.key)
        return job

    def acknowledge(self, key: Key, how: str) -> None:
        if key not in self.acknowledged:
            self.acknowledged[key] = self.sent[key]
            self.counts[f"acknowledged over {how}"] += 1

    def saw(self, queue: str, job: str, view: dict[str, Any]) -> None:
        self.views.saw(queue, job, view)
        if view["state"] == "Finished":
            self.open.discard((queue, job))

    @property
    def finished(self) -> int:
        return len(self.sent) - len(self.open)

    async def room(self, queue: str) -> None:
        while sum(one == queue for one, _ in self.open) >= OPEN_MAX and not self.over:
            await asyncio.sleep(AGAIN_S)


async def over_http(url: str, ledger: Ledger, queue: str) -> None:
    """One client: submits job after job, each until it is acknowledged, whatever happens."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while not ledger.over:
            await ledger.room(queue)
            job = ledger.new_job(queue, uploads=True)
            if job.blob is not None:
                path = f"/f/{hashlib.sha256(job.blob).hexdigest()}"
                await _asked(session, ledger, "PUT", url + path, data=job.blob)
                ledger.counts["inputs uploaded"] += 1
            body = {"definition": job.definition}
            said = await _asked(session, ledger, "POST", f"{url}/q/{job.queue}", json=body)
            if json.loads(said)["jobId"] != job.key[1]:
                ledger.faults.append(f"{said!r} is not {job.key}")
            ledger.acknowledge(job.key, "HTTP")
            if queue == NULL:
                await asyncio.sleep(ledger.chance.uniform(0, PAUSE_S))


async def _asked(
    session: aiohttp.ClientSession, ledger: Ledger, method: str, url: str, **options: Any
) -> bytes:
    while True:
        ledger.asking.set()
        try:
            async with session.request(method, url, **options) as answer:
                said = await answer.read()
            if answer.status in (200, 201):
                return said
            ledger.counts[f"answered {answer.status}"] += 1
            if answer.status != 503:
                ledger.faults.append(f"{method} {url}: {answer.status} {said!r}")
        except (aiohttp.ClientError, OSError, TimeoutError):
            ledger.counts["requests broken off"] += 1
        await asyncio.sleep(AGAIN_S)


class SocketClient:
    """A browser's socket: submits, and is witness of every state that is shown."""

    def __init__(self, url: str, queue: str, ledger: Ledger) -> None:
        self._url = f"{url}/q/{queue}/client"
        self._queue = queue
        self._ledger = ledger
        self._waiting: Job | None = None

    async def run(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.ws_connect(self._url, max_msg_size=0) as socket:
                        await self._converse(socket)
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass
                self._ledger.counts["sockets lost"] += 1
                await asyncio.sleep(AGAIN_S)

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        speaking = asyncio.create_task(self._speak(socket))
        try:
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    self._hear(json.loads(frame.data))
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while not self._ledger.over or self._waiting is not None:
            if self._waiting is None:
                await self._ledger.room(self._queue)
                self._waiting = self._ledger.new_job(self._queue, uploads=False)
            job = self._waiting
            value = {"type": "Queued", "time": 1, "enqueued": {"definition": job.definition}}
            change = {"tag": "", "state": "Queued", "job": "", "value": value}
            await socket.send_json({"type": "StateChange", "payload": change})
            while self._waiting is job:
                await asyncio.sleep(0.01)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "Error":
            self._ledger.faults.append(f"over {self._url}: {message}")
        if message["type"] not in ("JobStates", "JobStateUpdates"):
            return
        for job, view in message["payload"]["state"]["jobs"].items():
            self._ledger.saw(self._queue, job, view)
            if self._waiting is not None and self._waiting.key[1] == job:
                self._ledger.acknowledge(self._waiting.key, "WebSocket")
                self._waiting = None


async def account(url: str, ledger: Ledger) -> None:
    """Every acknowledged job is there as it was sent, with its one right outcome; there is no
    job that nobody sent. What is wrong is added to ``ledger.faults``."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for queue in (PROCESS, NULL):
            async with session.get(f"{url}/q/{queue}/j") as answer:
                listed = (await answer.json())["data"]
            unknown = {(queue, job) for job in listed} - set(ledger.sent)
            ledger.faults += [f"{job} was never sent" for job in unknown]
        waiting = iter(ledger.acknowledged.values())
        await asyncio.gather(*(_account_all(session, url, waiting, ledger) for _ in range(8)))


async def _account_all(
    session: aiohttp.ClientSession, url: str, jobs: Iterable[Job], ledger: Ledger
) -> None:
    for job in jobs:
        queue, name = job.key
        async with session.get(f"{url}/q/{queue}/j/{name}") as answer:
            document = await answer.json()
        if answer.status != 200:
            ledger.faults.append(f"{job.key} was acknowledged and is lost: {document}")
            continue
        if document["data"]["definition"] != job.definition:
            ledger.faults.append(f"{job.key} has another definition than was sent")
        results = document["data"].get("results")
        if results is None or results["state"] != "Finished":
            ledger.faults.append(f"{job.key} has no outcome: {results}")
        elif results["finishedReason"] == "Error" and results["attempt"] >= ATTEMPTS_MAX:
            _given_up(job, results, ledger)
        else:
            await _check_outcome(session, url, job, results, ledger)


def _given_up(job: Job, results: dict[str, Any], ledger: Ledger) -> None:
    """So many crashes in a row are told as what they are."""
    ledger.counts["given up after losses"] += 1
    error = results["finished"]["result"].get("error", "")
    if "its worker was lost" not in error:
        ledger.faults.append(f"{job.key} ended with {error!r}")


async def _check_outcome(
    session: aiohttp.ClientSession, url: str, job: Job, results: dict[str, Any], ledger: Ledger
) -> None:
    result = results["finished"]["result"]
    outputs = result.get("outputs") or {}
    seen = (results["finishedReason"], result.get("StatusCode"), set(outputs))
    if seen != ("Success", job.code, set(job.files)):
        ledger.faults.append(f"{job.key} ended as {seen}: {result.get('error')}")
        return
    queue, name = job.key
    for file, content in job.files.items():
        async with session.get(f"{url}/q/{queue}/j/{name}/outputs/{file}") as answer:
            if (got := await answer.read()) != content:
                ledger.faults.append(f"{job.key}: {file} is {got[:200]!r} ({answer.status})")
        ledger.counts["output bytes right"] += len(content)
        ledger.counts["outputs from blobs"] += outputs[file]["type"] == "url"
    async with session.get(f"{url}/q/{queue}/j/{name}/run-logs.json?since=0") as answer:
        lines = [line[0] for line in (await answer.json())["data"]]
    if lines != job.lines:
        ledger.faults.append(f"{job.key} logged {lines}, not {job.lines}")
