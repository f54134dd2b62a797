"""What a person or a program sees: data to standard output, everything else to standard error.

A job's own output is passed on as it is. Words that come from other peers (names, reasons,
errors) are cleaned first, so that they can't steer a terminal.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from gridd_protocol.messages import LogLine


def clean(text: object, length: int = 500) -> str:
    """``text`` on one line, without control characters, cut to ``length``."""
    words = "".join(c if c.isprintable() else " " for c in str(text)).strip()
    return words if len(words) <= length else words[: length - 1] + "…"


class Console:
    """``quiet`` keeps back remarks and build lines; ``machine`` keeps standard output for one
    JSON document, so that a job's lines go to standard error."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        machine: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.quiet = quiet
        self.machine = machine
        self._out = out if out is not None else sys.stdout
        self._err = err if err is not None else sys.stderr
        self._open_lines: set[int] = set()  # streams that wait for the end of a line

    @property
    def is_terminal(self) -> bool:
        return self._out.isatty()

    @property
    def err_is_terminal(self) -> bool:
        return self._err.isatty()

    def data(self, text: str) -> None:
        """A line that was asked for."""
        self._finish_line(self._out)
        self._write(self._out, text + "\n")

    def json(self, value: Any) -> None:
        indent = 2 if self.is_terminal else None
        self.data(json.dumps(value, ensure_ascii=False, indent=indent))

    def remark(self, text: str) -> None:
        """How things go; kept back when quiet."""
        if not self.quiet:
            self.complaint(text)

    def complaint(self, text: str) -> None:
        """What a person must hear."""
        self._finish_line(self._err)
        if self.is_terminal:
            self._finish_line(self._out)
        self._write(self._err, text + "\n")

    def run_lines(self, lines: Sequence[LogLine]) -> None:
        """The program's output, exactly: its standard output to ours, its errors to ours."""
        if self.machine and self.quiet:
            return
        for line in lines:
            self._write(self._err if line.stderr or self.machine else self._out, line.text)

    def build_lines(self, lines: Sequence[LogLine], *, as_data: bool = False) -> None:
        """Lines of pulls and builds, which may come without an end of line."""
        if self.quiet and not as_data:
            return
        for line in lines:
            text = line.text if line.text.endswith("\n") else line.text + "\n"
            self._write(self._out if as_data else self._err, text)

    def _write(self, stream: TextIO, text: str) -> None:
        if not text:
            return
        stream.write(text)
        stream.flush()
        if text.endswith("\n"):
            self._open_lines.discard(id(stream))
        else:
            self._open_lines.add(id(stream))

    def _finish_line(self, stream: TextIO) -> None:
        """Our lines start at the left on a terminal; in a file the job's bytes stay its own."""
        if id(stream) in self._open_lines and stream.isatty():
            self._write(stream, "\n")


def table(rows: Sequence[Sequence[object]]) -> str:
    """Columns, the first row being their names; as wide as they need to be."""
    cells = [[clean(cell, 60) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)
