"""Client sockets: upstream's JSON (WIRE 2), read and answered.

A client may submit, cancel and delete, and ask for state. It can't report on jobs: that is for
the worker that holds the lease. What can't be understood is answered with an ``Error`` message
(ours; upstream's clients ignore it) and disturbs nothing else.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import WSMsgType, web

from gridd.core.effects import Outcome, Refused
from gridd.core.events import Cancel, Delete, Submit
from gridd.daemon import Daemon, refusal
from gridd.edge.client_frames import JsonFrames
from gridd.edge.frames import text_frame
from gridd.edge.outbox import Outbox
from gridd.edge.turns import Turn
from gridd.submission import read_submission
from gridd_protocol.canonical import read_json
from gridd_protocol.errors import ErrorCode, ProtocolError, shown
from gridd_protocol.limits import (
    OUTBOX_COALESCE_BYTES,
    OUTBOX_LOG_BYTES_MAX,
    SUBMIT_BODY_BYTES_MAX,
)
from gridd_protocol.messages import LogLine
from gridd_protocol.names import check_job_id, check_namespace

_T = TypeVar("_T")

REQUESTS_MAX = 1_000
"""Submissions and cancels of one client that are not yet durable; beyond it, it is read no
further until some are: backpressure reaches the sender."""


class _Frame(msgspec.Struct):
    type: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class _StateChange(msgspec.Struct):
    state: str
    value: msgspec.Raw
    job: str | None = None


class _Queued(msgspec.Struct):
    enqueued: msgspec.Raw


class _Finished(msgspec.Struct):
    reason: str | None = None
    message: str | None = None
    namespace: str | None = None


class _QueryJob(msgspec.Struct):
    job_id: str = msgspec.field(name="jobId")


MESSAGE_MAX = 1_000
"""Characters of a cancel's message that are kept."""

_LINES_LEFT_OUT = (
    "… lines are left out here: they came faster than you read; the log's own address has what is "
    "kept of them\n"
)

_read_frame = msgspec.json.Decoder(_Frame).decode
_PONG = text_frame(b"PONG")


