"""Upstream's worker protocol, spoken by our conversation: a dialect between the two.

Upstream's server has no leases: it shows every worker all jobs (WIRE 2.6), and a worker claims one
by saying ``Running``. This module turns that into what ``conversation`` knows (welcome, push,
acknowledged, cancel) and back, so that nothing else of the worker needs to know which server it
serves. It owns the server's state as it was shown and the timing rules of WIRE 2.8; what becomes of
a claim is ``claims``' to decide.

Pure: no I/O, no clock. Better than upstream's own worker where its server allows it: the oldest
job is claimed first, a job runs only after the server has named us as its runner, what does not
fit is not claimed, and a result is sent until a state shows that it has arrived.
"""

from collections.abc import Callable, Iterable

import msgspec

from gridd_protocol.codec import Decoded
from gridd_protocol.errors import ErrorCode, ProtocolError
from gridd_protocol.limits import HEARTBEAT_MS, LEASE_MS
from gridd_protocol.messages import (
    Credit,
    Drain,
    Finished,
    FromWorker,
    Heartbeat,
    Hello,
    Log,
    Release,
    ToWorker,
    Welcome,
)
from gridd_worker.upstream.claims import Claims
from gridd_worker.upstream.offers import Offers
from gridd_worker.upstream.shapes import Definitions, OneJob, Seen, Workers, jobs_of, read_frame
from gridd_worker.upstream.words import Words

REGISTER_MS = 10_000  # as often as upstream's worker registers
PONG_MS = 10_000  # without one for so long, the connection is given up (WIRE 2.8)
STATES_MS = 20_000  # likewise without a state: on some connections that server shows none (D18)


