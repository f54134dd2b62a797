"""How far a transfer is: one line that rewrites itself on a terminal, nothing elsewhere."""

import sys
import time
from typing import TextIO

_REDRAW_SECONDS = 0.1
_SHOW_AFTER_SECONDS = 0.5  # a transfer that is over by then needs no line
_LABEL_LENGTH = 40


def shown_bytes(count: int) -> str:
    """``12.3 MB``: decimal units, as disks and networks are sold."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


class Progress:
    """``add`` bytes as they pass; ``close`` wipes the line. ``total`` may be unknown (``None``)."""

    def __init__(
        self, label: str, total: int | None, *, stream: TextIO | None = None, enabled: bool = True
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._label = label if len(label) <= _LABEL_LENGTH else "…" + label[1 - _LABEL_LENGTH :]
        self._enabled = enabled and self._stream.isatty()
        self._started = time.monotonic()
        self._drawn = 0.0
        self.total = total
        self.done = 0

    def restart(self) -> None:
        """The transfer begins again from its first byte."""
        self.done = 0

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if not self._enabled or now - self._started < _SHOW_AFTER_SECONDS:
            return
        if now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self._stream.write(f"\r\x1b[K{self.line(now)}")
            self._stream.flush()

    def line(self, now: float) -> str:
        seconds = max(now - self._started, 0.001)
        speed = f"{shown_bytes(round(self.done / seconds))}/s"
        if not self.total:
            return f"{self._label}  {shown_bytes(self.done)}  {speed}"
        percent = min(100, 100 * self.done // self.total)
        of = f"{shown_bytes(self.done)} of {shown_bytes(self.total)}"
        return f"{self._label}  {percent}%  {of}  {speed}"

    def close(self) -> None:
        if self._enabled and self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
