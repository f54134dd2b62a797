"""WebSocket frames from a server, made once and sent to many (RFC 6455, 5.2).

A server's frames are not masked and we negotiate no extension, so one message has one encoding
for every connection: it is framed once and the same bytes go to each. Reading, pings, closing
handshakes and everything else about sockets stays with aiohttp.
"""

_TEXT, _BINARY, _CLOSE = 0x1, 0x2, 0x8
_FINAL = 0x80


def text_frame(payload: bytes) -> bytes:
    return _frame(_TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    return _frame(_BINARY, payload)


def close_frame(code: int, reason: str) -> bytes:
    """``reason`` is cut to what fits into a control frame (123 bytes)."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return _frame(_CLOSE, code.to_bytes(2, "big") + text)


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, size))
    elif size < 1 << 16:
        head = bytes((_FINAL | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload
