"""What stands between the conversation's messages and a socket's frames: our protocol, or another.

The other is ``upstream``'s. Pure: bytes in, messages out, and back.
"""

from collections.abc import Sequence
from typing import Protocol

from gridd_protocol.codec import Codec, Decoded
from gridd_protocol.messages import FromWorker, ToWorker


class Wire(Protocol):
    """What stands between messages and frames. ``take`` gives frames that it owes by itself,
    ``tick`` messages that time brings, and ``lost`` the reason to give the connection up; ``due``
    is when to ask for the latter two."""

    def encode(
        self, messages: list[FromWorker], now_ms: int, wall_ms: int
    ) -> Sequence[str | bytes]: ...

    def take(self) -> Sequence[str | bytes]: ...

    def due(self) -> int | None: ...

    def tick(self, now_ms: int, wall_ms: int) -> list[ToWorker]: ...

    def lost(self, now_ms: int) -> str | None: ...

    def decode(self, data: str | bytes, now_ms: int, wall_ms: int) -> Decoded[ToWorker]: ...


class Native:
    """gridd's own protocol: a frame is its messages."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode(
        self, messages: list[FromWorker], now_ms: int, wall_ms: int
    ) -> Sequence[str | bytes]:
        return (self._codec.encode(messages),)

    def take(self) -> Sequence[str | bytes]:
        return ()

    def due(self) -> int | None:
        return None

    def tick(self, now_ms: int, wall_ms: int) -> list[ToWorker]:
        return []

    def lost(self, now_ms: int) -> str | None:
        return None  # the conversation's heartbeats tell

    def decode(self, data: str | bytes, now_ms: int, wall_ms: int) -> Decoded[ToWorker]:
        return self._codec.decode_to_worker(data)
