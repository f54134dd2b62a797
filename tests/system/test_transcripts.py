"""Each recorded exchange with upstream's server, played against ours (``tests/upstream``)."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gridd.blobs.s3 import open_s3
from gridd.journal.memory import MemoryJournal
from tests.system.support.s3_server import S3Server
from tests.upstream.differences import EVERYWHERE, KNOWN, Known
from tests.upstream.exchanges import EXCHANGES, NOT_PLAYED, Exchange
from tests.upstream.grid import Grid, grid, until
from tests.upstream.player import TRANSCRIPTS, Player, at_home, transcript
from tests.upstream.stage import FILES, LocalWorker, Receiver, TurnedClock, webhooks

PACE = 0.1
"""Of what upstream's workers are told and given: its times are seconds."""


class Stage:
    """A server for one exchange. ``again`` ends it and starts another from the same journal."""

    def __init__(self, exchange: Exchange, folder: Path, more: dict[str, Any]) -> None:
        self._exchange = exchange
        self._folder = folder
        self._more = more
        self._journal = MemoryJournal()
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> Grid:
        return await self._stack.enter_async_context(
            grid(
                self._folder,
                scale=PACE,
                options=self._exchange.options,
                journal=self._journal,
                clock=TurnedClock,
                **self._more,
                **self._exchange.settings,
            )
        )

    async def stop(self) -> None:
        await self._stack.aclose()

    async def kill(self, player: Player) -> None:
        self._journal = self._journal.crash()  # nothing is written any more
        await self.stop()

    async def start_again(self, player: Player) -> None:
        player.url = (await self.start()).url


@contextlib.asynccontextmanager
async def staged(
    exchange: Exchange, folder: Path, known: list[Known], s3: S3Server | None
) -> AsyncIterator[tuple[Player, dict[str, Any]]]:
    recorded = transcript(exchange.transcript)
    more: dict[str, Any] = {}
    calls: list[tuple[str, Any]] = []
    if s3 is not None:
        more["blobs"] = await open_s3(s3.place(), s3.options(), 86_400_000)
    if exchange.transcript == "15-webhooks":
        more["webhooks"] = webhooks(Receiver(recorded, calls))
    stage = Stage(exchange, folder, more)
    async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(stage.stop)
        url = (await stage.start()).url
        for key, file in FILES.get(exchange.transcript, {}).items():
            async with session.put(f"{url}/f/{key}", data=file) as stored:
                assert stored.status == 200, await stored.text()
        recorded = at_home(recorded, url)
        recorded["timeline"] = exchange.of(recorded["timeline"])
        player = Player(url, session, calls=calls)
        player.known = lambda place: [row.what for row in known if row.covers(place, row.what)]
        player.notes = {
            "server killed": stage.kill,
            "server started again": stage.start_again,
            "two minutes later": _turn_the_clock,
        }
        if exchange.transcript == "20-local-mode-states":
            local = LocalWorker(recorded, url)
            player.before = local.act
            await stack.enter_async_context(local.worker)
            await until(lambda: local.worker.frames, lambda: local.worker.connections)
        yield player, recorded


async def _turn_the_clock(player: Player) -> None:
    TurnedClock.ahead_s = 120.0


@pytest.fixture
def store(request: pytest.FixtureRequest) -> S3Server | None:
    """An S3 service where the exchange needs one."""
    exchange: Exchange = request.node.callspec.params["exchange"]
    found: S3Server | None = request.getfixturevalue("s3") if exchange.blobs == "s3" else None
    return found


@pytest.fixture(autouse=True)
def the_right_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TurnedClock, "ahead_s", 0.0)


@pytest.mark.parametrize("exchange", [pytest.param(one, id=one.name) for one in EXCHANGES])
async def test_an_exchange(exchange: Exchange, tmp_path: Path, store: S3Server | None) -> None:
    own = KNOWN.get(exchange.name, [])
    known = [*own, *EVERYWHERE]
    async with staged(exchange, tmp_path, known, store) as (player, recorded):
        await player.play(recorded)
    seen = player.differences
    unknown = [
        f"{place} | {what}"
        for place, what in seen
        if not any(row.covers(place, what) for row in known)
    ]
    assert not unknown, "not known:\n" + "\n".join(unknown)
    unused = [row for row in own if row.always and not any(row.covers(*one) for one in seen)]
    assert not unused, f"known, but not so any more: {unused}"


def test_every_transcript_is_played_or_named() -> None:
    files = {path.stem for path in TRANSCRIPTS.glob("*.json")}
    played = {exchange.transcript for exchange in EXCHANGES}
    assert played <= files
    assert files - played == set(NOT_PLAYED) & files
    assert not played & set(NOT_PLAYED)
    assert set(KNOWN) <= {exchange.name for exchange in EXCHANGES}
