"""A client or worker socket in bytes, for peers that no library would be rude enough to be."""

import asyncio
from typing import Self

_PIECE_BYTES = 64 << 10


class RawSocket:
    """Reads nothing that it is not asked to read, beyond the little that asyncio takes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.bytes_read = 0

    @classmethod
    async def open(cls, url: str, path: str, subprotocol: str = "") -> Self:
        """Raises ConnectionError when the server answers with anything but 101."""
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
        offered = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"{offered}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise ConnectionError(head.decode(errors="replace").splitlines()[0])
        return cls(reader, writer)

    async def send(self, payload: bytes, opcode: int = 1) -> None:
        """One frame, as the kernel takes it. Raises ConnectionError when the server is gone."""
        self._writer.write(framed(payload, opcode))
        await self._writer.drain()

    async def end(self, seconds: float) -> str:
        """How the connection is found: it is read until it ends, for so long at most. One behind
        which more was waiting than its close frame may be cut off before that is seen."""
        last = b""
        try:
            async with asyncio.timeout(seconds):
                while piece := await self._reader.read(_PIECE_BYTES):
                    self.bytes_read += len(piece)
                    last = (last + piece)[-200:]
                    if (code := _closed_with(last)) is not None:
                        return f"closed with {code}"
        except TimeoutError:
            return "connected"
        except ConnectionError:
            return "cut off"
        return "cut off"

    def close(self) -> None:
        self._writer.transport.abort()


def framed(payload: bytes, opcode: int = 1) -> bytes:
    """A client's frame; its mask is zero, which leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def _closed_with(last: bytes) -> int | None:
    """The code of the first close frame at the end of ``last``, when there is one."""
    for at in range(len(last) - 3):
        if _is_end(last[at:]):
            return int.from_bytes(last[at + 2 : at + 4], "big")
    return None


def _is_end(tail: bytes) -> bool:
    """Whether it is close frames and nothing else; a library may send a second one."""
    while tail:
        if len(tail) < 4 or tail[0] != 0x88 or not 2 <= tail[1] < 126:
            return False
        tail = tail[2 + tail[1] :]
    return True
