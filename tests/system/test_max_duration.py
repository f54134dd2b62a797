"""``control.maxDuration``: the submitter's own bound on a run, though the definition asks for more
(WIRE 1.3, D46). Two submissions with other bounds are one job, and the first one's holds."""

from pathlib import Path

import aiohttp

from tests.system.support.processes import Api, Server, Worker, killed_at_end, until


async def test_the_run_ends_at_the_submitters_bound(tmp_path: Path) -> None:
    server = Server(tmp_path)
    worker = Worker(tmp_path, server.url)
    async with killed_at_end(server, worker), aiohttp.ClientSession(server.url) as session:
        await server.start()
        await worker.start()
        api = Api(server.url, session)

        async def submitted(bound: str) -> str:
            definition = {"command": "sleep 600", "maxDuration": "15m"}
            body = {"definition": definition, "control": {"maxDuration": bound}}
            async with session.post("/q/q", json=body) as answer:
                assert answer.status == 200, await answer.text()
                return str((await answer.json())["jobId"])

        job = await submitted("1s")
        assert await submitted("9m") == job
        found = await until(lambda: api.finished(job), lambda: worker, timeout_s=30)
        assert found["finishedReason"] == "TimedOut"
        assert found["finished"]["result"]["isTimedOut"] is True
        assert 1_000 <= found["finished"]["result"]["duration"] < 25_000