class UpstreamDialect:
    """One queue's. It lives as long as the worker; ``opened`` begins a connection.

    ``on_told`` hears how many lines of an attempt's log that server was told, for ``take_up`` in
    the next process, and ``None`` when nobody needs it any more."""

    def __init__(self, on_told: Callable[[str, int, int | None], None] | None = None) -> None:
        self._words = Words()
        self._offers = Offers()
        self._claims = Claims(self._words, self._offers, on_told or (lambda *_: None))
        self._credit = 0
        self._seen: dict[str, Seen] = {}
        self._rivals: set[str] = set()  # other workers of the queue
        self._complete = False  # a full state has come on this connection
        self._registered_ms = 0
        self._pong_ms = self._states_ms = 0  # when the last one came
        self._greeted = False  # hello was said on this connection
        self._greeting = False  # hello was said, and no welcome has answered it
        self._heard: list[ToWorker] = []  # heartbeats to be handed on

    def opened(self, now_ms: int) -> None:
        self._pong_ms = self._states_ms = now_ms
        self._seen.clear()
        self._rivals.clear()
        self._heard.clear()
        self._complete = self._greeted = self._greeting = False
        self._words.clear()
        self._offers.ask_again()
        self._claims.opened()

    def take_up(self, job: str, attempt: int, told: int) -> None:
        """An earlier process told ``told`` lines of this attempt; call before the first hello."""
        self._claims.take_up(job, attempt, told)

    # --- out ----------------------------------------------------------------------------

    def encode(self, messages: Iterable[FromWorker], now_ms: int, wall_ms: int) -> list[str]:
        """The frames that say ``messages``; those that the dialect owes come with them."""
        for message in messages:
            self._say(message, now_ms, wall_ms)
        return self.take()

    def take(self) -> list[str]:
        """Frames that are owed now."""
        return self._words.take()

    def _say(self, message: FromWorker, now_ms: int, wall_ms: int) -> None:
        match message:
            case Hello():
                self._on_hello(message, now_ms, wall_ms)
            case Credit(jobs):
                self._credit = jobs
            case Log():
                self._claims.log(message)
            case Finished():
                self._claims.finished(message, now_ms, wall_ms)
            case Release(job, attempt):
                self._claims.release(job, attempt, now_ms, wall_ms)
            case Drain():
                self._credit = 0
            case Heartbeat():
                self._words.ping()
                # Sooner rather than a whole heartbeat later.
                if now_ms - self._registered_ms > REGISTER_MS - HEARTBEAT_MS:
                    self._register(now_ms)

    def _on_hello(self, hello: Hello, now_ms: int, wall_ms: int) -> None:
        self._credit = hello.credit
        self._offers.resources = hello.resources
        self._words.introduce(hello, wall_ms)
        self._register(now_ms)
        self._claims.announce(hello.running, now_ms, wall_ms)
        self._greeted = self._greeting = True

    def _register(self, now_ms: int) -> None:
        self._registered_ms = now_ms
        self._words.register()

    # --- in -----------------------------------------------------------------------------

    def decode(self, data: str | bytes, now_ms: int, wall_ms: int) -> Decoded[ToWorker]:
        """What the frame, and the time that has passed, mean to the conversation."""
        errors: list[ProtocolError] = []
        messages: list[ToWorker] = []
        try:
            self._read(data, now_ms)
        except (msgspec.MsgspecError, RecursionError) as error:
            errors.append(
                ProtocolError(ErrorCode.BAD_FRAME, f"not a message of upstream's: {error}")
            )
        if self._greeting:
            self._greeting = False
            messages.append(self._welcome(wall_ms))
        return Decoded(messages + self.tick(now_ms, wall_ms), errors)

    def lost(self, now_ms: int) -> str | None:
        """Why the connection must be given up, although something may still come over it."""
        if now_ms - self._pong_ms >= PONG_MS:
            return "the server answered no PING for too long"
        if now_ms - self._states_ms >= STATES_MS:
            return "the server showed no jobs for too long"
        return None

    def due(self) -> int:
        """When ``tick`` and ``lost`` are to be asked again, in ms, if no frame comes before."""
        return min(self._pong_ms + PONG_MS, self._states_ms + STATES_MS, *self._claims.dues())

    def tick(self, now_ms: int, wall_ms: int) -> list[ToWorker]:
        """What the state, as known, means to the conversation by now."""
        if self._complete and self._greeted:
            self._claims.look(self._seen, self._rivals, self._credit, now_ms, wall_ms)
        heard, self._heard = self._heard, []
        return heard + self._claims.heard()

    def _welcome(self, wall_ms: int) -> Welcome:
        return Welcome(
            queue="",
            time=wall_ms,
            lease_ms=LEASE_MS,
            heartbeat_ms=HEARTBEAT_MS,
            kept=self._claims.kept(),
        )

    def _read(self, data: str | bytes, now_ms: int) -> None:
        if isinstance(data, str) and data.startswith("PONG"):
            self._pong_ms = now_ms
            self._heard.append(Heartbeat())
            named = data.removeprefix("PONG").strip()
            if named not in ("", self._words.worker) and self._words.introduced:
                self._register(now_ms)
            return
        if not data or data[:1] not in ("{", b"{"):
            return  # upstream's peers ignore such, and so do we
        frame = read_frame(data)
        match frame.type:
            case "JobStates":
                self._seen = jobs_of(frame.payload)
                self._complete = True
                self._states_ms = now_ms
            case "JobStateUpdates":
                self._seen.update(jobs_of(frame.payload))
                self._states_ms = now_ms
            case "Workers":
                listed = msgspec.json.decode(frame.payload, type=Workers).workers
                self._rivals = {worker.id for worker in listed} - {self._words.worker}
            case "BroadcastJobDefinitions":
                texts = msgspec.json.decode(frame.payload, type=Definitions).definitions
                self._offers.came(texts, now_ms)
            case "ClearJobCache":
                job = msgspec.json.decode(frame.payload, type=OneJob).job
                self._seen.pop(job, None)
                self._offers.forget(job)
            case "StatusRequest":
                self._words.status(self._claims.begun())
