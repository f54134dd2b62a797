"""``gridd story``: the lines for people, the document for programs, and refusals."""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gridd.client.api import GridClient
from gridd.client.errors import GridError
from gridd.client.output import Console
from gridd.client.story import lines_of, story
from gridd.config import Config
from gridd.server import running

HISTORY = {
    "jobId": "0" * 64,
    "state": "Finished",
    "finishedReason": "Success",
    "attempt": 2,
    "waited": 1_500,
    "ran": 34_000,
    "events": [
        {"time": 1_700_000_000_000, "event": "submitted", "namespace": "home"},
        {"time": 1_700_000_000_500, "event": "leased", "worker": "w1", "attempt": 1, "waited": 500},
        {"time": 1_700_000_030_500, "event": "lost", "worker": "w1", "attempt": 1, "ran": 30_000},
        {"time": 1_700_000_030_600, "event": "omitted", "count": 7},
        {"time": 1_700_000_031_000, "event": "held", "namespace": "a\x1b[2Jb"},
        {"time": 1_700_000_031_500, "event": "leased", "worker": "w2", "attempt": 2},
        {"time": 1_700_000_095_500, "event": "finished", "worker": "w2", "attempt": 2,
         "reason": "Error", "message": "no such\nimage", "ran": 4_000},
        {"time": 1_700_093_600_000, "event": "of a later version", "more": []},
    ],
}  # fmt: skip


def test_the_lines_are_in_order_with_times_since_the_first() -> None:
    first, *lines = lines_of(HISTORY)
    assert first.startswith("2023-11-1")
    assert lines == [
        "     +0.0s  submitted by namespace home",
        "     +0.5s  given to worker w1 (attempt 1), having waited 0.5s",
        "    +30.5s  lost with worker w1 (attempt 1), after 30.0s",
        "    +30.6s  … 7 entries are left out …",
        "    +31.0s  also asked for by namespace a [2Jb",
        "    +31.5s  given to worker w2 (attempt 2)",
        "    +1m36s  ended: Error, on worker w2 (attempt 2), after 4.0s: no such image",
        "    +1d02h  of a later version",
        "finished (Success): waited 1.5s, ran 34.0s since it was last submitted",
    ]


@pytest.mark.parametrize("document", [None, "Not implemented", {}, {"events": 1}])
def test_what_is_no_story_is_said_to_be_none(document: Any) -> None:
    with pytest.raises(GridError, match=r"history\.json is not what a grid sends"):
        lines_of(document)


def test_a_time_beyond_the_calendar_is_shown_as_it_is() -> None:
    odd = HISTORY | {"events": [{"time": 10**18, "event": "submitted"}]}
    assert lines_of(odd)[0].startswith(str(10**18))


async def test_it_is_had_from_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Config(port=0, data_dir=tmp_path)) as (url, _):
        async with GridClient(url, "q") as grid:
            job = await grid.submit({"image": "a", "command": "b"}, namespace="home")
        args = argparse.Namespace(api=url, queue="q", job=job)
        out = io.StringIO()
        assert await story(args, Console(out=out)) == 0
        assert "submitted by namespace home\nqueued: waited" in out.getvalue()
        out = io.StringIO()
        assert await story(args, Console(machine=True, out=out)) == 0
        assert json.loads(out.getvalue())["events"][0]["event"] == "submitted"
        args.job = "0" * 64
        with pytest.raises(GridError, match="is not known on queue q; check the id") as caught:
            await story(args, Console(out=out))
        assert caught.value.status == 404
