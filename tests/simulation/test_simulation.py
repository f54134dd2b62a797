"""The simulation itself: worlds hold, the same seed tells the same story, and it bites.

Each planted fault must be found within the number of worlds that stands beside it: a simulation
that finds nothing when something is wrong proves nothing when it finds nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.world import World

SEEDS = range(60)
RUN = Path(__file__).with_name("run.py")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_world_keeps_its_promises(seed: int) -> None:
    World(seed).run()


@pytest.mark.parametrize("seed", [1, 2, 3, 20, 33])
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    first, second = World(seed, verbose=True), World(seed, verbose=True)
    assert first.run() == second.run()
    assert first.told_lines == second.told_lines


def test_other_seeds_tell_other_stories() -> None:
    assert len({World(seed).run() for seed in range(10)}) == 10


def test_the_story_does_not_depend_on_string_hashes() -> None:
    """Two processes with different hash seeds: nothing walks a set of strings."""
    digests = {
        subprocess.run(
            [sys.executable, str(RUN), "--seed", "9"],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=RUN.parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.splitlines()[-1]
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert digests == {f"digest {World(9).run()}"}


def test_worlds_see_all_kinds_of_trouble() -> None:
    """Otherwise the storm has become a breeze, and green means little."""
    told = "\n".join(line for seed in SEEDS for line in _story(seed))
    for sight in (
        "the server crashes",
        "is down (kill)",
        "is down (power)",
        "…while it starts",
        "the server has stopped",
        "the server refuses: damaged",
        "a second server is started",
        "the lock is removed",
        "the server gives up: Fenced",
        "the disk is full",
        "the disk is sick",
        "the disk is readonly",
        "the journal takes writes again",
        "rename snapshot-",
        "remove 00000001.seg",
        "KeptJob",
        "the wall clock jumps",
        "are cut off (up and down)",
        "dies holding",
        "never comes back",
        "freezes for",
        "hears Stale",
        "hears Cancel",
        "lost=True",
        "lost=False",
        "reason=JobReplacedByClient",
        "reason=Deleted",
        "reason=TimedOut",
        "Expired",
        "Drain",
        "given up after",
    ):
        assert sight in told, f"no world of these shows {sight!r}"


def _story(seed: int) -> list[str]:
    world = World(seed, verbose=True)
    world.run()
    return world.told_lines
