"""The demo's data is the same everywhere, and its job finds what was hidden in it."""

import csv
import hashlib
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gridd.demo import periods, survey


def test_the_data_is_the_same_every_time() -> None:
    data = survey.observations()
    assert data == survey.observations()
    assert 150_000 < len(data) < 400_000
    # Other bytes are another experiment, with other noise: change them knowingly.
    assert hashlib.sha256(data).hexdigest() == (
        "72f4faa50e45bc77eec52480d9a1b05203b79af417ce94826b071745e3c12966"
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The job as a worker runs it: the script alone, without our packages."""
    directory = tmp_path_factory.mktemp("job")
    source = directory / "observations.csv"
    source.write_bytes(survey.observations())
    done = subprocess.run(
        [sys.executable, "-I", periods.__file__, str(source), str(directory)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory, done.stdout


def test_every_period_is_found_to_a_thousandth(ran: tuple[Path, str]) -> None:
    with (ran[0] / "periods.csv").open(encoding="utf-8", newline="") as file:
        found = {row["star"]: float(row["period_days"]) for row in csv.DictReader(file)}
    hidden = {star.name: star.period_days for star in survey.STARS}
    assert found == pytest.approx(hidden, rel=0.001)


def test_it_tells_of_each_star_as_it_goes(ran: tuple[Path, str]) -> None:
    lines = ran[1].splitlines()
    assert lines[0] == "9000 observations of 6 stars"
    assert [line.split(":")[0] for line in lines[1:-1]] == [star.name for star in survey.STARS]


def test_the_picture_has_a_panel_for_each_star(ran: tuple[Path, str]) -> None:
    picture = ET.parse(ran[0] / "light-curves.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{name}g")) == len(survey.STARS)
    assert picture.get("viewBox") == "0 0 900 380"
