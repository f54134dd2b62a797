"""Workers as the queue sees them: what they have, what they hold, when they last spoke.

All of this is passing state: it changes with events, not with records, and is rebuilt after a
restart from the jobs that were running (``Sessions.expect``) and the workers' next hello.
"""

from gridd.core.effects import WorkerView
from gridd.core.records import Needs
from gridd_protocol.messages import Resources

RETURN_PAUSE_MS = 1_000
"""A worker that gave a job back is offered it again after so long; twice as long each time."""
RETURN_PAUSE_MS_MAX = 60_000
"""At most so long. As long again after the pause it is forgotten that the job was given back."""
_DOUBLINGS_MAX = (RETURN_PAUSE_MS_MAX // RETURN_PAUSE_MS).bit_length()
"""So many reach the longest pause; a number that grows for ever would grow in memory too."""
RETURNED_MAX = 100
"""Jobs given back that are remembered of one worker; as long as there are more, it is offered
nothing at all."""

_HALF_MILLI = 0.5
"""A worker's cpus are a binary fraction: 1.001 * 1000 is a little less than 1001."""


class Session:
    """One worker id. Lives while it is connected or holds a lease."""

    __slots__ = (
        "credit",
        "draining",
        "heard",
        "held",
        "joined_time",
        "peer",
        "reserved_for",
        "resources",
        "returned",
        "used_cpus_milli",
        "used_gpus",
        "used_memory",
        "version",
        "worker",
    )

    def __init__(self, worker: str, now: int) -> None:
        self.worker = worker
        self.peer: int | None = None
        self.version = ""
        self.resources = Resources(cpus=0, runs=())
        self.credit = 0
        self.draining = False
        self.heard = now
        self.joined_time = now
        self.held: dict[str, tuple[int, Needs]] = {}  # job -> attempt, needs
        self.used_cpus_milli = 0
        self.used_gpus = 0
        self.used_memory = 0
        self.reserved_for: str | None = None  # the one job that it is being kept free for
        self.returned: dict[str, tuple[int, int]] = {}  # job -> how often, offered again when

    def take(self, job: str, attempt: int, needs: Needs) -> None:
        self.held[job] = (attempt, needs)
        self.used_cpus_milli += needs.cpus_milli
        self.used_gpus += needs.gpus
        self.used_memory += needs.memory

    def give_back(self, job: str) -> None:
        _, needs = self.held.pop(job)
        self.used_cpus_milli -= needs.cpus_milli
        self.used_gpus -= needs.gpus
        self.used_memory -= needs.memory

    def holds(self, job: str, attempt: int) -> bool:
        entry = self.held.get(job)
        return entry is not None and entry[0] == attempt

    def gave_back(self, job: str, now: int) -> tuple[int, int]:
        """It does not want ``job`` now. How often that was so, and when it is offered it again."""
        often = self.returned[job][0] + 1 if job in self.returned else 1
        pause = RETURN_PAUSE_MS << min(often - 1, _DOUBLINGS_MAX)
        until = now + min(pause, RETURN_PAUSE_MS_MAX)
        self.returned[job] = (often, until)
        return often, until

    def spared(self, job: str, now: int) -> bool:
        """Whether it is not to be offered ``job`` now, having given it back."""
        return job in self.returned and self.returned[job][1] > now

    @property
    def ready(self) -> bool:
        """May be pushed one more job, as far as credit goes."""
        return self.willing and len(self.held) < self.credit and len(self.returned) < RETURNED_MAX

    @property
    def willing(self) -> bool:
        """Takes jobs, now or when it has finished some of those it holds."""
        return self.peer is not None and not self.draining and self.credit > 0

    def could(self, needs: Needs) -> bool:
        """Whether it has enough in all: false means that waiting for this worker is in vain."""
        has = self.resources
        return (
            needs.kind in has.runs
            and needs.cpus_milli <= has.cpus * 1_000 + _HALF_MILLI
            and needs.gpus <= has.gpus
            and (not has.memory or needs.memory <= has.memory)
            and needs.max_duration <= has.max_duration
            and (not needs.tags or set(needs.tags) <= set(has.tags))
        )

    def fits(self, needs: Needs) -> bool:
        """Whether what is free now is enough. Only asked when ``could`` is true."""
        has = self.resources
        return (
            needs.cpus_milli <= has.cpus * 1_000 + _HALF_MILLI - self.used_cpus_milli
            and needs.gpus <= has.gpus - self.used_gpus
            and (not has.memory or needs.memory <= has.memory - self.used_memory)
        )

    def view(self) -> WorkerView:
        return WorkerView(
            id=self.worker,
            version=self.version,
            resources=self.resources,
            joined_time=self.joined_time,
            connected=self.peer is not None,
            draining=self.draining,
            held=tuple(self.held),
        )


class Sessions:
    """Every worker of a queue, by id and by connection."""

    def __init__(self) -> None:
        self.by_worker: dict[str, Session] = {}
        self.by_peer: dict[int, Session] = {}
        # The ready ones, longest unserved first: work goes round instead of filling the first.
        self.ready: dict[str, Session] = {}

    def expect(self, worker: str, now: int) -> Session:
        """The session of ``worker``, made if it is not there."""
        session = self.by_worker.get(worker)
        if session is None:
            session = self.by_worker[worker] = Session(worker, now)
        return session

    def bind(self, session: Session, peer: int) -> int | None:
        """Let ``session`` speak through ``peer``; answers the peer that it replaces."""
        former = session.peer
        if former == peer:
            return None
        if former is not None:
            del self.by_peer[former]
        session.peer = peer
        self.by_peer[peer] = session
        return former

    def unbind(self, peer: int) -> Session | None:
        session = self.by_peer.pop(peer, None)
        if session is not None:
            session.peer = None
            self.refresh(session)
        return session

    def drop(self, session: Session) -> None:
        if session.peer is not None:
            self.by_peer.pop(session.peer, None)
            session.peer = None
        self.by_worker.pop(session.worker, None)
        self.ready.pop(session.worker, None)

    def refresh(self, session: Session) -> None:
        """Call after anything that ``Session.ready`` depends on."""
        if session.ready:
            self.ready.setdefault(session.worker, session)
        else:
            self.ready.pop(session.worker, None)

    def served(self, session: Session) -> None:
        """It was just given a job: others come first now."""
        self.ready.pop(session.worker, None)
        self.refresh(session)

    def views(self) -> tuple[WorkerView, ...]:
        """The connected ones."""
        return tuple(s.view() for s in self.by_worker.values() if s.peer is not None)
