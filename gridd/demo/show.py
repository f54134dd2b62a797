"""What the demo prints. One place, so that it reads as one text."""

import csv
import sys
from pathlib import Path

from gridd.demo.survey import STARS

TOLERANCE = 0.001  # of the period; the data's noise allows a tenth of this


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def log_text(text: str) -> None:
    for line in text.splitlines():
        say(f"  | {line}")


def table(path: Path) -> int:
    """Prints the job's table beside the periods that were put in; returns how many it found."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["star"]: row for row in csv.DictReader(file)}
    say("  star   observations   period found   period put in   amplitude")
    right = 0
    for star in STARS:
        row = rows[star.name]
        found = float(row["period_days"])
        right += abs(found - star.period_days) <= TOLERANCE * star.period_days
        say(
            f"  {star.name:<6} {row['observations']:>12} {found:>12.4f} d"
            f" {star.period_days:>13.4f} d {row['amplitude_magnitudes']:>7} mag"
        )
    return right
