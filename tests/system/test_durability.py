"""What was acknowledged survives ``kill -9`` of the server, over and over, under load."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gridd_protocol import job_id

KILLS = 20
SUBMITTERS = 4


@dataclass
class Ledger:
    """What the server has promised so far."""

    submitted: dict[str, dict[str, Any]] = field(default_factory=dict)  # job -> definition
    answered: dict[str, int] = field(default_factory=dict)  # job -> exit code
    numbers: int = 0
    refused: list[str] = field(default_factory=list)


async def submit(url: str, ledger: Ledger) -> None:
    """Submit new jobs until the server is gone."""
    async with aiohttp.ClientSession() as session:
        while True:
            ledger.numbers += 1
            definition = {"image": "a", "command": f"job {ledger.numbers}", "env": {"X": "y" * 300}}
            try:
                async with session.post(f"{url}/q/q", json={"definition": definition}) as answer:
                    body = await answer.json()
            except (aiohttp.ClientError, ConnectionError):
                return
            if answer.status != 200:
                ledger.refused.append(str(body))
                return
            assert body["jobId"] == job_id(definition)
            ledger.submitted[body["jobId"]] = definition


async def work(url: str, ledger: Ledger) -> None:
    """Answer every job with an exit code of its own until the server is gone."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(
                f"{url}/q/q/worker", protocols=("gridd.v1.json",)
            ) as socket:
                resources = {"cpus": 8, "runs": ["container"]}
                hello = {"type": "hello", "worker": "w", "credit": 8, "resources": resources}
                await socket.send_json([hello])
                codes: dict[str, int] = {}
                async for frame in socket:
                    answers = []
                    for message in json.loads(frame.data):
                        if message["type"] == "push":
                            job = message["job"]
                            codes[job] = int(message["definition"].split("job ")[1].split('"')[0])
                            result = json.dumps({"StatusCode": codes[job], "outputs": {}})
                            lease = {"job": job, "attempt": message["attempt"]}
                            answer = {"type": "finished", "reason": "Success", "result": result}
                            answers.append({**answer, **lease})
                        elif message["type"] == "acknowledged":
                            ledger.answered[message["job"]] = codes[message["job"]]
                    if answers:
                        await socket.send_json(answers)
        except (aiohttp.ClientError, ConnectionError):
            return


async def account(url: str, ledger: Ledger) -> None:
    """Every promise is kept: each job is there as it was sent, each answer is the one given."""
    async with aiohttp.ClientSession() as session:
        for job, definition in ledger.submitted.items():
            async with session.get(f"{url}/q/q/j/{job}") as answer:
                document = await answer.json()
            assert answer.status == 200, f"{definition['command']} was acknowledged and is lost"
            assert document["data"]["definition"] == definition
            if job in ledger.answered:
                results = document["data"].get("results")
                assert results is not None, f"the answer of {definition['command']} is lost"
                assert results["finished"]["result"]["StatusCode"] == ledger.answered[job]


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, serving: Any) -> None:
    chance = random.Random(20)
    ledger = Ledger()
    for _ in range(KILLS):
        async with serving(tmp_path, "--log-level", "error") as (url, process):
            load = [asyncio.create_task(submit(url, ledger)) for _ in range(SUBMITTERS)]
            load.append(asyncio.create_task(work(url, ledger)))
            before = len(ledger.submitted), len(ledger.answered)
            async with asyncio.timeout(30):  # there is load before the blow falls, wherever it does
                while len(ledger.submitted) < before[0] + 5 or len(ledger.answered) < before[1] + 1:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(chance.uniform(0, 0.15))
            process.kill()
            await process.wait()
            async with asyncio.timeout(30):
                await asyncio.gather(*load)
    assert ledger.refused == []
    assert len(ledger.submitted) >= KILLS * 5
    assert len(ledger.answered) >= KILLS
    async with serving(tmp_path, "--log-level", "error") as (url, _):
        await account(url, ledger)


async def test_a_clean_stop_keeps_everything_and_a_snapshot(tmp_path: Path, serving: Any) -> None:
    ledger = Ledger()
    async with serving(tmp_path) as (url, process):
        load = [asyncio.create_task(submit(url, ledger)), asyncio.create_task(work(url, ledger))]
        async with asyncio.timeout(30):
            while len(ledger.answered) < 20:
                await asyncio.sleep(0.005)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        async with asyncio.timeout(30):
            await asyncio.gather(*load)
    assert list((tmp_path / "journal").glob("*.snap")), "no snapshot was left"
    async with serving(tmp_path) as (url, _):
        await account(url, ledger)
