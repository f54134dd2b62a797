"""Makes the demo's data: brightness of six pulsating stars over two seasons, simulated.

The same bytes every time, so that what comes out can be checked. The job sees the
observations only; the periods that went in are kept here, to compare with what it finds.
"""

import math
import random
from typing import NamedTuple

NIGHTS = 760
OBSERVATIONS_PER_STAR = 1_500
NOISE_MAGNITUDES = 0.06


class Star(NamedTuple):
    """``period_days`` is what the job has to find. Magnitudes grow as stars get fainter."""

    name: str
    period_days: float
    mean_magnitude: float
    amplitude: float


STARS = (
    Star("GV-1", 5.3663, 11.20, 0.80),
    Star("GV-2", 7.1767, 10.45, 0.60),
    Star("GV-3", 3.7281, 12.10, 0.45),
    Star("GV-4", 16.3852, 9.80, 1.10),
    Star("GV-5", 27.0246, 11.75, 0.95),
    Star("GV-6", 10.1503, 12.60, 0.70),
)


def observations() -> bytes:
    """CSV with a header: star, day, magnitude. About 240 KB."""
    chance = random.Random("six pulsating stars")
    rows = ["star,day,magnitude"]
    for star in STARS:
        for day in sorted(_clear_night(chance) for _ in range(OBSERVATIONS_PER_STAR)):
            magnitude = star.mean_magnitude + star.amplitude * _pulse(day / star.period_days)
            magnitude += chance.gauss(0.0, NOISE_MAGNITUDES)
            rows.append(f"{star.name},{day:.5f},{magnitude:.4f}")
    return ("\n".join(rows) + "\n").encode()


def _clear_night(chance: random.Random) -> float:
    """A moment at night: a third of the year the stars are behind the sun."""
    while True:
        night = chance.randrange(NIGHTS)
        if night % 365 < 240:
            return night + chance.uniform(0.85, 1.2)


def _pulse(phase: float) -> float:
    """Fast rise, slow decline, as a Cepheid does it. Between about -0.5 and 0.5."""
    turn = 2 * math.pi * phase
    return -(0.40 * math.sin(turn) + 0.14 * math.sin(2 * turn) + 0.05 * math.sin(3 * turn))
