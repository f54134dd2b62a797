"""What upstream's server says, as far as our worker reads it (WIRE 2.6).

Shapes only; what they mean is ``upstream``'s. Members that nobody uses are not read.
"""

import msgspec

from gridd_protocol.canonical import without_halves


class Seen(msgspec.Struct):
    """What we read of a job in the server's state."""

    state: str
    worker: str = ""
    queued_time: float = msgspec.field(name="queuedTime", default=0)


class State(msgspec.Struct):
    jobs: dict[str, Seen]


class StatePayload(msgspec.Struct):
    state: State


class Frame(msgspec.Struct):
    type: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class Worker(msgspec.Struct):
    id: str


class Workers(msgspec.Struct):
    workers: list[Worker]


class Definitions(msgspec.Struct):
    definitions: dict[str, msgspec.Raw]


class OneJob(msgspec.Struct):
    job: str = msgspec.field(name="jobId")


_read = msgspec.json.Decoder(Frame).decode


def read_frame(data: str | bytes) -> Frame:
    """Raises ``msgspec.MsgspecError`` or ``RecursionError``. Half of a surrogate pair, which that
    server passes on as a client wrote it, becomes U+FFFD: the definition that held it is then not
    the one that its id names, and the others in the frame are read."""
    try:
        return _read(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _read(without_halves(data.encode() if isinstance(data, str) else data))


def jobs_of(payload: msgspec.Raw) -> dict[str, Seen]:
    return msgspec.json.decode(payload, type=StatePayload).state.jobs
