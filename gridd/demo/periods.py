"""The demo's job: find the period of each star in a table of observations.

Runs alone (``python3 periods.py INPUT.csv OUTPUT_DIRECTORY``) with Python 3.10 or newer and
nothing else, so that it works in a container as it does on any machine. For many trial
frequencies it measures how well a wave of that frequency fits the brightness (a Lomb-Scargle
periodogram), and keeps the best one. Writes ``periods.csv`` and ``light-curves.svg``.
"""

import csv
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

Points = list[tuple[float, float]]

LONGEST_DAYS = 40.0
SHORTEST_DAYS = 2.0
# Trial frequencies per width of a peak; with fewer, the best one may fall between two.
OVERSAMPLING = 4
BINS = 40


class Finding(NamedTuple):
    star: str
    points: Points
    period: float
    curve: Sequence[float]  # mean magnitude per phase bin

    @property
    def amplitude(self) -> float:
        return max(self.curve) - min(self.curve)


def main(source: str, target: str) -> None:
    stars = read(Path(source))
    total = sum(len(points) for points in stars.values())
    say(f"{total} observations of {len(stars)} stars")
    findings = [find(star, points) for star, points in stars.items()]
    directory = Path(target)
    write_table(directory / "periods.csv", findings)
    (directory / "light-curves.svg").write_text(picture(findings), encoding="utf-8")
    say("wrote periods.csv and light-curves.svg")


def say(line: str) -> None:
    """At once, so that whoever follows the log sees it as it happens."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def read(path: Path) -> dict[str, Points]:
    stars: dict[str, Points] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            stars.setdefault(row["star"], []).append((float(row["day"]), float(row["magnitude"])))
    return stars


def find(star: str, points: Points) -> Finding:
    begun = time.monotonic()
    mean = sum(magnitude for _, magnitude in points) / len(points)
    centred = [(day, magnitude - mean) for day, magnitude in points]
    span = points[-1][0] - points[0][0]
    step = 1.0 / (span * OVERSAMPLING)
    trials = int((1 / SHORTEST_DAYS - 1 / LONGEST_DAYS) / step)
    best = strongest(centred, [1 / LONGEST_DAYS + number * step for number in range(trials)])
    fine = step / 50
    best = strongest(centred, [best + number * fine for number in range(-60, 61)])
    finding = Finding(star, points, 1 / best, folded(points, 1 / best))
    seconds = time.monotonic() - begun
    say(
        f"{star}: a period of {finding.period:.3f} days, "
        f"the best of {trials} tried in {seconds:.1f} s"
    )
    return finding


def strongest(points: Points, frequencies: Sequence[float]) -> float:
    return max(frequencies, key=lambda frequency: power(points, frequency))


def power(points: Points, frequency: float) -> float:
    """How much of the brightness a wave of this frequency explains (in magnitudes squared)."""
    turn = 2 * math.pi * frequency
    with_sine = with_cosine = sines = cosines = 0.0
    for day, magnitude in points:
        sine = math.sin(turn * day)
        cosine = math.cos(turn * day)
        with_sine += magnitude * sine
        with_cosine += magnitude * cosine
        sines += sine * sine
        cosines += cosine * cosine
    return with_sine * with_sine / sines + with_cosine * with_cosine / cosines


def folded(points: Points, period: float) -> Sequence[float]:
    """Mean magnitude by phase, as if all cycles were one."""
    sums = [0.0] * BINS
    counts = [0] * BINS
    for day, magnitude in points:
        place = int(day / period % 1.0 * BINS) % BINS
        sums[place] += magnitude
        counts[place] += 1
    overall = sum(sums) / len(points)
    return [total / count if count else overall for total, count in zip(sums, counts, strict=True)]


def write_table(path: Path, findings: Sequence[Finding]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["star", "observations", "period_days", "amplitude_magnitudes"])
        for finding in findings:
            table.writerow(
                [
                    finding.star,
                    len(finding.points),
                    f"{finding.period:.4f}",
                    f"{finding.amplitude:.2f}",
                ]
            )


WIDTH, HEIGHT, COLUMNS, MARGIN = 300, 190, 3, 34


def picture(findings: Sequence[Finding]) -> str:
    rows = math.ceil(len(findings) / COLUMNS)
    panels = [
        panel(finding, number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT)
        for number, finding in enumerate(findings)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {COLUMNS * WIDTH} {rows * HEIGHT}" font-family="sans-serif">\n'
        '<rect width="100%" height="100%" fill="#fbfaf7"/>\n' + "".join(panels) + "</svg>\n"
    )


def panel(finding: Finding, left: int, top: int) -> str:
    """Two cycles of one star: each observation a dot, the mean as a line; bright is up."""
    magnitudes = [magnitude for _, magnitude in finding.points]
    brightest, faintest = min(magnitudes), max(magnitudes)
    inner_width, inner_height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN

    def place(phase: float, magnitude: float) -> str:
        share = (magnitude - brightest) / (faintest - brightest)
        return f"{MARGIN + phase / 2 * inner_width:.1f} {MARGIN + share * inner_height:.1f}"

    dots = "".join(
        f"M{place(day / finding.period % 1.0 + cycle, magnitude)}h0"
        for day, magnitude in finding.points
        for cycle in (0, 1)
    )
    line = "L".join(
        place((number + 0.5) / BINS, finding.curve[number % BINS]) for number in range(2 * BINS)
    )
    return (
        f'<g transform="translate({left} {top})">'
        f'<text x="{MARGIN}" y="22" font-size="13" fill="#222">{finding.star}'
        f'<tspan fill="#777" dx="8">{finding.period:.3f} days</tspan></text>'
        f'<path d="{dots}" stroke="#4a7ba6" stroke-opacity=".35" stroke-width="1.6"'
        f' stroke-linecap="round"/>'
        f'<path d="M{line}" fill="none" stroke="#c8452d" stroke-width="1.5"/>'
        f'<path d="M{MARGIN} {HEIGHT - MARGIN}h{inner_width}" stroke="#999"/>'
        f'<text x="{MARGIN}" y="{HEIGHT - 16}" font-size="10" fill="#777">phase 0</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 16}" font-size="10" fill="#777"'
        f' text-anchor="end">2</text></g>\n'
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
