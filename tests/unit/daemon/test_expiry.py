"""An expired job is told apart from one that nobody ever knew, also after a crash."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from gridd.config import Config
from gridd.core.events import AlarmRang, WorkerSaid
from gridd.core.settings import Settings
from gridd.daemon import Daemon
from gridd.edge.client_frames import JsonFrames
from gridd.journal.memory import MemoryJournal
from gridd.server import running
from gridd_protocol import messages as m

DEFINITION = {"image": "a", "command": "once"}


class HandClock:
    def __init__(self, ms: int) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        return self.ms


class Deaf:
    def send(self, message: m.ToWorker) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        pass


def opened(journal: MemoryJournal, clock: HandClock) -> Daemon:
    daemon = Daemon(journal, JsonFrames(), Settings(retention_ms=1_000), lambda _: clock)  # type: ignore[arg-type, return-value]
    daemon.start()
    return daemon


async def finished_job(daemon: Daemon) -> str:
    job = (await daemon.submit("q", json.dumps({"definition": DEFINITION}).encode())).job
    peer = daemon.new_ref()
    daemon.join_worker("q", peer, Deaf())
    daemon.step("q", WorkerSaid(peer, m.Hello(worker="w", credit=1)))
    daemon.step("q", WorkerSaid(peer, m.Finished(job, 1, "Success", "{}")))
    await daemon.job("q", job)
    return job


@pytest.mark.parametrize("clean", [False, True], ids=["crash", "clean stop"])
async def test_an_expired_job_is_remembered_also_after_a_restart(clean: bool) -> None:
    journal, clock = MemoryJournal(), HandClock(1_000_000)
    daemon = opened(journal, clock)
    job = await finished_job(daemon)
    assert await daemon.expired("q", job) is None
    clock.ms += 1_000
    daemon.step("q", AlarmRang())
    assert await daemon.job("q", job) is None
    expired_ms = 1_001_000
    assert await daemon.expired("q", job) == expired_ms
    if clean:
        await daemon.close()  # keeps a snapshot, and nothing before it is read again
        assert journal.read_snapshot() is not None
    else:
        await daemon._committer.close()  # no goodbye, no snapshot
    again = opened(journal, clock)
    assert await again.expired("q", job) == await again.expired(None, job) == expired_ms
    assert await again.expired("other", job) is None
    if not clean:
        await daemon.close()
    await again.close()


async def test_an_expired_job_is_a_410_over_http(tmp_path: Path) -> None:
    config = Config(port=0, data_dir=tmp_path, retention_ms=300)
    async with running(config) as (url, _), aiohttp.ClientSession(url) as session:

        async def asked(path: str) -> int:
            async with session.get(path) as answer:
                await answer.read()
                return answer.status

        async with session.post("/q/q1", json={"definition": DEFINITION}) as answer:
            job = (await answer.json())["jobId"]
        assert await asked(f"/q/q1/j/{job}/result") == 202
        async with session.ws_connect("/q/q1/worker", protocols=("gridd.v1.json",)) as socket:
            await socket.send_json([{"type": "hello", "worker": "w", "credit": 1}])
            finished = {"type": "finished", "job": job, "attempt": 1, "reason": "Success"}
            await socket.send_json([{**finished, "result": "{}"}])
            async with asyncio.timeout(20):
                while (status := await asked(f"/q/q1/j/{job}/result")) != 410:
                    assert status in (200, 202)
                    await asyncio.sleep(0.02)
        assert await asked(f"/j/{job}.json") == 410
        assert await asked(f"/q/q1/j/{job}/result.json") == 200
