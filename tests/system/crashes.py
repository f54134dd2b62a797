"""Kill a grid under load, over and over, then account for every promise it made.

    python -m tests.system.crashes --kills 200 [--seed 7]

Real processes throughout: a server, workers of two runtimes, clients over HTTP and WebSocket. A
kill is SIGKILL at a random moment: of the server, of workers, of both, of a server that is just
starting. A few stops in order (SIGTERM) come in between, and some workers never come back. Prints
its ledger; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.system.support.load import (
    NULL,
    PROCESS,
    Ledger,
    SocketClient,
    account,
    over_http,
)
from tests.system.support.processes import Server, Worker, until
from tests.system.support.stories import judge, outcomes, read_journal

LEASE_S = 3.0
HTTP_CLIENTS = (PROCESS, PROCESS, NULL, NULL, NULL)
WORKERS = ((PROCESS, "process", 3), (PROCESS, "process", 3), (NULL, "null", 4))
SETTLED_S = 60.0


class Grid:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.ledger = Ledger(random.Random(seed + 1))
        self.server = Server(folder, lease_s=LEASE_S)
        self.workers = [self._worker(place, 0) for place in range(len(WORKERS))]
        self.kills: Counter[str] = Counter()
        self.generation = 0

    def _worker(self, place: int, generation: int) -> Worker:
        queue, runtime, cpus = WORKERS[place]
        name = f"{runtime}{place}-{generation}"
        return Worker(self.folder, self.server.url, name, queue=queue, runtime=runtime, cpus=cpus)

    async def start(self) -> None:
        down = [program for program in (self.server, *self.workers) if not program.alive]
        await asyncio.gather(*(program.start() for program in down))

    async def crash(self) -> None:
        """One blow, and everything started again."""
        what, places = self._aim()
        blows = [self.workers[place].kill() for place in places]
        self.kills["of workers"] += len(places)
        if what == "stop":
            blows.append(self._stop())
        elif what != "worker":
            blows.append(self.server.kill())
            self.kills["of the server"] += 1
        await asyncio.gather(*blows)
        for place in places:
            if self.chance.random() < 0.25:  # another machine: nothing of the old one comes back
                self.generation += 1
                self.workers[place] = self._worker(place, self.generation)
        if what == "starting":
            await self.server.launch()
            await asyncio.sleep(self.chance.uniform(0, 0.6))
            await self.server.kill()
            self.kills["of a starting server"] += 1
        await asyncio.sleep(self.chance.uniform(0, 0.2))
        await self.start()

    def _aim(self) -> tuple[str, list[int]]:
        """What happens, and the places of the workers that are killed."""
        whats = ("server", "worker", "both", "all", "starting", "stop")
        what = self.chance.choices(whats, (35, 35, 10, 5, 10, 5))[0]
        places = list(range(len(self.workers)))
        if what in ("worker", "both"):
            return what, [self.chance.choice(places)]
        return what, places if what == "all" else []

    async def _stop(self) -> None:
        """In order, under the same load: it leaves a snapshot, and more records follow later."""
        code = await self.server.stop()
        self.ledger.counts["stops in order"] += 1
        if code != 0:
            self.ledger.faults.append(f"the server stopped with {code}: {self.server}")
        if not list((self.server.data / "journal").glob("*.snap")):
            self.ledger.faults.append("a stop in order left no snapshot")

    async def under_load(self) -> None:
        """Until there is something to be lost again, and then a random moment longer."""
        ledger = self.ledger
        known, done = len(ledger.acknowledged) + 2, ledger.finished + 2
        await until(
            lambda: len(ledger.acknowledged) >= known and ledger.finished >= done,
            self.state,
            SETTLED_S,
        )
        await asyncio.sleep(self.chance.uniform(0, 0.3))
        if self.chance.random() < 0.5:  # while something is on its way to the disk
            ledger.asking.clear()
            await asyncio.wait_for(ledger.asking.wait(), SETTLED_S)
            await asyncio.sleep(self.chance.uniform(0, 0.004))

    async def run(self, kills: int) -> None:
        """All kills under load, then until every acknowledged job has ended."""
        await self.start()
        clients = [over_http(self.server.url, self.ledger, queue) for queue in HTTP_CLIENTS]
        witnesses = [
            asyncio.create_task(SocketClient(self.server.url, queue, self.ledger).run())
            for queue in (PROCESS, NULL)
        ]
        submitting = asyncio.gather(*clients)
        try:
            while self.kills.total() < kills:
                await self.under_load()
                await self.crash()
            self.ledger.over = True
            await asyncio.wait_for(submitting, SETTLED_S)
            await self._settle()
        finally:
            self.ledger.over = True
            submitting.cancel()
            for witness in witnesses:
                witness.cancel()
            await asyncio.gather(submitting, *witnesses, return_exceptions=True)

    async def _settle(self) -> None:
        """A job that never ends is a fault among others: the account says which, and how."""
        try:
            await until(lambda: not self.ledger.open, self.state, SETTLED_S)
        except AssertionError as error:
            self.ledger.faults.append(str(error))

    async def account(self) -> None:
        """After a last crash: what the server says, then what its journal says."""
        await self.server.kill()
        await self.server.start()
        await account(self.server.url, self.ledger)
        await self.end()
        self._account_journal()
        self.ledger.faults += self.ledger.views.faults

    def _account_journal(self) -> None:
        ledger = self.ledger
        stories = read_journal(self.server.data)
        ledger.faults += [
            f"{key} is in the journal, unsent" for key in stories.keys() - ledger.sent
        ]
        for key in ledger.acknowledged:
            story = stories.get(key, [])
            ledger.faults += [f"{key}: {fault}" for fault in judge(story)]
            ends = outcomes(story)
            if len(ends) != 1:
                ledger.faults.append(f"{key} has {len(ends)} outcomes")
            ledger.counts["attempts"] += sum(end.attempt for end in ends)
            ledger.counts["jobs run more than once"] += any(end.attempt > 1 for end in ends)

    async def end(self) -> None:
        for program in (self.server, *self.workers):
            await program.kill()

    def state(self) -> str:
        ledger = self.ledger
        still = {key: ledger.views.newest.get(key) for key in list(ledger.open)[:3]}
        said = "\n".join(str(program) for program in (self.server, *self.workers))
        return (
            f"{dict(self.kills)}, {len(ledger.acknowledged)} acknowledged, {len(ledger.open)} "
            f"open, such as {still}, {dict(ledger.counts)}\n{said}"
        )


async def crash_and_account(folder: Path, kills: int, seed: int) -> Grid:
    grid = Grid(folder, seed)
    try:
        await grid.run(kills)
        await grid.account()
    finally:
        await grid.end()
    return grid


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a grid under load; account for all.")
    parser.add_argument("--kills", type=int, default=100, help="at least so many (100)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gridd-crashes-") as folder:
        grid = asyncio.run(crash_and_account(Path(folder), arguments.kills, arguments.seed))
    ledger = grid.ledger
    lines = [f"seed {arguments.seed}, {time.monotonic() - began:.0f} s"]
    lines.append(f"{grid.kills.total():8} kills")
    lines += [f"{count:8}   {what}" for what, count in sorted(grid.kills.items())]
    lines.append(f"{len(ledger.acknowledged):8} jobs acknowledged, each accounted for")
    lines += [f"{count:8}   {what}" for what, count in sorted(ledger.counts.items())]
    lines.append(f"{ledger.views.count:8} states shown to clients")
    lines.append(f"{len(ledger.faults):8} broken promises")
    lines += ledger.faults[:50]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if ledger.faults else 0


if __name__ == "__main__":
    sys.exit(main())
