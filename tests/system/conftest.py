"""Tasks for real runtimes, and a sink that records what they print."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gridd_protocol.definitions import Definition
from gridd_protocol.messages import LogLine, Step
from gridd_worker.files import JobDirectories, make_job_directories
from gridd_worker.runtime import Allowance, Outcome, Runtime, Task
from tests.system.support.small_disk import mounted


@dataclass
class Recorder:
    """What a run told, and when."""

    lines: list[tuple[Step, LogLine]] = field(default_factory=list)
    heard_ms: list[int] = field(default_factory=list)
    started: int = 0

    def log(self, step: Step, lines: list[LogLine]) -> None:
        self.lines += [(step, line) for line in lines]
        self.heard_ms += [time.time_ns() // 1_000_000] * len(lines)

    def on_start(self) -> None:
        self.started += 1

    def text(self, *, stderr: bool = False) -> str:
        """All that the program itself printed on one stream."""
        return "".join(
            line.text for step, line in self.lines if step == "Running" and line.stderr == stderr
        )

    def steps(self, step: Step) -> list[str]:
        return [line.text for one, line in self.lines if one == step]


@dataclass
class Bench:
    """Runs definitions on a runtime."""

    data: Path
    recorder: Recorder = field(default_factory=Recorder)
    attempts: int = 0
    worker: str = f"tester-{os.getpid()}"  # tests of another process must not meet ours

    def directories(self) -> JobDirectories:
        self.attempts += 1
        return make_job_directories(self.data, "a" * 64, self.attempts)

    def task(
        self,
        definition: dict[str, Any],
        *,
        directories: JobDirectories | None = None,
        config_files: dict[str, Path] | None = None,
        queue: str = "tests",
        **allowance: Any,
    ) -> Task:
        directories = directories or self.directories()
        environment = {"JOB_INPUTS": "/inputs", "JOB_OUTPUTS": "/outputs"}
        environment |= definition.get("env") or {}
        return Task(
            job="a" * 64,
            attempt=self.attempts,
            queue=queue,
            worker=self.worker,
            definition=msgspec.convert(definition, Definition),
            inputs=directories.inputs,
            outputs=directories.outputs,
            config_files=config_files or {},
            environment=environment,
            allowance=Allowance(**{"run_ms_max": 20_000, **allowance}),
        )

    async def run(self, runtime: Runtime, task: Task) -> tuple[Outcome, Recorder]:
        recorder = self.recorder = Recorder()
        run = await runtime.start(task, recorder.log, recorder.on_start)
        outcome = await run.wait()
        await run.discard()
        return outcome, recorder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for a condition; on time-out, says what was last seen."""

    async def wait(
        condition: Callable[[], Any], seen: Callable[[], Any], timeout_s: float = 10
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s; last seen: {seen()!r}"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of ``support.small_disk.MEGABYTES`` megabytes."""
    with mounted(tmp_path / "small") as place:
        yield place
