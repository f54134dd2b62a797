"""Named states of the machine: each said once when it begins and once when it ends."""

import logging
from collections import namedtuple
from pathlib import Path

import pytest

from gridd_worker import health
from gridd_worker.health import Clock, Disk, Holds

Usage = namedtuple("Usage", "free")


def test_a_hold_is_said_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gridd_worker")
    changes: list[bool] = []
    holds = Holds(lambda: changes.append(bool(holds)))
    holds.end("disk", "never was")
    holds.begin("disk", "the disk is full: 1 MiB")
    holds.begin("disk", "the disk is full: 2 MiB")
    holds.begin("runtime", "no engine")
    assert holds.reasons == ["the disk is full: 2 MiB", "no engine"]
    holds.end("disk", "room again")
    assert holds.has("runtime")
    assert bool(holds)
    holds.end("runtime", "engine 1")
    assert [record.getMessage() for record in caplog.records] == [
        "the disk is full: 1 MiB; no jobs are taken until this works again",
        "no engine; no jobs are taken until this works again",
        "room again; still: no engine",
        "engine 1; taking jobs",
    ]
    assert changes == [True, True, True, False]


def test_a_full_disk_counts_as_full_until_there_is_a_margin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 100 << 20
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: Usage(free))
    disk = Disk(tmp_path, 100 << 20)
    assert disk.trouble() is None
    free -= 1
    assert disk.trouble() == (
        f"the disk is full: 99.9 MiB are free at {tmp_path} and 100 MiB are kept (--min-free-disk)"
    )
    free = 124 << 20
    assert disk.trouble() is not None
    free = 125 << 20
    assert disk.trouble() is None
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_file_is_trouble_whatever_it_says(tmp_path: Path) -> None:
    assert Disk(tmp_path, 0).trouble() is None
    assert "can't be written" in str(Disk(tmp_path / "gone", 0).trouble())


@pytest.mark.parametrize(
    ("jump_s", "said"),
    [(3_600, "set forward by 3600 s"), (-90, "set back by 90 s"), (4, None), (-4, None)],
)
def test_a_clock_that_was_set_is_told_once(jump_s: float, said: str | None) -> None:
    wall, steady = 1_000_000.0, 50.0
    clock = Clock(lambda: wall, lambda: steady)
    wall, steady = wall + 5, steady + 5
    assert clock.jump() is None
    wall, steady = wall + 5 + jump_s, steady + 5
    told = clock.jump()
    assert (told is None) if said is None else said in str(told)
    wall, steady = wall + 5, steady + 5
    assert clock.jump() is None


def test_a_clock_that_drifts_is_followed() -> None:
    wall = steady = 0.0
    clock = Clock(lambda: wall, lambda: steady)
    for _ in range(10):
        wall, steady = wall + 8, steady + 5
        assert clock.jump() is None
