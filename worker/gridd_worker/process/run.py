"""One process under way, with all that it started: its exit, its output, its time limit.

Each stream is read as it comes; the lines of one stream are in order, the order between the two
streams is that of their arrival.
"""

import asyncio
import json
import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gridd_worker.disk_use import Part, device_of, occupied, unnamed
from gridd_worker.disk_watch import DiskWatch
from gridd_worker.lines import LineJoiner
from gridd_worker.process.cgroups import Group
from gridd_worker.remarks import KILLED, ended, excessive, not_run
from gridd_worker.runtime import Allowance, LogSink, Outcome, Run, RuntimeUnavailable
from gridd_worker.usage import Use, descendants, of_processes

_log = logging.getLogger("gridd_worker")

_READ_BYTES: Final = 64 << 10
_STOP_S: Final = 1.0  # for the reaper to kill and count all; then the session is killed by force
_DRAIN_S: Final = 10.0  # for what is left in the pipes once everything was killed
_STATUS_BYTES_MAX: Final = 4_096


class ProcessRun(Run):
    """A process under way, with all that it started."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        status: int,
        group: Group | None,
        allowance: Allowance,
        log: LogSink,
        *,
        sandboxed: bool,
        outputs: Path,
        disk: DiskWatch | None = None,
    ) -> None:
        self._process = process
        self._status = status
        self._group = group
        self._limit_s = allowance.run_ms_max / 1000
        self._log = log
        self._sandboxed = sandboxed
        # In the sandbox everything else is read-only or in memory.
        self._folders = [outputs] if sandboxed else [outputs, outputs.parent / "cache"]
        self._disk = disk
        self._excess: str | None = None  # why it was ended
        self._began = time.monotonic()
        self._stopped = False
        self._supervision = asyncio.create_task(self._supervise())

    async def wait(self) -> Outcome:
        try:
            return await asyncio.shield(self._supervision)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        self._stopped = True
        await self._kill()
        await asyncio.wait([self._supervision])

    async def usage(self) -> Use | None:
        return await asyncio.to_thread(of_processes, await self._processes())

    async def _processes(self) -> list[int]:
        if self._group is not None:
            return self._group.processes()
        if self._process.returncode is not None:
            return []
        return await asyncio.to_thread(descendants, self._process.pid)

    async def _supervise(self) -> Outcome:
        streams = (self._process.stdout, self._process.stderr)
        readers = [
            asyncio.create_task(self._read(stream, LineJoiner(stderr=bool(number))))
            for number, stream in enumerate(streams)
            if stream is not None
        ]
        try:
            timed_out = not await self._ended_in_bounds()
            if timed_out or self._excess is not None:
                await self._kill()
            code = await self._process.wait()
            run_ms = round((time.monotonic() - self._began) * 1000)
            # All processes are dead now, so the pipes are closed and what is in them is read. Only
            # without sandbox and reaper could one have got away that holds a pipe open.
            _, late = await asyncio.wait(readers, timeout=_DRAIN_S)
            for reader in late:
                reader.cancel()
            return self._outcome(code, run_ms, timed_out=timed_out)
        finally:
            os.close(self._status)
            if self._group is not None:
                await self._group.remove()

    async def _ended_in_bounds(self) -> bool:
        """False when its time is over. Returns before its end too, with ``_excess`` set."""
        exiting = asyncio.create_task(self._process.wait())
        writing = asyncio.create_task(self._look_after_disk())
        try:
            done, _ = await asyncio.wait(
                [exiting, writing], timeout=self._limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            if writing in done and exiting not in done:
                self._excess = writing.result()
            return bool(done)
        finally:
            for helper in (exiting, writing):
                helper.cancel()
            await asyncio.gather(exiting, writing, return_exceptions=True)

    async def _look_after_disk(self) -> str:
        if self._disk is None or not self._disk.wanted:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")
        return await self._disk.look_after(self._written)

    async def _written(self) -> list[Part]:
        """As ``disk_watch.Measure``."""
        device = device_of(self._folders[0])
        parts = [Part("/outputs", await occupied(self._folders), device)]
        devices = {device} if device is not None else set()
        if held := await asyncio.to_thread(unnamed, await self._processes(), devices):
            parts.append(Part("files that it removed and holds open", held, device))
        return parts

    async def _read(self, stream: asyncio.StreamReader, joiner: LineJoiner) -> None:
        while data := await stream.read(_READ_BYTES):
            if lines := joiner.feed(data, time.time_ns() // 1_000_000):
                self._log("Running", lines)
        if lines := joiner.finish():
            self._log("Running", lines)

    async def _kill(self) -> None:
        """In the sandbox, killing the outermost process takes all others with it (bwrap's
        ``--die-with-parent`` and its process namespace). Directly, the reaper does that."""
        if self._process.returncode is not None:
            return
        if not self._sandboxed:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await self._process.wait()
                return
            except TimeoutError:
                _log.warning("process %s does not end; killing its session", self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _outcome(self, code: int, run_ms: int, *, timed_out: bool) -> Outcome:
        status = _read_status(self._status)
        killed = timed_out or self._stopped or self._excess is not None
        if "failed" in status:
            return not_run(f"the program can't be started: {status['failed']}")
        exit_code = status.get("exit-code")
        if killed or (exit_code is None and code == -signal.SIGKILL):
            exit_code = KILLED
        if exit_code is None:
            if "child-pid" not in status:
                raise RuntimeUnavailable(
                    f"the sandbox could not be set up: it ended with code {code}, see the job's log"
                )
            return not_run("the program can't be started in the sandbox, see the job's log")
        if self._excess is not None:
            return excessive(self._excess, int(exit_code), run_ms)
        return ended(
            int(exit_code),
            run_ms,
            name=f"process {self._process.pid}",
            timed_out=timed_out,
            out_of_memory=self._group is not None and self._group.out_of_memory(),
        )


def _read_status(descriptor: int) -> dict[str, Any]:
    """What bwrap or the reaper wrote: JSON lines, put together."""
    status: dict[str, Any] = {}
    with suppress(BlockingIOError):
        for line in os.read(descriptor, _STATUS_BYTES_MAX).splitlines():
            with suppress(ValueError):
                status |= json.loads(line)
    return status
