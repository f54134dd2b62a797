"""A worker as upstream's behaves, written from WIRE 6.3 to 6.6 and 6.10, with its timing rules.

It keeps upstream's habits, the bad ones too: it claims the newest job first, starts again
whatever its list says runs here and is not in its hands, drops a job before it reports it, and
never says that it stopped one. ``scale`` shortens all of its times alike. Instead of a container
it runs ``program``; what is tested is the conversation.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

Program = Callable[["Run"], Awaitable[dict[str, Any]]]
"""Answers what of the result is not log: ``StatusCode``, ``outputs``, perhaps ``reason``."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Run:
    """One job in hand."""

    worker: "UpstreamWorker"
    job: str
    started: int
    definition: dict[str, Any] = field(default_factory=dict)
    logs: list[list[Any]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def say(self, text: str, *, stderr: bool = False, step: str = "Running") -> None:
        line: list[Any] = [text, now_ms(), True] if stderr else [text, now_ms()]
        self.logs.append(line)
        payload = {"jobId": self.job, "step": step, "logs": [line]}
        self.worker.send({"type": "JobStatusLogs", "payload": payload})

    def remark(self, text: str) -> None:
        """A synthetic entry: in the result, never streamed."""
        self.logs.append([text, now_ms(), True])


async def echo(run: Run) -> dict[str, Any]:
    """Prints the command's words, one a line, and takes ``env.SECONDS``."""
    for word in run.definition.get("command", "").split():
        run.say(word + "\n")
    await asyncio.sleep(float(run.definition.get("env", {}).get("SECONDS", "0")))
    return {"StatusCode": 0, "duration": 1, "isTimedOut": False, "outputs": {}}


class UpstreamWorker:
    """``async with`` it; ``cut`` breaks its connection, as a network does."""

    def __init__(
        self,
        url: str,
        queue: str,
        name: str,
        *,
        cpus: int = 2,
        gpus: int = 0,
        program: Program = echo,
        scale: float = 1.0,
    ) -> None:
        self.url = f"{url}/q/{queue}/worker"
        self.name = name
        self.cpus = cpus
        self.gpus = gpus
        self.program = program
        self.scale = scale
        self.claims = True  # false: it looks on
        self.hand: dict[str, Run] = {}
        self.list: dict[str, dict[str, Any]] = {}  # the server's view, as last heard
        self.definitions: dict[str, dict[str, Any]] = {}
        self.started: list[str] = []  # every execution, in order
        self.finished: list[str] = []
        self.killed: list[str] = []
        self.cleared: list[str] = []
        self.discarded: list[str] = []
        self.frames: list[Any] = []
        self.connections = 0
        self.kinds: list[str] = []  # of frames, as they came
        self.held_up: list[str] | None = None  # a list: what it says waits there, as on a slow line
        self._out: list[str] = []  # while not connected
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.errors: list[BaseException] = []
        self._claiming = self._claim_again = False
        self._pong = self._heard = self._states = 0.0
        self._re_registers = True  # until the first disconnect (D16)

    async def __aenter__(self) -> "UpstreamWorker":
        self._spawn(self._stay_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not self.errors, self.errors

    async def cut(self) -> None:
        assert self._socket is not None
        await self._socket.close()

    def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        if self.held_up is not None:
            self.held_up.append(text)
        elif self._socket is None or self._socket.closed:
            self._out.append(text)
        else:
            self._spawn(self._socket.send_str(text))  # frames leave in the order of the calls

    def let_out(self) -> None:
        """What was held up arrives now."""
        waiting, self.held_up = self.held_up or [], None
        for text in waiting:
            self.send(text)

    # --- connection (WIRE 2.8, 6.3) ---------------------------------------------------------

    async def _stay_connected(self) -> None:
        delay = random.uniform(1, 5)
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.ws_connect(self.url, max_msg_size=0) as socket:
                        await self._talk(socket)
                except aiohttp.ClientError:
                    pass
                self._socket = None
                self._re_registers = False
                await asyncio.sleep(delay * self.scale)

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.connections += 1
        self._pong = self._heard = self._states = time.monotonic()
        waiting, self._out = self._out, []
        for text in waiting:
            await socket.send_str(text)
        self._socket = socket
        self._register()
        for run in self.hand.values():
            self._announce(run)
        timers = [
            asyncio.ensure_future(self._every(5, lambda: self.send("PING"))),
            asyncio.ensure_future(self._every(3, self._watch)),
            asyncio.ensure_future(self._every(10, self._re_register)),
        ]
        try:
            async for message in socket:
                self._hear(message.data)
        finally:
            for timer in timers:
                timer.cancel()

    async def _every(self, seconds: float, act: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds * self.scale)
            act()

    def _watch(self) -> None:
        now = time.monotonic()
        limits = ((self._pong, 10), (self._heard, 30), (self._states, 20))
        if any(now - last > limit * self.scale for last, limit in limits):
            self._spawn(self.cut())

    def _re_register(self) -> None:
        if self._re_registers:
            self._register()

    def _register(self) -> None:
        payload = {"time": now_ms(), "version": "0.54.85", "id": self.name}
        payload |= {"cpus": self.cpus, "gpus": self.gpus, "maxJobDuration": "5m"}
        self.send({"type": "WorkerRegistration", "payload": payload})

    def _hear(self, text: str) -> None:
        self._heard = time.monotonic()
        if text.startswith("PONG"):
            self._pong = self._heard
            if text != f"PONG {self.name}":
                self._register()
        if not text.startswith("{"):
            return
        message = json.loads(text)
        self.frames.append(message)
        kind, payload = message["type"], message.get("payload")
        self.kinds.append(kind)
        if kind in ("JobStates", "JobStateUpdates"):
            self._states = self._heard
            jobs = payload["state"]["jobs"]
            self.list = jobs if kind == "JobStates" else self.list | jobs
            self._react()
            self._spawn(self._claim())
        elif kind == "BroadcastJobDefinitions":
            self.definitions |= payload["definitions"]
        elif kind == "ClearJobCache":
            self.cleared.append(payload["jobId"])

    # --- jobs (WIRE 6.4 to 6.6, 6.10) ---------------------------------------------------------

    def _unwanted(self, job: str) -> bool:
        seen = self.list.get(job)
        if seen is None or seen["state"] == "Finished":
            return True
        return seen["state"] == "Running" and seen["worker"] != self.name > seen["worker"]

    def _react(self) -> None:
        for job, run in self.hand.items():
            if self._unwanted(job):
                self._spawn(self._kill_after_grace(run))
            elif self.list[job]["state"] == "Queued":
                self._announce(run)

    async def _kill_after_grace(self, run: Run) -> None:
        await asyncio.sleep(6 * self.scale)
        if self.hand.get(run.job) is run and self._unwanted(run.job):
            del self.hand[run.job]
            self.killed.append(run.job)
            if run.task is not None:
                run.task.cancel()

    async def _claim(self) -> None:
        if self._claiming:
            self._claim_again = True
            return
        self._claiming = True
        try:
            self._claim_again = True
            while self._claim_again:
                self._claim_again = False
                await self._claim_pass()
        finally:
            self._claiming = False

    async def _claim_pass(self) -> None:
        mine = {"state": "Running", "worker": self.name}
        for job, seen in list(self.list.items()):
            if job not in self.hand and {key: seen[key] for key in mine} == mine:
                self._start(job)
        queued = [(seen["queuedTime"], job) for job, seen in self.list.items()
                  if seen["state"] == "Queued"]  # fmt: skip
        shown = dict(self.list)
        for _, job in sorted(queued, reverse=True):  # newest first (D36)
            if job in self.hand or not self.claims or await self._definition(job) is None:
                continue
            needs_gpu = (shown[job].get("requirements") or {}).get("gpus")
            if needs_gpu and self.gpus <= len(self.hand):
                continue
            if job not in self.hand and len(self.hand) < self.cpus:
                self._start(job)

    async def _definition(self, job: str) -> dict[str, Any] | None:
        for look in range(12):
            if job in self.definitions:
                return self.definitions[job]
            if look == 0:
                payload = {"jobIds": [job]}
                self.send({"type": "RequestJobDefinitions", "payload": payload})
            await asyncio.sleep(1 * self.scale)
        return None

    def _start(self, job: str) -> None:
        run = self.hand[job] = Run(self, job, now_ms())
        self.started.append(job)
        self._announce(run)
        run.task = self._spawn(self._execute(run))

    def _announce(self, run: Run) -> None:
        value = {"type": "Running", "worker": self.name, "time": run.started}
        self._change("Running", run.job, value)

    async def _execute(self, run: Run) -> None:
        definition = await self._definition(run.job)
        assert definition is not None, run.job
        run.definition = definition
        result = await self.program(run)
        reason = result.pop("reason", "Success")
        if result.get("StatusCode"):
            run.remark(f"StatusCode: {result['StatusCode']}")
        seen = self.list.get(run.job)
        elsewhere = seen is not None and seen["state"] != "Queued" and seen["worker"] != self.name
        del self.hand[run.job]
        if seen is None or elsewhere:
            self.discarded.append(run.job)
            return
        self.finished.append(run.job)
        value = {"type": "Finished", "reason": reason, "worker": self.name, "time": now_ms()}
        self._change("Finished", run.job, value | {"result": {"logs": run.logs, **result}})

    def _change(self, state: str, job: str, value: Any) -> None:
        payload = {"tag": self.name, "state": state, "job": job, "value": value}
        self.send({"type": "StateChange", "payload": payload})

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ConnectionError | aiohttp.ClientError):
            self.errors.append(error)
