"""How long upstream's worker is given for what."""

from dataclasses import dataclass

from gridd.edge.upstream_hand import SILENCE_S


@dataclass(frozen=True, slots=True)
class WorkerPace:
    """Seconds. Upstream's own times, which these answer to, are in WIRE 2.8 and 6.3 to 6.6."""

    tick: float = 1.0
    first: float = 0.5  # it registers at once; else the first full state comes without it
    full: float = 9.0  # between full states; it reconnects after 20 s without one
    offer: float = 15.0  # to claim a job; it may look for the definition for 11 s
    announce: float = 8.0  # to announce again what it ran before it reconnected
    stop: float = 7.0  # it stops an unwanted job after 6 s; until then its slot is taken
    doom: float = 2.0  # of the grace of a replaced job (4 or 8 s) before its worker is told
    rest: float = 10.0  # without new offers, after one was not claimed
    ended: float = 60.0  # an ended job is shown as Finished (WIRE 3.12)
    silence: float = SILENCE_S  # a job that is not announced when it should be