class ClientSocket:
    """One connection. ``run`` returns when it is over."""

    def __init__(
        self, daemon: Daemon, frames: JsonFrames, queue: str, *, reads_gone: bool = False
    ) -> None:
        """``reads_gone``: it reads that member of updates (``client_frames``)."""
        self._daemon = daemon
        self._reads_gone = reads_gone
        self._frames = frames
        self._queue = queue
        self._peer = daemon.new_ref()
        self._pending = 0  # requests whose outcome is not durable yet
        self._fewer_pending = asyncio.Event()
        self._misses_lines_of: set[str] = set()  # jobs whose gap is marked; as many marks may wait
        self._outbox: Outbox
        self._handlers: dict[str, Callable[[msgspec.Raw], Awaitable[None] | None]] = {
            "StateChange": self._on_state_change,
            "QueryJob": self._on_query_job,
            "QueryJobStates": self._on_query_job_states,
        }

    async def run(self, ws: web.WebSocketResponse, transport: asyncio.WriteTransport) -> None:
        self._outbox = Outbox(transport)
        self._daemon.join_client(self._queue, self._peer, self, reads_gone=self._reads_gone)
        sockets = self._daemon.meters.sockets
        number = sockets.begin("client", self._outbox)
        turn = Turn()
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    answer = self._read(message.data)
                    if answer is not None:
                        await self._finish(answer)
                    await turn.spend(len(message.data))
                    while self._pending >= REQUESTS_MAX:
                        self._fewer_pending.clear()
                        await self._fewer_pending.wait()
                elif message.type is WSMsgType.BINARY:
                    self._complain(_not_a_frame("a binary frame"))
        finally:
            sockets.end("client", number)
            self._daemon.leave_client(self._queue, self._peer)

    # --- rooms.ClientPeer -------------------------------------------------------------

    def send(self, frame: bytes, key: str | None = None) -> None:
        self._outbox.push(frame, key)

    def send_log(self, frame: bytes, job: str, step: str) -> None:
        """A log that comes faster than this client reads would cost it its connection, and with
        it the states of everybody's jobs; so it loses lines, and is told where."""
        waiting = self._outbox.waiting_bytes
        caught_up = not self._misses_lines_of or waiting <= OUTBOX_COALESCE_BYTES
        if caught_up and waiting + len(frame) <= OUTBOX_LOG_BYTES_MAX:
            self._misses_lines_of.clear()
            self._outbox.push(frame)
        elif job not in self._misses_lines_of:
            self._misses_lines_of.add(job)
            mark = LogLine(_LINES_LEFT_OUT, self._daemon.clock.now_ms(), True)
            self._outbox.push(self._frames.log_added(job, step, [mark]))

    def close(self, code: int, reason: str) -> None:
        self._outbox.close_after_sending(code, reason)

    # --- what it says -----------------------------------------------------------------

    def _read(self, text: str) -> Awaitable[None] | None:
        """Act on one frame; what is answered needs to wait is returned, to be awaited."""
        if text == "PING":
            self._outbox.push(_PONG)
            return None
        if text in ("", "undefined"):  # upstream's browser says so on every connect
            return None
        try:
            return self._dispatch(text)
        except ProtocolError as error:
            self._complain(error)
            return None

    def _dispatch(self, text: str) -> Awaitable[None] | None:
        try:
            frame = _read_frame(text)
        except (msgspec.MsgspecError, RecursionError):
            submission = _submission_with_halves(text)
            if submission is None:
                raise _not_a_frame(shown(text)) from None
            self._request(read_submission(submission)[1])
            return None
        handler = self._handlers.get(frame.type)
        if handler is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_TYPE,
                f"type {shown(frame.type)} is not one that a client may send",
                field="type",
            )
        return handler(frame.payload)

    def _on_state_change(self, payload: msgspec.Raw) -> None:
        change = _decode(payload, _StateChange, "payload")
        if change.state == "Queued":
            value = _decode(change.value, _Queued, "payload.value")
            self._request(read_submission(value.enqueued)[1])
        elif change.state == "Finished":
            self._let_go(change)
        else:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE,
                f"payload.state is {shown(change.state)}; a client may send Queued, or Finished "
                "with the reason Cancelled or Deleted",
                field="payload.state",
            )

    def _let_go(self, change: _StateChange) -> None:
        value = _decode(change.value, _Finished, "payload.value")
        job = check_job_id(change.job, "payload.job")
        namespace = value.namespace or "_"
        if namespace != "*":  # every one of this queue
            check_namespace(namespace, "payload.value.namespace")
        if value.reason == "Cancelled":
            self._request(Cancel(0, job, namespace, (value.message or "")[:MESSAGE_MAX]))
        elif value.reason == "Deleted":
            self._request(Delete(0, job, namespace))
        else:
            raise ProtocolError(
                ErrorCode.BAD_MESSAGE,
                f"payload.value.reason is {shown(value.reason)}; a client may cancel or delete a "
                "job, only the worker that runs it may report on it",
                field="payload.value.reason",
            )

    async def _on_query_job(self, payload: msgspec.Raw) -> None:
        job = check_job_id(_decode(payload, _QueryJob, "payload").job_id, "payload.jobId")
        view = await self._daemon.job(self._queue, job)
        self._outbox.push(self._frames.job(job, view))

    async def _on_query_job_states(self, _: msgspec.Raw) -> None:
        self._outbox.push(self._frames.full_state(await self._daemon.jobs(self._queue)))

    # --- requests under way -----------------------------------------------------------

    def _request(self, event: Submit | Cancel | Delete) -> None:
        """Hand it over and read on: what a client sends in a row is made durable together."""
        self._daemon.post(self._queue, event, self._settled)
        self._pending += 1

    def _settled(self, outcome: Outcome | ProtocolError) -> None:
        self._pending -= 1
        self._fewer_pending.set()
        if isinstance(outcome, Refused):
            outcome = refusal(outcome)
        if isinstance(outcome, ProtocolError):
            self._complain(outcome)

    async def _finish(self, answer: Awaitable[None]) -> None:
        try:
            await answer
        except ProtocolError as error:
            self._complain(error)

    def _complain(self, error: ProtocolError) -> None:
        self._daemon.meters.refused(error.code)
        self._outbox.push(self._frames.error(error))


def _decode(raw: msgspec.Raw, kind: type[_T], under: str) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = under + where.rstrip("`")
        raise ProtocolError(
            ErrorCode.BAD_MESSAGE, f"{field}: {what[0].lower()}{what[1:]}", field=field
        ) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"{under}: {error}", field=under) from None


def _submission_with_halves(text: str) -> msgspec.Raw | None:
    """msgspec refuses half of a surrogate pair (``\\ud800``), which JavaScript writes and a
    definition may hold: its text is written anew, value for value. ``None``: that was not what is
    wrong with the frame, or it is no submission."""
    if "\\ud" not in text.lower() or len(text) > SUBMIT_BODY_BYTES_MAX:
        return None
    try:
        frame = read_json(text.encode())
        if (frame["type"], frame["payload"]["state"]) != ("StateChange", "Queued"):
            return None
        return msgspec.Raw(json.dumps(frame["payload"]["value"]["enqueued"]).encode())
    except (ValueError, RecursionError, LookupError, TypeError):
        return None


def _not_a_frame(what: str) -> ProtocolError:
    return ProtocolError(
        ErrorCode.BAD_MESSAGE,
        f"{what} is not a message; send JSON text such as "
        '{"type":"QueryJob","payload":{"jobId":"..."}}',
        field="frame",
    )
