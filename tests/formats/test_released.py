"""What each released version wrote to disk is still read, to the letter."""

from __future__ import annotations

import json
import shutil
import typing
from pathlib import Path

import pytest

from gridd.core import records as r
from gridd.inspection.check import check
from gridd.inspection.repair import repair
from tests.formats.write import found

HERE = Path(__file__).parent
VERSIONS = sorted(path.parent.name for path in HERE.glob("*/expected.json"))


def test_there_is_a_directory_of_the_first_version() -> None:
    assert "0.1" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_it_opens_and_holds_what_it_held(version: str, tmp_path: Path) -> None:
    expected = json.loads((HERE / version / "expected.json").read_text(encoding="utf-8"))
    shutil.copytree(HERE / version / "journal", tmp_path / "journal")
    assert found(tmp_path / "journal") == expected
    assert found(tmp_path / "journal") == expected  # also after this version has opened it


@pytest.mark.parametrize("version", VERSIONS)
def test_it_holds_without_its_snapshots(version: str, tmp_path: Path) -> None:
    """The log alone, through every kind of record."""
    expected = json.loads((HERE / version / "expected.json").read_text(encoding="utf-8"))
    shutil.copytree(HERE / version / "journal", tmp_path / "journal")
    for path in (tmp_path / "journal").glob("*.snap"):
        path.unlink()
    assert found(tmp_path / "journal") == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_sound_and_repair_keeps_all_of_it(version: str, tmp_path: Path) -> None:
    expected = json.loads((HERE / version / "expected.json").read_text(encoding="utf-8"))
    told = check(str(HERE / version / "journal"))
    assert told.sound
    assert told.segments >= 3
    assert any(snapshot.used for snapshot in told.snapshots)
    assert set(told.records) == {kind.__name__ for kind in typing.get_args(r.Record)}
    repair(str(HERE / version / "journal"), str(tmp_path / "new"))
    assert found(tmp_path / "new") == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_small_and_has_jobs_in_every_state(version: str) -> None:
    files = [path for path in (HERE / version).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100_000
    expected = json.loads((HERE / version / "expected.json").read_text(encoding="utf-8"))
    states = {job["state"] for job in expected.values()}
    assert states == set(typing.get_args(r.StateName))
    reasons = {job["reason"] for job in expected.values()} - {""}
    assert reasons >= {"Success", "Error", "Cancelled", "JobReplacedByClient", "Deleted"}
