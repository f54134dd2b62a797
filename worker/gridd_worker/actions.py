"""What the conversation asks the agent to do. Data only."""

from dataclasses import dataclass

from gridd_protocol.messages import Push


@dataclass(frozen=True, slots=True)
class Start:
    push: Push


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the run, report nothing. ``why`` is for the log."""

    job: str
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The ended attempt is settled: its stored result can go. ``why`` is for the log."""

    job: str
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class Welcomed:
    kept: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The server asked us to finish what runs and go."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """The server found fault with what we sent, or we with it; a sentence for the log."""

    text: str


Action = Start | Stop | Forget | Welcomed | Leave | Complaint
